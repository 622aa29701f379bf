"""AttNHP, FullyNN, ODETPP and ANHN beside EasyTPP's own code, with copied weights, in float64 (`pytest -m peer`)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from eventflow.events import Events, Schema, pad
from eventflow.tpp import ANHN, ODETPP, AttNHP, FullyNN, load_easytpp

pytestmark = pytest.mark.peer
SIZES = {"hidden_size": 8, "time_emb_size": 4, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0, "use_ln": False,
         "loss_integral_num_sample_per_step": 20, "num_event_types": 3, "num_event_types_pad": 4, "event_pad_index": 3,
         "pad_token_id": 3, "gpu": -1, "thinning": {}}  # fmt: skip


def theirs(module: str, name: str, **changes: Any) -> Any:
    peer = pytest.importorskip(f"easy_tpp.model.torch_model.{module}", reason="EasyTPP is not installed beside us")
    factory = pytest.importorskip("easy_tpp.config_factory")
    torch.manual_seed(0)
    model = getattr(peer, name)(factory.ModelConfig.parse_from_yaml_config({**SIZES, **changes})).double()
    with torch.no_grad():
        for weight in model.parameters():  # intensities near 1: they add 1.2e-7 to every one
            weight.add_(0.1 * torch.randn_like(weight))
    return model


def tape() -> tuple[Events, tuple[torch.Tensor, ...]]:
    """Sequences from 0, and the batch EasyTPP makes of them; its mask hides what is True."""
    rng = np.random.default_rng(0)
    parts = [{"t": np.cumsum(rng.exponential(1.0, n)), "mark": rng.integers(0, 3, n)} for n in (6, 9, 2)]
    events = Events.from_sequences(parts, span=(0.0, 30.0), schema=Schema(num_marks=3))
    batch = pad(events, dtype=torch.float64)
    width = batch.mask.shape[1]
    hidden = torch.ones(width, width, dtype=torch.bool).triu(1) | ~batch.mask[:, None, :]
    return events, (batch.t, batch.dt, torch.where(batch.mask, batch.mark, 3), batch.mask, hidden)


def compare(ours: Any, peer: Any, atol: float = 2e-5) -> None:
    events, batch = tape()
    loss, _ = peer.loglike_loss(batch)
    seen = ours.log_prob(events, compat="easytpp").sum()
    torch.testing.assert_close(seen, -loss, rtol=0, atol=atol)  # they add 1.2e-7 to every intensity


def test_attnhp() -> None:
    peer = theirs("torch_attnhp", "AttNHP", loss_integral_num_sample_per_step=10)
    ours = AttNHP(3, hidden_size=8, time_size=4, compat="easytpp").double()
    load_easytpp(ours, peer.state_dict())
    compare(ours, peer)


def test_fullynn() -> None:
    specs = {"num_mlp_layers": 3, "proper_marked_intensities": True}
    peer = theirs("torch_fullynn", "FullyNN", num_layers=1, rnn_type="LSTM", model_specs=specs)
    peer.layer_rnn.flatten_parameters()
    with torch.no_grad():
        for weight in peer.layer_intensity.parameters():  # some fall below 0: they are clamped at each call
            weight.mul_(0.3)
    ours = FullyNN(3, hidden_size=8, embedding_size=8, compat="easytpp").double()
    load_easytpp(ours, peer.state_dict())
    compare(ours, peer, 2e-3)  # a saturated hazard: intensities near 1e-3, to which they add


def test_odetpp() -> None:
    specs = {"ode_num_sample_per_step": 2, "time_factor": 100}
    peer = theirs("torch_ode_tpp", "ODETPP", num_layers=1, model_specs=specs)
    ours = ODETPP(3, hidden_size=8, compat="easytpp").double()
    load_easytpp(ours, peer.state_dict())
    compare(ours, peer)


def odetpp_gradients(peer: Any) -> dict[str, torch.Tensor]:
    """Of the negative log-likelihood by what both have: theirs less ours."""
    events, batch = tape()
    ours = ODETPP(3, hidden_size=8, compat="easytpp").double()
    load_easytpp(ours, peer.state_dict())
    ours.log_prob(events, compat="easytpp").sum().neg().backward()
    peer.eps = 0.0
    peer.loglike_loss(batch)[0].backward()
    pairs = {
        "mark": (peer.layer_type_emb.weight.grad[:3], ours.embedding.weight.grad),
        "field": (peer.event_model.linears[0].weight.grad, ours.inner.weight.grad),
        "head": (peer.layer_intensity[0].weight.grad, ours.head.weight.grad),
    }
    return {name: theirs - mine for name, (theirs, mine) in pairs.items()}


def test_odetpp_learns_otherwise_because_of_its_adjoint_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = {"ode_num_sample_per_step": 2, "time_factor": 100}
    peer = theirs("torch_ode_tpp", "ODETPP", num_layers=1, model_specs=specs)
    assert odetpp_gradients(peer)["field"].abs().max() > 0.1
    peer.zero_grad()

    def solved(node: Any, state: torch.Tensor, dt: torch.Tensor) -> torch.Tensor:
        for _ in range(node.num_sample_times):
            state = node.solver(diff_func=node.model, dt=dt / node.num_sample_times, z0=state)
        return state

    monkeypatch.setattr(type(peer.layer_neural_ode), "forward", solved)
    for name, difference in odetpp_gradients(peer).items():
        assert difference.abs().max() < 1e-6, name  # the points of their integral are float32


class Settings(SimpleNamespace):
    """EasyTPP's ANHN reads its configuration as attributes and by keys."""

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


