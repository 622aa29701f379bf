"""The compiled path: one call per interaction, kept on disk once compiled.

Numba's cache looks at the file of the cached function alone; the functions it calls are compiled into it. So the entry
points carry a fingerprint of all sources they are made of, which is part of the cache's key.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba as nb

from eventflow.ops import _lanes
from eventflow.ops._lanes import JIT
from eventflow.ops.streamx import _layout, _network, _rules, _step


def _fingerprint() -> int:
    """Of every source the kernels may be made of."""
    value = 0
    for module in (_lanes, _layout, _network, _rules, _step):
        value = zlib.crc32(Path(str(module.__file__)).read_bytes(), value)
    return value


_begin, _td, _q, _ac, _forward = _step.begin, _step.td, _step.q, _step.ac, _network.forward


def _entries(fingerprint: int) -> tuple[Any, ...]:
    @nb.njit(cache=True, **JIT)
    def begin(kind, params, memory, work, nets, numbers, io, features, clock, epsilon):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            return _begin(kind, (params, memory, work, nets, numbers, io), features, clock, epsilon)
        return 0

    @nb.njit(cache=True, **JIT)
    def td(params, memory, work, nets, numbers, io, features, reward, discount, decay, terminated, truncated):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            state = (params, memory, work, nets, numbers, io)
            return _td(state, features, reward, discount, decay, terminated, truncated)
        return 0

    @nb.njit(cache=True, **JIT)
    def q(params, memory, work, nets, numbers, io, features, reward, terminated, truncated, clock, epsilon, sarsa):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            state = (params, memory, work, nets, numbers, io)
            return _q(state, features, reward, terminated, truncated, clock, epsilon, sarsa)
        return 0

    @nb.njit(cache=True, **JIT)
    def ac(params, memory, work, nets, numbers, io, features, reward, terminated, truncated, clock):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            return _ac((params, memory, work, nets, numbers, io), features, reward, terminated, truncated, clock)
        return 0

    @nb.njit(cache=True, **JIT)
    def forward(net, params, work, at):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            return _forward(net, params, work, at)
        return 0

    return begin, td, q, ac, forward


begin, td, q, ac, forward = _entries(_fingerprint())
