"""From a checkpoint back to a model, with torch alone: what live streams need is plain data under one key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.nn._recorded import rebuild
from eventflow.nn._saved import FORMAT, KEY, PREFIX, read_checkpoint
from eventflow.tpp._process import PointProcess


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
    entry, weights = read_checkpoint(Path(path))
    model = rebuild(entry, PointProcess)
    own = {name[len(PREFIX) :]: value for name, value in weights.items() if name.startswith(PREFIX)}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"{path}: the weights do not fit {entry['class_path']}: {error}") from error
    start = entry.get("start")
    return LoadedModel(model.eval(), Schema.from_dict(entry["schema"]), None if start is None else float(start))