def test_anhn_with_times_and_mask_as_they_should_be() -> None:
    """EasyTPP's loss cannot run (it expects a batch of six parts), and its elapsed times and mask are wrong: the parts
    that make its state are compared, given the right ones."""
    peer_module = pytest.importorskip("easy_tpp.model.torch_model.torch_anhn", reason="EasyTPP is not installed")
    torch.manual_seed(0)
    peer = peer_module.ANHN(Settings(**SIZES, dropout=0.0, use_mc_samples=True)).double()
    ours = ANHN(3, hidden_size=8, heads=2).double()
    with torch.no_grad():
        nn.init.normal_(peer.layer_type_emb.weight)
        ours.embedding.weight.copy_(peer.layer_type_emb.weight)
        ours.cell.load_state_dict(peer.layer_rnn.state_dict())
        ours.base.load_state_dict(peer.layer_base_intensity[0].state_dict())
        ours.query.load_state_dict(peer.layer_att.linears[0].state_dict())
        ours.key.load_state_dict(peer.layer_att.linears[1].state_dict())
        ours.rate_past.weight.copy_(peer.layer_time_delta[0].weight[:, :8])
        ours.rate_now.weight.copy_(peer.layer_time_delta[0].weight[:, 8:])
        ours.rate_now.bias.copy_(peer.layer_time_delta[0].bias)
        ours.head.weight.copy_(peer.layer_intensity[0].weight)
        ours.head.bias.copy_(peer.layer_intensity[0].bias)
    events, (t, dt, *_) = tape()
    row, ahead = slice(1, 2), 0.7  # a sequence without padding
    mark = torch.cat([torch.tensor([[3]]), pad(events).mark[row]], 1)
    clock = torch.cat([torch.zeros(1, 1, dtype=torch.float64), t[row]], 1)
    size = mark.shape[1]
    hidden = torch.ones(1, size, size, dtype=torch.bool).triu(1)
    _, (base, alpha, delta), _ = peer.forward(torch.zeros_like(clock), mark, hidden)
    since = clock[:, :, None] - clock[:, None] + ahead
    x = peer.compute_states_at_event_times(base, alpha, delta, since[..., None])
    states = ours.encode(pad(events, dtype=torch.float64))
    seen = ours.intensity(states, torch.full((3, size - 1), ahead, dtype=torch.float64))[row]
    torch.testing.assert_close(seen, peer.layer_intensity(x)[:, 1:])
