"""Questions about the future of a stream, and a learner that answers all of them from the same features.

Axes: T events, G questions, F features, C signals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from eventflow.errors import InputError, did_you_mean
from eventflow.ops.gvf import KINDS, GVFResult, GVFState, GVFStream, GVFTerms, gvf_init, gvf_scan


@dataclass(frozen=True, slots=True)
class GVF:
    """A general value function (Sutton et al. 2011): the expected discounted sum of a signal after now.

    With gaps dt, the discount over a gap is gamma = exp(-dt / horizon). How it is learned: :mod:`eventflow.ops.gvf`.

    Args:
        signal: column of the signals that is summed.
        horizon: 1 / beta, in the unit of the gaps; inf: no discount (then ``until`` should end the sum).
        kind: ``impulse``: the signal of the event that ends a gap counts, discounted over it; ``rate``: that signal
            holds during the gap, and its discounted integral counts; ``step``: it counts undiscounted, as the reward
            of a discrete step does in Gymnasium.
        until: column of the stops that ends the sum (its event still counts); None: none does.
        lambda_: decay of the traces per event, in [0, 1].
        trace_rate: decay of the traces per unit of time, >= 0, besides the discount's.
        step_size: alpha > 0.
        bound: kappa of ObGD: no step is longer than 1 / (kappa max(|delta|, 1) ||e||_1) where alpha would be; 0: none.
        name: under which the answer is known; None: made of the others.

    Raises:
        InputError: an argument outside its range.
    """

    signal: int
    horizon: float = math.inf
    kind: str = "impulse"
    until: int | None = None
    lambda_: float = 0.9
    trace_rate: float = 0.0
    step_size: float = 0.01
    bound: float = 2.0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"GVF(kind={self.kind!r}): {did_you_mean(self.kind, KINDS)}")
        ranges = {
            "horizon": self.horizon > 0, "lambda_": 0 <= self.lambda_ <= 1, "signal": self.signal >= 0,
            "trace_rate": 0 <= self.trace_rate < math.inf, "step_size": 0 < self.step_size < math.inf,
            "bound": 0 <= self.bound < math.inf, "until": self.until is None or self.until >= 0,
        }  # fmt: skip
        for name, good in ranges.items():
            if not good:
                expected = {"lambda_": "a number in [0, 1]", "horizon": "a number > 0", "step_size": "a number > 0"}
                raise InputError(f"GVF({name}={getattr(self, name)}): expected {expected.get(name, 'a number >= 0')}")
        if self.name is None:
            end = "" if self.until is None else f" until {self.until}"
            object.__setattr__(self, "name", f"{self.kind} {self.signal}, horizon {self.horizon:g}{end}")


def as_questions(given: Sequence[GVF | Mapping[str, Any]]) -> tuple[GVF, ...]:
    """Questions, from plain data too; unknown keys are errors."""
    known, found = [f.name for f in fields(GVF)], []
    for question in given:
        if isinstance(question, Mapping):
            for key in question:
                if key not in known:
                    raise InputError(f"GVF: unknown key {key!r}; {did_you_mean(str(key), known)}")
            question = GVF(**question)
        found.append(question)
    if not found:
        raise InputError("no question was asked. Write: [GVF(signal=0, horizon=10.0)]")
    return tuple(found)


class GVFs:
    """Any number of general value functions over one stream, learned together from shared features, linearly.

    The state is a value: it goes in and comes out, and any chunking of a stream gives the same numbers.

    Args:
        questions: :class:`GVF` or mappings of their arguments.
        num_features: F.
        float32: half the memory, and a little faster.

    Raises:
        InputError: no question, or one that is none.
    """

    def __init__(
        self, questions: Sequence[GVF | Mapping[str, Any]], num_features: int, *, float32: bool = False
    ) -> None:
        if num_features < 1:
            raise InputError(f"GVFs(num_features={num_features}): expected a positive integer")
        self.questions = as_questions(questions)
        self.num_features = num_features
        self._dtype = np.dtype(np.float32 if float32 else np.float64)
        self.terms = gvf_terms(self.questions, self._dtype)

    def init(self) -> GVFState:
        """Before the first event: all predictions 0."""
        return gvf_init(len(self.questions), self.num_features, dtype=self._dtype)

    def scan(self, stream: GVFStream, state: GVFState | None = None, *, backend: str = "auto") -> GVFResult:
        """Learn from events in turn: predictions just after each, temporal-difference errors, and the state after."""
        return gvf_scan(stream, self.terms, self.init() if state is None else state, backend=backend)

    def predict(self, state: GVFState, features: ArrayLike) -> np.ndarray:
        """(..., F) -> (..., G): what the answers would be where the features are these; nothing is learned."""
        return np.asarray(features, self._dtype) @ state.weight.T


def plain(question: GVF) -> dict[str, Any]:
    """The arguments that differ from their defaults."""
    defaults = {f.name: f.default for f in fields(GVF)}
    return {name: value for name, value in asdict(question).items() if value != defaults[name]}


def gvf_terms(questions: Sequence[GVF], dtype: Any = np.float64) -> GVFTerms:
    """Questions as the columns that the kernel takes."""

    def column(values: list[Any], kind: Any = dtype) -> np.ndarray:
        return np.array(values, kind)

    return GVFTerms(
        rate=column([1 / q.horizon for q in questions]),
        lambda_=column([q.lambda_ for q in questions]),
        trace_rate=column([q.trace_rate for q in questions]),
        step_size=column([q.step_size for q in questions]),
        bound=column([q.bound for q in questions]),
        signal=column([q.signal for q in questions], np.int64),
        kind=column([KINDS.index(q.kind) for q in questions], np.int64),
        stop=column([-1 if q.until is None else q.until for q in questions], np.int64),
    )
