"""Every cell of ``eventflow.nn`` with every head: each pair is a point process that obeys every law."""

from __future__ import annotations

import inspect

import pytest
import torch

from eventflow import nn
from eventflow.nn import Gompertz, LogNormalMixture, MarkedGompertz, SoftplusIntensity, SoftplusNetwork, WeibullMixture
from eventflow.testing import check_point_process
from eventflow.tpp import NeuralPointProcess

HEADS = [SoftplusIntensity, SoftplusNetwork, LogNormalMixture, WeibullMixture, Gompertz, MarkedGompertz]
#: Those made as cell(input_size, hidden_size, ...); the others are bases and wrappers.
CELLS = [
    kind
    for kind in vars(nn).values()
    if inspect.isclass(kind) and issubclass(kind, nn.Cell) and "hidden_size" in inspect.signature(kind).parameters
]


def test_all_cells_are_here() -> None:
    assert {nn.Aaren, nn.CTLSTM, nn.DiagSSM, nn.GRU, nn.LIF, nn.LSTM, nn.LinearAttention, nn.RNN} <= set(CELLS)
    assert {nn.SelectiveSSM, nn.WindowAttention} <= set(CELLS)


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("cell", CELLS, ids=lambda kind: kind.__name__)
def test_every_pair_obeys_every_law(cell: type[nn.Cell], head: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    more = {"window": 4} if "window" in inspect.signature(cell).parameters else {}
    made = cell(5, 8, **more)  # type: ignore[call-arg]
    check_point_process(NeuralPointProcess(3, made, head(8, 3), time_scale=0.7))  # type: ignore[arg-type]
