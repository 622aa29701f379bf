"""The continuous-time LSTM against its paper's equations, and against EasyTPP's cell with the same weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from eventflow.nn import CTLSTM, CTLSTMState, fold


def drawn(batch: int, hidden: int) -> CTLSTMState:
    c, target, decay, out = torch.randn(4, batch, hidden, dtype=torch.float64)
    return CTLSTMState(c, target, decay.exp(), out.sigmoid())


def test_one_unit_by_hand() -> None:
    """H = D = 1, all by the letter of eqs. 4-7."""
    cell = CTLSTM(1, 1).double()
    with torch.no_grad():
        cell.gates.weight.copy_(torch.linspace(-1, 1.2, 14).reshape(7, 2))
        cell.gates.bias.copy_(torch.linspace(-0.5, 0.7, 7))
    c, target, decay, out, dt, x = 0.8, -0.4, 1.5, 0.6, 0.7, 2.0
    state = CTLSTMState(*(torch.tensor([[v]], dtype=torch.float64) for v in (c, target, decay, out)))
    y, after = cell.step(state, torch.tensor([[x]], dtype=torch.float64), torch.tensor([dt], dtype=torch.float64))
    c_left = target + (c - target) * math.exp(-decay * dt)
    h = out * math.tanh(c_left)
    assert y.item() == pytest.approx(h, rel=1e-14)
    w, b = cell.gates.weight.tolist(), cell.gates.bias.tolist()
    i, i_bar, f, f_bar, z, o, delta = (w[k][0] * x + w[k][1] * h + b[k] for k in range(7))

    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    z = math.tanh(z)
    expected = (
        sigmoid(f) * c_left + sigmoid(i) * z, sigmoid(f_bar) * target + sigmoid(i_bar) * z,
        math.log1p(math.exp(delta)), sigmoid(o),
    )  # fmt: skip
    assert [leaf.item() for leaf in after] == pytest.approx(expected, rel=1e-13)


def test_silence_of_zero_has_a_slope() -> None:
    """evolve(s, 0) is s to the last bit, and still differentiable in the gap."""
    torch.manual_seed(0)
    cell, state = CTLSTM(2, 5).double(), drawn(4, 5)
    dt = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    still = cell.evolve(state, dt)
    assert torch.equal(still.c, state.c)
    (slope,) = torch.autograd.grad(still.c.sum(), dt)
    torch.testing.assert_close(slope, (-(state.c - state.target) * state.decay).sum(-1))
    leaves = tuple(leaf[1:3].clone().requires_grad_() for leaf in state)
    gap = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u, *s: cell.evolve(CTLSTMState(*s), u).c, (gap, *leaves))


def test_long_silence_ends_at_the_target() -> None:
    torch.manual_seed(0)
    cell, state = CTLSTM(2, 5).double(), drawn(4, 5)
    end = cell.evolve(state, torch.full((4,), 1e30, dtype=torch.float64))
    assert torch.equal(end.c, state.target)
    assert torch.equal(cell.read(end), state.out * state.target.tanh())


@pytest.mark.peer
def test_easytpp_cell_with_the_same_weights() -> None:
    """Their forward pass over whole sequences, folded step: difference 0.0 in float64; scan: a few ulp."""
    theirs_module = pytest.importorskip("easy_tpp.model.torch_model.torch_nhp", reason="EasyTPP is not installed")
    torch.manual_seed(0)
    theirs: Any = theirs_module.ContTimeLSTMCell(16).double()
    ours = CTLSTM(16, 16).double()
    ours.gates.load_state_dict(theirs.linear_layer.state_dict())
    x, dt = torch.randn(5, 60, 16, dtype=torch.float64), torch.rand(5, 60, dtype=torch.float64).mul(3)
    dt[:, 0] = 0
    with torch.no_grad():
        c, c_bar, delta, o = torch.zeros(4, 5, 16, dtype=torch.float64)
        lefts, rights = [], []
        for i in range(60):
            c_left, left = theirs.decay(c, c_bar, delta, o, dt[:, i, None])
            c, c_bar, delta, o = theirs(x[:, i], left, c_left, c_bar)
            lefts.append(left)
            rights.append(torch.stack([c, c_bar, delta, o]))
        state, difference = ours.init(5), 0.0
        for i in range(60):
            y, state = ours.step(state, x[:, i], dt[:, i])
            difference = max(difference, (y - lefts[i]).abs().max().item())
            difference = max(difference, (torch.stack(state) - rights[i]).abs().max().item())
        states, last = ours.scan(x, dt)
    assert difference == 0.0
    assert all(torch.equal(a, b) for a, b in zip(state, fold(ours, x, dt)[1], strict=True))
    torch.testing.assert_close(torch.stack(states), torch.stack(rights, 2), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(last, state, rtol=1e-13, atol=1e-14)
