"""What ``eventflow data list | info | convert`` do; the command line only gives them their arguments."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from eventflow.errors import InputError
from eventflow.io import _catalogue
from eventflow.io._card import SPLITS, Card
from eventflow.io._catalogue import list_datasets, load_dataset, load_with_reports
from eventflow.io._columns import LogColumns
from eventflow.io._info import describe
from eventflow.io._page import render
from eventflow.io._read import read_events, read_with_report
from eventflow.io._write import write_events

if TYPE_CHECKING:
    from rich.console import Console


def data_info(
    path_or_name: str | PathLike[str], console: Console | None = None, *, columns: LogColumns | None = None,
    format: str | None = None,
) -> None:  # fmt: skip
    """Print the info page of a file, however broken, or one page a split of a dataset.

    Raises:
        InputError: if there is no such file or dataset, or if nothing in it can be described.
    """
    console = console or _console()
    path = Path(path_or_name)
    if path.is_file() or path.suffix:
        events, report = read_with_report(path, format=format, columns=columns, lenient=True)
        console.print(render(describe(events, title=str(path), report=report)))
        return
    if columns is not None or format is not None:
        raise InputError(
            f"{path_or_name} is a dataset, whose card says how to read it; columns and format are for files"
        )
    for split, (events, report) in load_with_reports(path_or_name).items():
        console.print(render(describe(events, title=f"{path_or_name} · {split}", report=report)))
        console.print()


def data_list(console: Console | None = None) -> None:
    """Print the catalogue: name, K, unit, sequences, where the data is found here, title."""
    from rich.table import Table

    console = console or _console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("dataset", "K", "unit", "sequences", "found in", "what it is"):
        table.add_column(name, justify="right" if name in ("K", "sequences") else "left", no_wrap=name == "dataset")
    for name in list_datasets():
        entry = _catalogue.card(name)
        sequences = [int(facts["sequences"]) for split, facts in entry.statistics.items() if split in SPLITS]
        table.add_row(
            name, str(entry.schema.num_marks or "-"), entry.schema.unit, "/".join(f"{n:,}" for n in sequences),
            _found_in(entry), entry.title,
        )  # fmt: skip
    console.print(table)
    if not os.environ.get("EVENTFLOW_DATA"):
        console.print(
            "\nEVENTFLOW_DATA is not set. Write: export EVENTFLOW_DATA=/the/folder/with/your/data", style="dim"
        )


def data_convert(
    source: str | PathLike[str], target: str | PathLike[str], *, columns: LogColumns | None = None,
    format: str | None = None,
) -> None:  # fmt: skip
    """Read a file (or a dataset, into a folder of one parquet file a split) and write it in the target's format.

    Args:
        source: a file in any format, or a dataset's name or folder.
        target: a file; its suffix chooses the format. For a dataset: a folder, which is made.
        columns: what the columns of a log mean.
        format: of the source; None finds it.
    """
    path, out = Path(source), Path(target)
    if path.is_file() or path.suffix:
        write_events(read_events(path, format=format, columns=columns), out)
        return
    parts = load_dataset(source)
    if out.suffix:
        raise InputError(f"{source} has the splits {', '.join(parts)}; give a folder rather than the file {out}")
    out.mkdir(parents=True, exist_ok=True)
    for split, events in parts.items():
        write_events(events, out / f"{split}.parquet")


def _found_in(entry: Card) -> str:
    root = _catalogue.data_folder()
    if root is not None and entry.files and all((root / ref.path).is_file() for ref in entry.files.values()):
        return "EVENTFLOW_DATA"
    if entry.hub:
        return f"hub {entry.hub}"
    return "shipped" if entry.sample else "nowhere yet"


def _console() -> Console:
    from rich.console import Console

    return Console()
