"""``batch_invariant()``: a context in which a row's numbers do not depend on which rows stand beside it.

A live model steps the keys that happen to have an event as one batch. Were its numbers to depend, in their last bits,
on the others in the batch, a resumed run could not repeat what the killed one wrote. Inside this context

* products (linear, matmul, mm, bmm, addmm, einsum of two operands, ...) and sums (sum, mean, softmax, logsumexp, norm,
  var, layer_norm, ...) go through :mod:`eventflow.ops.rowwise`;
* elementwise functions are checked on this machine when first used, and run on padded buffers where they must be;
* copies, indexing, comparisons and IEEE arithmetic pass;
* everything else is refused by name.

It does not see control flow: a loop that runs until *every* row has converged must freeze the rows that have. Nor does
it see inside compiled kernels. :func:`eventflow.testing.check_batch_invariant` tries the whole operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eventflow.errors import InputError
from eventflow.online import _routes as routes
from eventflow.online._elementwise import elementwise
from eventflow.online._invariant_names import ELEMENTWISE, EXACT, STRUCTURAL, VARIANT, plain
from eventflow.ops.rowwise import rowwise_linear
from eventflow.ops.rowwise.numba import Array, as_right, product

_KERNELS = (torch.float32, torch.float64)
Handler = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


def batch_invariant(module: object = None, *, allow: Iterable[str] = ()) -> TorchFunctionMode:
    """The context.

    Args:
        module: the model that will run; its weights are laid out for the kernels once (speed only).
        allow: further torch functions that you know to treat each row by itself.
    """
    parameters = module.parameters() if isinstance(module, nn.Module) else ()
    return _BatchInvariant({p.data_ptr(): p for p in parameters}, frozenset(allow))


class _BatchInvariant(TorchFunctionMode):
    def __init__(self, parameters: dict[int, nn.Parameter], allow: frozenset[str]) -> None:
        super().__init__()
        self._allow = allow
        self._handlers: dict[Any, Handler | None] = {}
        self._parameters = parameters
        self._laid_out: dict[tuple[Any, ...], tuple[int, Array, Array]] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        try:
            handler = self._handlers[func]
        except KeyError:
            handler = self._handlers[func] = self._resolve(func)
        if handler is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        return handler(func, args, kwargs or {})

    def _resolve(self, func: Any) -> Handler | None:
        """How to call ``func``: None is plainly."""
        name = func.__name__
        base = plain(name)
        if base in STRUCTURAL or name in STRUCTURAL or name in self._allow:
            return None
        inplace = name.endswith("_") and not name.endswith("__") or (name.startswith("__i") and base != name)
        if base in ("linear", "matmul", "mm") and name != "__rmatmul__":
            return self._linear if base == "linear" else self._matmul
        route = routes.ROUTES.get(name) or routes.ROUTES.get(base)
        if route is not None:
            handler: Handler = _routed(route)
        elif base in EXACT:
            handler = _exact
        elif base in ELEMENTWISE:
            handler = elementwise
        else:
            raise InputError(_refusal(name, base))
        return _written_back(handler, base) if inplace and handler is not _exact else handler

    def _linear(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._product(*args, **kwargs)

    def _product(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002
        if torch.is_grad_enabled() or input.dtype not in _KERNELS:
            return rowwise_linear(input, weight, bias)
        right, zero = self._right(weight, input.dtype)
        return product(input, right, zero if bias is None else bias.detach().numpy())

    def _matmul(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, b = args if len(args) == 2 else (args[0], next(iter(kwargs.values())))
        if b.dim() == 2 and a.dim() > 1 and a.dtype in _KERNELS and not torch.is_grad_enabled():
            return product(a, *self._right(b.t(), a.dtype))
        return _routed(routes.ROUTES["matmul"])(func, (a, b), {})

    def _right(self, weight: Tensor, dtype: torch.dtype) -> tuple[Array, Array]:
        """(weight (O, D) as the kernel reads it, zeros (O,)); a parameter's is kept until it is changed in place."""
        owner = self._parameters.get(weight.data_ptr())
        if owner is None or owner.is_inference():  # no version to tell a change by
            return _as_right(weight, dtype)
        key = (weight.data_ptr(), weight.shape, weight.stride(), dtype)
        held = self._laid_out.get(key)
        if held is None or held[0] != owner._version:
            held = self._laid_out[key] = (owner._version, *_as_right(weight, dtype))
        return held[1], held[2]


def _as_right(weight: Tensor, dtype: torch.dtype) -> tuple[Array, Array]:
    right = as_right(weight, dtype)
    return right, np.zeros(right.shape[1], right.dtype)


def _routed(route: Callable[..., Any]) -> Handler:
    def handler(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not any(_floating(a) for a in args):
            return func(*args, **kwargs)
        _refuse_complex(func, args)
        if kwargs.pop("out", None) is not None:
            raise InputError(f"batch_invariant: {func.__name__}(out=...); take its result instead")
        return route(*args, **kwargs)

    return handler


def _floating(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_floating_point() or value.is_complex()
    return isinstance(value, (list, tuple)) and any(_floating(v) for v in value)


def _exact(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _refuse_complex(func, args)
    if "alpha" in kwargs:  # a + alpha b may be one fused operation in vector code and two in scalar code
        kwargs = dict(kwargs)
        args = (args[0], args[1] * kwargs.pop("alpha"), *args[2:])
    return func(*args, **kwargs)


def _refuse_complex(func: Any, args: tuple[Any, ...]) -> None:
    for a in args[:2]:
        if isinstance(a, Tensor) and a.is_complex():
            raise InputError(f"batch_invariant: {func.__name__} of complex numbers; write it with their real parts")


def _written_back(handler: Handler, base: str) -> Handler:
    def inplace(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[0].copy_(handler(getattr(torch, base), args, kwargs))

    return inplace


def _refusal(name: str, base: str) -> str:
    if base in VARIANT:
        return f"batch_invariant: {name} depends on the whole batch; {VARIANT[base]}"
    return (
        f"batch_invariant: torch's {name} is not known to give a row the same bits in every batch. If each of its rows "
        f"depends on that row alone, write: batch_invariant(allow=[{name!r}]), and try it with "
        "eventflow.testing.check_batch_invariant"
    )
