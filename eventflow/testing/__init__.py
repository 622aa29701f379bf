"""The laws that all of eventflow obeys, as public checks: each raises an AssertionError naming the law that broke.

``eventflow.testing.strategies`` (imported by name, since it needs hypothesis) draws event streams for property tests.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from eventflow.testing._cell import CELL_LAWS as CELL_LAWS
from eventflow.testing._cell import check_cell as check_cell
from eventflow.testing._metric import METRIC_LAWS as METRIC_LAWS
from eventflow.testing._metric import check_metric as check_metric

if TYPE_CHECKING:
    from eventflow.testing._operator import check_batch_invariant as check_batch_invariant
    from eventflow.testing._point_process import check_point_process as check_point_process
    from eventflow.testing._source import check_source as check_source

__all__ = [
    "CELL_LAWS", "METRIC_LAWS", "check_batch_invariant", "check_cell", "check_metric", "check_point_process",
    "check_source",
]  # fmt: skip

#: Loaded when they are first asked for: a cell can be checked without the rooms of the point processes and sources.
_LATER = {"check_batch_invariant": "_operator", "check_point_process": "_point_process", "check_source": "_source"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"eventflow.testing.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
