"""Doors of the camera ops: numpy or torch in, the same out, whichever backend does the work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from eventflow.errors import InputError, did_you_mean
from eventflow.ops._columns import (
    Array,
    Columns,
    Window,
    checked,
    columns,
    first_fault,
    in_order,
    rectified,
    rectify_map,
    window,
)
from eventflow.ops._threads import in_threads

BACKENDS = ("auto", "numba", "torch", "naive")
#: Adds columns in a window to a grid: (columns, window, grid, interpolation, map, room=, ready=, stop=) -> faults.
Kernel = Callable[..., tuple[int, int, int]]


class Request(NamedTuple):
    """One call of an op that sums events into a grid."""

    op: str
    shape: tuple[int, ...]
    span: Any
    interpolation: str
    rectify: Any
    out: Any
    threads: int
    sub_pixel: str  # the interpolation that takes sub-pixel positions


def choose(op: str, name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InputError unless ``value`` is one of ``known``."""
    if value not in known:
        raise InputError(f"{op}({name}={value!r}): {did_you_mean(value, known)}")


def new_or_given(r: Request) -> Array:
    """Uninitialised memory for the grid, or the checked ``out``."""
    if r.out is None:
        return np.empty(r.shape, np.float32)
    if r.span is None:
        raise InputError(f"{r.op}(out=...) needs a fixed window. Write: {r.op}(..., span=(t0, t1), out=grid)")
    grid = to_numpy(r.out)
    if grid.shape != r.shape or grid.dtype != np.float32 or not grid.flags.c_contiguous:
        raise InputError(f"{r.op}: out is {grid.dtype} {grid.shape}; expected contiguous float32 {r.shape}")
    return grid


def by_definition(c: Columns, w: Window, grid: Array, r: Request, definition: Callable[..., Array]) -> None:
    """Fill ``grid`` by the definition."""
    c = checked(r.op, c, r.rectify, *r.shape[-2:])
    sums = definition(c, in_order(w, c.t), r.shape, r.interpolation)
    grid[:] = sums if r.out is None else grid + sums


def by_kernel(c: Columns, w: Window, grid: Array, r: Request, kernel: Kernel) -> None:
    """Fill ``grid`` by the compiled kernel; faults it meets become errors."""
    height, width = r.shape[-2:]
    table, whole = np.empty((0, 0, 2), np.float32), c.x.dtype == np.uint16
    if r.rectify is not None and (r.interpolation != r.sub_pixel or not whole):
        c, whole = rectified(r.op, c, r.rectify, height, width), False
    elif r.rectify is not None:
        table = rectify_map(r.op, r.rectify, height, width)
    if r.out is not None and (fault := first_fault(r.op, c, height, width)):
        raise fault  # before anything is added

    # taken here, for every thread: memory that a thread takes is new to the system each time
    rooms = [np.empty(2 * height * width, np.float32) for _ in range(max(r.threads, 1))]

    def add(w: Window) -> tuple[int, int, int]:
        kept, how = r.out is not None, (r.interpolation, table)
        if r.threads > 1:
            found = in_threads(
                c, w, grid, lambda part, k, **bins: kernel(part, w, grid, *how, room=rooms[k], **bins),
                threads=r.threads, cleared=kept, shared=r.op == "voxel_grid",
            )  # fmt: skip
            if found is not None:
                return found
        return kernel(c, w, grid, *how, room=rooms[0], ready=len(grid) if kept else 0, stop=len(grid))

    off, seen, outside = add(w)
    if w.closed and outside:  # not in time order: the first and the last event are not the ends
        off, seen, _ = add(in_order(w, c.t))
    if ((off and whole) or seen > 1) and (fault := first_fault(r.op, c, height, width)):
        raise fault


def by_torch(given: tuple[Any, ...], r: Request, run: Callable[..., Any]) -> Any:
    """The result of the torch path."""
    t, x, y, p = torch_columns(r.op, given, r.rectify, (r.shape[-2], r.shape[-1]))
    ends = torch_span(r.op, t, r.span)
    grid = run(t, x, y, p, shape=r.shape, span=ends, interpolation=r.interpolation)
    if r.out is None:
        return grid
    new_or_given(r._replace(out=r.out.detach().cpu() if is_tensor(r.out) else r.out))
    return r.out.add_(grid) if is_tensor(r.out) else np.add(r.out, grid.cpu().numpy(), out=r.out)


def is_tensor(v: Any) -> bool:
    """Whether ``v`` is a torch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(v, torch.Tensor)


def to_numpy(v: Any) -> Array:
    """A view of a CPU tensor, or the array itself."""
    return v.detach().numpy() if is_tensor(v) else np.asarray(v)


def like(result: Array, model: Any) -> Any:
    """``result`` as a tensor where ``model`` is one."""
    return sys.modules["torch"].from_numpy(result) if is_tensor(model) else result


def wants_torch(*given: Any, backend: str) -> bool:
    """Whether the torch path is to be taken."""
    if backend in ("numba", "naive"):
        return False
    tensors = [v for v in given if is_tensor(v)]
    return backend == "torch" or any(v.requires_grad or v.device.type != "cpu" for v in tensors)


def torch_columns(op: str, given: tuple[Any, ...], rectify: Any, size: tuple[int, int]) -> list[Any]:
    """t, x, y, p as tensors on one device, checked as the other paths check them."""
    import torch

    device = next((v.device for v in given if is_tensor(v)), torch.device("cpu"))
    t, x, y, p = (v if is_tensor(v) else torch.as_tensor(np.asarray(v)) for v in given)
    c = columns(op, *(v.detach().cpu().numpy() for v in (t, x, y, p)))
    c = checked(op, c, rectify, *size)
    t = t if t.is_floating_point() else torch.from_numpy(c.t.astype(np.int64))
    if rectify is not None:
        x, y = torch.from_numpy(c.x), torch.from_numpy(c.y)
    return [t.to(device), x.to(device), y.to(device), torch.from_numpy(c.p.copy()).to(device)]


def torch_span(op: str, t: Any, span: Any) -> Any:
    """The span as two tensors of t's dtype, or None."""
    if span is None:
        return None
    import torch

    if any(is_tensor(v) for v in span):
        return tuple(torch.as_tensor(v, device=t.device) for v in span)
    w = window(op, t.detach().cpu().numpy(), span)
    return tuple(torch.tensor(v, dtype=t.dtype, device=t.device) for v in span) if w.length else None
