"""The Cell contract and the standard cells; heads as distributions."""

from __future__ import annotations

from eventflow.nn._cell import Cell as Cell
from eventflow.nn._cell import LinearCell as LinearCell
from eventflow.nn._cell import fold as fold
from eventflow.nn._cell import map_state as map_state
from eventflow.nn._cell import state_leaves as state_leaves
from eventflow.nn._cell import where_state as where_state
