"""``--data taxi``, ``--model models/nhp``, ``--config fast``: names and folders become the YAML they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from eventflow._assets import ROOT
from eventflow.errors import InputError, did_you_mean

#: option -> (folder of the catalogue, file in a folder of its own)
_KINDS = {"data": ("datasets", "data.yaml"), "model": ("models", "model.yaml"), "config": ("configs", None)}
_FLAGS = {"--data": "data", "--model": "model", "--config": "config", "-c": "config"}


def resolve(kind: str, value: str) -> Path | None:
    """The YAML file that ``value`` stands for: a path from here, a path in the catalogue, or a bare name in it.

    None for what needs no file: a class path (``eventflow.train.EventData``), or a folder of data files.

    Raises:
        InputError: nothing of that name; the message has the nearest.
    """
    folder, file = _KINDS[kind]
    for path in (Path(value), ROOT / value, ROOT / folder / value):
        if file is not None and (path / file).is_file():
            return path / file
        for candidate in (path, path.with_name(path.name + ".yaml")):
            if candidate.is_file():
                return candidate
    if _is_class_path(value) or (kind == "data" and Path(value).is_dir()):
        return None
    if kind == "model" and Path(value).is_dir():
        raise InputError(f"--model {value}: the folder has no model.yaml, which says what to build")
    raise InputError(f"--{kind} {value}: no such file or folder, nor a name in {folder}/; {_nearest(kind, value)}")


def names(kind: str) -> list[str]:
    """The bare names that the catalogue knows for an option."""
    folder, file = _KINDS[kind]
    root = ROOT / folder
    if file is not None:
        return sorted(path.parent.name for path in root.glob(f"*/{file}"))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def known_as(class_name: str) -> str:
    """What run folders and reports call a model: its folder under models/ (AarenTPP: aaren_tpp), else the class."""
    own = class_name.lower()
    return next((name for name in names("model") if name.replace("_", "") == own), own)


def load_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file.

    Raises:
        InputError: not YAML, or not a mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys, seen {type(content).__name__}")
    return content


class Source(NamedTuple):
    """What a --data, --model or --config gave: which of them, where it stands, and the plain data."""

    kind: str
    name: str
    content: dict[str, Any]


def inline(argv: list[str]) -> tuple[list[str], list[Source]]:
    """``argv`` with every --data, --model and --config replaced by its content, and those contents in order."""
    out: list[str] = []
    sources: list[Source] = []
    words = iter(argv)
    for word in words:
        flag, has_value, value = word.partition("=")
        if flag not in _FLAGS:
            out.append(word)
            continue
        kind = _FLAGS[flag]
        if not has_value:
            value = next(words, "-")
            if value.startswith("-"):
                raise InputError(f"{flag}: expected a name or a path after it; known names: {', '.join(names(kind))}")
        sources.append(_read(kind, value))
        out += [f"--{kind}", json.dumps(sources[-1].content)]
    return out, sources


def _read(kind: str, value: str) -> Source:
    path = resolve(kind, value)
    if path is None and Path(value).is_dir():
        return Source(kind, f"--{kind}", {"class_path": "eventflow.train.EventData", "init_args": {"name": value}})
    if path is None:
        return Source(kind, f"--{kind}", {"class_path": value})
    content = load_yaml(path)
    for part in ("data", "model") if kind == "config" else ():
        if isinstance(content.get(part), str):
            try:
                content[part] = _read(part, content[part]).content
            except InputError as error:
                raise InputError(f"{path}: {str(error).removeprefix('--')}") from None
    return Source(kind, str(path), content)


def find_checkpoint(value: str, *, resume: bool, flag: str = "--ckpt_path") -> Path:
    """The checkpoint that ``--ckpt_path`` stands for: a file, or a run folder (its last one to resume, else its best).

    Raises:
        InputError: there is none.
    """
    path = Path(value)
    if path.is_file():
        return path
    for folder in (path / "checkpoints", path):
        for name in ("last.ckpt", "best.ckpt") if resume else ("best.ckpt", "last.ckpt"):
            if (folder / name).is_file():
                return folder / name
    runs = sorted(str(p) for p in Path("runs").glob("*") if p.is_dir())
    seen = "a folder without checkpoints" if path.is_dir() else "no such file or folder"
    raise InputError(f"{flag} {value}: {seen}; {did_you_mean(value, runs)}")


def run_folder(checkpoint: Path) -> Path | None:
    """The run folder a checkpoint lies in, if it lies in one."""
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        if (folder / "config.yaml").is_file():
            return folder
    return None


def _is_class_path(value: str) -> bool:
    parts = value.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts) and parts[-1] not in ("yaml", "yml", "json")


def _nearest(kind: str, value: str) -> str:
    return did_you_mean(Path(value).name, names(kind))
