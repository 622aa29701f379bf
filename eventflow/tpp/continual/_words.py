"""Learners by name, as a command line says them."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from eventflow.errors import InputError, did_you_mean
from eventflow.tpp._process import PointProcess
from eventflow.tpp.continual._learner import ContinualLearner, FineTune, PretrainOnly, Retrain, Steps
from eventflow.tpp.continual._prototypes import ProtoCL
from eventflow.tpp.continual._regularised import EWC, MAS, TaskFreeMAS
from eventflow.tpp.continual._replay import CLSER, Replay

#: name -> class, called with (model, steps=..., and its own arguments).
LEARNERS: dict[str, Any] = {
    "pretrain-only": PretrainOnly, "retrain": Retrain, "fine-tune": FineTune, "replay": Replay, "cls-er": CLSER,
    "ewc": EWC, "mas": MAS, "task-free-mas": TaskFreeMAS, "protocl": ProtoCL,
}  # fmt: skip


def parse_learner(word: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of ``name`` or ``name:key=value,key=value``.

    Raises:
        InputError: an unknown name or key, a value that is neither a number nor a word.
    """
    name, _, rest = word.partition(":")
    if name not in LEARNERS:
        raise InputError(f"unknown learner {name!r}; {did_you_mean(name, list(LEARNERS))}")
    known = [key for key in inspect.signature(LEARNERS[name]).parameters if key not in ("model", "steps")]
    options = {}
    for part in filter(None, rest.split(",")):
        key, equals, text = part.partition("=")
        if not equals or key not in known:
            takes = did_you_mean(key, known) if known else "it takes none"
            raise InputError(f"learner {word!r}: {part!r} is not an argument of {name}; {takes}")
        options[key] = _value(text)
    return name, options


def make_learner(word: str, model: PointProcess, *, steps: Steps | None = None) -> ContinualLearner:
    """A learner by name: ``make_learner("replay:capacity=50", model)``.

    Raises:
        InputError: see :func:`parse_learner`; an argument that the learner refuses.
    """
    name, options = parse_learner(word)
    return LEARNERS[name](model, steps=steps, **options)


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
