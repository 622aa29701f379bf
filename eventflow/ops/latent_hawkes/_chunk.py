"""A few gaps, all their nodes, up through the layers and down again: products by BLAS, ``_kernels`` between them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from eventflow.ops.latent_hawkes import _entry

#: Rows (gaps times nodes) that are worked on at once: what four layers of 128 keep of them fits into the caches.
ROWS = 1024


class Weights(NamedTuple):
    """A layer as the kernels and the products want it, or the sums of its gradients; in a first layer the last three
    are of size 0."""

    rates: Tensor  # (2, P)
    out: Tensor  # (2P, H), the transpose of weight_out
    inner: Tensor  # (2P, H)
    bias: Tensor  # (2P,)
    vectors: Tensor  # (4, H)


class Room(NamedTuple):
    """What one layer keeps of a chunk of rows."""

    x: Tensor  # (R, 2P)
    turn: Tensor  # (R, 2P)
    held: Tensor  # (R, 2P)
    y: Tensor  # (R, H)
    signal: Tensor  # (R, H)
    scale: Tensor  # (R,)


class Rows(NamedTuple):
    """What is given of the gaps of a chunk, for each layer: x (N, 2P), step (N, P), hold (N, 2P), keep (N, H)."""

    x: Tensor
    step: Tensor
    hold: Tensor
    keep: Tensor


@lru_cache(maxsize=8)
def _rooms(_thread: int, layers: int, rows: int, states: int, hidden: int, dtype: torch.dtype) -> Any:
    wide = 2 * states
    sizes = ((rows, wide), (rows, wide), (rows, wide), (rows, hidden), (rows, hidden), (rows,))
    with torch.inference_mode(False):  # what is made within could not be written to outside of it
        kept = [Room(*(torch.zeros(size, dtype=dtype) for size in sizes)) for _ in range(layers)]
        return kept, [torch.zeros(rows, n, dtype=dtype) for n in (wide, hidden, hidden, hidden)]


class Worker:
    """Memory, kept from call to call, and the weights of one call; ``sums`` are the weights' gradients.

    Args:
        layers: the weights.
        head: weight (K, H), bias, log_scale.
        rule: nodes and weights (J,).
        states: P.
    """

    def __init__(self, layers: list[Weights], head: list[Tensor], rule: tuple[Tensor, Tensor], states: int) -> None:
        self.layers, self.head, self.nodes, self.weights = layers, head, *rule
        self.each = max(ROWS // len(self.nodes), 1)  # gaps
        rows, hidden, dtype = self.each * len(self.nodes), layers[0].out.shape[1], layers[0].out.dtype
        self.rooms, self.spare = _rooms(get_ident(), len(layers), rows, states, hidden, dtype)
        self.none = torch.empty(0, 0, dtype=dtype)
        self.sums = [Weights(*(torch.zeros_like(part) for part in layer)) for layer in layers]
        self.d_head = [torch.zeros_like(part) for part in head]
        self.inner_t = [layer.inner.t().contiguous() for layer in layers]
        self.out_t = [layer.out.t().contiguous() for layer in layers]

    def forward(self, gaps: list[Rows], dt: Tensor) -> Tensor:
        """(N, J) total intensities."""
        time, rows = arrays([dt, self.nodes]), len(dt) * len(self.nodes)
        below = self.none
        for i, (layer, gap) in enumerate(zip(self.layers, gaps, strict=True)):
            room = self._room(i, rows)
            held = self._held(i, gap, room)
            if held[0] is room.held:
                torch.mm(below, self.inner_t[i], out=room.held)
            inputs = arrays([gap.x, gap.step]), arrays(held), *arrays([layer.rates])
            _entry.move(*inputs, time, arrays([room.x, room.turn]))
            torch.mm(room.x, layer.out, out=room.y)
            _entry.signal(*arrays([room.y, below, gap.keep, layer.vectors, room.signal, room.scale]))
            below = room.signal
        weight, bias, log_scale = self.head
        self.scaled = torch.addmm(bias, below, weight.t()) / log_scale.exp()
        self.lam = functional.softplus(self.scaled, threshold=40.0) * log_scale.exp()
        return self.lam.sum(1).view(len(dt), -1)

    def backward(self, above: Tensor, gaps: list[Rows], dt: Tensor, out: tuple[Tensor, ...]) -> None:
        """From the gradient of what ``forward`` said (N, J), to ``sums``, ``d_head`` and ``out``.

        ``out``: gradients of dt (N,, added to), x (N, L, 2P), step (N, L, P) and hold (N, L, 2P, or of size 0).
        """
        time, rows = arrays([dt, self.nodes]), above.numel()
        wide, d_y, d_signal, other = (x[:rows] for x in self.spare)
        self._head_back(above.reshape(-1, 1), d_signal, rows)
        for i in range(len(self.layers) - 1, -1, -1):
            layer, gap, room, total = self.layers[i], gaps[i], self._room(i, rows), self.sums[i]
            below = self._room(i - 1, rows).signal if i else self.none
            d_below = other if i else self.none
            _entry.signal_back(
                d_signal.numpy(), arrays([room.y, below]), *arrays([gap.keep, layer.vectors]),
                arrays([room.signal, room.scale]), arrays([d_y, d_below, total.vectors]),
            )  # fmt: skip
            torch.mm(d_y, self.out_t[i], out=wide)
            total.out.addmm_(room.x.t(), d_y)
            held = self._held(i, gap, room)
            d_x, d_step, d_held = (torch.empty_like(leaf) for leaf in (gap.x, gap.step, gap.hold))
            inputs = arrays([gap.x, gap.step]), arrays(held), *arrays([layer.rates])
            made = arrays([d_x, d_step, d_held, out[0], total.rates])
            _entry.move_back(arrays([wide, room.turn]), *inputs, time, made)
            out[1][:, i], out[2][:, i] = d_x, d_step
            if held[0] is room.held:
                d_below.addmm_(wide, layer.inner)
                total.inner.addmm_(wide.t(), below)
                total.bias.add_(wide.sum(0))
            elif gap.hold.numel():
                out[3][:, i] = d_held if i else 0
            d_signal, other = d_below, d_signal

    def _head_back(self, above: Tensor, d_signal: Tensor, rows: int) -> None:
        weight, _, log_scale = self.head
        slope = self.scaled.sigmoid()
        self.d_head[2].add_((above * (self.lam - log_scale.exp() * self.scaled * slope)).sum(0))
        slope.mul_(above)
        torch.mm(slope, weight, out=d_signal)
        self.d_head[0].addmm_(slope.t(), self._room(len(self.layers) - 1, rows).signal)
        self.d_head[1].add_(slope.sum(0))

    def _held(self, i: int, gap: Rows, room: Room) -> tuple[Tensor, Tensor]:
        """b without its bias, and its bias: none in the first layer, as given, or made of the signal below."""
        if not i:
            return self.none, self.none
        bias = self.layers[i].bias
        return (gap.hold, torch.zeros_like(bias)) if gap.hold.numel() else (room.held, bias)

    def _room(self, i: int, rows: int) -> Room:
        return Room(*(x[:rows] for x in self.rooms[i]))


def arrays(tensors: Iterable[Tensor]) -> tuple[Any, ...]:
    """Views of contiguous tensors."""
    return tuple(x.numpy() for x in tensors)
