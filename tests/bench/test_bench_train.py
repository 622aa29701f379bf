"""`eventflow bench train`: a short run of our half, the report, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from eventflow.bench import _train
from eventflow.bench._train_models import DIFFERS, MODELS
from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io import load_dataset, write_events


def test_ours_alone_learns_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train.run(out=tmp_path, data="hawkes", model=["rmtpp"], epochs=2)
    report = json.loads((tmp_path / "train.json").read_text())
    results = report["models"]["rmtpp"]
    assert report["settings"]["rmtpp"]["config"] == {"hidden_size": 32} and set(results) == set(_train.ALLOCATORS)
    for result in results.values():
        (name,) = result
        first, second = result[name]["epochs"]
        assert second["test"] > first["test"] > result[name]["before"] and math.isfinite(first["test"])
        assert first["events"] == second["events"] > 0 and _train.speed(result[name]) > 0
    default, keeping = (next(iter(result.values()))["epochs"] for result in results.values())
    assert [e["test"] for e in default] == [e["test"] for e in keeping]  # the allocator changes no number
    assert "git clone" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_a_folder_that_is_no_easytpp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no easy_tpp/model in it"):
        _train.run(easytpp=tmp_path)


def test_a_python_that_cannot_run_easytpp_is_refused_with_its_reason(tmp_path: Path) -> None:
    package = tmp_path / "easy_tpp"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("import module_nobody_has\n")
    with pytest.raises(InputError, match="module_nobody_has"):
        _train.run(easytpp=tmp_path)
    with pytest.raises(InputError, match="--easytpp-python /no/such/python"):
        _train.run(easytpp=tmp_path, easytpp_python=Path("/no/such/python"))


def test_no_epochs_or_batches_are_refused() -> None:
    with pytest.raises(InputError, match="epochs=0; expected at least 1"):
        _train.run(epochs=0)
    with pytest.raises(InputError, match="batches=0; expected at least 1"):
        _train.run(batches=0)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match="'thpp'.*'thp'"):
        _train.run(model=["thpp"])


@pytest.fixture(scope="module")
def short_gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated Hawkes process in a unit in which no intensity of a fresh model reaches a clamp of EasyTPP's."""
    folder = tmp_path_factory.mktemp("data") / "short"
    folder.mkdir()
    for split, events in load_dataset("hawkes").items():
        scaled = Events(events.t / 20, dict(events.marks), events.offsets, events.span / 20, events.schema)
        write_events(scaled, folder / f"{split}.parquet")
    return folder


@pytest.mark.peer
@pytest.mark.parametrize("model", [name for name, said in MODELS.items() if said.twin is not None and name != "s2p2"])
def test_both_start_alike_and_learn_alike(model: str, short_gaps: Path, tmp_path: Path) -> None:
    """But for S2P2, whose EasyTPP half takes minutes and 10 GB; test_peer_s2p2 has its likelihood."""
    peer = pytest.importorskip("easy_tpp", reason="EasyTPP is not importable")
    checkout = Path(peer.__file__).parents[1]
    _train.run(out=tmp_path, data=str(short_gaps), model=[model], epochs=2, batches=2, easytpp=checkout)
    result = json.loads((tmp_path / "train.json").read_text())["models"][model]["default"]
    ours, theirs = result[_train.OURS], result[_train.PEER]
    assert theirs["before"] > ours["before"] - 1e-3  # they add 1.2e-7 to every intensity
    if model != "odetpp":  # whose intensities may be smaller than that
        assert ours["before"] == pytest.approx(theirs["before"], abs=1e-3)
    for mine, other in zip(ours["epochs"], theirs["epochs"], strict=True):
        assert mine["events"] == other["events"]
        if model not in DIFFERS:
            assert mine["test"] == pytest.approx(other["test"], abs=0.02)  # they train on a biased integral
