"""Which format a file has: from its content, then from its suffix."""

from __future__ import annotations

import difflib
import re
import zipfile
from pathlib import Path

from eventflow.errors import InputError, did_you_mean
from eventflow.io._foreign import foreign
from eventflow.io._packed import PackedError, head_of, only_member, packed_advice, packing
from eventflow.io.cameras import CAMERA_FORMATS, sniff_camera

#: format -> (suffixes, what it is, as error messages and ``--help`` tell it).
FORMATS: dict[str, tuple[tuple[str, ...], str]] = {
    "parquet": ((".parquet", ".pq"), "our own files, the EasyTPP layout, or a log with declared columns"),
    "easytpp": ((".json",), "EasyTPP's layout in JSON: one object a sequence, in a list or one a line"),
    "pkl": ((".pkl", ".pickle"), "EasyTPP's pickles, read by an unpickler that runs nothing"),
    "csv": ((".csv", ".tsv"), "a log with declared columns, one row an event"),
    "jsonl": ((".jsonl", ".ndjson"), 'a log, one JSON object a line: {"key": "user-7", "t": 12.5, "mark": 3}'),
    "xes": ((".xes", ".xes.gz"), "an XES event log of process mining"),
    "weblog": ((".log",), "a web server's access log, common or combined format"),
    **CAMERA_FORMATS,
}
_HEAD = 1 << 16
_LOG = (
    " If it is a log, one row an event under a line of names: format='csv', or on the command line: --format csv (and "
    "delimiter=..., where it is not the comma, semicolon, tab or bar)."
)
_TABLE = (
    " If it is a camera's, say its columns, those to pass over by any other word: read_events(..., columns='t x y p "
    "other'), or on the command line: --columns t x y p other."
)
_SEQUENCES = (
    " If each line is the times of one sequence, write EasyTPP's layout in JSON: a list of one {'time_since_start': "
    "[...], 'time_since_last_event': [...], 'type_event': [...], 'dim_process': K} a line."
)
_NUMBERS = re.compile(rb"[-+0-9.eE ]+$")
_ACCESS = re.compile(rb'^\S+ \S+ .*?\[\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "')
_EASYTPP = re.compile(rb'"(time_since_start|time_since_last_event)"\s*:')


def known_formats() -> str:
    """All formats, one a line, for error messages."""
    return "\n".join(f"  {name:11} {', '.join(suffixes):15} {what}" for name, (suffixes, what) in FORMATS.items())


def sniff(path: Path, *, ordered: bool = False) -> str:
    """The format of ``path``; an :class:`InputError` that lists the known ones if it is none of them.

    ``ordered``: it is known to be a camera's table, so that a text of any numbers is one.
    """
    if is_bag_folder(path):
        return "rosbag2"
    begin = _head(path)
    head, inside = _unpacked(path, begin)
    found = _from_content(head)
    if found in (None, "jsonl", "xes") and (said := foreign(head, path)):
        raise InputError(f"{path}: {said}")
    if head is not begin and found in (None, "parquet", "pkl") and (found or sniff_camera(head, path, packed=True)):
        raise InputError(f"{path}: {packed_advice(begin, path)}")
    found = found or sniff_camera(head, path)
    if found:
        return found
    if ordered and b"\0" not in head:
        return "text"
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", inside.lower())
    for known, (suffixes, _) in FORMATS.items():
        if name.endswith(suffixes) and known not in ("parquet", "xes", "easytpp"):
            return known
    raise InputError(
        f"{path}: its format is not known; it begins with {head[:24]!r}.{_advice(head)} "
        f"Known formats:\n{known_formats()}"
    )


def check_format(name: str) -> str:
    """``name``, or an error that names the nearest format."""
    if name not in FORMATS:
        raise InputError(
            f"format {name!r} is not known; {did_you_mean(name, FORMATS)}. Known formats:\n{known_formats()}"
        )
    return name


def check_readable(path: Path) -> None:
    """An error that says why, if ``path`` is no file that can be read, or is empty."""
    if not is_bag_folder(path):
        _head(path)


def is_bag_folder(path: Path) -> bool:
    """Whether this is a ROS 2 bag: a folder with its metadata."""
    return (path / "metadata.yaml").is_file()


def _head(path: Path) -> bytes:
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file. A folder with a card: load_dataset({str(path)!r})")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {_near(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes); expected events")
    return head


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"nor is there a folder {path.parent}"
    near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    return (
        f"did you mean {path.parent / near[0]}?" if near else f"the folder {path.parent} has no file of a similar name"
    )


def _unpacked(path: Path, begin: bytes) -> tuple[bytes, str]:
    """(The first bytes of what is in a file, its name there); of one that is not packed, and of numpy's and other
    programs' archives, those of the file itself."""
    kind = packing(begin)
    if kind is None:
        return begin, path.name
    try:
        if kind[0] != "zip":
            return head_of(path), path.name
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if foreign(begin, path) or all(name.endswith(".npy") for name in names):
                return begin, path.name
            return head_of(path), only_member(archive).filename
    except PackedError as error:
        raise InputError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, OSError):
        return begin, path.name


def _advice(head: bytes) -> str:
    """What to write if it is a text after all."""
    if b"\0" in head:
        return ""
    lines = re.split(rb"[\r\n]+", head.replace(b",", b" "))[:-1]
    rows = [line.split() for line in lines if line.strip() and line[:1] not in b"#%"]
    if rows and all(_NUMBERS.match(b" ".join(row)) for row in rows):
        widths = set(map(len, rows))
        if len(widths) > 1:
            return _SEQUENCES
        if min(widths) >= 4:
            return _TABLE
    return _LOG


def _from_content(head: bytes) -> str | None:
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "pkl"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "ignore").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"<" and re.search(rb"<(\w+:)?log[\s>]", text):
        return "xes"
    if text[:1] in (b"{", b"["):
        first = text[: text.find(b"}") + 1 or len(text)]
        if _EASYTPP.search(first):
            return "easytpp"
        return "jsonl" if re.match(rb"[\[\s]*\{", text) else None
    if any(_ACCESS.match(line) for line in text.splitlines()[:5]):
        return "weblog"
    return None
