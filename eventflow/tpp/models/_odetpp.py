"""A point process whose state follows a neural ordinary differential equation between events, and jumps at them: the
temporal part of Chen, Amos & Nickel, *Neural Spatio-Temporal Point Processes* (ICLR 2021, arXiv:2011.04583), which is
what EasyTPP calls ODETPP::

    dh/dt = f(h) / (1 + t - t_i),    f(h) = V tanh(W h + b) + c,    lambda_k = softplus_k(w_k . h + b_k)
    h(t_i) = tanh(U h(t_i-) + e_k) at an event of mark k
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError, did_you_mean
from eventflow.events import PaddedBatch
from eventflow.nn import SoftplusIntensity
from eventflow.ops.ode_path import Field, ode_path
from eventflow.ops.quadrature import linspace_mean
from eventflow.tpp.models._asked import AskedProcess


class ODEState(NamedTuple):
    """``h`` (..., H) just after the last event; ``elapsed`` (...): the silence since. The path is solved from the event
    whenever it is asked, so that a hundred short silences equal a long one."""

    h: Tensor
    elapsed: Tensor


class ODETPP(AskedProcess):
    """A neural ODE between events.

    Time runs logarithmically, ds = dt / (1 + t - t_i) in units of ``time_scale``: a long silence takes few steps of the
    solver (``ops.ode_path``: Runge-Kutta 4 from the last event on, cubic in between), and the state stays finite in it.

    Args:
        num_marks: K.
        hidden_size: H.
        units: of f; None is H.
        step: of the solver, in s.
        compat: "easytpp": EasyTPP's variant, its parameters one for one: f(h) = relu(W h + b) and no logarithm, two
            steps of Runge-Kutta 4 to any time, h(t_i) = h(t_i-) + e_k, zero state at the start.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, units: int | None = None, step: float = 0.25,
        compat: str | None = None, time_scale: float = 1.0, quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        if compat not in (None, "easytpp"):
            raise InputError(f"ODETPP(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        units = hidden_size if units is None else units
        if min(hidden_size, units) < 1 or not step > 0:
            raise InputError(f"ODETPP(hidden_size={hidden_size}, units={units}, step={step}): expected all above 0")
        self.hidden_size, self.step_size, self.compat = hidden_size, step, compat
        self.embedding = nn.Embedding(num_marks + (compat is None), hidden_size)
        self.inner = nn.Linear(hidden_size, hidden_size if compat else units)
        self.outer = None if compat else nn.Linear(units, hidden_size)
        self.jump = None if compat else nn.Linear(hidden_size, hidden_size, bias=False)
        self.head = SoftplusIntensity(hidden_size, num_marks, learn_scale=compat is None)  # EasyTPP's has no scale

    # -- the state ------------------------------------------------------------------------------------------------

    def _field(self) -> Field:
        assert self.outer is not None and self.jump is not None
        return Field(self.inner.weight, self.inner.bias, self.outer.weight, self.outer.bias, self.jump.weight)

    def _solved(self, h: Tensor, u: Tensor) -> Tensor:
        """(N, Q, H) states u (N, Q) after h (N, H)."""
        if self.compat is not None:
            return _rk4(self.inner, h[:, None].expand(*u.shape, -1), u[..., None], steps=2)
        none = h.new_zeros(len(h), 0, self.hidden_size)
        return ode_path(self._field(), h, none, u.log1p()[:, None], step=self.step_size)[:, 0]

    def _jumped(self, h: Tensor, mark: Tensor) -> Tensor:
        """(..., H) the state just after an event, from that just before it."""
        return h + self.embedding(mark) if self.jump is None else torch.tanh(self.jump(h) + self.embedding(mark))

    def init(self, batch: int) -> ODEState:
        zero = self.embedding.weight.new_zeros(batch, self.hidden_size)
        state = ODEState(zero, zero.new_zeros(batch))
        if self.compat is not None:
            return state
        return ODEState(self._jumped(zero, torch.full((batch,), self.num_marks, device=zero.device)), state.elapsed)

    def _evolve(self, state: ODEState, u: Tensor) -> ODEState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: ODEState, mark: Tensor) -> ODEState:
        left = self._solved(state.h, state.elapsed[:, None])[:, 0]
        return ODEState(self._jumped(left, mark), torch.zeros_like(state.elapsed))

    def _intensity(self, state: ODEState, u: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(state.elapsed.shape, u.shape)
        one = state.elapsed.shape[-1:] == (1,)  # one state, many times: a query axis
        rows = (*shape[:-1], 1) if one else shape
        h = state.h.expand(*rows, -1).reshape(-1, self.hidden_size)
        age = (state.elapsed + u).expand(shape).reshape(math.prod(rows), -1)
        return self.head(self._solved(h, age)).reshape(*shape, self.num_marks)

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _path(self, mark: Tensor, ahead: Tensor) -> Tensor:
        """(B, T + 1, R, H) states at times ``ahead`` of the start and of each event."""
        h = self.init(len(mark)).h
        if self.compat is None:
            return ode_path(self._field(), h, self.embedding(mark), ahead.log1p(), step=self.step_size)
        out = []
        for i, u in enumerate(ahead.unbind(1)):
            out.append(self._solved(h, u))
            h = self._jumped(out[-1][:, -1], mark[:, i]) if i < mark.shape[1] else h
        return torch.stack(out, 1)

    def _ahead(self, mark: Tensor, gap: Tensor, ahead: Tensor) -> Tensor:
        return self.head(self._path(mark, ahead))

    def _after(self, mark: Tensor, gap: Tensor) -> Tensor:
        """(B, T + 1, H) states at the start and after each event."""
        left = self._path(mark, torch.cat([gap, torch.zeros_like(gap[:, :1])], 1)[..., None])[:, :-1, 0]
        return torch.cat([self.init(len(mark)).h[:, None], self._jumped(left, mark)], 1)

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> ODEState:
        after = self._after(mark, torch.where(mask, u, 0))
        count = mask.long().cumsum(1)  # padding, on the right, carries the last event's on
        return ODEState(after.gather(1, count[..., None].expand(*count.shape, self.hidden_size)), torch.zeros_like(u))

    def _easytpp_log_prob(self, batch: PaddedBatch) -> Tensor:
        """EasyTPP solves to an event in two steps, but to each point of its integral in one."""
        if self.compat is None:
            return super()._easytpp_log_prob(batch)
        self._check_marks(batch)
        gap = torch.where(batch.mask, self._gaps(batch.dt), 0)
        after = self._after(batch.mark, gap)[:, 1:-1]
        rule = linspace_mean(self.easytpp_points)
        nodes, weights = (torch.tensor(x, dtype=gap.dtype, device=gap.device) for x in rule)
        between = _rk4(self.inner, after[..., None, :], (gap[:, 1:, None] * nodes)[..., None], steps=1)
        silence = gap[:, 1:] * (self.head(between).sum(-1) @ weights)
        at = self.head(_rk4(self.inner, after, gap[:, 1:, None], steps=2))
        here = at.gather(-1, batch.mark[:, 1:, None])[..., 0].log() - silence - math.log(self.time_scale)
        return torch.where(batch.mask[:, 1:], here, 0).sum(1)


def _rk4(field: nn.Linear, h: Tensor, u: Tensor, *, steps: int) -> Tensor:
    """h a time u on under dh/dt = relu(W h + b), by Runge and Kutta's rule in equal steps."""
    step = u / steps

    def f(x: Tensor) -> Tensor:
        return functional.relu(field(x))

    for _ in range(steps):
        k1 = f(h)
        k2 = f(h + step / 2 * k1)
        k3 = f(h + step / 2 * k2)
        h = h + step / 6 * (k1 + 2 * k2 + 2 * k3 + f(h + step * k3))
    return h
