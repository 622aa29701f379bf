"""Attention in constant memory as a point process: every law, and a state that does not grow."""

from __future__ import annotations

import pytest
import torch

from eventflow.nn import state_leaves
from eventflow.testing import check_point_process
from eventflow.tpp import AarenTPP, LinearAttentionTPP


@pytest.mark.parametrize("kind", [AarenTPP, LinearAttentionTPP], ids=lambda kind: kind.__name__)
def test_every_law(kind: type[AarenTPP | LinearAttentionTPP]) -> None:
    torch.manual_seed(0)
    check_point_process(kind(3, hidden_size=8, components=3, time_scale=0.5))


@pytest.mark.parametrize(("kind", "numbers"), [(AarenTPP, 8 + 2 * 2), (LinearAttentionTPP, 8 * (4 + 1) + 8)])
def test_the_state_is_as_large_as_its_card_says(kind: type[AarenTPP | LinearAttentionTPP], numbers: int) -> None:
    model = kind(3, hidden_size=8, heads=2)
    state = model.init(1)
    with torch.no_grad():
        for mark in (0, 2, 1, 1):
            _, state = model.step(state, torch.tensor([mark]), torch.tensor([0.3]))
    assert sum(leaf.numel() for leaf in state_leaves(state.cell)) == numbers
