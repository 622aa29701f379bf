"""The kernels as Python calls them, kept on disk once compiled (some 10 s each time a machine first trains or scans).

Numba's cache looks at the file of the cached function alone; the functions it calls are compiled into it. So the entry
points carry a fingerprint of all sources they are made of, which is part of the cache's key.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numba as nb

from eventflow.ops import _lanes, _vecmath
from eventflow.ops._lanes import JIT
from eventflow.ops.ctlstm import _backward, _density, _forward, _intensity, _sequence, naive

_SOURCES = (_lanes, _vecmath, _backward, _density, _forward, _intensity, _sequence, naive)


def _fingerprint() -> int:
    """Of every source the kernels may be made of."""
    value = 0
    for module in _SOURCES:
        value = zlib.crc32(Path(str(module.__file__)).read_bytes(), value)
    return value


_scan, _scan_back, _intensities = _forward.forward, _backward.backward, _intensity.intensity
_densities, _gather = _density.density, _density.gather
_run, _run_back = _sequence.forward, _sequence.backward


def _entries(fingerprint: int) -> tuple[Any, ...]:
    @nb.njit(cache=True, **JIT)
    def scan(given, cell, rows, out, acts, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _scan(given, cell, rows, out, acts, work)

    @nb.njit(cache=True, **JIT)
    def scan_back(given, cell, rows, above, out, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _scan_back(given, cell, rows, above, out, work)

    @nb.njit(cache=True, **JIT)
    def intensity(states, u, head, out, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _intensities(states, u, head, out, work)

    @nb.njit(cache=True, **JIT)
    def density(given, states, head, rule, out, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _densities(given, states, head, rule, out, work)

    @nb.njit(cache=True, **JIT)
    def gather(sums, sums_k, out):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _gather(sums, sums_k, out)

    @nb.njit(cache=True, **JIT)
    def sequence(given, cell, law, rows, out, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _run(given, cell, law, rows, out, work)

    @nb.njit(cache=True, **JIT)
    def sequence_back(given, cell, above, at, out, work):  # type: ignore[no-untyped-def]
        if fingerprint >= 0:
            _run_back(given, cell, above, at, out, work)

    return scan, scan_back, intensity, density, gather, sequence, sequence_back


scan, scan_back, intensity, density, gather, sequence, sequence_back = _entries(_fingerprint())
