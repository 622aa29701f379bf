"""datasets/, models/ and configs/ are data: every file fits its signature, says only what differs, and runs."""

from __future__ import annotations

import inspect
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import eventflow.tpp
import eventflow.train
from eventflow._assets import ROOT
from eventflow.bench._learn_results import card_with_table
from eventflow.bench._results import entries, kind_of
from eventflow.errors import InputError
from eventflow.io import Card, card, list_datasets
from eventflow.train._keys import import_class
from eventflow.train._references import load_yaml, names

MODELS = names("model")
DATASETS = names("data")


def of_class(folder: str, file: str, kind: str) -> list[str]:
    """The folders whose file names a class of eventflow.train."""
    paths = sorted((ROOT / folder).glob(f"*/{file}"))
    return [p.parent.name for p in paths if load_yaml(p)["class_path"] == f"eventflow.train.{kind}"]


PROCESSES, AGENTS = (of_class("models", "model.yaml", kind) for kind in ("PointProcessTask", "StreamTask"))
LOGS, ENVIRONMENTS = (of_class("datasets", "data.yaml", kind) for kind in ("EventData", "EnvironmentData"))
#: Recipes of flow networks are for a GPU and a dataset that nobody may ship; tests/train/test_flow_task.py has theirs.
CONFIGS = [name for name in names("config") if not name.startswith("vision/")]


def model_classes() -> dict[str, type]:
    """Point processes that need nothing but what the data says: those have a page and a model.yaml."""
    found = {}
    for name in dir(eventflow.tpp):
        kind = getattr(eventflow.tpp, name)
        if isinstance(kind, type) and issubclass(kind, eventflow.tpp.PointProcess):
            needed = [p for p in inspect.signature(kind).parameters.values() if p.default is p.empty]
            if [p.name for p in needed] == ["num_marks"] and kind is not eventflow.tpp.PointProcess:
                found[name] = kind
    return found


