"""Array in, array out: one folder per op, with its definition (``naive.py``) beside the fast paths.

Importing this room loads neither torch nor numba: each op imports its backend when it is first called.
"""

from __future__ import annotations

from eventflow.ops.scan import scan as scan

__all__ = ["scan"]
