"""The card of a dataset: what it is, where it comes from, and the published facts that it is checked against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from eventflow.errors import InputError, did_you_mean
from eventflow.events import Schema
from eventflow.io._columns import LogColumns

#: The settings of long horizons, as ``eventflow.tpp.evaluate_horizon`` takes them; those without which it cannot start.
HORIZON = ("horizon", "max_events", "every", "otd_steps", "otd_cost", "map_deltas")
HORIZON_NEEDS = ("horizon", "otd_cost", "map_deltas")
#: The names of the splits, in their order.
SPLITS = ("train", "val", "test")
#: The names under which files and hubs know them.
ALIASES = {"train": ("train",), "val": ("val", "dev", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True, slots=True)
class FileRef:
    """One file of a dataset: its path (below EVENTFLOW_DATA, or for samples below the card's folder) and checksum."""

    path: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SplitRule:
    """How one file becomes train, val and test.

    Args:
        by: ``start``: sequences in the order of their first event, cut at the fractions. What a sequence of an earlier
            split does after the next split's first event is cut away, so that no split has seen a later one's time.
        fractions: of the number of sequences, for train, val and test; they sum to 1.
    """

    by: str
    fractions: tuple[float, float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "fractions", tuple(self.fractions))
        if self.by != "start":
            raise InputError(f"split: by={self.by!r}; {did_you_mean(self.by, ['start'])}")
        if len(self.fractions) != 3 or abs(sum(self.fractions) - 1) > 1e-9 or min(self.fractions) <= 0:
            raise InputError(f"split: fractions={list(self.fractions)}; expected three positive numbers that sum to 1")


@dataclass(frozen=True, slots=True)
class Card:
    """Facts about a dataset, parsed from ``card.yaml``; unknown keys are refused.

    Args:
        name: the folder's name.
        title: one line.
        licence: under which the data may be used, or what is known about that.
        citation: how to cite it.
        description: what an event, a mark and a sequence is.
        schema: unit and marks, as :class:`Schema` takes them.
        span: the span rule in words.
        files: split (or ``all``, with ``split``) -> file below EVENTFLOW_DATA.
        sample: split (or ``all``) -> file beside the card, which we may ship and which *is* the dataset.
        format: of the files, as ``read_events`` takes it; None finds it.
        columns: what the columns mean, where the files are logs.
        split: how one file is split.
        split_note: why it is split so, in words.
        hub: the dataset's id on the HuggingFace hub.
        hub_statistics: as ``statistics``, for the hub's release where that is another one.
        statistics: split -> name -> number, as published or as first computed; tests compute them again.
        truth: for simulated event logs: the law that made the data, free form.
        recordings: split -> the names of its sequences, for cameras: each is a folder of files, found below
            EVENTFLOW_DATA/<name> by ``eventflow.vision.load_sequences``.
        environment: for agents: the name of a gymnasium environment, which has neither files nor splits.
        recipe: for simulated recordings: from what they follow, free form.
        horizon: how forecasts of many events are judged on it: arguments of ``eventflow.tpp.evaluate_horizon``
            (``evaluate_horizon(model, test, **card.horizon)``); times in the schema's unit.
        source: where it comes from.
        notes: what a user should know.
    """

    name: str
    title: str
    licence: str
    citation: str
    description: str
    schema: Schema
    span: str
    files: Mapping[str, FileRef] = field(default_factory=dict)
    sample: Mapping[str, FileRef] = field(default_factory=dict)
    format: str | None = None
    columns: LogColumns | None = None
    split: SplitRule | None = None
    split_note: str | None = None
    hub: str | None = None
    hub_statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)
    recordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    horizon: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None
    notes: tuple[str, ...] = ()
    folder: Path = Path()

    @classmethod
    def from_file(cls, path: Path) -> Card:
        """Parse ``card.yaml``.

        Raises:
            InputError: for unknown, missing or misspelt keys, with the file and the nearest known key.
        """
        import yaml

        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not valid YAML: {error}") from None
        try:
            return cls.from_dict(data, folder=path.parent)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, data: Any, *, folder: Path) -> Card:
        """From plain data."""
        if not isinstance(data, dict):
            raise InputError(f"a card is a mapping of keys; this is {type(data).__name__}")
        plain = dict(data)
        known = [f.name for f in fields(cls) if f.name != "folder"]
        _refuse_unknown("card", plain, known)
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
        for key in missing:
            if not plain.get(key):
                raise InputError(f"card: {key!r} is missing")
        plain["schema"] = Schema.from_dict(plain["schema"])
        for key in ("files", "sample"):
            plain[key] = _file_refs(key, plain.get(key) or {})
        _refuse_unknown("recordings", plain.get("recordings") or {}, list(SPLITS))
        recordings = plain.get("recordings") or {}
        plain["recordings"] = {split: tuple(map(str, recordings[split])) for split in SPLITS if split in recordings}
        if plain.get("columns") is not None:
            plain["columns"] = LogColumns.from_dict(plain["columns"])
        if plain.get("split") is not None:
            _refuse_unknown("split", plain["split"], ["by", "fractions"])
            plain["split"] = SplitRule(**plain["split"])
        _check_horizon(plain.get("horizon") or {})
        plain["notes"] = tuple(plain.get("notes") or ())
        card = cls(**{key: value for key, value in plain.items() if value is not None}, folder=folder)
        card._check()
        return card

    def _check(self) -> None:
        if not (self.files or self.sample or self.hub or self.recordings or self.environment):
            raise InputError("card: neither files, sample, hub, recordings nor environment: where is the data?")
        if self.sample and self.hub:
            raise InputError(
                "card: both sample and hub; a sample is the dataset itself and never stands in for another"
            )
        for key, refs in (("files", self.files), ("sample", self.sample)):
            if "all" in refs and self.split is None:
                raise InputError(f"card: {key} has one file for all splits, but there is no 'split' rule")


def _check_horizon(data: Mapping[str, Any]) -> None:
    _refuse_unknown("horizon", data, list(HORIZON))
    for key in HORIZON_NEEDS if data else ():
        if key not in data:
            raise InputError(f"horizon: {key!r} is missing; it needs {', '.join(HORIZON_NEEDS)}")
    for key, value in data.items():
        kind = int if key in ("max_events", "every", "otd_steps") else (int, float)
        numbers = value if key == "map_deltas" and isinstance(value, list) and value else [value]
        if not all(isinstance(x, kind) and not isinstance(x, bool) and x > 0 for x in numbers):
            expected = "whole numbers above 0" if kind is int else "numbers above 0"
            raise InputError(f"horizon: {key}: {value!r}; expected {expected}")


def _file_refs(key: str, data: Mapping[str, Any]) -> dict[str, FileRef]:
    _refuse_unknown(key, data, [*SPLITS, "all"])
    refs = {}
    for split, entry in data.items():
        entry = {"path": entry} if isinstance(entry, str) else entry
        _refuse_unknown(f"{key}.{split}", entry, ["path", "sha256"])
        refs[split] = FileRef(**entry)
    return refs


def _refuse_unknown(where: str, data: Mapping[str, Any], known: list[str]) -> None:
    for key in data:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; {did_you_mean(key, known)}")
