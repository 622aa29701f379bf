"""Weights trained with EasyTPP: where they go, and what is refused (their own likelihood: test_peer_easytpp)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.tpp import ANHN, IFTPP, NHP, RMTPP, S2P2, AttNHP, load_easytpp


def nhp_weights(hidden: int = 4, marks: int = 3) -> dict[str, Tensor]:
    """As EasyTPP names them; the last row of the embedding is its padding."""
    shapes = {
        "layer_type_emb.weight": (marks + 1, hidden), "rnn_cell.linear_layer.weight": (7 * hidden, 2 * hidden),
        "rnn_cell.linear_layer.bias": (7 * hidden,), "layer_intensity.0.weight": (marks, hidden),
        "layer_intensity.0.bias": (marks,), "layer_intensity.1.log_beta": (marks,),
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_every_weight_finds_its_place(tmp_path: Path) -> None:
    weights = nhp_weights()
    torch.save(weights, tmp_path / "saved_model")
    model = NHP(3, hidden_size=4, bos=False)
    load_easytpp(model, tmp_path / "saved_model")
    assert torch.equal(model.embedding.weight, weights["layer_type_emb.weight"][:3])
    assert torch.equal(model.cell.gates.weight, weights["rnn_cell.linear_layer.weight"])
    assert torch.equal(model.head.log_scale, -weights["layer_intensity.1.log_beta"])


@pytest.mark.parametrize(
    "model, message",
    [
        (NHP(3, hidden_size=4), "bos=False and time_scale=1"),
        (NHP(3, hidden_size=4, bos=False, time_scale=2.0), "bos=False and time_scale=1"),
        (RMTPP(3), 'compat="easytpp"'),
        (RMTPP(3, compat="easytpp"), "have no 'layer_temporal_emb.weight' for this RMTPP"),
        (AttNHP(3), 'compat="easytpp" and time_scale=1'),
        (S2P2(3, time_scale=2.0), "make it with time_scale=1"),
        (IFTPP(3), "no counterpart .*share of the marks"),
        (ANHN(3), "no counterpart .*cannot be made"),
        (NHP(3, hidden_size=5, bos=False), "another size"),
    ],
    ids=["bos", "scaled", "paper", "other model", "attention", "scaled s2p2", "iftpp", "anhn", "size"],
)
def test_a_model_they_do_not_fit_is_refused_whole(model: torch.nn.Module, message: str) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_easytpp(model, nhp_weights())  # type: ignore[arg-type]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_left_over_is_refused() -> None:
    with pytest.raises(InputError, match=r"\['other'\] have no place"):
        load_easytpp(NHP(3, hidden_size=4, bos=False), nhp_weights() | {"other": torch.ones(1)})


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_easytpp(NHP(3, bos=False), tmp_path / "nothing")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(InputError, match="is no checkpoint of EasyTPP"):
        load_easytpp(NHP(3, bos=False), str(tmp_path / "text"))
