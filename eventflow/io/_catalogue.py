"""Datasets by name: cards, where their data is found, and their splits."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from eventflow._assets import ROOT
from eventflow.errors import InputError, MissingExtraError, did_you_mean
from eventflow.events import Events, Schema, first_to_last
from eventflow.io._card import ALIASES, SPLITS, Card, FileRef
from eventflow.io._columns import LogColumns
from eventflow.io._read import read_with_report
from eventflow.io._report import ReadReport
from eventflow.io._request import OutOfOrder

_Loaded: TypeAlias = dict[str, tuple[Events, ReadReport]]


def data_folder() -> Path | None:
    """The folder named by the environment variable EVENTFLOW_DATA, where real data lies; None if it is not set."""
    value = os.environ.get("EVENTFLOW_DATA")
    return Path(value).expanduser() if value else None


def list_datasets() -> list[str]:
    """The names of the datasets that have a card, in alphabetical order."""
    return sorted(path.parent.name for path in (ROOT / "datasets").glob("*/card.yaml"))


def card(name_or_path: str | PathLike[str]) -> Card:
    """The card of a dataset: by name (``taxi``), or of a folder that holds a ``card.yaml``."""
    return Card.from_file(_folder(name_or_path) / "card.yaml")


def has_card(name_or_path: str | PathLike[str]) -> bool:
    """Whether there is a card for it (a folder of plain split files has none)."""
    return (_folder(name_or_path, bare=True) / "card.yaml").is_file()


def load_dataset(name_or_path: str | PathLike[str], *, splits: Iterable[str] | None = None) -> dict[str, Events]:
    """The splits of a dataset: ``{"train": Events, "val": Events, "test": Events}``.

    Args:
        name_or_path: a name (``taxi``), the folder of one (``datasets/taxi``), any folder with a ``card.yaml``, or a
            folder that holds ``train``, ``val`` (or ``dev``) and ``test`` files.
        splits: the ones wanted; None: all there are.

    The data is looked for below EVENTFLOW_DATA, then on the HuggingFace hub (extra ``hf``), then beside the card, where
    that sample is the dataset; local files are checked against the card's sha256.

    Raises:
        InputError: if it is found nowhere, with the line to write; if a checksum differs; for an unknown split.
    """
    return {split: events for split, (events, _) in load_with_reports(name_or_path, splits=splits).items()}


def load_split_files(folder: Path, columns: LogColumns) -> dict[str, Events]:
    """The train, val and test files of a folder without a card, by what ``columns`` says of them all."""
    return {split: events for split, (events, _) in _load_bare(folder, None, columns).items()}


def load_with_reports(
    name_or_path: str | PathLike[str], *, splits: Iterable[str] | None = None
) -> dict[str, tuple[Events, ReadReport]]:
    """As :func:`load_dataset`, with what the readers noticed. Splits cut from one file share its report."""
    wanted = list(SPLITS if splits is None else splits)
    for split in wanted:
        if split not in SPLITS:
            raise InputError(f"split {split!r}; {did_you_mean(split, SPLITS)}")
    folder = _folder(name_or_path, bare=True)
    if not (folder / "card.yaml").is_file():
        return _load_bare(folder, wanted if splits is not None else None)
    entry = Card.from_file(folder / "card.yaml")
    if entry.recordings:
        raise InputError(
            f"dataset {entry.name!r} holds recordings of cameras, not logs. Write: eventflow.vision.load_sequences("
            f"{str(name_or_path)!r}), or eventflow data info FILE for one of its files"
        )
    if entry.environment:
        raise InputError(
            f"dataset {entry.name!r} is an environment, where an agent makes its own events. Write: eventflow fit "
            f"--data {entry.name} --model stream_q"
        )
    stated = entry.files or entry.sample
    if splits is None and stated and "all" not in stated:
        wanted = [split for split in SPLITS if split in stated]
    local = _local(entry.files, data_folder())
    if local:
        return _load_files(entry, local, wanted)
    if entry.hub:
        return _from_hub(entry, wanted)
    shipped = _local(entry.sample, folder)
    if shipped:
        return _load_files(entry, shipped, wanted)
    raise InputError(_nowhere(entry))


def _held(folder: Path) -> str:
    """What is in a folder that is no dataset, for messages: one of its files may be meant."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    if not names:
        return ""
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"; it holds {shown}. For one of these, give its path: {folder / names[0]}"


def _folder(name_or_path: str | PathLike[str], *, bare: bool = False) -> Path:
    path = Path(name_or_path)
    for candidate in (path, ROOT / path, ROOT / "datasets" / path):
        if candidate.is_dir() and ((candidate / "card.yaml").is_file() or (bare and _split_files(candidate))):
            return candidate
    if path.is_file():
        raise InputError(f"{path} is a file; a dataset is a folder with a card. Write: read_events({str(path)!r})")
    if path.is_dir():
        raise InputError(f"{path}: no card.yaml in it, nor train, val and test files{_held(path)}")
    if str(path) == "-":
        raise InputError("-: standard input is for `eventflow stream`; write it to a file first: cat > log.csv")
    raise InputError(f"no dataset {str(name_or_path)!r}; {did_you_mean(path.name, list_datasets())}")


def _load_files(entry: Card, files: dict[str, tuple[Path, FileRef]], wanted: list[str]) -> _Loaded:
    if "all" in files:
        events, report = _read_checked(entry, "all", *files["all"])
        parts = _split(events, entry)
        return {split: (parts[split], report) for split in wanted}
    for split in wanted:
        if split not in files:
            raise InputError(f"dataset {entry.name!r} has no split {split!r}; it has {', '.join(files)}")
    return {split: _read_checked(entry, split, *files[split]) for split in wanted}


