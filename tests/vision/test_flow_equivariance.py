"""Turned or mirrored events give turned or mirrored flow, where the layers' geometry allows it.

A network whose weights are symmetric is equivariant exactly if no layer's grid breaks the symmetry: windows that lie
symmetrically in the image, enlarging between pixels' centres. Weights are made symmetric here by averaging them over
the group, channels being permuted with it; the input's two polarities stay, and the flow is a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eventflow.events import Events, Schema
from eventflow.vision import CompactFlowNet, EventCount, FlowNetwork, LSTMFlowNet, live

SIZE, STEPS = 16, 4


class Group:
    """The powers of one motion of the square: how it moves images, events and flows."""

    def __init__(self, order: int, axis: int | None) -> None:
        self.order, self._axis = order, axis
        turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        mirror = torch.diag(torch.tensor([-1.0, 1.0] if axis == -1 else [1.0, -1.0]))
        self._matrix = (turn if axis is None else mirror).double()

    def image(self, x: Tensor, times: int = 1) -> Tensor:
        if self._axis is None:
            return torch.rot90(x, times, (-2, -1))
        return x.flip(self._axis) if times % 2 else x

    def matrix(self, times: int = 1) -> Tensor:
        return torch.linalg.matrix_power(self._matrix, times)

    def flow(self, flow: Tensor) -> Tensor:
        return torch.einsum("ij,...jhw->...ihw", self.matrix(), self.image(flow))

    def events(self, x: Any, y: Any) -> tuple[Any, Any]:
        if self._axis is None:
            return y, SIZE - 1 - x
        return (SIZE - 1 - x, y) if self._axis == -1 else (x, SIZE - 1 - y)

    def channels(self, count: int, times: int) -> Tensor:
        """Where channel c goes: each block of ``order`` channels is shifted within itself."""
        c = torch.arange(count)
        return c - c % self.order + (c + times) % self.order

    def average(self, weight: Tensor, *, inputs: str, outputs: str) -> Tensor:
        """inputs, outputs: "fixed", "shifted", or (outputs) "vector"."""
        total = torch.zeros_like(weight)
        for g in range(self.order):
            moved = self.image(weight, g)
            if inputs == "shifted":
                moved = torch.zeros_like(moved).index_copy_(1, self.channels(weight.shape[1], g), moved)
            if outputs == "shifted":
                moved = torch.zeros_like(moved).index_copy_(0, self.channels(weight.shape[0], g), moved)
            elif outputs == "vector":
                moved = torch.einsum("ij,j...->i...", self.matrix(g), moved)
            total += moved
        return total / self.order

    def average_vector(self, v: Tensor) -> Tensor:
        return v.reshape(-1, self.order).mean(1, keepdim=True).expand(-1, self.order).reshape(-1)


GROUPS = {"left-right": Group(2, -1), "up-down": Group(2, -2), "quarter turn": Group(4, None)}


def symmetric(network: FlowNetwork, group: Group) -> FlowNetwork:
    """Other batch-norms than at the start, and every weight the group's average."""
    network = network.double().eval()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None and layer.running_var is not None
            for v, low in ((layer.weight.data, 0.5), (layer.running_var, 0.5), (layer.bias.data, -0.5)):
                v.copy_(group.average_vector(v.uniform_(low, low + 1)))
            layer.running_mean.zero_()
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            inputs = "fixed" if layer.in_channels == 2 or layer.groups > 1 else "shifted"
            outputs = "vector" if "heads" in name else "shifted"
            layer.weight.data.copy_(4 * group.average(layer.weight.data, inputs=inputs, outputs=outputs))
    return network


def counts(moved: Group | None) -> Tensor:
    """Of the same events, moved or not, through the same representation: (1, T, 2, H, W)."""
    draw = np.random.default_rng(3)
    x, y, p = draw.integers(0, SIZE, 300), draw.integers(0, SIZE, 300), draw.integers(0, 2, 300)
    if moved is not None:
        x, y = moved.events(x, y)
    t = np.sort(draw.integers(0, 1000, 300))
    schema = Schema(unit="us", height=SIZE, width=SIZE)
    events = Events.from_sequences([{"t": t, "x": x, "y": y, "p": p}], span=(0, 1000), schema=schema)
    return torch.from_numpy(EventCount(bins=STEPS, height=SIZE, width=SIZE)(events)).double()[None]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("running", [False, True], ids=["as trained", "live"])
def test_moved_events_give_the_moved_flow(name: str, running: bool) -> None:
    group = GROUPS[name]
    torch.manual_seed(0)
    network = symmetric(CompactFlowNet(4, 3), group)
    network = live(network) if running else network
    with torch.no_grad():
        flow, _ = network.scan(counts(None))
        moved, _ = network.scan(counts(group))
    torch.testing.assert_close(moved, group.flow(flow), rtol=1e-9, atol=1e-11)
    each = flow[:, -1].std((0, 2, 3))
    assert each.min() > 0.02, "no motion: nothing was tested"
    assert (moved - flow).abs().max() > 0.05


def test_without_symmetric_weights_it_is_not() -> None:
    torch.manual_seed(0)
    network = CompactFlowNet(4, 3).double().eval()
    group = GROUPS["left-right"]
    with torch.no_grad():
        flow, moved = network.scan(counts(None))[0], network.scan(counts(group))[0]
    assert (moved - group.flow(flow)).abs().max() > 0.1 * flow.abs().max()


def test_the_paper_s_odd_kernels_of_stride_2_are_not_equivariant_even_so() -> None:
    """Why CompactFlowNet has even kernels: the windows of these lie one pixel to one side."""
    torch.manual_seed(0)
    group = GROUPS["left-right"]
    network = LSTMFlowNet(4, 2, residual_blocks=0).double().eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            x = torch.rand(1, layer.in_channels, SIZE, SIZE, dtype=torch.float64)
            layer.weight.data = group.average(layer.weight.data, inputs="fixed", outputs="fixed")
            with torch.no_grad():
                assert (layer(x.flip(-1)) - layer(x).flip(-1)).abs().max() > 1e-3
