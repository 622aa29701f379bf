"""From a checkpoint back to a model, with torch alone: what live streams need is plain data under one key."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.nn._recorded import rebuild
from eventflow.tpp._process import PointProcess

#: The key in a checkpoint, and the version of what lies under it.
KEY, FORMAT = "eventflow", 1
#: Where a LightningModule keeps the model.
PREFIX = "model."


class LoadedModel(NamedTuple):
    """A trained model, the schema of its data, and the common start of its spans (None where they differ)."""

    model: PointProcess
    schema: Schema
    start: float | None


def checkpoint_entry(model: PointProcess, schema: Schema, start: float | None = None) -> dict[str, Any]:
    """Plain data that rebuilds the model: goes under ``checkpoint["eventflow"]``, beside ``"state_dict"``."""
    return {
        "format": FORMAT, "class_path": model.class_path, "init_args": model.init_args, "schema": schema.to_dict(),
        "start": start,
    }  # fmt: skip


def save_model(model: PointProcess, path: str | Path, *, schema: Schema, start: float | None = None) -> None:
    """A checkpoint without a trainer: weights and entry, written whole or not at all."""
    path = Path(path)
    state = {PREFIX + name: value for name, value in model.state_dict().items()}
    part = path.with_name(path.name + ".part")
    torch.save({KEY: checkpoint_entry(model, schema, start), "state_dict": state}, part)
    part.replace(path)


def load_model(path: str | Path) -> LoadedModel:
    """The model of a checkpoint written by ``eventflow fit`` or :func:`save_model`, on the CPU, in eval mode.

    Nothing in the file is executed (``weights_only``).

    Raises:
        InputError: no such file, not a checkpoint, one of another program, or weights that do not fit the model.
    """
    entry, weights = _read(Path(path))
    model = rebuild(entry, PointProcess)
    own = {name[len(PREFIX) :]: value for name, value in weights.items() if name.startswith(PREFIX)}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"{path}: the weights do not fit {entry['class_path']}: {error}") from error
    start = entry.get("start")
    return LoadedModel(model.eval(), Schema.from_dict(entry["schema"]), None if start is None else float(start))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint. Write one with: eventflow fit --data ... --model ...")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, zipfile.BadZipFile, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a checkpoint, or is truncated ({first})") from error
    if not isinstance(content, dict) or KEY not in content or "state_dict" not in content:
        raise InputError(f"{path}: a torch file, but not one of eventflow's: it has no {KEY!r} entry")
    entry = content[KEY]
    if entry.get("format") != FORMAT:
        raise InputError(f"{path}: checkpoint format {entry.get('format')!r}; this version reads {FORMAT}")
    return entry, content["state_dict"]
