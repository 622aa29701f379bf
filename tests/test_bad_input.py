"""What users get wrong, through the command line: exit code 2, one clear message, nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FIT = ("fit", "--model", "poisson", "--trainer.max_epochs", "1")


def written() -> dict[Path, int]:
    """Everything here and when it was written, but for lock files."""
    return {path: path.stat().st_mtime_ns for path in Path.cwd().rglob("*") if path.name != "lock" and path.is_file()}


@pytest.fixture
def refused(cli: Callable[..., Any]) -> Callable[..., str]:
    """Run a command that must be refused; its message."""

    def run(*words: Any) -> str:
        before = written()
        answer = cli(*words)
        assert answer.code == 2, answer.err
        assert answer.err.startswith("eventflow: ") and "Traceback" not in answer.err
        assert answer.err.count("eventflow: ") == 1 and answer.out == ""
        assert written() == before
        return answer.err

    return run


def easytpp(folder: Path, rows: list[tuple[list[float], list[int]]], *, drop: str = "") -> Path:
    """A dataset in the layout of the EasyTPP sets: every split holds these (times, marks)."""
    folder.mkdir()
    columns = {
        "dim_process": [3] * len(rows),
        "seq_len": [len(t) for t, _ in rows],
        "seq_idx": list(range(len(rows))),
        "time_since_start": [t for t, _ in rows],
        "time_since_last_event": [list(np.diff(t, prepend=t[:1])) for t, _ in rows],
        "type_event": [marks for _, marks in rows],
    }
    lists = {"time_since_start": pa.float64(), "time_since_last_event": pa.float64(), "type_event": pa.int64()}
    types = {name: pa.list_(lists[name]) if name in lists else pa.int64() for name in columns}
    arrays = {name: pa.array(values, types[name]) for name, values in columns.items()}
    arrays.pop(drop, None)
    for split in ("train", "dev", "test"):
        pq.write_table(pa.table(arrays), folder / f"{split}.parquet")
    return folder


GOOD = ([0.0, 0.5, 1.5, 1.75], [0, 1, 2, 0])


def test_the_good_one_is_taken(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli(*FIT, "--data", easytpp(tmp_path / "good", [GOOD] * 3))
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, ([0.0, 2.0, 1.0], [0, 1, 2])], "go back in time"),
        ([GOOD, ([0.0, float("nan"), 1.0], [0, 1, 2])], "nan"),
        ([GOOD, ([0.0, 1.0, float("inf")], [0, 1, 2])], "inf"),
        ([GOOD, ([0.0, 1.0], [0, -1])], "-1"),
        ([GOOD, ([0.0, 1.0], [0, 3])], "3.*K=3|K=3.*3"),
        ([([0.0], [1]), ([5.0], [2])], "0 scored events"),
        ([], "empty|no sequence|0 sequences|no rows"),
    ],
    ids=["unsorted", "nan", "inf", "negative mark", "mark >= K", "one-event sequences only", "no sequence"],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_events(refused: Callable[..., str], tmp_path: Path, rows: Any, message: str) -> None:
    import re

    folder = easytpp(tmp_path / "bad", rows)
    text = refused(*FIT, "--data", folder)
    assert re.search(message, text), text
    assert "bad" in text  # where it was seen


@pytest.mark.parametrize("layout", ["csv", "easytpp"])
def test_rows_out_of_order_are_put_in_order_by_the_line_that_is_told(
    refused: Callable[..., str], cli: Callable[..., Any], layout: str
) -> None:
    from eventflow.io import load_dataset

    folder = Path("logs")
    if layout == "easytpp":
        easytpp(folder, [GOOD, ([0.0, 2.0, 1.0], [0, 1, 2])])
        place = "event 2 of sequence 1"
    else:
        folder.mkdir()
        for split in ("train", "val", "test"):
            (folder / f"{split}.csv").write_text("key,t,mark\na,0,0\na,0.5,1\nb,0,0\nb,2,1\nb,1,2\n")
        place = "line 6 of 'b'"
    text = refused(*FIT, "--data", folder)
    assert "logs/train." in text and place in text and "1 before its predecessor" in text
    line = text.split("Write: eventflow ")[1].split("   ")[0]
    assert line == "data convert logs logs-sorted --columns sort=true" and cli(*line.split()).code == 0
    events = load_dataset("logs-sorted")["train"]
    assert events[1].t.tolist() == [0, 1, 2] and events[1].marks["mark"].tolist() == [0, 2, 1]
    assert events[1].span.tolist() == load_dataset("logs-sorted")["val"][1].span.tolist()
    assert events[1].span[0, 0] == 0 < 2 < events[1].span[0, 1]


def test_one_event_sequences_among_others_count_for_nothing(cli: Callable[..., Any], tmp_path: Path) -> None:
    with_one = easytpp(tmp_path / "a", [GOOD, ([3.0], [1]), GOOD])
    without = easytpp(tmp_path / "b", [GOOD, GOOD])
    for name, folder in (("one", with_one), ("two", without)):
        assert cli(*FIT, "--data", folder, "--out", name).code == 0
    assert Path("one/metrics.csv").read_text() == Path("two/metrics.csv").read_text()


@pytest.mark.parametrize("column", ["type_event", "time_since_last_event"])
def test_a_missing_column(refused: Callable[..., str], tmp_path: Path, column: str) -> None:
    folder = easytpp(tmp_path / "bad", [GOOD], drop=column)
    if column != "type_event":  # either time column would do
        for path in folder.iterdir():
            pq.write_table(pq.read_table(path).drop_columns("time_since_start"), path)
    text = refused(*FIT, "--data", folder)
    assert (column if column == "type_event" else "which column is the time?") in text and "train.parquet" in text


def test_a_missing_column_of_a_log(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("CaseID,ActivityID,Stamp\n1,2,2020-01-01 00:00:00\n")
    text = refused("data", "info", path, "--columns", "key=CaseID", "time=CompleteTimestamp", "mark=ActivityID")
    assert "CompleteTimestamp" in text and "Stamp" in text


def test_a_truncated_file(refused: Callable[..., str], tmp_path: Path, tiny_data: Path) -> None:
    folder = shutil.copytree(tiny_data, tmp_path / "tiny")
    whole = (folder / "val.parquet").read_bytes()
    (folder / "val.parquet").write_bytes(whole[: len(whole) // 2])
    assert "val.parquet" in refused(*FIT, "--data", folder)


def test_an_empty_file(refused: Callable[..., str], tmp_path: Path, tiny_data: Path) -> None:
    folder = shutil.copytree(tiny_data, tmp_path / "tiny")
    (folder / "train.parquet").write_bytes(b"")
    text = refused(*FIT, "--data", folder)
    assert "train.parquet" in text and "empty" in text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("fit", "--data", "datasets/taxy", "--model", "nhp"), "did you mean 'taxi'"),
        (("fit", "--data", "taxi", "--model", "npp"), "did you mean 'nhp'"),
        (("fit", "--data", "taxi", "--model", "nhp", "--config", "fats"), "did you mean 'fast'"),
        (("fit", "--data", "taxi", "--model", "eventflow.tpp.NPP"), "did you mean 'NHP'"),
        (("fit", "--data", "taxi", "--model", "nowhere.Model"), "cannot be imported"),
        (("fit", "--data", "taxi", "--model"), "expected a name or a path"),
        (("fit", "--model", "nhp"), "--data"),
        (("test", "--data", "taxi", "--model", "nhp"), "--ckpt_path is missing"),
        (("test", "--ckpt_path", "nowhere"), "no such file or folder"),
        (("data", "info", "nowhere.csv"), "nowhere.csv"),
        (("data", "convert", "nowhere.csv", "x.parquet"), "nowhere.csv"),
        (("stream", "--checkpoint", "nowhere.ckpt"), "no such file or folder"),
        (("bench", "scam"), "unknown word 'scam'"),
        (("data", "lst"), "did you mean 'list'"),
        (("tain",), "unknown command 'tain'; did you mean"),
        (("fit", "--dta", "taxi"), "did you mean 'data'"),
        (("data", "info", "taxi", "--colums", "x"), "did you mean '--columns'"),
        (("stream", "--checkpont", "x"), "--checkpoint"),
    ],
)
def test_wrong_names(refused: Callable[..., str], words: tuple[str, ...], hint: str) -> None:
    assert hint in refused(*words)


@pytest.mark.parametrize(
    ("word", "value", "hint"),
    [
        ("--model.network.hiden_size", "8", "did you mean 'hidden_size'"),
        ("--model.init_args.network.init_args.hiden_size", "8", "did you mean 'hidden_size'"),
        ("--model.optimizer.lrr", "0.1", "did you mean 'lr'"),
        ("--data.bach_size", "8", "did you mean 'batch_size'"),
        ("--trainer.max_epoch", "8", "did you mean 'trainer.max_epochs'"),
        ("--ealy_stopping.patience", "8", "did you mean 'early_stopping.patience'"),
        ("--model.network.hidden_size", "many", "hidden_size"),
        ("--trainer.max_epochs", "many", "max_epochs"),
    ],
)
def test_misspelt_flags(refused: Callable[..., str], tiny_data: Path, word: str, value: str, hint: str) -> None:
    text = refused("fit", "--data", tiny_data, "--model", "rmtpp", word, value)
    assert hint in text and len(text.splitlines()) == 1, text


MISSPELT = json.dumps(
    {
        "class_path": "eventflow.train.PointProcessTask",
        "init_args": {"network": {"class_path": "eventflow.tpp.NHP", "init_args": {"hiden_size": 3}}},
    }
)


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("trainer: {max_epoch: 3}", "trainer.max_epoch", "did you mean 'max_epochs'"),
        ("trainr: {max_epochs: 3}", "trainr", "did you mean 'trainer'"),
        ("early_stopping: {patiens: 3}", "early_stopping.patiens", "did you mean 'patience'"),
        (f"model: {MISSPELT}", "model.init_args.network.init_args.hiden_size", "did you mean 'hidden_size'"),
        ("model: {class_path: eventflow.train.PointProcessTask, init_arg: {}}", "model.init_arg", "'init_args'"),
        ("data: {class_path: eventflow.train.EventDate}", "data", "did you mean 'EventData'"),
        ("model: {optimizer: {lrr: 0.1}}", "model.optimizer.lrr", "did you mean 'lr'"),
        ("data: datasets/taxy", "data datasets/taxy", "did you mean 'taxi'"),
        ("trainer: [1, 2]", "trainer", "expected keys and values"),
    ],
)
def test_misspelt_keys_of_a_config(refused: Callable[..., str], text: str, where: str, hint: str) -> None:
    Path("recipe.yaml").write_text(text)
    message = refused("fit", "--data", "hawkes", "--model", "poisson", "--config", "recipe.yaml")
    assert f"recipe.yaml: {where}" in message and hint in message, message


@pytest.fixture
def run(cli: Callable[..., Any], tiny_data: Path) -> Path:
    """A finished run of a Poisson process."""
    assert cli(*FIT, "--data", tiny_data, "--out", "run").code == 0
    return Path("run")


def test_the_checkpoint_of_another_model(refused: Callable[..., str], run: Path, tiny_data: Path) -> None:
    for words in (("test",), ("predict",), ("validate",), ("fit", "--out", "other")):
        text = refused(*words, "--data", tiny_data, "--model", "hawkes", "--ckpt_path", run)
        assert "holds eventflow.tpp.Poisson" in text and "is eventflow.tpp.Hawkes" in text


def test_the_checkpoint_of_other_data(refused: Callable[..., str], run: Path) -> None:
    text = refused("test", "--data", "hawkes", "--model", "poisson", "--config", "widen.yaml", "--ckpt_path", run)
    assert "widen.yaml" in text
    text = refused("fit", "--data", "hawkes", "--model", "poisson", "--ckpt_path", run)
    assert "time_scale is " in text


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 half a zip", None])
def test_what_is_no_checkpoint(refused: Callable[..., str], run: Path, content: bytes | None) -> None:
    path = run / "checkpoints" / "best.ckpt"
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    for words in (("test", "--ckpt_path", run), ("stream", "--checkpoint", run)):
        assert "is not a checkpoint, or is truncated" in refused(*words)


def test_the_snapshot_of_another_checkpoint(cli: Callable[..., Any], refused: Callable[..., str], run: Path) -> None:
    Path("in.jsonl").write_text("".join(json.dumps({"key": "a", "t": t, "mark": 0}) + "\n" for t in (0.5, 1.0)))
    stream = ("stream", "--source", "in.jsonl", "--snapshot", "state")
    assert cli(*stream, "--checkpoint", run, "--sink", "a.jsonl").code == 0
    assert cli(*FIT, "--config", run / "config.yaml", "--model.optimizer.lr", "0.5", "--out", "other").code == 0
    text = refused(*stream, "--checkpoint", "other", "--sink", "a.jsonl")
    assert "state" in text and "another" in text


def test_an_interrupted_run_says_so(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("eventflow.io.data_list", interrupt)
    answer = cli("data", "list")
    assert (answer.code, answer.err) == (130, "eventflow: interrupted\n")


def test_our_faults_are_called_ours(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("eventflow.io.data_list", fail)
    assert "Traceback" in cli("data", "list").err
    monkeypatch.delenv("EVENTFLOW_DEBUG")
    answer = cli("data", "list")
    assert answer.code == 1 and "our fault" in answer.err and "Traceback" not in answer.err
    report = Path(next(word for word in answer.err.split() if "eventflow-error-" in word))
    assert "RuntimeError: a bug" in report.read_text()
    report.unlink()
