"""What an event stream is: columns, units, sequence boundaries, observation spans; packed and padded.

``Events`` and ``Schema`` need only numpy; ``PaddedBatch`` is loaded, with torch, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventflow.events._events import Events as Events
from eventflow.events._events import concatenate as concatenate
from eventflow.events._events import first_to_last as first_to_last
from eventflow.events._events import merge as merge
from eventflow.events._schema import UNITS as UNITS
from eventflow.events._schema import Schema as Schema

if TYPE_CHECKING:
    from eventflow.events._batch import PaddedBatch as PaddedBatch
    from eventflow.events._batch import pad as pad
    from eventflow.events._batch import unpad as unpad

__all__ = ["UNITS", "Events", "PaddedBatch", "Schema", "concatenate", "first_to_last", "merge", "pad", "unpad"]


def __getattr__(name: str) -> Any:
    if name in ("PaddedBatch", "pad", "unpad"):
        from eventflow.events import _batch

        return getattr(_batch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
