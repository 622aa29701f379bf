"""The HuggingFace hub: its own library against a small server of its protocol, offline, and without the extra."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from eventflow.errors import InputError, MissingExtraError
from eventflow.events import Schema
from eventflow.io import LogColumns, load_dataset, load_hub
from eventflow.io.easytpp import _hub

ROW = {
    "dim_process": 10, "seq_idx": 0, "seq_len": 3, "time_since_start": [0.0, 1.5, 2.0],
    "time_since_last_event": [0.0, 1.5, 0.25], "type_event": [0, 9, 1],
}  # fmt: skip
FILES = {f"{name}.json": json.dumps([ROW] * n).encode() for name, n in (("train", 4), ("dev", 2), ("test", 1))}
COMMIT = "a" * 40
API = "/api/datasets/easytpp/taxi"


class Hub(BaseHTTPRequestHandler):
    """One dataset repository with three files; every other one does not exist."""

    def log_message(self, format: str, *args: Any) -> None:
        """Be quiet."""

    def answer(self) -> None:
        path = self.path.split("?")[0]
        name = path.rpartition("/")[2]
        files = [{"type": "file", "oid": _etag(f), "size": len(body), "path": f} for f, body in FILES.items()]
        if path == API or path.startswith(f"{API}/revision/"):
            about = {"_id": "1", "id": "easytpp/taxi", "sha": COMMIT, "downloads": 0, "likes": 0, "tags": []}
            about |= {"private": False, "gated": False, "disabled": False}
            about["siblings"] = [{"rfilename": f} for f in FILES]
            self.reply(200, json.dumps(about).encode())
        elif path == f"{API}/tree/{COMMIT}":
            self.reply(200, json.dumps(files).encode())
        elif path.startswith("/datasets/easytpp/taxi/resolve/") and name in FILES:
            self.reply(200, FILES[name], ETag=f'"{_etag(name)}"')
        else:
            self.reply(404, b"", **{"X-Error-Code": "EntryNotFound" if "easytpp/taxi" in path else "RepoNotFound"})

    def reply(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = answer


def _etag(name: str) -> str:
    return hashlib.sha1(FILES[name]).hexdigest()


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


SCRIPT = """
import json, warnings
from eventflow.errors import InputError
from eventflow.io import LogColumns, load_dataset, load_hub
out = {}
for split in ("train", "val", "test"):
    events = load_hub("easytpp/taxi", split=split)
    out[split] = [len(events), events.t.tolist()[:3], events.marks["mark"].tolist()[:3], events.schema.num_marks]
out["start"] = load_hub("easytpp/taxi", columns=LogColumns(time="time_since_start")).t.tolist()[:3]
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    parts = load_dataset("taxi")
out["unit"] = parts["val"].schema.unit
out["heard"] = [str(w.message) for w in heard]
try:
    load_hub("easytpp/nope")
except InputError as error:
    out["nope"] = str(error)
print("RESULT" + json.dumps(out))
"""


def run_script(script: str, tmp_path: Path, **env: str) -> dict[str, Any]:
    pytest.importorskip("datasets")
    drop = ("EVENTFLOW_DATA", "HF_HUB_OFFLINE", "HF_ENDPOINT", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    clean = {key: value for key, value in os.environ.items() if key not in drop}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**clean, "HF_HOME": str(tmp_path), **env}, capture_output=True, text=True,
        timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert "RESULT" in done.stdout, done.stderr
    return json.loads(done.stdout.partition("RESULT")[2])


def test_the_hubs_own_library_against_a_hub(hub: str, tmp_path: Path):
    out = run_script(SCRIPT, tmp_path, HF_ENDPOINT=hub)
    assert out["train"] == [4, [0.0, 1.5, 1.75], [0, 9, 1], 10]
    assert (out["val"][0], out["test"][0]) == (2, 1)
    assert out["start"] == [0.0, 1.5, 2.0]
    assert out["unit"] == "h"
    assert len(out["heard"]) == 3 and "easytpp/taxi (train) has 12 events" in out["heard"][0]
    assert "another release" in out["heard"][0]
    assert "'easytpp/nope' could not be loaded" in out["nope"] and "Check its name and the network" in out["nope"]


def test_the_hub_cannot_be_reached(tmp_path: Path):
    script = """
import json
from eventflow.errors import InputError
from eventflow.io import load_dataset
try:
    load_dataset("taxi")
except InputError as error:
    print("RESULT" + json.dumps({"error": str(error)}))
"""
    error = run_script(script, tmp_path, HF_HUB_OFFLINE="1")["error"]
    assert "EVENTFLOW_DATA is not set" in error and "export EVENTFLOW_DATA=" in error
    assert "could not be loaded from the HuggingFace hub" in error


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow\[hf\]'"):
        load_hub("easytpp/taxi")
    monkeypatch.delenv("EVENTFLOW_DATA", raising=False)
    with pytest.raises(InputError, match=r"export EVENTFLOW_DATA=(.|\n)*pip install 'eventflow\[hf\]'"):
        load_dataset("taxi")


class Arrow:
    """What ``datasets`` gives for one split, as far as we use it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def with_format(self, kind: str) -> Arrow:
        assert kind == "arrow"
        return self

    def __getitem__(self, index: slice) -> pa.Table:
        return self.table[index.start or 0 :]


def test_splits_layouts_and_schemas(monkeypatch: pytest.MonkeyPatch):
    good = Arrow(pa.Table.from_pylist([ROW]))
    monkeypatch.setattr(
        _hub, "_fetch", lambda name: {"train": good, "dev": good, "test": Arrow(pa.table({"text": ["a"]}))}
    )
    assert load_hub("a/b", split="val", schema=Schema(unit="h", num_marks=10)).schema.unit == "h"
    with pytest.raises(InputError, match="not in the EasyTPP layout: its columns are text"):
        load_hub("a/b", split="test")
    with pytest.raises(InputError, match="split 'vla'; did you mean 'val'"):
        load_hub("a/b", split="vla")
    with pytest.raises(InputError, match=r"hub:a/b/train: K=10|hub:a/b/train: the file says K=10"):
        load_hub("a/b", schema=Schema(num_marks=3))
    with pytest.raises(InputError, match="did you mean 'time_since_start'"):
        load_hub("a/b", columns=LogColumns(time="time_since_strat"))
    monkeypatch.setattr(_hub, "_fetch", lambda name: {"train": good})
    with pytest.raises(InputError, match="has no split 'test'; it has train"):
        load_hub("a/b", split="test")


def test_the_same_release_is_no_warning(monkeypatch: pytest.MonkeyPatch, data_root: Path):
    import pyarrow.parquet as pq

    tables = {n: Arrow(pq.read_table(data_root / f"easytpp/taxi/{n}.parquet")) for n in ("train", "dev", "test")}
    monkeypatch.setattr(_hub, "_fetch", lambda name: tables)
    local = load_dataset("taxi")
    monkeypatch.setenv("EVENTFLOW_DATA", str(data_root / "logs"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub = load_dataset("taxi")
    for split, events in local.items():
        assert events.t.tobytes() == hub[split].t.tobytes() and events.schema == hub[split].schema
