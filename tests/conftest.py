"""Fixtures and settings for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--update-golden`` writes models/*/golden.npz anew instead of comparing; read the diff before you commit it."""
    parser.addoption("--update-golden", action="store_true", help="write models/*/golden.npz anew")


class Answer(NamedTuple):
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """``cli("data", "list")``: the command ``eventflow``, in this process, in an empty folder."""
    from eventflow.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVENTFLOW_DEBUG", "1")

    def run(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, val and test files: 45 + 13 + 11 short sequences over [0, 6), 3 marks, lengths 0 to 20."""
    from eventflow.events import Events, Schema
    from eventflow.io import write_events

    folder = tmp_path_factory.mktemp("data") / "tiny"
    folder.mkdir()
    draw = np.random.default_rng(11)
    for split, count in (("train", 45), ("val", 13), ("test", 11)):
        times = [np.sort(draw.uniform(0, 6, draw.poisson(6 * draw.choice([0.5, 2.0])))) for _ in range(count)]
        rows = [{"t": t, "mark": (np.floor(t).astype(np.int64) + draw.integers(0, 2, len(t))) % 3} for t in times]
        events = Events.from_sequences(rows, span=(0.0, 6.0), schema=Schema(num_marks=3))
        write_events(events, folder / f"{split}.parquet")
    return folder
