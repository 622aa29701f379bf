"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
if "EVENTFLOW_DATA" not in os.environ and _SHARED.is_dir():
    os.environ["EVENTFLOW_DATA"] = str(_SHARED)

settings.register_profile(
    "ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real data, or a skip that says why."""
    root = os.environ.get("EVENTFLOW_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("EVENTFLOW_DATA is not set to a folder with real data")
    return Path(root)
