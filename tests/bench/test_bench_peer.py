"""EasyTPP's own code trained to convergence: when it ends, how it goes on, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eventflow.bench import _peer
from eventflow.errors import InputError


class Script:
    """A worker whose log-likelihoods on val are given; it dies before an epoch, once."""

    def __init__(self, val: list[float], dies_at: int | None = None) -> None:
        self.val, self.dies_at, self.epoch = val, dies_at, 0
        self.orders: list[list[int]] = []
        self.saved: dict[str, Any] = {}
        self.kept: list[int] = []

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if "train" in question:
            if self.epoch == self.dies_at:
                self.dies_at = None
                raise RuntimeError("killed")
            self.orders.append(question["train"])
            self.epoch += 1
            return {"train": 0.0, "val": self.val[self.epoch - 1], "cpu": 1.0}
        if "save" in question:
            self.saved = {"epoch": self.epoch, "history": list(question["history"])}
            Path(question["save"]).touch()
        elif "restore" in question:
            self.epoch = self.saved["epoch"]
            return {"history": list(self.saved["history"])}
        else:
            self.kept.append(self.epoch)
        return {}


ASKED = {"epochs": 9, "patience": 2, "seed": 3}
VAL = [-1.0, -0.5, -0.7, -0.4, -0.45, -0.5, 0.0]


def test_training_ends_when_val_stays_behind(tmp_path: Path) -> None:
    worker = Script(VAL)
    history = _peer.fit(worker, tmp_path, 5, ASKED)
    assert [epoch["val"] for epoch in history] == VAL[:6] and worker.kept == [1, 2, 4]
    assert all(sorted(order) == list(range(5)) for order in worker.orders) and worker.orders[0] != worker.orders[1]
    (tmp_path / "few").mkdir()
    assert len(_peer.fit(Script(VAL), tmp_path / "few", 5, {**ASKED, "epochs": 3})) == 3


def test_a_killed_cell_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, killed = Script(VAL), Script(VAL, dies_at=3)
    (tmp_path / "whole").mkdir()
    expected = _peer.fit(whole, tmp_path / "whole", 5, ASKED)
    with pytest.raises(RuntimeError, match="killed"):
        _peer.fit(killed, tmp_path, 5, ASKED)
    assert _peer.fit(killed, tmp_path, 5, ASKED) == expected and killed.orders == whole.orders


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'rmtpp'"):
        _peer.run(out=tmp_path, easytpp=tmp_path, model=["rmtp"])
    with pytest.raises(InputError, match="patience=0"):
        _peer.run(out=tmp_path, easytpp=tmp_path, patience=0)
    with pytest.raises(InputError, match="no easy_tpp/model in it"):
        _peer.run(out=tmp_path, easytpp=tmp_path)
    with pytest.raises(InputError, match="val is nan after epoch 1"):
        _peer.fit(Script([float("nan")]), tmp_path, 5, ASKED)


@pytest.mark.peer
def test_easytpp_trains_and_its_number_is_found_again_here(tmp_path: Path) -> None:
    peer = pytest.importorskip("easy_tpp", reason="EasyTPP is not importable")
    options = {"easytpp": Path(peer.__file__).parents[1], "data": "hawkes", "model": ["nhp", "iftpp"], "batch": 64}
    _peer.run(out=tmp_path, epochs=2, **options)
    said = json.loads((tmp_path / "peer.json").read_text())
    nhp, iftpp = (said["models"][name]["seeds"][0] for name in ("nhp", "iftpp"))
    assert nhp["easytpp_nll_per_event"] == pytest.approx(-nhp["test"], abs=1e-4)
    assert nhp["history"][1]["val"] > nhp["history"][0]["val"] and "exact_nll_per_event" not in iftpp
    before = (tmp_path / "nhp" / "0" / "result.json").stat().st_mtime_ns
    _peer.run(out=tmp_path, epochs=2, **options)  # finished: not run again
    assert (tmp_path / "nhp" / "0" / "result.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="was begun with epochs 2, now it is 3"):
        _peer.run(out=tmp_path, epochs=3, **options)
