"""Beside EasyTPP's own code, with copied weights, in float64 (`pytest -m peer`; needs easy_tpp importable)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eventflow.events import Events, Schema, pad
from eventflow.tpp import NHP

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
