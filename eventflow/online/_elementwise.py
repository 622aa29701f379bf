"""Elementwise functions with the same bits wherever an element stands.

torch runs whole vectors of 4 to 16 elements through one routine and what is left over through another, whose last bits
may differ (sigmoid and softplus do on AVX-512): an element's number then depends on how many rows follow it. Each
function is tried on this machine when it is first used: if plain calls agree wherever an element stands they are made
plainly, else on a buffer padded to whole vectors; if that disagrees too, the function is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from eventflow.errors import InputError

#: Whole vectors of any instruction set, twice unrolled.
VECTORS = 64
#: torch splits an elementwise call over its threads above this many elements.
GRAIN = 32768

_chosen: dict[tuple[Any, ...], Callable[..., Tensor]] = {}


def elementwise(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``func(*args)``, an elementwise torch function, with the same bits for an element in any batch and layout."""
    if len(args) == 1 and not kwargs:
        key: tuple[Any, ...] = (func, args[0].dtype)
    else:  # an exponent, or a way of approximating, chooses other code
        dtype = next((a.dtype for a in args if isinstance(a, Tensor)), None)
        given = [*(args if "pow" in func.__name__ else ()), *kwargs.values()]
        key = (func, dtype, len(args), *(a for a in given if isinstance(a, (int, float, str))))
    way = _chosen.get(key)
    if kwargs and any(isinstance(value, Tensor) for value in kwargs.values()):
        raise InputError(f"batch_invariant: {func.__name__} with a tensor by keyword; pass it by position")
    if way is None:
        way = _chosen[key] = _choose(func, args, kwargs)
    return way(func, args, kwargs)


def direct(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The plain call."""
    return func(*args, **kwargs)


def padded(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The call on contiguous buffers whose length is a multiple of whole vectors (for every thread)."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    if len(tensors) > 1:
        tensors, args = _broadcast(tensors, args)
    shape, count = tensors[0].shape, tensors[0].numel()
    whole = VECTORS if count < GRAIN else VECTORS * torch.get_num_threads()
    spare = -count % whole
    if not spare:
        return func(*(a.contiguous() if isinstance(a, Tensor) else a for a in args), **kwargs)
    filled = (pad(a.reshape(-1), (0, spare)) if isinstance(a, Tensor) else a for a in args)
    return func(*filled, **kwargs)[:count].view(shape)


def _broadcast(tensors: list[Tensor], args: tuple[Any, ...]) -> tuple[list[Tensor], tuple[Any, ...]]:
    """The arguments with their tensors in one shape and, by torch's rules of promotion, one dtype."""
    dtype = tensors[0].dtype
    for other in tensors[1:]:
        dtype = torch.promote_types(dtype, torch.result_type(tensors[0], other))
    wide = [a.to(dtype) for a in torch.broadcast_tensors(*tensors)]
    return wide, _refilled(args, wide)


def _choose(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Tensor]:
    for way in (direct, padded):
        if _agrees(lambda *t, way=way: way(func, _refilled(args, t), kwargs), args):
            return way
    raise InputError(
        f"batch_invariant: torch's {func.__name__} gives an element other bits in another place of the batch on this "
        "machine, padded or not. Write it with exp, log, tanh and arithmetic"
    )


def _refilled(args: tuple[Any, ...], tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    fresh = iter(tensors)
    return tuple(next(fresh) if isinstance(a, Tensor) else a for a in args)


def _agrees(call: Callable[..., Tensor], args: tuple[Any, ...]) -> bool:
    """True if ``call`` gives an element the same bits alone, in runs of any length and offset, strided and folded.

    Strided input takes the scalar code throughout and contiguous input the vector code, so that 16384 elements of one
    against the other show routines that differ once in a thousand numbers.
    """
    draw = torch.Generator().manual_seed(0)
    x = [_spread(a, draw) for a in args if isinstance(a, Tensor)]
    whole = call(*(v.clone() for v in x))

    def same(result: Tensor, expected: Tensor) -> bool:
        return torch.equal(result.nan_to_num(), expected.nan_to_num())

    runs = [(a, a + n) for a in (0, 1, 5) for n in (1, 2, 3, 7, 9, 15, 17, 31, 33, 63, 65, 100, 257)]
    if not all(same(call(*(v[a:b].clone() for v in x)), whole[a:b]) for a, b in runs):
        return False
    if not all(same(call(*(v[i : i + 1].clone() for v in x)), whole[i : i + 1]) for i in range(64)):
        return False
    strided = call(*(torch.stack([v, v], 1)[:, 0] for v in x))
    folded = call(*(v[:256].view(16, 16).t() for v in x))
    many = call(*(v.repeat(5) for v in x))
    return same(strided, whole) and same(folded, whole[:256].view(16, 16).t()) and same(many, whole.repeat(5))


def _spread(like: Tensor, draw: torch.Generator) -> Tensor:
    """16384 numbers in [-4, 8), shrunk by up to 1e-6 and stretched by up to 10."""
    plain = torch.rand(16384, generator=draw, dtype=torch.float64) * 12 - 4
    scale = 10.0 ** (torch.rand(16384, generator=draw, dtype=torch.float64) * 7 - 6)
    return torch.where(torch.arange(16384) % 2 == 0, plain, plain * scale).to(like.dtype)
