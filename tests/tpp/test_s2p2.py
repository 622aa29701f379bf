"""S2P2: every law in both variants, fast and slow sizes, dropout, states that go on, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state
from eventflow.testing import check_point_process
from eventflow.tpp import S2P2


def make(**options: Any) -> S2P2:
    """Away from special starts, and slow enough for the quadrature to be exact."""
    torch.manual_seed(3)
    small = {"hidden_size": 6, "state_size": 5, "layers": 2, "time_scale": 0.5, "quadrature": 30}
    process = S2P2(3, **{**small, **options})
    with torch.no_grad():
        for name, parameter in process.named_parameters():
            parameter.mul_(0.02 if "frequency" in name else 1.0)
            parameter.add_((0.05 if "frequency" in name else 0.2) * torch.randn_like(parameter))
    return process


def sequences() -> Events:
    rng = np.random.default_rng(1)
    parts = [{"t": np.cumsum(rng.exponential(0.5, n)), "mark": rng.integers(0, 3, n)} for n in (9, 0, 4, 13)]
    return Events.from_sequences(parts, span=(0.0, 20.0), schema=Schema(num_marks=3))


SLOW: list[dict[str, Any]] = [
    {"variant": "forward"},
    {"hidden_size": 16, "state_size": 16, "relative_time": False, "variant": "forward"},
    {"hidden_size": 16, "state_size": 16, "layers": 3, "quadrature": 80},
]
LAWS = [pytest.param({}), *(pytest.param(options, marks=pytest.mark.slow) for options in SLOW)]


@pytest.mark.parametrize("options", LAWS, ids=str)
def test_every_law(options: dict[str, Any]) -> None:
    check_point_process(make(**options))


@pytest.mark.parametrize("variant", ["backward", "forward"])
def test_encoded_states_go_on_as_live_ones(variant: str) -> None:
    process, events = make(variant=variant).double().eval(), sequences()
    batch = pad(events, dtype=torch.float64)
    with torch.no_grad():
        states, whole = process.encode(batch), process.event_log_prob(batch)
        state = map_state(lambda leaf: leaf[3:4, 6], states)
        for j in range(7, 13):
            seen, state = process.step(state, batch.mark[3:4, j], batch.dt[3:4, j])
            torch.testing.assert_close(seen, whole[3:4, j])
        for leaf in states[:3]:  # padding carries the last state on
            torch.testing.assert_close(leaf[2, 3], leaf[2, 12], rtol=0, atol=0)


@pytest.mark.parametrize("variant", ["backward", "forward"])
def test_the_fast_sizes_have_the_gradients_of_the_slow_path(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    events, grads = sequences(), []
    for backend in ("auto", "naive"):
        process = make(hidden_size=16, state_size=16, variant=variant).double().eval()
        if backend == "naive":
            from eventflow.ops import latent_hawkes
            from eventflow.ops.latent_hawkes import naive

            monkeypatch.setattr(latent_hawkes, "_module", lambda *_: naive)
        process.log_prob(events).sum().backward()
        grads.append({name: p.grad for name, p in process.named_parameters()})
    torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-8)


def test_dropout_is_of_training_alone_and_leaves_the_mean() -> None:
    process, events = make(hidden_size=16, state_size=16, dropout=0.1), sequences()
    with torch.no_grad():
        still = process.eval().log_prob(events)
        torch.testing.assert_close(process.log_prob(events), still, rtol=0, atol=0)
        process.train()
        drawn = torch.stack([process.log_prob(events) for _ in range(20)])
    assert (drawn.std(0) > 1e-3).all()
    assert ((drawn.mean(0) - still).abs() < 5 * drawn.std(0)).all()


def test_the_variants_differ_only_above_the_first_layer() -> None:
    events = sequences()
    for layers, same in ((1, True), (2, False)):
        one, two = (make(layers=layers, variant=v).eval().log_prob(events) for v in ("backward", "forward"))
        assert torch.allclose(one[[0, 2, 3]], two[[0, 2, 3]]) == same


@pytest.mark.parametrize(
    ("options", "words"),
    [({"variant": "backwards"}, "backward"), ({"layers": 0}, "at least 1"), ({"dropout": 1.0}, "dropout < 1")],
)
def test_mistakes_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        S2P2(3, **options)
