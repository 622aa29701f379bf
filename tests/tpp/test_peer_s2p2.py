"""S2P2 beside EasyTPP's, with copied weights, in float64 (`pytest -m peer`; needs easy_tpp importable)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eventflow.events import Events, Schema, pad
from eventflow.tpp import S2P2, load_easytpp

pytestmark = pytest.mark.peer


class Doubled:
    """torch, but complex64, to which they cast, is complex128."""

    complex64 = torch.complex128

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@pytest.fixture(autouse=True)
def doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    ssm = pytest.importorskip("easy_tpp.ssm.models", reason="EasyTPP is not installed beside us")
    monkeypatch.setattr(ssm, "th", Doubled())
    made = ssm.make_DPLR_HiPPO
    monkeypatch.setattr(ssm, "make_DPLR_HiPPO", lambda p: [x.to(torch.complex128) for x in made(p)])


def peers(hidden: int, states: int, layers: int, specs: dict[str, Any]) -> tuple[Any, S2P2]:
    module = pytest.importorskip("easy_tpp.model.torch_model.torch_s2p2", reason="EasyTPP is not installed beside us")
    factory = pytest.importorskip("easy_tpp.config_factory")
    torch.manual_seed(0)
    theirs = module.S2P2(factory.ModelConfig.parse_from_yaml_config(
        {"hidden_size": hidden, "num_layers": layers, "loss_integral_num_sample_per_step": 10, "num_event_types": 3,
         "num_event_types_pad": 4, "event_pad_index": 3, "pad_token_id": 3, "gpu": -1, "thinning": {},
         "model_specs": {"P": states, "dropout_rate": 0.0, "act_func": "gelu", "for_loop": True, "pre_norm": False,
                         "post_norm": True, "simple_mark": True, **specs}}))  # fmt: skip
    for name, value in list(theirs.named_parameters()):
        owner, _, leaf = name.rpartition(".")
        wide = value.detach().to(torch.complex128 if value.is_complex() else torch.float64)
        setattr(theirs.get_submodule(owner), leaf, torch.nn.Parameter(wide))
    variant = "forward" if specs.get("int_forward_variant") else "backward"
    size = {"hidden_size": hidden, "state_size": states, "layers": layers}
    return theirs, S2P2(3, relative_time=specs["relative_time"], dropout=0.0, variant=variant, **size).double()


@pytest.mark.parametrize("relative_time", [True, False])
@pytest.mark.parametrize(("hidden", "states"), [(16, 16), (6, 5)])
def test_s2p2_compat_likelihood_is_easytpps(hidden: int, states: int, relative_time: bool) -> None:
    theirs, ours = peers(hidden, states, 3, {"int_backward_variant": True, "relative_time": relative_time})
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if not name.endswith("log_step_size_P"):  # a constant: steps of 1
                parameter.add_(0.1 * torch.randn_like(parameter))
    load_easytpp(ours, theirs.state_dict())
    rng = np.random.default_rng(0)
    parts = [{"t": np.cumsum(rng.exponential(1.0, n)), "mark": rng.integers(0, 3, n)} for n in (6, 9, 2)]
    events = Events.from_sequences(parts, schema=Schema(num_marks=3))
    batch = pad(events, dtype=torch.float64)
    marks = torch.where(batch.mask, batch.mark, 3)
    # their first gap is 0, whatever the data's
    gaps = batch.dt.clone()
    gaps[:, 0] = 0
    loss, count = theirs.loglike_loss((batch.t, gaps, marks, batch.mask, None))
    assert int(count) == events.num_events - len(events)
    torch.testing.assert_close(ours.log_prob(events, compat="easytpp").sum(), -loss, rtol=0, atol=2e-5)


def test_one_forward_layer_above_another_differs_where_easytpp_reads_the_last_events_input() -> None:
    """EasyTPP's forward variant multiplies D, just after an event, with the input of the event before (card.md)."""
    theirs, ours = peers(16, 16, 2, {"int_forward_variant": True, "relative_time": False})
    with torch.no_grad():
        for layer in theirs.layers[1:]:
            layer.D_HH.zero_()
    load_easytpp(ours, theirs.state_dict())
    events = Events.from_sequences([{"t": [0.0, 0.7, 1.1, 3.0], "mark": [0, 2, 1, 1]}], schema=Schema(num_marks=3))
    batch = pad(events, dtype=torch.float64)
    loss, _ = theirs.loglike_loss((batch.t, batch.dt, batch.mark, batch.mask, None))
    torch.testing.assert_close(ours.log_prob(events, compat="easytpp").sum(), -loss, rtol=0, atol=2e-5)
