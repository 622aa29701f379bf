"""A wheel, installed into an empty environment outside the repository, brings datasets, models and configs along."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from eventflow._assets import ROOT
from eventflow.train._references import names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("dist")
    build = "from hatchling.build import build_wheel; import sys; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=ROOT, check=True, capture_output=True, timeout=120)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with nothing but the wheel; its dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    interpreter = folder / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(interpreter),
        "install",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # dependencies come last on the path, and without this environment's .pth files, which would find the checkout
    (own / "dependencies.pth").write_text(f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n")
    return interpreter


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "EVENTFLOW_DATA")}
    return subprocess.run(
        [str(python.with_name("eventflow")), *words], cwd=folder, env={**environment, "EVENTFLOW_DEBUG": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_it_holds_what_the_checkout_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "datasets", "models", "configs"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert tracked and {f"eventflow/_assets/{name}" for name in tracked} <= inside
    assert {"eventflow/py.typed", "eventflow/cli/__init__.py"} <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [name for name in inside if name.startswith(("datasets", "models", "configs", "tests"))]


def test_it_is_found_outside_the_repository(python: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [str(python), "-c", "import eventflow._assets as a; print(a.ROOT)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert where.endswith("eventflow/_assets") and not where.startswith(str(ROOT))


def test_its_catalogue_is_there(python: Path, tmp_path: Path) -> None:
    listed = run(python, tmp_path, "data", "list")
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in names("data"))


def test_it_trains_and_streams(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "fit", "--data", "hawkes", "--model", "poisson", "--config", "fast", "--out", "run")
    assert done.returncode == 0, done.stderr
    (tmp_path / "in.jsonl").write_text('{"key": "a", "t": 0.5, "mark": 1}\n')
    live = run(python, tmp_path, "stream", "--checkpoint", "run", "--source", "in.jsonl", "--sink", "out.jsonl")
    assert live.returncode == 0, live.stderr
    assert '"key": "a"' in (tmp_path / "out.jsonl").read_text()
