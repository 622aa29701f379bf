"""Beside EasyTPP's own code, with copied weights, in float64 (`pytest -m peer`; needs easy_tpp importable)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.events import Events, Schema, pad
from eventflow.tpp import NHP, RMTPP, SAHP, THP

pytestmark = pytest.mark.peer


def test_nhp_compat_likelihood_is_easytpps() -> None:
    peer = pytest.importorskip("easy_tpp.model.torch_model.torch_nhp", reason="EasyTPP is not installed beside us")
    config = pytest.importorskip("easy_tpp.config_factory").ModelConfig.parse_from_yaml_config(
        {"hidden_size": 8, "loss_integral_num_sample_per_step": 20, "num_event_types": 3, "num_event_types_pad": 4,
         "event_pad_index": 3, "pad_token_id": 3, "gpu": -1, "thinning": {}}
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = peer.NHP(config).double()
    ours = NHP(3, hidden_size=8, bos=False).double()
    with torch.no_grad():
        ours.embedding.weight.copy_(theirs.layer_type_emb.weight[:3])
        ours.cell.gates.load_state_dict(theirs.rnn_cell.linear_layer.state_dict())
        ours.head.weight.copy_(theirs.layer_intensity[0].weight)
        ours.head.bias.copy_(theirs.layer_intensity[0].bias)
        ours.head.log_scale.copy_(-theirs.layer_intensity[1].log_beta)
    rng = np.random.default_rng(0)
    parts = [{"t": np.cumsum(rng.exponential(1.0, n)), "mark": rng.integers(0, 3, n)} for n in (6, 9, 2)]
    events = Events.from_sequences(parts, schema=Schema(num_marks=3))
    batch = pad(events, dtype=torch.float64)
    marks = torch.where(batch.mask, batch.mark, 3)
    loss, count = theirs.loglike_loss((batch.t, batch.dt, marks, batch.mask, None))
    seen = ours.log_prob(events, compat="easytpp").sum()
    assert int(count) == events.num_events - len(events)
    torch.testing.assert_close(seen, -loss, rtol=0, atol=2e-5)  # they add 1.2e-7 to every intensity


def _config(factory: ModuleType, **changes: Any) -> Any:
    base = {"hidden_size": 8, "time_emb_size": 4, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0, "use_ln": False,
            "loss_integral_num_sample_per_step": 20, "num_event_types": 3, "num_event_types_pad": 4,
            "event_pad_index": 3, "pad_token_id": 3, "gpu": -1, "thinning": {}}  # fmt: skip
    return factory.ModelConfig.parse_from_yaml_config({**base, **changes})


def _tape() -> tuple[Events, tuple[torch.Tensor, ...]]:
    """Sequences from 0, and the batch EasyTPP makes of them; its mask hides what is True."""
    rng = np.random.default_rng(0)
    parts = [{"t": np.cumsum(rng.exponential(1.0, n)), "mark": rng.integers(0, 3, n)} for n in (6, 9, 2)]
    events = Events.from_sequences(parts, span=(0.0, 30.0), schema=Schema(num_marks=3))
    batch = pad(events, dtype=torch.float64)
    marks = torch.where(batch.mask, batch.mark, 3)
    width = batch.mask.shape[1]
    hidden = torch.ones(width, width, dtype=torch.bool).triu(1) | ~batch.mask[:, None, :]
    return events, (batch.t, batch.dt, marks, batch.mask, hidden)


def _copy_layers(ours: Any, theirs: Any) -> None:
    ours.embedding.weight.copy_(theirs.layer_type_emb.weight[:3])
    for mine, his in zip(ours.layers, theirs.stack_layers, strict=True):
        linears = his.self_attn.linears
        mine.attention.projection.weight.copy_(torch.cat([x.weight for x in linears]))
        mine.attention.projection.bias.copy_(torch.cat([x.bias for x in linears]))


def test_thp_compat_likelihood_is_easytpps() -> None:
    peer = pytest.importorskip("easy_tpp.model.torch_model.torch_thp", reason="EasyTPP is not installed beside us")
    torch.manual_seed(0)
    theirs = peer.THP(_config(pytest.importorskip("easy_tpp.config_factory"))).double()
    ours = THP(3, hidden_size=8, compat="easytpp").double()
    with torch.no_grad():
        _copy_layers(ours, theirs)
        ours.shared.load_state_dict(theirs.feed_forward.state_dict())
        ours.head.weight.copy_(theirs.layer_intensity_hidden.weight)
        ours.head.bias.copy_(theirs.layer_intensity_hidden.bias + theirs.factor_intensity_base[0])
        ours.slope.copy_(theirs.factor_intensity_decay[0])
        ours.head.log_scale.copy_(-theirs.softplus.log_beta)
    events, batch = _tape()
    loss, _ = theirs.loglike_loss(batch)
    torch.testing.assert_close(ours.log_prob(events, compat="easytpp").sum(), -loss, rtol=0, atol=2e-5)


def test_sahp_compat_likelihood_is_easytpps() -> None:
    peer = pytest.importorskip("easy_tpp.model.torch_model.torch_sahp", reason="EasyTPP is not installed beside us")
    torch.manual_seed(0)
    theirs = peer.SAHP(_config(pytest.importorskip("easy_tpp.config_factory"))).double()
    ours = SAHP(3, hidden_size=8, compat="easytpp").double()
    with torch.no_grad():
        _copy_layers(ours, theirs)
        ours.shift.weight.copy_(theirs.layer_position_emb.layer_time_delta.weight)
        ours.ends.weight.copy_(torch.cat([x[0].weight for x in (theirs.mu, theirs.eta, theirs.gamma)]))
        ours.log_scale.copy_(-theirs.softplus.log_beta)
    events, batch = _tape()
    loss, _ = theirs.loglike_loss(batch)
    torch.testing.assert_close(ours.log_prob(events, compat="easytpp").sum(), -loss, rtol=0, atol=2e-5)


def test_rmtpp_compat_likelihood_is_easytpps() -> None:
    peer = pytest.importorskip("easy_tpp.model.torch_model.torch_rmtpp", reason="EasyTPP is not installed beside us")
    torch.manual_seed(0)
    theirs = peer.RMTPP(_config(pytest.importorskip("easy_tpp.config_factory"))).double()
    ours = RMTPP(3, hidden_size=8, compat="easytpp").double()
    with torch.no_grad():
        ours.embedding.weight[:3].copy_(theirs.layer_type_emb.weight[:3])
        ours.cell.time.load_state_dict(theirs.layer_temporal_emb.state_dict())
        ours.cell.rnn.load_state_dict(theirs.layer_rnn.state_dict())
        ours.head.level.weight.copy_(theirs.hidden_to_intensity_logits.weight)
        ours.head.level.bias.copy_(theirs.hidden_to_intensity_logits.bias + theirs.b_t[0])
        ours.head.slope.copy_(theirs.w_t[0])
    events, batch = _tape()
    loss, _ = theirs.loglike_loss(batch)
    torch.testing.assert_close(ours.log_prob(events, compat="easytpp").sum(), -loss, rtol=0, atol=2e-5)
