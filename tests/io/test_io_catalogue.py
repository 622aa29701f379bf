"""Cards, checksums, splits, where data is looked for; and the published statistics computed again."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.io import Card, ReadWarning, card, describe, list_datasets, load_dataset, write_events
from eventflow.io._catalogue import load_with_reports, sha256

CARD: dict[str, Any] = {
    "name": "tiny", "title": "A tiny set", "licence": "ours", "citation": "none", "description": "for tests",
    "schema": {"unit": "s", "num_marks": 3}, "span": "declared", "files": {"train": "tiny/train.parquet"},
}  # fmt: skip


def write_card(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    plain = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
    (folder / "card.yaml").write_text(yaml.safe_dump(plain))
    return folder


def tiny(seed: int = 0, sequences: int = 10) -> Events:
    generator = np.random.default_rng(seed)
    starts = generator.uniform(0, 100, sequences)
    rows = [
        {"t": start + np.sort(generator.uniform(0, 30, 5)), "mark": generator.integers(0, 3, 5)} for start in starts
    ]
    return Events.from_sequences(rows, schema=Schema(unit="s", num_marks=3), keys=[f"k{i}" for i in range(sequences)])


def test_shipped_cards_parse():
    assert {"taxi", "taobao", "helpdesk", "weblog"} <= set(list_datasets())
    for name in list_datasets():
        entry = card(name)
        assert entry.name == name and entry.citation and entry.licence
        if not entry.environment:
            assert (entry.schema.height and entry.schema.width) if entry.recordings else entry.schema.num_marks
            assert entry.files or entry.sample or entry.recordings


def test_an_environment_is_no_event_log():
    assert card("cartpole").environment == "CartPole-v1"
    with pytest.raises(InputError, match="eventflow fit --data cartpole --model stream_q"):
        load_dataset("cartpole")


def test_a_dataset_of_one_split(data_root: Path):
    assert list(load_dataset("etth1")) == ["train"]
    with pytest.raises(InputError, match="has no split 'val'; it has train"):
        load_dataset("etth1", splits=["val"])


def published() -> list[tuple[str, str]]:
    return [(name, split) for name in list_datasets() for split in card(name).statistics]


@pytest.mark.parametrize(("name", "split"), published())
def test_published_statistics_are_what_we_compute(data_root: Path, name: str, split: str):
    entry = card(name)
    splits = ["train", "val", "test"] if split == "all" else [split]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what a card declares (rows left out) is not told again
        loaded = load_with_reports(name, splits=splits)
    if split == "all":
        from eventflow.io import read_with_report

        path = data_root / entry.files["all"].path
        events, report = read_with_report(path, columns=entry.columns, schema=entry.schema)
    else:
        events, report = loaded[split]
    info = describe(events, report=report)
    computed = {
        "sequences": info.sequences, "events": info.events, "scored": info.scored, "zero_gaps": info.ties,
        "min_length": info.length_quantiles[0], "max_length": info.length_quantiles[-1],
        "mean_length": info.events / info.sequences, "mean_gap": info.mean_gap, "max_gap": info.gap_quantiles[-1],
        "deltas_disagree": info.facts.get("deltas_disagree"), "skipped": report.skipped,
    }  # fmt: skip
    for key, value in entry.statistics[split].items():
        assert computed[key] == pytest.approx(value, rel=2e-5 if "mean" in key or "max_gap" in key else 0), key
    assert events.schema.num_marks == entry.schema.num_marks and events.schema.unit == entry.schema.unit


@pytest.mark.parametrize("name", ["helpdesk", "weblog"])
def test_chronological_splits_do_not_leak(data_root: Path, name: str):
    parts = load_dataset(name)
    starts = [part.span[:, 0] for part in parts.values()]
    assert starts[0].max() <= starts[1].min() and starts[1].max() <= starts[2].min()
    assert parts["train"].t.max() < parts["val"].t.min() and parts["val"].t.max() < parts["test"].t.min()
    keys = [set(part.keys.tolist()) for part in parts.values() if part.keys is not None]
    assert not (keys[0] & keys[1] or keys[1] & keys[2] or keys[0] & keys[2])
    assert all(part.schema == parts["train"].schema and (part.lengths > 0).all() for part in parts.values())


def test_one_file_split_by_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    everything = tiny(sequences=20)
    write_events(everything, tmp_path / "all.parquet")
    folder = write_card(
        tmp_path / "d", files={"all": "all.parquet"}, split={"by": "start", "fractions": [0.5, 0.25, 0.25]}
    )
    parts = load_dataset(folder)
    begin = np.sort(everything.span[:, 0])
    assert [part.span[0, 0] for part in parts.values()] == [begin[0], begin[10], begin[15]]
    kept = everything.t[np.isin(everything.t, np.concatenate([part.t for part in parts.values()]))]
    first_two = np.concatenate([parts["train"].t, parts["val"].t])
    assert (parts["train"].t < begin[10]).all() and (first_two < begin[15]).all() and len(kept) < everything.num_events
    assert parts["train"].schema.given_first and (parts["train"].span[:, 1] > parts["train"].span[:, 0]).all()


def test_local_files_by_name_path_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_root: Path):
    by_name = load_dataset("taxi", splits=["val"])
    assert list(by_name) == ["val"] and len(by_name["val"]) == 200
    assert np.array_equal(load_dataset("datasets/taxi", splits=["val"])["val"].t, by_name["val"].t)
    copy = tmp_path / "mine"
    shutil.copytree(Path(card("taxi").folder), copy)
    assert np.array_equal(load_dataset(copy, splits=["val"])["val"].t, by_name["val"].t)


def test_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    (tmp_path / "tiny").mkdir()
    write_events(tiny(), tmp_path / "tiny/train.parquet")
    good = sha256(tmp_path / "tiny/train.parquet")
    folder = write_card(tmp_path / "d", files={"train": {"path": "tiny/train.parquet", "sha256": good}})
    assert load_dataset(folder, splits=["train"])["train"].num_events == 50
    write_card(folder, files={"train": {"path": "tiny/train.parquet", "sha256": "0" * 64}})
    with pytest.raises(InputError, match=f"sha256 is {good}, the card of 'tiny' says 0000"):
        load_dataset(folder, splits=["train"])


def test_data_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    folder = write_card(tmp_path / "d", source="https://example.org")
    with pytest.raises(InputError, match=r"EVENTFLOW_DATA is not set(.|\n)*export EVENTFLOW_DATA=(.|\n)*example\.org"):
        load_dataset(folder)
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"there is no tiny/train\.parquet in it"):
        load_dataset(folder)


def test_a_part_of_the_files_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    write_events(tiny(), tmp_path / "a.parquet")
    folder = write_card(tmp_path / "d", files={"train": "a.parquet", "test": "b.parquet"}, hub="some/where")
    with pytest.raises(InputError, match=r"b\.parquet: missing, although"):
        load_dataset(folder)


def test_a_sample_is_used_only_where_it_is_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    folder = write_card(
        tmp_path / "d", files=None, sample={"train": "sample.parquet"}, truth={"mu": [0.5], "note": "free form"}
    )
    write_events(tiny(3), folder / "sample.parquet")
    assert np.array_equal(load_dataset(folder, splits=["train"])["train"].t, tiny(3).t)
    assert card(folder).truth == {"mu": [0.5], "note": "free form"}
    with pytest.raises(InputError, match="no split 'val'; it has train"):
        load_dataset(folder, splits=["val"])
    both = write_card(tmp_path / "e", hub="easytpp/tiny", sample={"train": "sample.parquet"})
    with pytest.raises(InputError, match="sample is the dataset itself"):
        load_dataset(both)


def test_folders_without_a_card(tmp_path: Path):
    write_events(tiny(1), tmp_path / "train.parquet")
    write_events(tiny(2), tmp_path / "dev.json")
    parts = load_dataset(tmp_path)
    assert list(parts) == ["train", "val"] and parts["val"].num_events == 50
    with pytest.raises(InputError, match="no file for split 'test'"):
        load_dataset(tmp_path, splits=["test"])


def test_folders_whose_splits_know_different_marks(tmp_path: Path):
    for name, marks in (("train", [0, 1]), ("test", [0, 5])):
        (tmp_path / f"{name}.csv").write_text("t,mark\n" + "\n".join(f"{i},{m}" for i, m in enumerate(marks)))
    assert [part.schema.num_marks for part in load_dataset(tmp_path).values()] == [6, 6]
    for name, word in (("train", "a"), ("test", "b")):
        (tmp_path / f"{name}.csv").write_text(f"t,mark\n1,{word}\n")
    with pytest.raises(InputError, match="different vocabularies"):
        load_dataset(tmp_path)


def test_rows_left_out_are_told_unless_the_card_counts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EVENTFLOW_DATA", str(tmp_path))
    (tmp_path / "log.csv").write_text("t,mark\n1,0\nx,1\n2,2\n")
    changes = {"files": {"train": "log.csv"}, "columns": {"time": "t", "mark": "mark", "on_error": "skip"}}
    with pytest.warns(ReadWarning, match="1 of 3 rows"):
        load_dataset(write_card(tmp_path / "d", **changes), splits=["train"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_dataset(write_card(tmp_path / "d", statistics={"train": {"skipped": 1}}, **changes), splits=["train"])


@pytest.mark.parametrize("name", ["taxo", "datasets/taxo", "Taxi"])
def test_misspelt_names(name: str):
    with pytest.raises(InputError, match="did you mean 'taxi'"):
        load_dataset(name)


def test_other_wrong_names(tmp_path: Path):
    with pytest.raises(InputError, match="split 'tset'; did you mean 'test'"):
        load_dataset("taxi", splits=["tset"])
    (tmp_path / "x.csv").write_text("t\n1\n")
    with pytest.raises(InputError, match=r"is a file; a dataset is a folder.*read_events"):
        load_dataset(tmp_path / "x.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no card.yaml in it"):
        load_dataset(tmp_path / "empty")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licnce": "x"}, "unknown key 'licnce'; did you mean 'licence'"),
        ({"title": None}, "'title' is missing"),
        ({"schema": {"unit": "s", "num_mark": 3}}, "unknown key 'num_mark'; did you mean 'num_marks'"),
        ({"columns": {"tiem": "t"}}, "unknown key 'tiem'"),
        ({"horizon": {"horzon": 3}}, "horizon: unknown key 'horzon'; did you mean 'horizon'"),
        ({"horizon": {"horizon": 3, "otd_cost": 1}}, "'map_deltas' is missing"),
        ({"horizon": {"horizon": 3, "otd_cost": 1, "map_deltas": [0.1, -1]}}, "expected numbers above 0"),
        ({"horizon": {"horizon": 3, "otd_cost": 1, "map_deltas": [1], "every": 2.5}}, "whole numbers above 0"),
        ({"files": {"training": "x"}}, "unknown key 'training'; did you mean 'train'"),
        ({"files": {"train": {"path": "x", "sha": "y"}}}, "files.train: unknown key 'sha'"),
        ({"files": {"all": "x"}}, "no 'split' rule"),
        ({"files": None}, "where is the data"),
        ({"split": {"by": "random", "fractions": [0.7, 0.1, 0.2]}}, "by='random'"),
        ({"split": {"by": "start", "fractions": [0.7, 0.1, 0.1]}}, "sum to 1"),
        ({"split": {"by": "start", "fraction": []}}, "unknown key 'fraction'"),
        ({"sample": {"train": "x"}, "hub": "a/b"}, "sample is the dataset"),
    ],
)
def test_wrong_cards(tmp_path: Path, changes: dict[str, Any], message: str):
    folder = write_card(tmp_path / "d", **changes)
    with pytest.raises(InputError, match=message) as caught:
        Card.from_file(folder / "card.yaml")
    assert "card.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [\n", ""])
def test_cards_that_are_no_mapping(tmp_path: Path, text: str):
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(InputError, match="mapping|YAML"):
        Card.from_file(tmp_path / "card.yaml")
