"""``eventflow stream --learner``: an operator that learns as it goes, from a YAML file; nothing is trained before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventflow._assets import ROOT
from eventflow.errors import InputError, did_you_mean
from eventflow.events import Schema
from eventflow.online import Operator
from eventflow.train._keys import import_class
from eventflow.train._references import load_yaml

#: In a folder of models/.
FILE = "learner.yaml"
_KEYS = ("class_path", "init_args", "schema")


def load_learner(value: str) -> tuple[Operator, Schema]:
    """The operator of a learner.yaml (or of a folder, or a name in models/, that has one), and its events' schema.

    Raises:
        InputError: there is none, a key is unknown, or what it names is no operator.
    """
    path = _find(value)
    content = load_yaml(path)
    for key in content:
        if key not in _KEYS:
            raise InputError(f"{path}: unknown key {key!r}; {did_you_mean(str(key), _KEYS)}")
    if "class_path" not in content:
        raise InputError(f"{path}: no class_path. Write: class_path: eventflow.rl.EventGVFs")
    kind = import_class(content["class_path"], str(path))
    args: dict[str, Any] = content.get("init_args") or {}
    try:
        operator = kind(**args)
    except TypeError as error:
        raise InputError(f"{path}: {content['class_path']} does not take these arguments: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(operator, Operator):
        raise InputError(f"{path}: {content['class_path']} is no operator: it has no init and observe")
    stated = {"num_marks": getattr(operator, "num_marks", None), **(content.get("schema") or {})}
    return operator, Schema.from_dict(stated)


def _find(value: str) -> Path:
    for path in (Path(value), ROOT / value, ROOT / "models" / value):
        if (path / FILE).is_file():
            return path / FILE
        if path.is_file():
            return path
    known = sorted(path.parent.name for path in (ROOT / "models").glob(f"*/{FILE}"))
    raise InputError(f"--learner {value}: no such file, nor a folder with a {FILE}; {did_you_mean(value, known)}")
