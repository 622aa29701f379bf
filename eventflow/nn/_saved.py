"""The file that a trained model is kept in: weights, and under one key the plain data that rebuilds it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from eventflow.errors import InputError

#: The key in a checkpoint, and the version of what lies under it.
KEY, FORMAT = "eventflow", 1
#: Where a LightningModule keeps the model.
PREFIX = "model."


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(entry, weights) of a checkpoint; nothing in the file is executed (``weights_only``).

    Raises:
        InputError: no such file, not a checkpoint, or one of another program or version.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint. Write one with: eventflow fit --data ... --model ...")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError, zipfile.BadZipFile, KeyError) as error:
        first = (str(error).splitlines() or [""])[0].partition(". In PyTorch")[0] or type(error).__name__
        raise InputError(f"{path} is not a checkpoint, or is truncated ({first})") from error
    if not isinstance(content, dict) or KEY not in content or "state_dict" not in content:
        raise InputError(f"{path}: a torch file, but not one of eventflow's: it has no {KEY!r} entry")
    entry = content[KEY]
    if entry.get("format") != FORMAT:
        raise InputError(f"{path}: checkpoint format {entry.get('format')!r}; this version reads {FORMAT}")
    return entry, content["state_dict"]
