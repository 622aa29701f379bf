"""Comparisons that say which leaf of a state differs, by how much, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eventflow.nn import state_leaves

#: Relative and absolute tolerance of float64 and of float32.
TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-4, 1e-5)}


def same_tensor(what: str, seen: Tensor, expected: Tensor, *, exact: bool = False) -> None:
    """Raise AssertionError unless shapes, dtypes and values agree; NaN equals NaN."""
    if seen.shape != expected.shape or seen.dtype != expected.dtype:
        raise AssertionError(
            f"{what} is {seen.dtype} {tuple(seen.shape)}, expected {expected.dtype} {tuple(expected.shape)}"
        )
    if seen.is_floating_point() or seen.is_complex():
        rtol, atol = (0.0, 0.0) if exact else TOLERANCE.get(seen.real.dtype, (1e-2, 1e-2))
        bad = ~torch.isclose(seen, expected, rtol=rtol, atol=atol, equal_nan=True)
    else:
        bad = seen != expected
    if bad.any():
        i = tuple(bad.nonzero()[0].tolist())
        raise AssertionError(
            f"{what}: {int(bad.sum())} of {bad.numel()} values differ, first at {i}: {seen[i].item():.9g}, "
            f"expected {expected[i].item():.9g}"
        )


def same_state(what: str, seen: Any, expected: Any, *, exact: bool = False) -> None:
    """As :func:`same_tensor`, for every leaf of two states; the structure must agree too."""
    if type(seen) is not type(expected) or len(state_leaves(seen)) != len(state_leaves(expected)):
        raise AssertionError(f"{what} is a {type(seen).__name__}, expected a {type(expected).__name__}")
    for name, a, b in zip(leaf_names(expected), state_leaves(seen), state_leaves(expected), strict=True):
        same_tensor(f"{what}, leaf {name}", a, b, exact=exact)


def same_gradients(what: str, seen: Sequence[Tensor], expected: Sequence[Tensor], names: Sequence[str]) -> None:
    """Gradients by name; both must be finite."""
    for name, a, b in zip(names, seen, expected, strict=True):
        if not torch.isfinite(torch.view_as_real(a) if a.is_complex() else a).all():
            raise AssertionError(f"{what}: the gradient of {name} is not finite")
        same_tensor(f"{what}: the gradient of {name}", a, b)


def leaf_names(state: Any, prefix: str = "") -> list[str]:
    """Dotted names of a state's tensors, in the order of ``state_leaves``."""
    if isinstance(state, Tensor):
        return [prefix.removeprefix(".") or "0"]
    fields = getattr(state, "_fields", range(len(state)))
    return [name for field, part in zip(fields, state, strict=True) for name in leaf_names(part, f"{prefix}.{field}")]
