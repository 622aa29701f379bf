"""Attention without the softmax: its memory is a matrix a head, which decays in physical time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn._cell import check_scan_shapes
from eventflow.nn._linear import LinearCell
from eventflow.nn._window import check_heads, initial_log_rates
from eventflow.ops import scan

#: Events of a block of :meth:`LinearAttention.attend`: quadratic inside, recurrent between blocks.
BLOCK = 64


class MatrixState(NamedTuple):
    """``memory`` (..., heads, d, d + 1): sum of weight k (v, 1)^T over the events; ``query`` (..., H) of the last."""

    memory: Tensor
    query: Tensor


class Deposit(NamedTuple):
    """The transition memory -> gain memory + deposit, query -> query; gain (..., heads)."""

    gain: Tensor
    deposit: Tensor
    query: Tensor


class LinearAttention(LinearCell[MatrixState]):
    """y(t) = sum_j w_j (q . k_j) v_j / sum_j w_j (q . k_j), w_j = e^{-r (t - t_j)}, q of the last event, q, k > 0.

    Linear attention (Katharopoulos et al. 2020, arXiv:2006.16236, eqs. 9, 18-20: feature map elu + 1), with the decay
    of retention and of Lightning Attention (Sun et al. 2023, arXiv:2307.08621; Qin et al. 2024, arXiv:2401.04658) taken
    over physical time instead of the index of the event; ``decay=False`` is the former's. All weights fall alike in a
    silence, so that what is read changes at events only. Memory: ``H (H / heads + 1) + H`` numbers, whatever was seen.

    ``scan`` runs the recurrence in ``ops.scan`` and returns all states; :meth:`attend` returns what is read from them,
    in blocks: a masked quadratic form inside, a carried matrix between.

    Args:
        input_size: D features of an event.
        hidden_size: H, a multiple of ``heads``.
        heads: with a decay and d = H / heads coordinates each.
        decay: let weights fall with age, by a learned rate a head.

    Raises:
        InputError: heads that do not divide H.
    """

    def __init__(self, input_size: int, hidden_size: int, *, heads: int = 1, decay: bool = True) -> None:
        super().__init__()
        check_heads("LinearAttention", hidden_size, heads)
        self.input_size, self.hidden_size, self.heads = input_size, hidden_size, heads
        self.projection = nn.Linear(input_size, 3 * hidden_size)
        self.log_rate = nn.Parameter(initial_log_rates(heads)) if decay else None

    def init(self, batch: int) -> MatrixState:
        size = self.hidden_size // self.heads
        zero = self.projection.weight.new_zeros(batch, self.heads, size, size + 1)
        return MatrixState(zero, zero.new_zeros(batch, self.hidden_size))

    def evolve(self, state: MatrixState, dt: Tensor) -> MatrixState:
        return state._replace(memory=state.memory * self._gain(dt)[..., None, None])

    def update(self, state: MatrixState, x: Tensor) -> MatrixState:
        query, deposit = self._event(x)
        return MatrixState(state.memory + deposit, query)

    def read(self, state: MatrixState) -> Tensor:
        query = state.query.unflatten(-1, (self.heads, -1))
        return _ratio((query[..., None, :] @ state.memory)[..., 0, :]).flatten(-2)

    def lift(self, x: Tensor, dt: Tensor) -> Deposit:
        query, deposit = self._event(x)
        return Deposit(self._gain(dt), deposit, query)

    def compose(self, a: Deposit, b: Deposit) -> Deposit:
        return Deposit(a.gain * b.gain, b.gain[..., None, None] * a.deposit + b.deposit, b.query)

    def apply(self, m: Deposit, state: MatrixState) -> MatrixState:  # type: ignore[override]
        return MatrixState(m.gain[..., None, None] * state.memory + m.deposit, m.query)

    def scan_transitions(
        self, m: Deposit, state: MatrixState, start: MatrixState, *, reset: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> MatrixState:  # fmt: skip
        """See :meth:`LinearCell.scan_transitions`: a diagonal recurrence over all entries of the matrices."""
        gain, deposit, query = m
        if mask is not None:
            gain = torch.where(mask[..., None], gain, 1)
            deposit = torch.where(mask[..., None, None, None], deposit, 0)
            last = mask.long().cumsum(1)  # a masked event keeps the query of the last real one
            order = (~mask).long().argsort(dim=1, stable=True)[..., None].expand_as(query)
            rows = torch.cat([state.query[:, None], query.gather(1, order)], 1)
            query = rows.gather(1, last[..., None].expand_as(query))
        flat = gain[..., None, None].expand_as(deposit).flatten(2)
        memory = scan(flat, deposit.flatten(2), state.memory.flatten(1), reset=reset, init=start.memory.flatten(1))
        return MatrixState(memory.view_as(deposit), query)

    def attend(
        self, x: Tensor, dt: Tensor, state: MatrixState | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, MatrixState]:
        """(B, T, H) what is read just after each event, and the final state, without holding the states in between.

        Args:
            x: (B, T, input_size) features.
            dt: (B, T) gap before each event.
            state: where to start; None is ``init(B)``.
            mask: (B, T) bool; where False nothing happens, and what is returned there means nothing.
        """
        check_scan_shapes(self, x, dt, None, mask)
        now = self.init(len(dt)) if state is None else state
        real = torch.ones_like(dt, dtype=torch.bool) if mask is None else mask
        x, dt = torch.where(real[..., None], x, 0), torch.where(real, dt, 0)
        out = [x.new_zeros(len(x), 0, self.hidden_size)]
        memory, query = now.memory, now.query[:, None]
        for i in range(0, x.shape[1], BLOCK):
            part = slice(i, i + BLOCK)
            block = self._projected(x[:, part])
            y, memory = self._block(block, dt[:, part], memory, real[:, part])
            query = torch.cat([query, block[0].transpose(1, 2).flatten(2)], 1)
            out.append(y)
        place = torch.arange(1, query.shape[1], device=dt.device)
        last = torch.where(real, place, 0).amax(1) if len(place) else torch.zeros(len(dt), dtype=torch.long)
        return torch.cat(out, 1), MatrixState(memory, query[torch.arange(len(dt), device=dt.device), last])

    def _block(
        self, projected: tuple[Tensor, Tensor, Tensor], dt: Tensor, memory: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(b, n, H) outputs and the memory after n events, from the memory before them."""
        q, k, v = projected
        rate = q.new_zeros(self.heads) if self.log_rate is None else self.log_rate.exp()
        fall = rate[:, None] * dt.cumsum(1)[:, None]  # (b, heads, n)
        place = torch.arange(dt.shape[1], device=dt.device)
        seen = (place[:, None] >= place) & real[:, None]
        since = torch.where(seen[:, None], fall[..., None] - fall[..., None, :], torch.inf)
        inside = (q @ k.transpose(-1, -2) * torch.exp(-since)) @ v
        y = _ratio(inside + torch.exp(-fall)[..., None] * (q @ memory))
        left = torch.where(real[:, None], torch.exp(fall - fall[..., -1:]), 0)
        after = torch.exp(-fall[..., -1])[..., None, None] * memory + (k * left[..., None]).transpose(-1, -2) @ v
        return y.transpose(1, 2).flatten(2), after

    def _gain(self, dt: Tensor) -> Tensor:
        """(..., heads) exp(-r dt)."""
        if self.log_rate is None:
            return dt.new_ones(()).expand(*dt.shape, self.heads)
        return torch.exp(-self.log_rate.exp() * dt[..., None])

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, heads, T, d) queries and keys, both positive, and (B, heads, T, d + 1) values followed by a 1."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.projection(x).chunk(3, -1))
        return functional.elu(q) + 1, functional.elu(k) + 1, functional.pad(v, (0, 1), value=1.0)

    def _event(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., H) query, (..., heads, d, d + 1) deposit."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.projection(x).chunk(3, -1))
        v = functional.pad(v, (0, 1), value=1.0)
        return (functional.elu(q) + 1).flatten(-2), (functional.elu(k) + 1)[..., None] * v[..., None, :]


def _ratio(sums: Tensor) -> Tensor:
    """(..., d + 1) -> (..., d): the weighted sums over the sum of the weights; zeros where nothing was seen."""
    weight = sums[..., -1:]
    return torch.where(weight > 0, sums[..., :-1] / torch.where(weight > 0, weight, 1), 0)
