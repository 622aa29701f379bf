"""Datasets of the EasyTPP layout from the HuggingFace hub, through its own library ``datasets`` (extra ``hf``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventflow.errors import InputError, did_you_mean, require
from eventflow.events import Events, Schema
from eventflow.io._card import ALIASES
from eventflow.io._columns import LogColumns
from eventflow.io._report import ReadReport
from eventflow.io._request import Request
from eventflow.io.easytpp import _easytpp


def load_hub(
    name: str, *, split: str = "train", columns: LogColumns | None = None, schema: Schema | None = None
) -> Events:
    """One split of a hub dataset in the EasyTPP layout: ``load_hub("easytpp/taxi", split="val")``.

    Args:
        name: the dataset's id, or a folder that ``datasets.load_dataset`` can read.
        split: ``train``, ``val`` (the hub's ``validation``) or ``test``.
        columns: ``LogColumns(time="time_since_start")`` takes the absolute times instead of the cumulative gaps.
        schema: what is known beforehand: unit, K.

    Raises:
        MissingExtraError: if ``datasets`` is not installed.
        InputError: if the hub cannot be reached, or has no such dataset or split.
    """
    return load_hub_splits(name, [split], columns=columns, schema=schema)[split][0]


def load_hub_splits(
    name: str, splits: Iterable[str], *, columns: LogColumns | None = None, schema: Schema | None = None
) -> dict[str, tuple[Events, ReadReport]]:
    """Several splits of a hub dataset, with one visit to the hub."""
    whole = _fetch(name)
    found = {}
    for split in splits:
        if split not in ALIASES:
            raise InputError(f"split {split!r}; {did_you_mean(split, ALIASES)}")
        theirs = next((alias for alias in ALIASES[split] if alias in whole), None)
        if theirs is None:
            raise InputError(f"{name} on the hub has no split {split!r}; it has {', '.join(whole)}")
        report = ReadReport(Path(f"hub:{name}/{theirs}"), "easytpp (hub)")
        request = Request(report.path, report, columns or LogColumns(), schema)
        table = whole[theirs].with_format("arrow")[:]
        if not _easytpp.is_easytpp(table.column_names):
            raise request.error(f"not in the EasyTPP layout: its columns are {', '.join(table.column_names)}")
        found[split] = _easytpp.from_table(table, request), report
    return found


def _fetch(name: str) -> Any:
    datasets = require("datasets", "hf")
    try:
        return datasets.load_dataset(name)
    except Exception as error:  # its own, huggingface_hub's and the network's exceptions share no base class
        raise InputError(
            f"{name!r} could not be loaded from the HuggingFace hub ({type(error).__name__}: {_brief(error)}). Check "
            "its name and the network"
        ) from error


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
