"""What is to be run: names become configurations, resolved to the last default and checked, before anything starts."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from eventflow._assets import ROOT
from eventflow.bench.leaderboard._store import digest
from eventflow.errors import InputError
from eventflow.io import list_datasets
from eventflow.train import command
from eventflow.train._references import inline, known_as, resolve

#: The parts of a configuration that decide a result; of the last three, what differs from their defaults.
PARTS = ("data", "model")
GROUPS = ("trainer", "early_stopping", "checkpoint")


class Pair(NamedTuple):
    """One model on one dataset: their names, and all that is asked of each seed (plain data)."""

    data: str
    model: str
    asked: dict[str, Any]

    @property
    def name(self) -> str:
        """What load_dataset takes."""
        return str(self.asked["data"]["init_args"]["name"])

    @property
    def hash(self) -> str:
        """A name for what is asked."""
        return digest(self.asked)


class _Config(NamedTuple):
    """A --config: how to say it again, and which model class and dataset it names (None: it counts for all)."""

    word: str
    network: str | None
    dataset: str | None


def plan(
    data: Sequence[str], model: Sequence[str], *, config: Sequence[str] = (), max_epochs: int | None = None
) -> list[Pair]:
    """Every model on every dataset, in the order given.

    Where both come from the catalogue, its recipe configs/tpp/<model>_<data>.yaml counts, then every ``config``. One
    that names a model or a dataset counts for that alone; one that names both takes the place of the recipe.

    Raises:
        InputError: an unknown name or key, a name given twice, a config that counts for nothing.
    """
    for kind, words in (("data", data), ("model", model)):
        known = [title(kind, word) for word in words]
        twice = sorted({name for name in known if known.count(name) > 1})
        if twice:
            raise InputError(f"--{kind} {' '.join(words)}: {twice[0]!r} twice; a table has one row for each")
    configs = [_config(word) for word in config]
    if max_epochs is not None and max_epochs < 1:
        raise InputError(f"--max-epochs {max_epochs}: expected at least 1")
    used: set[str] = set()
    pairs = [_pair(d, m, configs, max_epochs, used) for d in data for m in model]
    for each in configs:
        if each.word not in used:
            about = " and ".join(filter(None, [each.network, each.dataset]))
            raise InputError(f"--config {each.word}: it is about {about}, which is not among --model and --data")
    return pairs


def title(kind: str, word: str) -> str:
    """What a --data or --model is called: the name of its folder, file or class."""
    path = resolve(kind, word)
    if path is None:
        return Path(word).resolve().name if Path(word).is_dir() else known_as(word.rpartition(".")[2])
    return path.resolve().parent.name if path.name == f"{kind}.yaml" else path.stem


def resolved(words: Sequence[str]) -> dict[str, Any]:
    """What ``eventflow fit <words>`` would run, as plain data: every default of data and model, and what differs of the
    trainer's.

    Raises:
        InputError: an unknown name or key.
    """
    full, plain = _printed(words), _plain()
    groups = {}
    for group in GROUPS:
        changed = {key: value for key, value in full[group].items() if value != plain[group].get(key)}
        groups |= {group: changed} if changed else {}
    asked = {**{part: full[part] for part in PARTS}, **groups}
    arguments = asked["data"].get("init_args", {})
    name = str(arguments.get("name", ""))
    if Path(name).is_dir() and name not in list_datasets():  # workers may stand in another folder
        arguments["name"] = str(Path(name).resolve())
    return asked


def changes(before: Mapping[str, Any], after: Mapping[str, Any], at: str = "") -> list[str]:
    """What differs between two configurations: "trainer.max_epochs is 3 there, 5 here"."""
    found = []
    for key in sorted({*before, *after}):
        one, two, where = before.get(key), after.get(key), f"{at}{key}"
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            found += changes(one, two, f"{where}.")
        elif one != two:
            found.append(f"{where} is {one!r} there, {two!r} here")
    return found


def _pair(data: str, model: str, configs: Sequence[_Config], max_epochs: int | None, used: set[str]) -> Pair:
    names = title("data", data), title("model", model)
    words = ["--data", data, "--model", model]
    here = resolved(words)
    about = {"network": _class_path(here["model"]), "dataset": _dataset(here["data"])}
    mine = [c for c in configs if c.network in (None, about["network"]) and c.dataset in (None, about["dataset"])]
    used |= {c.word for c in mine}
    if not any(c.network and c.dataset for c in mine):
        words += _recipe(data, model)
    for each in mine:
        words += ["--config", each.word]
    if max_epochs is not None:
        words += ["--trainer.max_epochs", str(max_epochs)]
    return Pair(*names, resolved(words))


def _recipe(data: str, model: str) -> list[str]:
    """The catalogue's own configuration of a model of the catalogue on a dataset of it."""
    names = title("data", data), title("model", model)
    homes = (ROOT / "datasets" / names[0] / "data.yaml", ROOT / "models" / names[1] / "model.yaml")
    found = [resolve(kind, word) for kind, word in zip(PARTS, (data, model), strict=True)]
    at_home = all(path and path.resolve() == home for path, home in zip(found, homes, strict=True))
    path = ROOT / "configs" / "tpp" / f"{names[1]}_{names[0]}.yaml"
    return ["--config", str(path)] if at_home and path.is_file() else []


def _config(word: str) -> _Config:
    (source,) = inline(["--config", word])[1]
    content = source.content
    return _Config(word, _class_path(content.get("model", {})), _dataset(content.get("data", {})))


def _class_path(model: Mapping[str, Any]) -> str | None:
    network = (model.get("init_args") or {}).get("network")
    return network.get("class_path") if isinstance(network, Mapping) else network


def _dataset(data: Mapping[str, Any]) -> str | None:
    name = (data.get("init_args") or {}).get("name")
    return None if name is None else Path(str(name)).name


@cache
def _plain() -> dict[str, Any]:
    """The configuration of a run of which nothing is asked."""
    return _printed(("--data", "hawkes", "--model", "poisson"))


def _printed(words: Sequence[str]) -> dict[str, Any]:
    """`eventflow fit <words> --print_config`, read."""
    import yaml

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        command("fit", [*words, "--print_config"])
    return yaml.safe_load(text.getvalue())
