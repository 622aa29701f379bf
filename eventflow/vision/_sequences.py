"""Datasets of recordings with flow, by name: DSEC as it is downloaded, and our simulated one."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from eventflow._assets import ROOT
from eventflow.errors import InputError, did_you_mean
from eventflow.io import Card, card
from eventflow.io._card import SPLITS
from eventflow.io._catalogue import data_folder
from eventflow.vision._dsec import DsecSequence

#: Where a sequence may lie below the dataset's folder; DSEC has no validation split: ours are among its training ones.
_FOLDERS = ("{split}/{name}", "{split}_events/{name}", "{name}")
#: Where its flow may lie, if not in the same folder.
_FLOWS = ("{split}_optical_flow/{name}/flow", "{split}_forward_optical_flow_timestamps/{name}.csv")


def load_sequences(
    name_or_path: str | PathLike[str], *, splits: Iterable[str] | None = None
) -> dict[str, list[DsecSequence]]:
    """The recordings of a dataset with flow: ``{"train": [...], "val": [...], "test": [...]}``, opened, nothing read.

    Args:
        name_or_path: a name (``dsec``, ``sim_flow``) or a card's folder: its data is looked for in EVENTFLOW_DATA/name.
            Or any folder with ``train/``, ``val/`` and ``test/`` in it, each with a folder for each sequence, as
            ``eventflow data simulate sim_flow OUT --whole`` writes it.
        splits: the ones wanted; None: all there are.

    DSEC may lie there as its archives unpack (``train_events/NAME``, ``train_optical_flow/NAME``, ``test_events/NAME``,
    ``test_forward_optical_flow_timestamps/NAME.csv``) or put together (``train/NAME/events``, ``train/NAME/flow``).

    Raises:
        InputError: data that is not there, with how to get it; a part of it that is missing.
    """
    entry = _card(name_or_path)
    if entry is None:
        folder = Path(name_or_path)
        names = {split: _folders(folder / split) for split in SPLITS}
        known = {split: tuple(found) for split, found in names.items() if found}
    else:
        folder, known = _place(entry, name_or_path), entry.recordings
    wanted = list(known if splits is None else splits)
    for split in wanted:
        if split not in known:
            raise InputError(f"{name_or_path}: no split {split!r}; {did_you_mean(split, known)}")
    return {split: [_sequence(folder, split, name) for name in known[split]] for split in wanted}


def _folders(place: Path) -> list[str]:
    """Names of the folders in a folder; not of hidden ones: that of a recording whose simulation was killed is such."""
    return sorted(path.name for path in place.glob("*") if path.is_dir() and path.name[0] != ".")


def _card(name_or_path: str | PathLike[str]) -> Card | None:
    """The card, or None for a plain folder of splits."""
    path = Path(name_or_path)
    has_card = any((p / "card.yaml").is_file() for p in (path, ROOT / path, ROOT / "datasets" / path))
    if not has_card and any((path / split).is_dir() for split in SPLITS):
        return None
    entry = card(name_or_path)
    if not entry.recordings:
        raise InputError(f"dataset {entry.name!r} holds no recordings. Write: load_dataset({entry.name!r})")
    return entry


def _place(entry: Card, name_or_path: str | PathLike[str]) -> Path:
    root = data_folder()
    folder = None if root is None else root / entry.name
    if folder is not None and folder.is_dir():
        return folder
    here = f"EVENTFLOW_DATA is {root}, but there is no {entry.name}/ in it" if root else "EVENTFLOW_DATA is not set"
    if entry.name == "sim_flow":
        write = "Write: eventflow data simulate sim_flow $EVENTFLOW_DATA/sim_flow --whole"
    elif entry.recipe:
        place = f"Path('{root or 'FOLDER'}') / '{entry.name}'"
        write = ("Write: python -c \"from pathlib import Path; from eventflow.vision import write_dataset; "
                 f"write_dataset({place}, name='{name_or_path}')\"")  # fmt: skip
    else:
        write = f"Write: export EVENTFLOW_DATA=/the/folder/that/holds/{entry.name}"
    told = "\n".join(part for part in (entry.source and f"It comes from {entry.source}", *entry.notes[:1]) if part)
    raise InputError(f"dataset {entry.name!r}: its data is not here ({here}).\n{write}\n{told}".rstrip())


def _sequence(folder: Path, split: str, name: str) -> DsecSequence:
    theirs = "train" if split == "val" else split
    words = [{"split": part, "name": name} for part in dict.fromkeys((split, theirs))]
    tried = [folder / form.format(**word) for word in words for form in _FOLDERS]
    found = [path for path in tried if path.is_dir()]
    if not found:
        raise InputError(f"{tried[0]}: missing, although {folder} is there; looked for it as " + ", ".join(
            str(path.relative_to(folder)) for path in dict.fromkeys(tried)
        ))  # fmt: skip
    flows = [folder / form.format(**word) for word in words for form in _FLOWS]
    return DsecSequence(found[0], flow=next((path for path in flows if path.exists()), None))
