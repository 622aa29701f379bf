"""Sixteen numbers side by side as one numba value, so that a kernel says what is vectorised instead of hoping for it.

LLVM's auto-vectoriser gives up on short loops and on many arrays that might overlap; here ``v = load(x, i)`` is a
``<16 x float>`` (or double) in registers, ``fma(w, v, acc)`` one rounding, ``+ - * /`` act lane by lane, and a plain
number stands for sixteen equal ones. Nothing is contracted or reassociated: a lane's result is fixed by the source,
whatever its neighbours, the batch, or the machine's vector width. All functions are for use inside ``numba.njit``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.options import DefaultOptions
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
#: Options of every kernel. They allocate nothing, so arrays need no reference counts: passing a tuple of ten of them to
#: an inner function would otherwise cost twenty atomic operations, more than its arithmetic.
JIT: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    **({"_nrt": False} if hasattr(DefaultOptions, "_nrt") else {}),
}
_INT = ir.IntType(32)


def _emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """numba's ``intrinsic``: called in kernels without its first parameter."""
    return intrinsic(function)


class Lanes(types.Type):
    """The numba type of ``LANES`` float32 or float64 numbers."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        number = ir.FloatType() if lanes.dtype is types.float32 else ir.DoubleType()
        super().__init__(manager, lanes, ir.VectorType(number, LANES))


# -- memory -----------------------------------------------------------------------------------------------------------


@_emitted
def load(context: Any, array: Any, i: Any) -> Any:
    """The 16 elements of a C-contiguous array from flat index ``i`` on."""
    lanes = Lanes(array.dtype)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, values), align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), emit


@_emitted
def store(context: Any, array: Any, i: Any, value: Any) -> Any:
    """Write 16 elements of a C-contiguous array from flat index ``i`` on."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = _pointer(context, builder, signature, values)
        builder.store(values[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, Lanes(array.dtype)), emit


@_emitted
def stream(context: Any, array: Any, i: Any, value: Any) -> Any:
    """Like :func:`store`, past the caches: for what is read much later. The address must be a multiple of 64 bytes."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        written = builder.store(values[2], _pointer(context, builder, signature, values), align=64)
        written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_INT, 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, Lanes(array.dtype)), emit


@_emitted
def get(context: Any, array: Any, i: Any) -> Any:
    """The element of a C-contiguous array at flat index ``i``."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.load(builder.gep(pointer, [values[1]]))

    return array.dtype(array, types.intp), emit


@_emitted
def put(context: Any, array: Any, i: Any, value: Any) -> Any:
    """Write the element of a C-contiguous array at flat index ``i``."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, values[0]).data
        builder.store(values[2], builder.gep(pointer, [values[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), emit


def _pointer(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, values[0])
    vector = context.get_value_type(Lanes(signature.args[0].dtype))
    return builder.bitcast(builder.gep(array.data, [values[1]]), vector.as_pointer())


@_emitted
def _transpose(context: Any, source: Any, starts: Any, column: Any, target: Any, i: Any, step: Any) -> Any:
    """target[i + step c + r] = source[starts[r] + column + c] for r, c in 0..15 (flat indices)."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows = [builder.load(p, align=4) for p in _row_pointers(context, builder, signature, values)]
        pointers = _column_pointers(context, builder, signature.args[3], values[3:])
        for column, pointer in zip(_transposed(builder, rows), pointers, strict=True):
            builder.store(column, pointer, align=4)
        return context.get_dummy_value()

    return types.void(source, starts, types.intp, target, types.intp, types.intp), emit


@_emitted
def _untranspose(context: Any, target: Any, starts: Any, column: Any, source: Any, i: Any, step: Any) -> Any:
    """target[starts[r] + column + c] = source[i + step c + r] for r, c in 0..15 (flat indices)."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointers = _column_pointers(context, builder, signature.args[3], values[3:])
        rows = _transposed(builder, [builder.load(p, align=4) for p in pointers])
        for row, pointer in zip(rows, _row_pointers(context, builder, signature, values), strict=True):
            builder.store(row, pointer, align=4)
        return context.get_dummy_value()

    return types.void(target, starts, types.intp, source, types.intp, types.intp), emit


@nb.njit(**JIT)
def from_rows(source: Any, starts: Any, width: int, target: Any, i: int, step: int) -> None:
    """Rows into lanes: target[i + step c + r] = source[starts[r] + c] for c < width (flat indices)."""
    whole = width - width % LANES
    for column in range(0, whole, LANES):
        _transpose(source, starts, column, target, i + step * column, step)
    for column in range(whole, width):
        for r in range(LANES):
            put(target, i + step * column + r, get(source, starts[r] + column))


@nb.njit(**JIT)
def to_rows(target: Any, starts: Any, width: int, source: Any, i: int, step: int) -> None:
    """Lanes into rows: target[starts[r] + c] = source[i + step c + r] for c < width (flat indices)."""
    whole = width - width % LANES
    for column in range(0, whole, LANES):
        _untranspose(target, starts, column, source, i + step * column, step)
    for column in range(whole, width):
        for r in range(LANES):
            put(target, starts[r] + column, get(source, i + step * column + r))


def _row_pointers(context: Any, builder: Any, signature: Any, values: Any) -> list[Any]:
    """Addresses of 16 elements of each of 16 rows; the first operands are (array, starts, column)."""
    array = context.make_array(signature.args[0])(context, builder, values[0])
    starts = context.make_array(signature.args[1])(context, builder, values[1])
    vector = context.get_value_type(Lanes(signature.args[0].dtype)).as_pointer()
    base = builder.gep(array.data, [values[2]])
    indices = [builder.load(builder.gep(starts.data, [context.get_constant(types.intp, r)])) for r in range(LANES)]
    return [builder.bitcast(builder.gep(base, [index]), vector) for index in indices]


def _column_pointers(context: Any, builder: Any, kind: Any, values: Any) -> list[Any]:
    """Addresses of 16 Lanes of an array, (array, i, step): from flat index i on, ``step`` elements apart."""
    base = builder.gep(context.make_array(kind)(context, builder, values[0]).data, [values[1]])
    vector = context.get_value_type(Lanes(kind.dtype)).as_pointer()
    steps = [builder.mul(values[2], context.get_constant(types.intp, c)) for c in range(LANES)]
    return [builder.bitcast(builder.gep(base, [step]), vector) for step in steps]


def _transposed(builder: Any, vectors: list[Any]) -> list[Any]:
    """Four rounds of interleaving vector i with vector i + 8."""
    half = LANES // 2
    low = ir.Constant(ir.VectorType(_INT, LANES), [x for i in range(half) for x in (i, LANES + i)])
    high = ir.Constant(ir.VectorType(_INT, LANES), [x for i in range(half, LANES) for x in (i, LANES + i)])
    for _ in range(LANES.bit_length() - 1):
        pairs = [(vectors[i], vectors[i + half]) for i in range(half)]
        vectors = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in (low, high)]
    return vectors


# -- arithmetic -------------------------------------------------------------------------------------------------------


@_emitted
def splat(context: Any, number: Any) -> Any:
    """Sixteen copies of a number."""
    lanes = Lanes(number)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _spread(context, builder, lanes, values[0])

    return lanes(number), emit


@_emitted
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once; any of the three may be a plain number, not all."""
    lanes = _lanes_of(a, b, c)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = context.get_value_type(lanes)
        name = f"llvm.fma.v{LANES}f{lanes.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(function, _as_lanes(context, builder, lanes, signature, values))

    return lanes(*_accepted(lanes, a, b, c)), emit


@_emitted
def at_least(context: Any, x: Any, floor: Any) -> Any:
    """The larger of the two; NaN in ``x`` stays."""
    return _clipped("<", x, floor)


@_emitted
def at_most(context: Any, x: Any, ceiling: Any) -> Any:
    """The smaller of the two; NaN in ``x`` stays."""
    return _clipped(">", x, ceiling)


@_emitted
def where(context: Any, condition: Any, yes: Any, no: Any) -> Any:
    """``yes`` in lanes where ``condition`` (Lanes) is above zero, else ``no``."""
    lanes = condition

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        c, a, b = _as_lanes(context, builder, lanes, signature, values)
        return builder.select(builder.fcmp_ordered(">", c, _spread(context, builder, lanes, _zero(lanes))), a, b)

    return lanes(condition, *_accepted(lanes, yes, no)), emit


@_emitted
def absolute(context: Any, x: Any) -> Any:
    """|x|, lane by lane."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = context.get_value_type(x)
        name = f"llvm.fabs.v{LANES}f{x.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        return builder.call(function, values)

    return x(x), emit


@_emitted
def root(context: Any, x: Any) -> Any:
    """The square root, lane by lane, correctly rounded."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vector = context.get_value_type(x)
        name = f"llvm.sqrt.v{LANES}f{x.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), name)
        return builder.call(function, values)

    return x(x), emit


@_emitted
def power_of_two(context: Any, k: Any) -> Any:
    """2**k for whole k in the exponent's range: the integer is pushed into the exponent bits."""
    width, mantissa, bias = (32, 23, 127) if k.dtype is types.float32 else (64, 52, 1023)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        whole = ir.VectorType(ir.IntType(width), LANES)
        vector = values[0].type
        magic = ir.Constant(vector, [1.5 * 2.0**mantissa + bias] * LANES)  # then the low bits hold k + bias
        bits = builder.bitcast(builder.fadd(values[0], magic), whole)
        return builder.bitcast(builder.shl(bits, ir.Constant(whole, [mantissa] * LANES)), vector)

    return k(k), emit


@_emitted
def total(context: Any, x: Any) -> Any:
    """The sum of the sixteen lanes: halves are added four times."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value, width = values[0], LANES
        while width > 1:
            width //= 2
            mask = [i + width if i < width else i for i in range(LANES)]
            other = builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(_INT, LANES), mask))
            value = builder.fadd(value, other)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return x.dtype(x), emit


def _clipped(test: str, x: Any, bound: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        value, limit = _as_lanes(context, builder, x, signature, values)
        return builder.select(builder.fcmp_ordered(test, value, limit), limit, value)

    return x(*_accepted(x, x, bound)), emit


def _binary(name: str) -> Callable[..., Any]:
    @_emitted
    def operation(context: Any, a: Any, b: Any) -> Any:
        lanes = _lanes_of(a, b)

        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return getattr(builder, name)(*_as_lanes(context, builder, lanes, signature, values))

        return lanes(*_accepted(lanes, a, b)), emit

    return operation


def _register(operation: Any, name: str) -> None:
    emitted = _binary(name)

    @overload(operation)
    def lanewise(a, b):  # type: ignore[no-untyped-def]  # numba wants the annotations of both to agree
        if isinstance(a, Lanes) or isinstance(b, Lanes):
            return lambda a, b: emitted(a, b)
        return None


for _operation, _name in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _register(_operation, _name)


def _lanes_of(*given: Any) -> Lanes:
    return next(x for x in given if isinstance(x, Lanes))


def _accepted(lanes: Lanes, *given: Any) -> list[Any]:
    """Argument types: plain numbers are cast to the lanes' dtype."""
    return [x if isinstance(x, Lanes) else lanes.dtype for x in given]


def _as_lanes(context: Any, builder: Any, lanes: Lanes, signature: Any, values: Any) -> list[Any]:
    pairs = zip(signature.args, values, strict=True)
    return [v if isinstance(kind, Lanes) else _spread(context, builder, lanes, v) for kind, v in pairs]


def _spread(context: Any, builder: Any, lanes: Lanes, value: Any) -> Any:
    vector = context.get_value_type(lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INT, LANES), [0] * LANES))


def _zero(lanes: Lanes) -> Any:
    return ir.Constant(ir.FloatType() if lanes.dtype is types.float32 else ir.DoubleType(), 0.0)
