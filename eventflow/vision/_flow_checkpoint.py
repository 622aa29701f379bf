"""From a checkpoint back to a flow network, with torch alone: what a live stream needs is plain data under one key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.nn._recorded import rebuild
from eventflow.nn._saved import FORMAT, KEY, PREFIX, read_checkpoint
from eventflow.vision.models._network import FlowNetwork

#: What every flow spans, in microseconds: that of DSEC's maps.
INTERVAL = 100_000


class LoadedFlow(NamedTuple):
    """A trained flow network and what it was trained on.

    network: on the CPU, in eval mode. schema: of the events (height and width of the training data's sensor).
    bins: steps in the 100 ms that a flow spans: 10 at 100 Hz; a step is ``INTERVAL / bins`` us. representation: of a
    step: "count", as ``event_count`` gives it, or "voxel".
    """

    network: FlowNetwork[Any]
    schema: Schema
    bins: int
    representation: str


def flow_entry(
    network: FlowNetwork[Any], *, schema: Schema, bins: int, representation: str = "count"
) -> dict[str, Any]:
    """Plain data that rebuilds the network: goes under ``checkpoint["eventflow"]``, beside ``"state_dict"``."""
    return {
        "format": FORMAT, "class_path": network.class_path, "init_args": network.init_args,
        "schema": schema.to_dict(), "bins": bins, "representation": representation,
    }  # fmt: skip


def save_flow(
    network: FlowNetwork[Any], path: str | Path, *, schema: Schema, bins: int, representation: str = "count"
) -> None:
    """A checkpoint without a trainer: weights and entry, written whole or not at all."""
    path = Path(path)
    state = {PREFIX + name: value for name, value in network.state_dict().items()}
    entry = flow_entry(network, schema=schema, bins=bins, representation=representation)
    part = path.with_name(path.name + ".part")
    torch.save({KEY: entry, "state_dict": state}, part)
    part.replace(path)


def load_flow(path: str | Path) -> LoadedFlow:
    """The network of a checkpoint written by ``eventflow fit`` or :func:`save_flow`.

    Nothing in the file is executed (``weights_only``).

    Raises:
        InputError: no such file, not a checkpoint, one of another kind of model, or weights that do not fit.
    """
    entry, weights = read_checkpoint(Path(path))
    return loaded(entry, weights, str(path))


def loaded(entry: Mapping[str, Any], weights: Mapping[str, Any], name: str) -> LoadedFlow:
    """The network of a checkpoint's entry and weights; ``name`` is the file's, for messages."""
    network = rebuild(entry, FlowNetwork)
    own = {key[len(PREFIX) :]: value for key, value in weights.items() if key.startswith(PREFIX)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"{name}: the weights do not fit {entry['class_path']}: {error}") from error
    return LoadedFlow(network.eval(), Schema.from_dict(entry["schema"]), int(entry["bins"]), entry["representation"])
