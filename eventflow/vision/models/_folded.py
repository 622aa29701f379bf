"""A convolution and what follows it, in one pass, for running only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eventflow.ops.sparse_convolution import sparse_convolution, sparse_taps
from eventflow.ops.winograd import winograd, winograd_kernel

#: Size of a kernel -> channels on either side, and 4x4 tiles, from which on fewer products are worth two more passes
#: over memory.
LEAST_CHANNELS, LEAST_TILES = {3: 32, 2: 64}, {3: 24, 2: 64}
#: The share of inputs that are not zero up to which passing over the others is faster than any dense way.
MOST_FILLED = 1 / 3


class Folded(nn.Module):
    """A convolution, the batch-norm (in eval) after it folded in.

    Args:
        convolution: of zeros around the image, without dilation.
        norm: the batch-norm.
        relu: applied to what comes out, in the same pass.
        sparse: the inputs are mostly zero, as spikes are: in float32 zeros are passed over where there are enough.
    """

    #: In which products are formed (sums are float32); images go in and out in the weights' own.
    precision: torch.dtype | None = None

    def __init__(
        self, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, relu: bool = False, sparse: bool = False
    ) -> None:
        super().__init__()
        weight, bias = folded(convolution.weight, convolution.bias, norm)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.groups, self.relu = convolution.groups, relu
        self.stride, self.padding = list(convolution.stride), [int(p) for p in convolution.padding]
        self._packed: Tensor | None = None
        self._tiles: Tensor | None = None  # made from the weights when an image is first large enough
        outputs, inputs = weight.shape[:2]
        self._sparse = sparse and self.groups == 1 and inputs >= 16 and outputs % 64 == 0
        self._taps: Tensor | None = None
        if weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            self.pack(torch.float32)

    def pack(self, dtype: torch.dtype) -> None:
        """Lay the weights out for this machine, in float32 or bfloat16."""
        self.precision = dtype
        self._packed = torch.ops.mkldnn._reorder_convolution_weight(
            self.weight.to(dtype), self.padding, self.stride, [1, 1], self.groups, None
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C', H', W') of (B, C, H, W), channels last."""
        return self._convolved(x, relu=self.relu)

    def _few_products(self, x: Tensor) -> bool:
        """Whether Winograd's way is the faster one: enough channels on both sides, and enough tiles of 4x4."""
        outputs, inputs, *size = self.weight.shape
        if self.precision != torch.float32 or self.stride != [1, 1] or size not in ([2, 2], [3, 3]):
            return False
        tiles = len(x) * x.shape[2] * x.shape[3] / 16
        enough = min(outputs, inputs) >= LEAST_CHANNELS[size[0]] and tiles >= LEAST_TILES[size[0]]
        return self.groups == 1 and enough

    def _tiled(self, x: Tensor) -> Tensor:
        if self._tiles is None:
            self._tiles = winograd_kernel(self.weight)
        size, rows = self.weight.shape[-1], x.permute(0, 2, 3, 1)
        return winograd(rows, self._tiles, self.bias, kernel=size, padding=self.padding[0]).permute(0, 3, 1, 2)

    def _skipping(self, x: Tensor) -> Tensor | None:
        """None if too little of ``x`` is zero."""
        if self._taps is None:
            self._taps = sparse_taps(self.weight)
        size = {"kernel": self.weight.shape[-1], "stride": self.stride[0], "padding": self.padding[0]}
        y = sparse_convolution(x.permute(0, 2, 3, 1), self._taps, self.bias, **size, most=MOST_FILLED)
        return None if y is None else y.permute(0, 3, 1, 2)

    def _convolved(self, x: Tensor, *, relu: bool) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if self._sparse and self.precision == torch.float32 and (y := self._skipping(x)) is not None:
            return y.relu_() if relu else y
        if self._few_products(x):
            y = self._tiled(x)
            return y.relu_() if relu else y
        if self._packed is None:
            y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
            return y.relu_() if relu else y
        bias = self.bias if self.bias is None else self.bias.to(self.precision)
        y = torch.ops.mkldnn._convolution_pointwise(
            x.to(self.precision), self._packed, bias, self.padding, self.stride, [1, 1], self.groups,
            "relu" if relu else "none", [], "",
        )  # fmt: skip
        return y.to(x.dtype)

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """y += what ``x`` gives (then relu), in place; returns y."""
        if self._packed is None or self.precision != y.dtype or self._few_products(x):
            y.add_(self._convolved(x, relu=False))
            return y.relu_() if self.relu else y
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            y, x, self._packed, self.bias, self.padding, self.stride, [1, 1], self.groups, "add", 1.0,
            "relu" if self.relu else None, [], "",
        )  # fmt: skip


def folded(weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of a convolution (outputs first) with a batch-norm's running statistics folded in."""
    weight = weight.detach().clone()
    if norm is None:
        return weight, None if bias is None else bias.detach().clone()
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias.detach() + scale * ((0 if bias is None else bias.detach()) - norm.running_mean)
    return weight * scale.reshape(-1, 1, 1, 1), shift
