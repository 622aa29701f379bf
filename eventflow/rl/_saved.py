"""What an agent or a learner keeps: one npz of plain data and arrays."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.ops.streamx import Array


def write_saved(path: Path, meta: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, meta=np.array(json.dumps(meta)), **arrays)
    os.replace(part, path)


def read_saved(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Plain data and arrays of :func:`write_saved`.

    Raises:
        InputError: no such file, cut off, or not of the class named ``kind``.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; expected one that {kind}.save wrote")
    try:
        with np.load(path, allow_pickle=False) as file:
            meta, arrays = json.loads(str(file["meta"])), {k: file[k] for k in file.files if k != "meta"}
        made = meta["class"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a saved {kind}, or a part of one. Expected: what {kind}.save wrote") from None
    if made != kind:
        raise InputError(f"{path}: holds a {made}. Write: {made}.load({str(path)!r})")
    return meta, arrays
