"""EasyTPP's pickles: ``{"dim_process": K, "train": [[{"time_since_start": ..., "type_event": ...}, ...], ...]}``.

A pickle is a program. This one is run by an unpickler that knows containers, numbers and numpy's numbers and arrays,
and nothing else: every other global is refused by name before anything of it runs. numpy's own constructors are
replaced by small ones of ours (made anew for each file), since a forged dtype or array state given to the real ones
can corrupt memory.
"""

from __future__ import annotations

import copyreg
import pickle
from typing import IO, Any

import numpy as np

from eventflow.errors import InputError
from eventflow.events import Events
from eventflow.io._card import ALIASES
from eventflow.io._request import Request
from eventflow.io.easytpp import _easytpp
from eventflow.io.easytpp._easytpp import LISTS, Rows

_KINDS = "iufb"
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_FROMBUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


def read(request: Request) -> Events:
    """Events from the one split that the file holds."""
    request.report.format = "easytpp (pickle)"
    with request.path.open("rb") as file:
        data = safe_load(file, request)
    if not isinstance(data, dict):
        raise request.error(f"it holds a {type(data).__name__}; expected a dict with 'dim_process' and a split")
    sequences = _split(data, request)
    return _easytpp.from_rows(_rows(sequences, data.get("dim_process"), request), request)


def safe_load(file: IO[bytes], request: Request) -> Any:
    """The pickled value, made of containers, numbers and strings; arrays and numpy scalars become plain numpy values.

    Raises:
        InputError: naming the first global that is none of these, or if the pickle is broken.
    """
    copyreg.clear_extension_cache()  # extension codes could otherwise name classes that find_class never sees
    try:
        return _Unpickler(file, request).load()
    except InputError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise request.error(
            f"a broken pickle ({type(error).__name__}: {str(error)[:120]}); copy or download it again"
        ) from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], request: Request) -> None:
        super().__init__(file, encoding="latin1")
        self._request = request
        self._known = _stand_ins()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = self._known.get((module_name, global_name))
        if found is None:
            raise self._request.error(
                f"refused: this pickle asks for {module_name}.{global_name}. Only containers, numbers and numpy arrays "
                "are read, since anything else could run code. If you trust it, convert it to parquet yourself"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise self._request.error("refused: this pickle refers to objects outside itself")


def _stand_ins() -> dict[tuple[str, str], Any]:
    """(module, name) -> what is called in its place; new objects, so that a pickle can spoil none but its own."""
    dtype_class, array_class = _dtype_class(), _array_class()

    def reconstruct(*_: Any) -> Any:
        return array_class()

    def scalar(dtype: Any, data: Any = b"") -> Any:
        return np.frombuffer(_bytes(data), dtype.plain, count=1)[0].item()

    def frombuffer(data: Any, dtype: Any, shape: tuple[int, ...], order: str, *_: Any) -> Any:
        array = array_class()
        array.value = np.frombuffer(data, dtype.plain).reshape(shape, order="F" if order == "F" else "C").copy()
        return array

    def encode(text: str, *_: Any) -> bytes:
        return text.encode("latin1")

    def empty() -> bytes:  # protocols below 3 write b"" as a call
        return b""

    known: dict[tuple[str, str], Any] = {("numpy", "dtype"): dtype_class, ("numpy", "ndarray"): array_class}
    known |= {(module, "_reconstruct"): reconstruct for module in _ARRAY_MODULES}
    known |= {(module, "scalar"): scalar for module in _ARRAY_MODULES}
    known |= {(module, "_frombuffer"): frombuffer for module in _FROMBUFFER_MODULES}
    known[("_codecs", "encode")] = encode
    for module in ("builtins", "__builtin__"):
        known |= {(module, kind.__name__): kind for kind in (set, frozenset, complex)}
        known[(module, "bytes")] = empty
    return known


def _dtype_class() -> type:
    class Dtype:
        """``numpy.dtype(code, align, copy)``, then its state (version, byte order, ...)."""

        def __init__(self, code: str, *_: Any) -> None:
            self.code = code if isinstance(code, str) else str(code, "latin1")
            self.order = "="

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            order = state[1] if isinstance(state[1], str) else str(state[1], "latin1")
            if order not in "<>=|" or any(part is not None for part in state[2:5]):
                raise ValueError("a numpy dtype with fields or of an unknown byte order")
            self.order = order

        @property
        def plain(self) -> np.dtype[Any]:
            found = np.dtype(self.code).newbyteorder(self.order if self.order != "|" else "=")  # type: ignore[arg-type]
            if found.kind not in _KINDS or found.hasobject:
                raise ValueError(f"numpy values of dtype {found}; expected numbers")
            return found

    return Dtype


def _array_class() -> type:
    class Ndarray:
        """An array being made: empty, until its state (version, shape, dtype, Fortran order, bytes) comes."""

        value: Any = None

        def __setstate__(self, state: tuple[Any, ...]) -> None:
            _, shape, dtype, fortran, data = state
            flat = np.frombuffer(_bytes(data), dtype.plain)
            self.value = flat.reshape(shape, order="F" if fortran else "C").copy()

    return Ndarray


def _bytes(data: Any) -> bytes:
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _split(data: dict[Any, Any], request: Request) -> list[Any]:
    """The one split in the file, or the one that the file is named after."""
    names = [name for alias in ALIASES.values() for name in alias]
    filled = [name for name in names if isinstance(data.get(name), list) and data[name]]
    named = [name for name in filled if name == request.path.stem.lower()]
    if len(filled) == 1 or named:
        return data[(named or filled)[0]]
    if not filled:
        raise request.error(f"no sequences under {', '.join(names)}; it has the keys {', '.join(map(repr, data))}")
    raise request.error(
        f"it holds several splits: {', '.join(filled)}; name a copy of it {filled[0]}.pkl to read that one"
    )


def _rows(sequences: list[Any], num_marks: Any, request: Request) -> Rows:
    first = next((sequence[0] for sequence in sequences if isinstance(sequence, list) and sequence), None)
    if not isinstance(first, dict):
        raise request.error("no event in it; expected a list of sequences, each a list of events, each a dict")
    names = [name for name in LISTS if name in first]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    lengths = []
    for i, sequence in enumerate(sequences):
        if not isinstance(sequence, list):
            raise request.error(f"sequence {i} is a {type(sequence).__name__}; expected a list of events")
        lengths.append(len(sequence))
        for j, event in enumerate(sequence):
            for name in names:
                columns[name].append(_number(event, name, (i, j), request))
    lists = {name: np.array(values) for name, values in columns.items()}
    size = getattr(num_marks, "value", num_marks)
    scalars = {"dim_process": np.array([int(size)])} if isinstance(size, (int, float)) else {}
    return Rows(np.array(lengths, dtype=np.int64), lists, scalars)


def _number(event: Any, name: str, where: tuple[int, int], request: Request) -> Any:
    value = event.get(name) if isinstance(event, dict) else None
    held = getattr(value, "value", value)  # an array of one number, from numpy
    number = held.item() if isinstance(held, np.ndarray) and held.size == 1 else held
    if isinstance(number, float) or (type(number) is int and abs(number) < 2**63):
        return number
    raise request.error(f"event {where[1]} of sequence {where[0]}: {name!r} is {str(value)[:40]!r}; expected a number")
