"""The linear recurrence ``h[t] = a[t] * h[t-1] + b[t]``, with resets: one op under all the domains.

Axes: B sequences, T events, and any number of trailing axes D. ``naive.py`` is the definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

Array = TypeVar("Array", "Tensor", "NDArray[Any]")

BACKENDS = ("auto", "numba", "torch", "naive")


def scan(
    a: Array, b: Array, h0: Array | None = None, *, reset: Array | None = None, init: Array | None = None,
    backend: str = "auto",
) -> Array:  # fmt: skip
    """All the states of ``h[:, t] = a[:, t] * h[:, t-1] + b[:, t]``, in one pass, differentiable (twice, too).

    Real and complex; torch tensors or numpy arrays, and the result is of the same kind.

    Args:
        a: (B, T, *D) gates; missing trailing axes count as 1, so that ``a`` (B, T) gates whole vectors.
        b: (B, T, *D) inputs; a and b broadcast against each other.
        h0: (B, *D) the state before the first event; None is ``init``.
        reset: (B, T) bool; where True, a new sequence starts: ``h[:, t-1]`` is replaced by ``init``. What was before,
            NaN included, reaches neither values nor gradients after it.
        init: (B, *D) the state of a sequence before its first event; None is zeros, and ``a`` is then not looked at
            where ``reset`` is True.
        backend: "numba" (CPU; float32, float64, complex64, complex128), "torch" (any device: a parallel prefix scan),
            "naive" (the definition: a loop), or "auto" (numba where it can, else torch).

    Returns:
        (B, T, *D) states after each event.

    Raises:
        InputError: shapes that do not fit, a dtype that is neither floating nor complex, an unknown backend.

    Source: Blelloch, "Prefix sums and their applications", 1990, section 1.4 (the recurrence as a scan).
    """
    import torch

    if backend not in BACKENDS:
        raise InputError(f"scan(backend={backend!r}): {did_you_mean(backend, BACKENDS)}")
    given = [x for x in (a, b, h0, reset, init) if x is not None]
    if all(isinstance(x, np.ndarray) for x in given):
        tensors = [_to_tensor(x) for x in (a, b, h0, reset, init)]
        return _run(_align(*tensors), backend).numpy()  # type: ignore[arg-type]
    if not all(isinstance(x, torch.Tensor) for x in given):
        kinds = ", ".join(sorted({type(x).__name__ for x in given}))
        raise InputError(f"scan: got {kinds}; expected all torch tensors or all numpy arrays")
    return _run(_align(a, b, h0, reset, init), backend)  # type: ignore[arg-type]


class Operands(NamedTuple):
    """What every backend takes: one dtype, shapes equal but for the time axis, nothing left to broadcast."""

    a: Tensor  # (B, T, *D)
    b: Tensor  # (B, T, *D)
    h0: Tensor  # (B, *D)
    reset: Tensor | None  # (B, T) bool
    init: Tensor | None  # (B, *D)


def _run(operands: Operands, backend: str) -> Tensor:
    if backend == "auto":
        backend = "numba" if _numba_can(operands.b) else "torch"
    if backend == "numba":
        if not _numba_can(operands.b):
            raise InputError(
                f"scan(backend='numba'): {operands.b.dtype} on {operands.b.device}; expected float32, float64, "
                "complex64 or complex128 on the CPU. Write: backend='auto'"
            )
        from eventflow.ops.scan.numba import numba_scan as run
    elif backend == "torch":
        from eventflow.ops.scan.torch import torch_scan as run
    else:
        from eventflow.ops.scan.naive import naive_scan as run
    return run(*operands)


def _numba_can(x: Tensor) -> bool:
    import torch

    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64, torch.complex64, torch.complex128)


def _to_tensor(x: Any) -> Tensor | None:
    import torch

    return None if x is None else torch.from_numpy(np.require(x, requirements=["C", "W"]))


def _align(a: Tensor, b: Tensor, h0: Tensor | None, reset: Tensor | None, init: Tensor | None) -> Operands:
    """Broadcast, promote, and check; the first thing that does not fit is named."""
    import torch

    if a.dim() < 2 or b.dim() < 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"scan: a is {tuple(a.shape)}, b is {tuple(b.shape)}; expected (B, T, ...) with the same T")
    dtype = b.dtype
    for other in (a, h0, init):
        dtype = dtype if other is None or other.dtype == dtype else torch.promote_types(dtype, other.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        raise InputError(f"scan: a is {a.dtype}, b is {b.dtype}; expected floating or complex. Write: b.float()")
    shape = tuple(a.shape)
    if a.shape != b.shape:
        axes = max(a.dim(), b.dim())
        a, b = (x.reshape(x.shape + (1,) * (axes - x.dim())) for x in (a, b))
        if any(n != m and 1 not in (n, m) for n, m in zip(a.shape, b.shape, strict=True)):
            raise InputError(f"scan: a is {tuple(a.shape)}, b is {tuple(b.shape)}; they do not broadcast")
        shape = tuple(m if n == 1 else n for n, m in zip(a.shape, b.shape, strict=True))
    if reset is not None and (reset.dtype != torch.bool or reset.shape != shape[:2]):
        raise InputError(f"scan: reset is {reset.dtype} {tuple(reset.shape)}; expected bool (B, T) = {shape[:2]}")
    here = shape[:1] + shape[2:]
    first, name = (init, "init") if h0 is None else (h0, "h0")
    start = b.new_zeros(here, dtype=dtype) if first is None else _fit(first, here, dtype, name)
    again = None if init is None or reset is None else _fit(init, here, dtype, "init")
    return Operands(_fit(a, shape, dtype, "a"), _fit(b, shape, dtype, "b"), start, reset, again)


def _fit(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype, name: str) -> Tensor:
    """``x`` in ``dtype``, broadcast to ``shape``; missing trailing axes count as 1."""
    if x.dtype != dtype:
        x = x.to(dtype)
    if x.shape == shape:
        return x
    try:
        return x.reshape(x.shape + (1,) * (len(shape) - x.dim())).expand(shape)
    except RuntimeError:
        raise InputError(f"scan: {name} is {tuple(x.shape)}; expected (B, *D) = {shape}") from None
