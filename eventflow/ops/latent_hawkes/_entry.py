"""The kernels as Python calls them, kept on disk once compiled; see ``ops.ctlstm._entry`` for the fingerprint."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba as nb

from eventflow.ops import _lanes, _vecmath, _vecspecial
from eventflow.ops._lanes import JIT
from eventflow.ops.latent_hawkes import _kernels

_SOURCES = (_lanes, _vecmath, _vecspecial, _kernels)


def _fingerprint() -> int:
    """Of every source the kernels are made of."""
    value = 0
    for module in _SOURCES:
        value = zlib.crc32(Path(str(module.__file__)).read_bytes(), value)
    return value


_move, _move_back, _signal, _signal_back = _kernels.move, _kernels.move_back, _kernels.signal, _kernels.signal_back


def _entries(fingerprint: int) -> tuple[Any, ...]:
    @nb.njit(cache=True, **JIT)
    def move(gap, held, rates, time, out):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _move(gap, held, rates, time, out)

    @nb.njit(cache=True, **JIT)
    def move_back(above, gap, held, rates, time, out):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _move_back(above, gap, held, rates, time, out)

    @nb.njit(cache=True, **JIT)
    def signal(y, below, keep, vectors, out, scale):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _signal(y, below, keep, vectors, out, scale)

    @nb.njit(cache=True, **JIT)
    def signal_back(above, given, keep, vectors, made, out):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _signal_back(above, given, keep, vectors, made, out)

    return move, move_back, signal, signal_back


move, move_back, signal, signal_back = _entries(_fingerprint())
