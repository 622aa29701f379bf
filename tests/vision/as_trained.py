"""Networks that look trained: a batch-norm that does nothing, as at the start, would hide mistakes."""

from __future__ import annotations

from torch import nn

from eventflow.vision import FlowNetwork


def as_trained(network: FlowNetwork) -> FlowNetwork:
    """The network in eval, its batch-norms with other statistics and weights than at the start."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
    return network.eval()
