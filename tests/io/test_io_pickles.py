"""EasyTPP pickles through an unpickler that runs nothing: what must load loads, what must not is refused unrun."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.io import read_events, read_with_report
from eventflow.io._report import ReadReport
from eventflow.io._request import Request
from eventflow.io.easytpp._pickle import safe_load


def event(t: Any, dt: Any, k: Any) -> dict[str, Any]:
    return {"time_since_start": t, "time_since_last_event": dt, "type_event": k, "idx_event": 1}


SEQUENCES = [[event(0.0, 0.0, 2), event(1.5, 1.5, 0)], [event(0.0, 0.0, 1)]]


def save(path: Path, data: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(data, protocol))
    return path


def load(data: bytes) -> Any:
    return safe_load(io.BytesIO(data), Request(Path("x.pkl"), ReadReport(Path("x.pkl"))))


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(tmp_path: Path, protocol: int):
    path = save(tmp_path / "train.pkl", {"dim_process": 3, "train": SEQUENCES}, protocol)
    events, report = read_with_report(path)
    assert events.t.tolist() == [0.0, 1.5, 0.0] and events.marks["mark"].tolist() == [2, 0, 1]
    assert events.schema.num_marks == 3 and events.schema.given_first and report.format == "easytpp (pickle)"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int32, np.array])
def test_numpy_numbers(tmp_path: Path, protocol: int, kind: Any):
    sequences = [[event(kind(0), kind(0), np.int64(2)), event(kind(3), kind(3), np.int32(0))]]
    path = save(tmp_path / "dev.pkl", {"dim_process": np.int64(3), "dev": sequences}, protocol)
    events = read_events(path)
    assert events.t.tolist() == [0.0, 3.0] and events.schema.num_marks == 3


def test_old_pickles_of_python_2(tmp_path: Path):
    # protocol 0: {'dim_process': 2, 'test': [[{'type_event': 1, 'time_since_last_event': numpy.float64(2.0)}]]}
    text = (
        "(dp0\nS'dim_process'\np1\nI2\nsS'test'\np2\n(lp3\n(lp4\n(dp5\nS'type_event'\np6\nI1\nsS'time_since_last_event'\n"
        "p7\ncnumpy.core.multiarray\nscalar\np8\n(cnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNN"
        "I-1\nI-1\nI0\ntp14\nbS'\\x00\\x00\\x00\\x00\\x00\\x00\\x00@'\np15\ntp16\nRp17\nsaas."
    )
    path = tmp_path / "test.pkl"
    path.write_bytes(text.encode())
    events = read_events(path)
    assert events.t.tolist() == [2.0] and events.marks["mark"].tolist() == [1] and events.schema.num_marks == 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
        | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(inner, inner) | st.frozensets(st.integers(), max_size=3) | st.sets(st.integers(), max_size=3),
        max_leaves=8,
    ),
    st.integers(0, 5),
)  # fmt: skip
def test_plain_data_comes_back(value: Any, protocol: int):
    assert load(pickle.dumps(value, protocol)) == value


@given(st.sampled_from(["<f8", ">f8", "<f4", "<i8", ">i2", "|u1", "|b1"]), st.integers(2, 5), st.booleans())
def test_arrays_come_back(dtype: str, protocol: int, fortran: bool):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order="F" if fortran else "C")
    assert np.array_equal(load(pickle.dumps(array, protocol)).value, array)


class Payload:
    """Reduces to a call that would leave a trace."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def trace(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("where", ["whole", "nested", "key"])
def test_os_system_is_refused_before_it_runs(tmp_path: Path, protocol: int, where: str):
    payload: Any = Payload(os.system, f"touch {trace(tmp_path)}")
    data = {"whole": payload, "nested": {"dim_process": 3, "train": [SEQUENCES[0], [event(0.0, payload, 1)]]},
            "key": {"dim_process": 3, "train": SEQUENCES, "args": payload}}[where]  # fmt: skip
    path = save(tmp_path / "x.pkl", data, protocol)
    with pytest.raises(InputError, match=r"refused: this pickle asks for (posix|nt|os)\.system") as caught:
        read_events(path)
    assert str(path) in str(caught.value)
    assert not trace(tmp_path).exists()


