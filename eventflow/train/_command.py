"""From the words of a command line to a run; Lightning is imported when they have been understood."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eventflow.errors import InputError
from eventflow.train._references import find_checkpoint, inline, run_folder

if TYPE_CHECKING:
    from eventflow.train._watch import Pass

#: Set while a run lasts, so that the processes it starts write into the same folder.
RUN_VARIABLE = "EVENTFLOW_RUN_FOLDER"

#: Warnings of libraries about each other, and about what we do on purpose.
_HARMLESS = (
    r".*isinstance\(treespec, LeafSpec\)",
    r"(?s).*was deprecated in v4\.49",
    r"(?s).*JSONARGPARSE_DEPRECATION_WARNINGS",
    r"Be aware that when using `ckpt_path`",
    r"Checkpoint directory .* exists and is not empty",
)


def command(name: str, argv: Sequence[str], *, watch: Callable[[Pass], bool] | None = None) -> None:
    """Run ``eventflow <name> <argv>``, name being fit, validate, test or predict.

    ``watch`` is told of every epoch of fit and of the pass of test; training ends where it answers True.

    Raises:
        InputError: the words, a file they name, or the data are wrong.
    """
    if "--help" in argv or "-h" in argv:
        from eventflow.train._help import page

        print(page(name), end="")
        return
    if "--help-all" in argv:
        words, sources = ["--help"], []
    else:
        words, sources = inline(_with_checkpoint(name, list(argv)))
    from eventflow.train._cli import TrainCLI

    with _quiet(), _own_folder():
        TrainCLI(name, words, sources, watch)


def _with_checkpoint(name: str, argv: list[str]) -> list[str]:
    """``--ckpt_path`` made a file; the configuration of its run put first, unless the words bring their own."""
    flags = [word.partition("=")[0] for word in argv]
    if "--ckpt_path" not in flags:
        if name != "fit":
            raise InputError(f"eventflow {name}: --ckpt_path is missing; a run folder, or a .ckpt file in one")
        return argv
    at = flags.index("--ckpt_path")
    _, has_value, value = argv[at].partition("=")
    if not has_value and at + 1 == len(argv):
        raise InputError("--ckpt_path: expected a run folder or a .ckpt file after it")
    path = find_checkpoint(value if has_value else argv[at + 1], resume=name == "fit")
    argv[at : at + (1 if has_value else 2)] = ["--ckpt_path", str(path)]
    folder = run_folder(path)
    own = any(flag in flags for flag in ("--config", "-c", "--data", "--model"))
    return argv if own or folder is None else ["--config", str(_last_config(folder)), *argv]


def _last_config(folder: Path) -> Path:
    """What the run was last asked for: config.yaml, or that of its latest resume."""
    resumed = list(folder.glob("config.resumed-*.yaml"))
    return max(resumed, key=lambda path: path.stat().st_mtime, default=folder / "config.yaml")


@contextmanager
def _own_folder() -> Iterator[None]:
    """Forget the run's folder at its end, unless it was inherited."""
    inherited = RUN_VARIABLE in os.environ
    try:
        yield
    finally:
        if not inherited:
            os.environ.pop(RUN_VARIABLE, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's tips and notices out of our output; its warnings stay."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for harmless in _HARMLESS:
                warnings.filterwarnings("ignore", message=harmless)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
