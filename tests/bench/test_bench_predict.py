"""`eventflow bench predict`: our half on the embedded data, the report, what is refused; both, where EasyTPP is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventflow.bench import _predict
from eventflow.errors import InputError


def test_ours_alone_predicts_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _predict.run(out=tmp_path, data="hawkes", model=["rmtpp"], epochs=1, repeats=2)
    (result,) = json.loads((tmp_path / "predict.json").read_text())["models"]["rmtpp"].values()
    first, second = result["passes"]
    assert first["events"] == second["events"] > 0 and _predict.cpu(result) > 0
    assert [first[key] for key in _predict.COLUMNS] == [second[key] for key in _predict.COLUMNS]  # no noise
    assert 0 < first["mae"] < first["rmse"] < 10
    assert "eventflow bench predict --easytpp" in capsys.readouterr().out


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="repeats=0"):
        _predict.run(repeats=0)
    with pytest.raises(InputError, match="'thpp'.*'thp'"):
        _predict.run(model=["thpp"])


@pytest.mark.peer
def test_exact_forecasts_err_less_than_thinning_with_the_same_weights(tmp_path: Path) -> None:
    peer = pytest.importorskip("easy_tpp", reason="EasyTPP is not importable")
    checkout = Path(peer.__file__).parents[1]
    _predict.run(out=tmp_path, data="hawkes", model=["nhp"], epochs=1, repeats=1, easytpp=checkout)
    result = json.loads((tmp_path / "predict.json").read_text())["models"]["nhp"]
    assert result[_predict.OURS]["passes"][0]["rmse"] < result[_predict.PEER]["passes"][0]["rmse"]