def _read_checked(entry: Card, split: str, path: Path, ref: FileRef) -> tuple[Events, ReadReport]:
    """One file of a dataset. Rows left out are told, unless the card says how many there are and so many they were."""
    if ref.sha256 is not None:
        digest = sha256(path)
        if digest != ref.sha256:
            raise InputError(
                f"{path}: its sha256 is {digest}, the card of {entry.name!r} says {ref.sha256}. It is another release "
                "or damaged: fetch it again, or read it as it is with read_events(path)"
            )
    try:
        events, report = read_with_report(path, format=entry.format, columns=entry.columns, schema=entry.schema)
    except OutOfOrder as error:
        raise InputError(f"{error.seen}. Write into the card of {entry.name!r}, below columns: sort: true") from None
    if report.skipped != entry.statistics.get(split, {}).get("skipped", 0):
        report.warn()
    return events, report


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _local(refs: object, root: Path | None) -> dict[str, tuple[Path, FileRef]]:
    """The files that are there: all of them, or none."""
    if root is None or not isinstance(refs, dict) or not refs:
        return {}
    found = {split: (root / ref.path, ref) for split, ref in refs.items()}
    there = [path.is_file() for path, _ in found.values()]
    if any(there) and not all(there):
        missing = next(path for path, _ in found.values() if not path.is_file())
        raise InputError(f"{missing}: missing, although other files of this dataset lie beside it")
    return found if all(there) else {}


def _from_hub(entry: Card, wanted: list[str]) -> _Loaded:
    from eventflow.io.easytpp._hub import load_hub_splits

    assert entry.hub is not None
    try:
        parts = load_hub_splits(entry.hub, wanted, schema=entry.schema)
    except MissingExtraError as error:
        raise InputError(f"{_nowhere(entry)}\nOr load it from the HuggingFace hub: {error}") from None
    except InputError as error:
        raise InputError(f"{_nowhere(entry)}\nThe hub was asked, too: {error}") from None
    _warn_other_release(entry, parts)
    return parts


def _warn_other_release(entry: Card, parts: _Loaded) -> None:
    for split, (events, _) in parts.items():
        expected = entry.statistics.get(split, {}).get("events")
        if expected is not None and events.num_events != expected:
            warnings.warn(
                f"{entry.hub} ({split}) has {events.num_events:,} events; the files that the card of {entry.name!r} "
                f"describes have {expected:,}: another release, whose numbers must not be compared with theirs",
                stacklevel=4,
            )


def _nowhere(entry: Card) -> str:
    root = data_folder()
    first = next(iter(entry.files.values())).path if entry.files else None
    seen = f"EVENTFLOW_DATA is {root}, but there is no {first} in it" if root else "EVENTFLOW_DATA is not set"
    lines = [f"dataset {entry.name!r}: its data is not here ({seen})."]
    if first:
        lines.append(f"Write: export EVENTFLOW_DATA=/the/folder/that/holds/{first}")
    if entry.source:
        lines.append(f"It comes from {entry.source}")
    return "\n".join(lines)


def _split_files(folder: Path) -> dict[str, Path]:
    """split -> file, for a folder of files named after their splits."""
    found = {}
    for split, names in ALIASES.items():
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.split(".")[0] in names and split not in found:
                found[split] = path
    return found


def _load_bare(folder: Path, wanted: list[str] | None, columns: LogColumns | None = None) -> _Loaded:
    files = _split_files(folder)
    for split in wanted or ():
        if split not in files:
            raise InputError(
                f"{folder}: no file for split {split!r}; it has {', '.join(p.name for p in files.values())}"
            )
    try:
        parts = {split: read_with_report(files[split], columns=columns) for split in wanted or files}
    except OutOfOrder as error:
        into = f"{folder.resolve().name}-sorted"
        raise InputError(
            f"{error.seen}. Write: eventflow data convert {folder} {into} --columns sort=true   and then --data {into}"
        ) from None
    if len({events.schema.vocabulary for events, _ in parts.values()}) > 1:
        raise InputError(
            f"{folder}: its splits have different vocabularies; write a card.yaml with the words of them all"
        )
    sizes = [events.schema.num_marks or 0 for events, _ in parts.values()]
    if len(set(sizes)) > 1:
        parts = {split: (_with_marks(events, max(sizes)), report) for split, (events, report) in parts.items()}
    return parts


def _with_marks(events: Events, num_marks: int) -> Events:
    return replace(events, schema=replace(events.schema, num_marks=num_marks))


def _split(events: Events, entry: Card) -> dict[str, Events]:
    """By the first event's time, at the card's fractions, cutting away what happens after the next split begins."""
    assert entry.split is not None
    begin = events.span[:, 0]
    order = np.argsort(begin, kind="stable")
    shares = np.cumsum(entry.split.fractions)[:-1]
    cuts = [0, *(int(round(share * len(order))) for share in shares), len(order)]
    parts = {}
    for i, split in enumerate(SPLITS):
        part = events[order[cuts[i] : cuts[i + 1]]]
        parts[split] = part if i == 2 or cuts[i + 1] >= len(order) else _before(part, begin[order[cuts[i + 1]]])
    return parts


def _before(events: Events, end: Any) -> Events:
    """The events before ``end``; sequences without any are left out, spans run from first to last again."""
    keep = events.t < end
    counts = np.bincount(events.sequence[keep], minlength=len(events))
    filled = counts > 0
    offsets = np.concatenate([[0], np.cumsum(counts[filled])])
    marks = {name: column[keep] for name, column in events.marks.items()}
    keys = None if events.keys is None else events.keys[filled]
    t = events.t[keep]
    schema: Schema = events.schema
    return Events(t, marks, offsets, first_to_last(t, offsets), schema, keys)
