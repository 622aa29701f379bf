"""Files that are not read, told apart so that the error can say how to make one of them that is."""

from __future__ import annotations

import re
import sqlite3
import zipfile
from pathlib import Path

_SHEET = "an Excel sheet. Save it as CSV, or write: pandas.read_excel(FILE).to_csv('log.csv', index=False)"
_R = "R's data. Write in R: {}, then write.csv(as.data.frame(LOG), 'log.csv', row.names = FALSE)"
_ARROW = "{}. Write: pyarrow.parquet.write_table(pyarrow.{}.read_table(FILE), 'log.parquet')"
#: What a file begins with (or a packed one's content) -> what it is, and what to write.
_BEGINNINGS = {
    b"MATLAB 5.0": "a MATLAB file, which is not read. Write in Python: m = scipy.io.loadmat(FILE); numpy.savez("
    "'rec.npz', t=m['ts'], x=m['x'], y=m['y'], p=m['pol']), with the names that m has; or in MATLAB: writematrix("
    "[t x y p], 'rec.txt', 'Delimiter', 'space')",
    b"version https://git-lfs.github.com/spec/": "a pointer of Git LFS, not the file itself. Write: git lfs pull",
    b"RDX2": _R.format("load(FILE)"), b"RDX3": _R.format("load(FILE)"), b"X\n\0\0\0": _R.format("LOG <- readRDS(FILE)"),
    b"ARROW1": _ARROW.format("an Arrow (Feather) file", "feather"), b"ORC": _ARROW.format("an ORC file", "orc"),
    b"Obj\x01": "an Avro file. Write its records as one JSON object a line, log.jsonl",
    b"\xd0\xcf\x11\xe0": _SHEET,
}  # fmt: skip
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)
_TORCH = (
    "a file of torch.save. Write EasyTPP's layout in JSON of what torch.load gives: a list of one "
    "{'time_since_start': [...], 'time_since_last_event': [...], 'type_event': [...], 'dim_process': K} a sequence"
)
_FIELDS = (
    "a log in W3C's extended format (IIS). Write: grep -v '^#[^F]' FILE | sed 's/^#Fields: //' > log.csv; read it by "
    "LogColumns(delimiter=' ', time='date+time', key='c-ip', mark='cs-method+sc-status')"
)
_OBJECT_CENTRIC = (
    "an object-centric log (OCEL), in which an event belongs to several cases. Choose one type of object, and write: "
    "pm4py.write_xes(pm4py.ocel_flattening(pm4py.read_ocel(FILE), 'TYPE'), 'log.xes')"
)


def foreign(head: bytes, path: Path) -> str | None:
    """What a file that begins so is, if it is one that is known not to be read; ``head`` is unpacked, but for zip."""
    for magic, said in _BEGINNINGS.items():
        if head.startswith(magic):
            return said
    if head[257:262] == b"ustar":
        name = head[: head.find(b"\0")].decode("utf-8", "replace")
        return f"a tar archive, of {name} first. Write: tar -xf {path.name}"
    if head.startswith(b"#") and b"\n#Fields: " in head[:4096]:
        return _FIELDS
    if _PAGE.match(head):
        return "a page of the web (HTML), not data: the download may have asked for a login; download the file itself"
    if head.startswith(b"SQLite format 3\0") and path.suffix.lower() != ".db3":
        return _database(path)
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if b'"ocel:events"' in head or b'"ocel:global-' in head or b"<log" in head and b"ocel" in head[:2000]:
        return _OBJECT_CENTRIC
    if b'"eventTypes"' in head and b'"objectTypes"' in head or b"<object-types>" in head:
        return _OBJECT_CENTRIC
    return None


def _database(path: Path) -> str | None:
    """An SQLite database that is no bag of ROS 2."""
    try:
        link = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            rows = link.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        finally:
            link.close()
    except sqlite3.Error:
        return None
    tables = [row[0] for row in rows]
    if {"topics", "messages"} <= set(tables):
        return None
    shown = ", ".join(tables[:8]) + (", ..." if len(tables) > 8 else "")
    return (
        f"an SQLite database with the tables {shown or '(none)'}; no bag of ROS 2, which has topics and messages. "
        f"Write: sqlite3 -header -csv {path.name} 'SELECT * FROM TABLE' > log.csv"
    )


def _archive(path: Path) -> str | None:
    """A zip archive that is a program's file."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return None
    if "[Content_Types].xml" in names:
        return _SHEET
    return _TORCH if any(name.endswith("data.pkl") for name in names) else None