def specs(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every (class_path, init_args) in plain data."""
    if isinstance(value, list):
        return [found for item in value for found in specs(item)]
    if not isinstance(value, dict):
        return []
    own = [(value["class_path"], value.get("init_args") or {})] if "class_path" in value else []
    return own + [found for item in value.values() for found in specs(item)]


def repeats(content: dict[str, Any]) -> list[str]:
    """Arguments that equal their default: a config is a diff."""
    found = []
    for class_path, args in specs(content):
        signature = inspect.signature(import_class(class_path, "test"))
        found += [f"{class_path}.{k}" for k, v in args.items() if k in signature.parameters and _same(v, signature, k)]
    return found


def _same(value: Any, signature: inspect.Signature, key: str) -> bool:
    return type(value) is type(signature.parameters[key].default) and value == signature.parameters[key].default


def test_every_model_class_has_a_folder_and_every_folder_a_class() -> None:
    trained = {}
    for name in PROCESSES:
        content = load_yaml(ROOT / "models" / name / "model.yaml")
        network = content["init_args"]["network"]
        path = network if isinstance(network, str) else network["class_path"]
        trained[path.rpartition(".")[2]] = name
    assert set(trained) == set(model_classes())
    assert all(folder.replace("_", "") == kind.lower() for kind, folder in trained.items())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_its_page(name: str) -> None:
    text = (ROOT / "models" / name / "card.md").read_text(encoding="utf-8")
    heads = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["Paper", "Equations and methods", "Differences from the paper", "Logged metrics", "Limits"]


@pytest.mark.parametrize("name", LOGS)
def test_every_dataset_has_its_card(name: str) -> None:
    assert card(name).name == name


def test_every_card_has_a_data_yaml() -> None:
    """Recordings get theirs with the data module that trains on them; a stream that is learned from and judged at once
    (`eventflow bench gvf`) has one part, and none."""
    trains_on_flow = hasattr(eventflow.train, "FlowData")
    streams = {name for name in list_datasets() if set(card(name).files) == {"train"}}
    assert DATASETS == [n for n in list_datasets() if (trains_on_flow or not card(n).recordings) and n not in streams]


ALL = sorted(path for kind in ("datasets", "models", "configs") for path in (ROOT / kind).rglob("*.yaml"))
ARGUMENTS = [path for path in ALL if path.name not in ("card.yaml",) and path.parent.name != "results"]


@pytest.mark.parametrize("path", ARGUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_config_is_a_diff(path: Path) -> None:
    assert repeats(load_yaml(path)) == []


def test_a_repeated_default_is_found() -> None:
    network = {"class_path": "eventflow.tpp.NHP", "init_args": {"hidden_size": 64, "quadrature": 10}}
    assert repeats({"class_path": "eventflow.train.PointProcessTask", "init_args": {"network": network}}) == [
        "eventflow.tpp.NHP.hidden_size"
    ]


def one_batch(cli: Any, *words: Any) -> Any:
    limits = ("--trainer.limit_train_batches", "1", "--trainer.limit_val_batches", "1", "--data.batch_size", "2")
    return cli("fit", *words, *limits, "--trainer.max_epochs", "1", "--out", "run")


@pytest.mark.parametrize("name", PROCESSES)
def test_every_model_trains(name: str, cli: Any, tiny_data: Path) -> None:
    answer = one_batch(cli, "--data", tiny_data, "--model", name)
    assert answer.code == 0, answer.err
    assert (Path("run") / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize("data", ENVIRONMENTS)
@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_learns_in_every_environment(name: str, data: str, cli: Any) -> None:
    pytest.importorskip("gymnasium")
    short = ("--data.steps_per_epoch", "100", "--data.episodes", "1", "--trainer.max_epochs", "1")
    answer = cli("fit", "--data", data, "--model", name, *short, "--out", "run")
    assert answer.code == 0, answer.err
    assert (Path("run") / "checkpoints" / "best.ckpt").is_file()


def needs(dataset: str, request: pytest.FixtureRequest) -> None:
    """Skip where the dataset's files are not here."""
    if not Card.from_file(ROOT / "datasets" / dataset / "card.yaml").sample:
        request.getfixturevalue("data_root")


@pytest.mark.parametrize("name", LOGS)
def test_every_dataset_is_trained_on(name: str, cli: Any, request: pytest.FixtureRequest) -> None:
    needs(name, request)
    answer = one_batch(cli, "--data", f"datasets/{name}", "--model", "poisson")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_trains(name: str, cli: Any, tiny_data: Path, request: pytest.FixtureRequest) -> None:
    content = load_yaml(ROOT / "configs" / f"{name}.yaml")
    given = content.get("data", "datasets/hawkes")
    needs(given["init_args"]["name"] if isinstance(given, dict) else Path(given).name, request)
    data = () if "data" in content else ("--data", tiny_data)
    model = () if "model" in content else ("--model", "poisson")
    answer = one_batch(cli, *data, *model, "--config", f"configs/{name}.yaml")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    "path", sorted((ROOT / "models").glob("*/results/*.yaml")), ids=lambda p: f"{p.parts[-3]}-{p.stem}"
)
def test_results_say_where_they_come_from(path: Path) -> None:
    content = load_yaml(path)
    task, kind = kind_of(path.parents[1].name)
    assert set(content) <= {"theirs", "ours", "baselines"}
    assert path.stem in DATASETS or task == "StreamTask"  # any environment of gymnasium
    for row in content.get("theirs", []):
        assert {"model", "source"} < set(row) <= {"model", "source", *kind.metrics}
    keys = {"metrics", "seeds", "commit", "date", "machine", "config"}
    agent = task == "StreamTask"
    for ours in entries(content):
        assert set(ours) == keys | ({"variant", "by_seed"} if agent else set())
        assert agent or "baselines" in content
        assert set(kind.metrics) <= set(ours["metrics"]) <= {*kind.metrics, *kind.more}
        assert len(set(ours["seeds"])) == len(ours["seeds"])
        assert "+" not in ours["commit"], "made from files that no commit holds"


@pytest.mark.parametrize("name", AGENTS)
def test_the_table_of_an_agent_s_card_is_that_of_its_results(name: str) -> None:
    home = ROOT / "models" / name
    text = (home / "card.md").read_text(encoding="utf-8")
    assert card_with_table(text, home) == text
    for path in (home / "results").glob("*.yaml"):
        assert (home / f"{path.stem}.png").is_file()


def test_they_hold_no_code() -> None:
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "datasets", "models", "configs"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert files and not [name for name in files if name.endswith((".py", ".ipynb", ".sh"))]


def test_samples_are_small() -> None:
    big = {p.name: p.stat().st_size for p in (ROOT / "datasets").glob("*/sample.*") if p.stat().st_size > 50_000}
    assert not big
    assert not [p for p in (ROOT / "models").rglob("*.ckpt") if p.stat().st_size > 5_000_000]


def test_no_copy_shadows_the_checkout() -> None:
    assert not (ROOT / "eventflow" / "_assets").exists()
    assert (ROOT / "pyproject.toml").is_file()


def test_unreadable_yaml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: [1\nb: 2")
    with pytest.raises(InputError, match=r"a\.yaml: not valid YAML"):
        load_yaml(path)
    path.write_text(yaml.safe_dump([1, 2]))
    with pytest.raises(InputError, match="expected a mapping of keys, seen list"):
        load_yaml(path)


def test_the_list_of_models_is_whole() -> None:
    text = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    folders = sorted(path.parent.name for path in (ROOT / "models").glob("*/card.md"))
    assert sorted(name for name in folders if f"[{name}]({name}/card.md)" in text) == folders
