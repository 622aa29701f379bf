"""The laws that all of eventflow obeys, as public checks: each raises an AssertionError naming the law that broke."""

from __future__ import annotations

from eventflow.testing._point_process import check_point_process as check_point_process