def opcodes(module: str, name: str, argument: str = "") -> bytes:
    """GLOBAL module name; one string argument; call; stop."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"), ("builtins", "exec"), ("__builtin__", "getattr"), ("builtins", "__import__"),
        ("builtins", "open"), ("builtins", "bytearray"), ("builtins", "object"), ("builtins", "type"),
        ("os", "popen"), ("subprocess", "Popen"), ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"),
        ("copyreg", "add_extension"), ("functools", "partial"), ("operator", "attrgetter"),
        ("importlib", "import_module"), ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "memmap"),
        ("numpy", "f2py.diagnose.os.system"), ("numpy.testing._private.utils", "runstring"),
        ("numpy.core.multiarray", "fromfile"), ("numpy._core._methods", "_dump"), ("numpy.lib.npyio", "load"),
        ("numpy.distutils.exec_command", "exec_command"), ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy", "ndarray.tofile"), ("_codecs", "decode"), ("_codecs", "lookup"), ("pickle", "loads"),
        ("_pickle", "loads"), ("torch", "load"), ("__main__", "anything"),
        ("eventflow.io.easytpp._pickle", "safe_load"),
    ],
)  # fmt: skip
def test_every_other_global_is_named_and_refused(module: str, name: str):
    with pytest.raises(InputError, match="refused: this pickle asks for") as caught:
        load(opcodes(module, name))
    assert f"{module}.{name}" in str(caught.value)
    stacked = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(x)]) + x.encode() for x in (module, name)) + b"\x93."
    with pytest.raises(InputError, match="refused"):
        load(stacked)
    if "." not in name:  # INST, the opcode that looks up and calls in one
        with pytest.raises(InputError, match="refused"):
            load(f"(i{module}\n{name}\n.".encode())


def test_extension_codes_and_persistent_ids_are_refused():
    copyreg.add_extension("os", "system", 240)
    try:
        assert pickle.loads(b"\x80\x02\x82\xf0.") is os.system  # now it lies in pickle's cache
        with pytest.raises(InputError, match=r"refused: this pickle asks for os\.system"):
            load(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "system", 240)
        copyreg.clear_extension_cache()
    with pytest.raises(InputError, match="objects outside itself"):
        load(b"Panything\n.")


def dtype_pickle(code: str, state: Any, data: bytes) -> bytes:
    """``scalar(dtype(code) with state, data)``."""
    head = f"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'{code}'\nI0\nI1\ntR".encode()
    inner = pickle.dumps(state, 2)[2:-1] + b"b"
    return head + inner + b"U" + struct.pack("<B", len(data)) + data + b"tR."


@pytest.mark.parametrize(
    ("code", "state", "data"),
    [
        ("O8", (3, "|", None, None, None, -1, -1, 63), b"\x00" * 8),  # a pointer
        ("V8", (3, "|", None, ("a",), {"a": (1, 0)}, 8, 1, 0), b"\x00" * 8),  # forged fields
        ("f8", (3, "<", None, None, None, -1, -1, 0), b"\x00" * 3),  # too few bytes
        ("f8", (3, "X", None, None, None, -1, -1, 0), b"\x00" * 8),
        ("U4", (3, "<", None, None, None, 16, 4, 8), b"\x00" * 16),
        ("nonsense", (3, "<", None, None, None, -1, -1, 0), b"\x00" * 8),
    ],
)
def test_forged_numpy_values_are_refused(code: str, state: Any, data: bytes):
    with pytest.raises(InputError, match="broken pickle"):
        load(dtype_pickle(code, state, data))


def test_object_arrays_are_refused():
    with pytest.raises(InputError, match="broken pickle|refused"):
        load(pickle.dumps(np.array([{"a": 1}], dtype=object)))


def test_one_pickle_cannot_spoil_the_next():
    marked = load(b"cnumpy.core.multiarray\nscalar\n(N}S'spoilt'\nI1\nstb.")  # BUILD with slot state is setattr
    assert marked.spoilt == 1
    assert not hasattr(load(b"cnumpy.core.multiarray\nscalar\n."), "spoilt")
    with pytest.raises(InputError):
        load(b"cnumpy\ndtype\n(N}S'__setstate__'\nNstb.")
    assert load(pickle.dumps(np.float64(1.5))) == 1.5


@given(st.binary(max_size=60))
def test_noise_never_escapes_as_another_error(noise: bytes):
    try:
        load(noise)
    except InputError:
        pass


@given(st.data())
def test_damaged_pickles_never_escape_as_another_error(data: st.DataObject):
    whole = bytearray(pickle.dumps({"dim_process": np.int64(3), "train": SEQUENCES, "x": np.arange(3.0)}))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        load(bytes(whole))
    except InputError:
        pass


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([1, 2], "holds a list"),
        ({"dim_process": 3}, "no sequences under"),
        ({"dim_process": 3, "train": SEQUENCES, "dev": SEQUENCES}, "several splits: train, dev"),
        ({"dim_process": 3, "train": [[]]}, "no event in it"),
        ({"dim_process": 3, "train": [[event(0.0, 0.0, 1)], "x"]}, "sequence 1 is a str"),
        ({"dim_process": 3, "train": [[event(0.0, 0.0, 1), 5]]}, "event 1 of sequence 0"),
        ({"dim_process": 3, "train": [[event(0.0, "soon", 1)]]}, "'time_since_last_event' is 'soon'"),
        ({"dim_process": 3, "train": [[event(0.0, 0.0, 3)]]}, "mark 3.*K=3"),
        ({"dim_process": 3, "train": [[event(0.0, 0.0, 2**80)]]}, "expected a number"),
        ({"dim_process": 3, "train": [[event(0.0, float("nan"), 1)]]}, "time is nan"),
    ],
)
def test_pickles_that_are_no_event_log(tmp_path: Path, data: Any, message: str):
    with pytest.raises(InputError, match=message):
        read_events(save(tmp_path / "x.pkl", data))


def test_the_split_that_the_file_is_named_after(tmp_path: Path):
    both = {"dim_process": 3, "train": SEQUENCES, "dev": SEQUENCES[:1], "test": []}
    assert len(read_events(save(tmp_path / "dev.pkl", both))) == 1


def test_truncated_pickle(tmp_path: Path):
    path = tmp_path / "train.pkl"
    path.write_bytes(pickle.dumps({"dim_process": 3, "train": SEQUENCES})[:-9])
    with pytest.raises(InputError, match="broken pickle"):
        read_events(path)
