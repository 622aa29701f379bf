"""Beside EasyTPP's own code, with copied weights, in float64 (`pytest -m peer`; needs easy_tpp importable)."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.events import Events, Schema, pad
from eventflow.tpp import NHP, RMTPP, SAHP, THP, PointProcess, load_easytpp

pytestmark = pytest.mark.peer


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


@pytest.mark.parametrize(
    "name, ours",
    [
        ("NHP", NHP(3, hidden_size=8, bos=False)),
        ("RMTPP", RMTPP(3, hidden_size=8, compat="easytpp")),
        ("THP", THP(3, hidden_size=8, compat="easytpp")),
        ("SAHP", SAHP(3, hidden_size=8, compat="easytpp")),
    ],
    ids=["nhp", "rmtpp", "thp", "sahp"],
)
def test_with_their_weights_the_likelihood_is_theirs(name: str, ours: PointProcess, tmp_path: Path) -> None:
    models = pytest.importorskip("easy_tpp.model", reason="EasyTPP is not installed beside us")
    torch.manual_seed(0)
    theirs = getattr(models, f"Torch{name}")(_config(pytest.importorskip("easy_tpp.config_factory"))).double()
    torch.save(theirs.state_dict(), tmp_path / "saved_model")
    load_easytpp(ours.double(), tmp_path / "saved_model")
    events, batch = _tape()
    loss, count = theirs.loglike_loss(batch)
    assert int(count) == events.num_events - len(events)
    seen = ours.log_prob(events, compat="easytpp").sum()
    torch.testing.assert_close(seen, -loss, rtol=0, atol=2e-5)  # NHP: they add 1.2e-7 to every intensity
