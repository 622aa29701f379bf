"""Ask the memory for the events of the next block while this one is scattered, which leaves the memory idle.

A scatter waits for the grid, not for the events; without this, the loop that reads the next block waits for those.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

#: Events asked for at a time.
STEP = 32
_LINE = 64


def _ahead(typing: Any, columns: Any, first: Any) -> Any:
    """Ask for events ``first`` to ``first + STEP`` of a tuple of columns; harmless past their end."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        number, byte = ir.IntType(32), ir.PointerType(ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        for i, column in enumerate(columns):
            data = context.make_array(column)(context, builder, builder.extract_value(values[0], i)).data
            size = context.get_abi_sizeof(context.get_data_type(column.dtype))
            for k in range(0, STEP, _LINE // size):
                at = builder.add(values[1], ir.Constant(values[1].type, k))
                place = builder.bitcast(builder.gep(data, [at]), byte)
                # for reading, into every level of the cache, data
                builder.call(call, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(columns, types.intp), generate


#: numba's ``intrinsic``: ``ahead(columns, first)`` in kernels.
ahead: Any = intrinsic(_ahead)
