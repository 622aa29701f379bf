"""The README's commands work as they stand, and its numbers are those of the results files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eventflow import __version__
from eventflow._assets import ROOT
from eventflow.bench._results_table import readme_with_table

README = ROOT / "README.md"
FENCES = re.findall(r"^```(bash|python) run\n(.*?)^```$", README.read_text(encoding="utf-8"), re.S | re.M)


def test_there_is_something_to_run() -> None:
    assert {language for language, _ in FENCES} == {"bash", "python"}


@pytest.mark.slow
def test_its_commands_run_one_after_the_other(tmp_path: Path) -> None:
    """As a reader would type them, in an empty folder; a fence may use what one before it left."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    for language, text in FENCES:
        command = ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_its_table_is_made_of_the_results_files() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == readme_with_table(text), "write: eventflow bench results --readme README.md"


def test_the_change_log_begins_with_this_version() -> None:
    change_log = README.read_text(encoding="utf-8").partition("## Change log")[2]
    assert re.findall(r"^### (\S+)", change_log, re.M)[0] == __version__


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8"))
    assert targets and not [target for target in targets if not (ROOT / target).exists()]
