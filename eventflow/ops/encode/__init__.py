"""Events to event cameras' words: what :mod:`eventflow.ops.decode` reads, in chunks of any size.

``encode_*`` takes columns and the state of the previous call, and returns words and the state for the next. The words
of two chunks, one after the other, decode to the events of both (a vector of EVT 3 ends with its chunk).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError, did_you_mean

Array = NDArray[Any]
__all__ = ["EncoderState", "encode_evt2", "encode_evt3"]
#: Words that a silence (or the time before the first event) may cost.
_MOST = 1 << 20


class EncoderState(NamedTuple):
    """Time and row as the decoder knows them after the words so far; -1: nothing written yet."""

    high: int = -1
    low: int = -1
    row: int = -1
    now: int = 0


def encode_evt2(
    t: Array, x: Array, y: Array, p: Array, *, state: EncoderState | None = None, backend: str = "auto"
) -> tuple[Array, EncoderState]:
    """EVT 2.0 words (n,) uint32 of events: t nondecreasing us >= 0, x and y below 2048, p in {0, 1}."""
    return _encode(("evt2", np.uint32, 6, 28, 1), (t, x, y, p), state, backend)


def encode_evt3(
    t: Array, x: Array, y: Array, p: Array, *, state: EncoderState | None = None, backend: str = "auto"
) -> tuple[Array, EncoderState]:
    """EVT 3.0 words (n,) uint16 of events, as :func:`encode_evt2`; dense rows become vectors."""
    return _encode(("evt3", np.uint16, 12, 12, 4), (t, x, y, p), state, backend)


def _encode(
    form: tuple[str, type, int, int, int], columns: tuple[Array, ...], state: EncoderState | None, backend: str
) -> tuple[Array, EncoderState]:
    name, dtype, shift, bits, each = form
    state = state or EncoderState()
    columns = _checked(name, columns, state)
    t = columns[0]
    if not len(t):
        return np.empty(0, dtype), state
    if (int(t[-1]) >> shift) - max(state.high, 0) > _MOST * (1 << (bits - 1)):
        raise InputError(
            f"encode_{name}: time goes from {max(state.now, 0)} to {t[-1]} us; telling that would take more than "
            f"{_MOST:,} words. Write: t - t[0]" + ("" if name == "evt2" else ", or EVT 2, whose counter is longer")
        )
    if backend == "naive":
        from eventflow.ops.encode import naive

        events = list(zip(*(column.tolist() for column in columns), strict=True))
        words, registers = getattr(naive, name)(events, tuple(state[:3]))
        return np.array(words, dtype), EncoderState(*registers, now=int(t[-1]))
    if backend not in ("auto", "numba"):
        raise InputError(f"encode_{name}(backend={backend!r}): {did_you_mean(backend, ['auto', 'numba', 'naive'])}")
    from eventflow.ops.encode import numba

    words = np.empty(int(numba.most_words(t, shift, bits, state.high, each)), dtype)
    registers = np.array(state[:3], dtype=np.int64)
    n = int(getattr(numba, name)(columns, registers, words))
    return words[:n], EncoderState(*registers.tolist(), now=int(t[-1]))


def _checked(name: str, columns: tuple[Array, ...], state: EncoderState) -> tuple[Array, ...]:
    """Contiguous columns in the decoders' dtypes, or an error that names the first event that cannot be told."""
    t = np.ascontiguousarray(columns[0])
    if len({len(column) for column in columns}) > 1 or t.dtype.kind not in "iu":
        seen = ", ".join(f"{column.dtype}{column.shape}" for column in columns)
        raise InputError(f"encode_{name}: {seen}; expected integers t, and n of each")
    t = t.astype(np.int64, copy=False)
    if len(t) and (t[0] < state.now or (t[1:] < t[:-1]).any()):
        at = 0 if t[0] < state.now else int(np.argmax(t[1:] < t[:-1])) + 1
        raise InputError(f"encode_{name}: time {t[at]} at event {at}; expected nondecreasing times from {state.now} on")
    for column, label, most in zip(columns[1:], "xyp", (2048, 2048, 2), strict=True):
        wrong = (column < 0) | (column >= most)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(f"encode_{name}: {label} is {column[at]} at event {at}; expected 0 <= {label} < {most}")
    kinds = (np.uint16, np.uint16, np.uint8)
    return (t, *(np.ascontiguousarray(c.astype(k, copy=False)) for c, k in zip(columns[1:], kinds, strict=True)))
