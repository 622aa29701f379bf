"""Softmax attention in which every query sees a run of the keys of one sequence::

    out[n, r] = sum_j f_j value[of[n], j] / (rest + sum_j f_j),   f_j = exp(query[n, r] . key[of[n], j] / sqrt(d))

over first[n, r] <= j < stop[n, r], head by head; zeros where a query sees nothing. ``rest`` is 0 or 1: with 1 a query
need not attend to anything (Yang, Mei & Eisner 2022, arXiv:2201.00044, eq. 5).

Axes: N rows of R queries, B sequences of S keys, d channels a head; query and out (N, R, heads, d), key and value
(B, S, heads, d), first and stop (N or 1, R or 1), of (N,) or None where N = B, row by row. Keys and values must be
finite, those that nobody sees too. Many rows may look back on one sequence: nothing is copied for each of them.

``backend``: "naive" is the definition; "torch" is torch's own attention under a mask, for any device; "numba" the
compiled path for the CPU (float32 and float64, first derivatives only), which holds no weights; "auto" takes "numba"
on the CPU and "torch" elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventflow.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor


class Seen(NamedTuple):
    """Who sees what: the run of keys first <= j < stop (int64, (N or 1, R or 1)), of sequence ``of`` (int64, N)."""

    first: Tensor
    stop: Tensor
    of: Tensor | None = None


def attention(
    query: Tensor, key: Tensor, value: Tensor, seen: Seen, *, rest: bool = False, backend: str = "auto"
) -> Tensor:
    """(N, R, heads, d), as defined above."""
    _check(query, key, value, seen)
    return _module(backend, query).attention(query, key, value, seen, rest)


def attention_and_total(
    query: Tensor, key: Tensor, value: Tensor, seen: Seen, *, rest: bool = False, backend: str = "auto"
) -> tuple[Tensor, Tensor]:
    """:func:`attention`, and log(rest + sum_j f_j) (N, R, heads), -inf where that is 0: two runs make one with
    :func:`joined`. "numba" gives no gradients; "auto" takes the definition where they are taken."""
    import torch

    _check(query, key, value, seen)
    backend = "naive" if backend == "auto" and torch.is_grad_enabled() else backend
    chosen = _module(backend, query)
    if not hasattr(chosen, "attention_and_total"):
        from eventflow.ops.attention import naive as chosen
    return chosen.attention_and_total(query, key, value, seen, rest)


def joined(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """(N, R, heads, d) attention to what either of two saw, of which each is (out, log of its total)."""
    import torch

    total = torch.logaddexp(first[1], second[1])
    total = torch.where(total > -torch.inf, total, 0)
    return sum(out * (own - total).exp()[..., None] for out, own in (first, second))  # type: ignore[return-value]


def _check(query: Tensor, key: Tensor, value: Tensor, seen: Seen) -> None:
    if query.dim() != 4 or key.dim() != 4 or key.shape != value.shape or query.shape[2:] != key.shape[2:]:
        raise InputError(
            f"attention: query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}; expected "
            "(N, R, heads, d), (B, S, heads, d) and (B, S, heads, d)"
        )
    if any(x.dim() != 2 or x.shape[i] not in (1, query.shape[i]) for x in seen[:2] for i in (0, 1)):
        raise InputError(
            f"attention: first {tuple(seen.first.shape)}, stop {tuple(seen.stop.shape)}; expected (N or 1, R or 1) "
            f"with (N, R)={tuple(query.shape[:2])}"
        )
    if (len(key) if seen.of is None else len(seen.of)) != len(query):
        raise InputError(f"attention: {len(query)} rows of queries and of={seen.of}; expected the sequence of each row")


def self_attention(packed: Tensor, seen: Seen, *, backend: str = "auto") -> Tensor:
    """The same of packed (B, S, 3, heads, d) queries, keys and values of one projection: (B, S, heads, d)."""
    module = _module(backend, packed)
    if hasattr(module, "self_attention"):
        return module.self_attention(packed, seen)
    query, key, value = packed.unbind(2)
    return attention(query, key, value, seen, backend=backend)


def _module(backend: str, like: Tensor) -> Any:
    import torch

    if backend == "auto":
        compiled = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
        backend = "numba" if compiled else "torch"
    if backend == "numba":
        from eventflow.ops.attention import numba as chosen
    elif backend == "torch":
        from eventflow.ops.attention import torch as chosen
    elif backend == "naive":
        from eventflow.ops.attention import naive as chosen
    else:
        known = ["auto", "numba", "torch", "naive"]
        raise InputError(f"attention(backend={backend!r}): {did_you_mean(backend, known)}")
    return chosen
