"""The laws that all of eventflow obeys, as public checks: each raises an AssertionError naming the law that broke.

``eventflow.testing.strategies`` (imported by name, since it needs hypothesis) draws event streams for property tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.testing._cell import CELL_LAWS as CELL_LAWS
from eventflow.testing._cell import check_cell as check_cell

if TYPE_CHECKING:
    from eventflow.testing._operator import check_batch_invariant as check_batch_invariant
    from eventflow.testing._point_process import check_point_process as check_point_process
    from eventflow.testing._source import check_source as check_source

__all__ = ["CELL_LAWS", "check_batch_invariant", "check_cell", "check_point_process", "check_source"]


def __getattr__(name: str) -> Any:
    if name == "check_point_process":  # a cell can be checked without loading the point processes
        from eventflow.testing._point_process import check_point_process

        return check_point_process
    if name == "check_batch_invariant":
        from eventflow.testing._operator import check_batch_invariant

        return check_batch_invariant
    if name == "check_source":
        from eventflow.testing._source import check_source

        return check_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
