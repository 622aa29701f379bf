"""Neurons and gates at every pixel: the compiled pass is the definition, whichever way the currents lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from eventflow.ops.lif_step import lif_step
from eventflow.ops.lif_step.naive import lif_step as naive_lif
from eventflow.ops.lstm_gates import lstm_gates
from eventflow.ops.lstm_gates.naive import interleaved
from eventflow.ops.lstm_gates.naive import lstm_gates as naive_gates
from eventflow.ops.sparse_convolution import sparse_convolution, sparse_taps
from eventflow.ops.sparse_convolution.naive import convolution as plain_convolution
from eventflow.ops.winograd import winograd, winograd_kernel
from eventflow.ops.winograd.naive import convolution

every_size = pytest.mark.parametrize("channels", [1, 16, 19])
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
either_way = pytest.mark.parametrize("phases", [False, True], ids=["pixels", "phases"])
B, H, W = 2, 4, 6


def given(channels: int, *, phases: bool, dtype: torch.dtype) -> Tensor:
    shape = (B, H // 2 + 1, W // 2 + 1, 4, channels) if phases else (B, H, W, channels)
    return 2 * torch.randn(shape, dtype=dtype)


@every_size
@every_dtype
@either_way
def test_neurons(channels: int, dtype: torch.dtype, phases: bool) -> None:
    torch.manual_seed(0)
    current, v = given(channels, phases=phases, dtype=dtype), torch.randn(B, H, W, channels, dtype=dtype)
    leak, threshold = torch.rand(channels, dtype=dtype), torch.rand(channels, dtype=dtype)
    v[0, 0, 0] = threshold  # exactly there is no spike
    kept = [part.clone() for part in (current, v)]
    spikes, after = lif_step(current, v, leak, threshold)
    want, potentials = naive_lif(current, v, leak, threshold)
    torch.testing.assert_close(after, potentials, rtol=1e-6, atol=1e-6)
    assert torch.equal(spikes, want) and 0.1 < spikes.mean() < 0.9
    assert torch.equal(current, kept[0]) and torch.equal(v, kept[1])


@every_size
@every_dtype
@either_way
def test_gates(channels: int, dtype: torch.dtype, phases: bool) -> None:
    torch.manual_seed(1)
    x, memory = given(4 * channels, phases=phases, dtype=dtype), torch.randn(B, H, W, 4 * channels, dtype=dtype)
    c = torch.randn(B, H, W, channels, dtype=dtype)
    tight = {torch.float32: 2e-6, torch.float64: 1e-14}[dtype]
    for got, want in zip(lstm_gates(x, memory, c), naive_gates(x, memory, c), strict=True):
        torch.testing.assert_close(got, want, rtol=tight, atol=tight)
        assert got.dtype == dtype and got.shape == c.shape


def test_phases_are_those_of_a_transposed_convolution() -> None:
    """Of a kernel whose 16 numbers all differ, at a single pixel."""
    convolution = nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1, bias=False)
    convolution.weight.data = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    phases = torch.zeros(1, 4, 4, 4, 1)
    kernel = convolution.weight.data[0, 0]
    for i in range(2):  # which of the two rows of inputs that a pixel sees is the one at 1
        for j in range(2):
            for down in range(2):
                for across in range(2):
                    phases[0, 1 + i, 1 + j, 2 * down + across, 0] = kernel[2 * i + 1 - down, 2 * j + 1 - across]
    want = convolution(x)[0, 0]
    torch.testing.assert_close(interleaved(phases)[0, :, :, 0], want.detach())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(9, 6), (4, 4), (33, 50)])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (3, 0), (2, 1)])
@pytest.mark.parametrize("channels", [(16, 16), (35, 20)])
def test_few_products_give_the_convolution(
    channels: tuple[int, int], kernel: int, padding: int, size: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(2)
    inputs, outputs = channels
    x, weight = torch.randn(2, *size, inputs), torch.randn(outputs, inputs, kernel, kernel)
    offset = torch.randn(outputs) if bias else None
    kept = x.clone()
    got = winograd(x, winograd_kernel(weight), offset, kernel=kernel, padding=padding)
    want = convolution(
        x.double(), weight.double(), None if offset is None else offset.double(), padding=padding
    )  # fmt: skip
    assert got.shape == want.shape and got.is_contiguous() and torch.equal(x, kept)
    assert (got - want).abs().max() < 2e-5 * want.abs().max()


def test_more_tiles_than_a_chunk() -> None:
    torch.manual_seed(3)
    x, weight = torch.randn(1, 61, 60, 16), torch.randn(16, 16, 3, 3)
    got = winograd(x, winograd_kernel(weight), None, kernel=3, padding=1)
    want = convolution(x.double(), weight.double(), None, padding=1)
    assert (got - want).abs().max() < 2e-5 * want.abs().max()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("channels", "form"),
    [((16, 64), (3, 2, 1)), ((35, 128), (2, 1, 1)), ((2, 64), (3, 1, 0)), ((130, 64), (1, 1, 0)),
     ((16, 64), (4, 3, 2))],
)  # fmt: skip
def test_what_is_zero_is_passed_over(channels: tuple[int, int], form: tuple[int, int, int], share: float) -> None:
    torch.manual_seed(4)
    (inputs, outputs), (kernel, stride, padding) = channels, form
    x = torch.randn(2, 5, 8, inputs) * (torch.rand(2, 5, 8, inputs) < share)
    weight, bias, kept = torch.randn(outputs, inputs, kernel, kernel), torch.randn(outputs), x.clone()
    for offset in (bias, None):
        got = sparse_convolution(x, sparse_taps(weight), offset, kernel=kernel, stride=stride, padding=padding)
        exact = (x.double(), weight.double(), None if offset is None else offset.double())
        want = plain_convolution(*exact, stride=stride, padding=padding)
        assert got is not None and got.shape == want.shape and got.is_contiguous() and torch.equal(x, kept)
        assert (got - want).abs().max() <= 1e-6 * want.abs().max() * (kernel**2 * inputs) ** 0.5


def test_too_little_that_is_zero_is_told_and_what_is_no_number_is_not_lost() -> None:
    x, form = torch.zeros(1, 4, 4, 32), {"kernel": 3, "stride": 1, "padding": 1}
    taps = sparse_taps(torch.ones(64, 32, 3, 3))
    x.flatten()[:128] = 1  # a quarter
    assert sparse_convolution(x, taps, None, **form, most=0.25) is not None
    assert sparse_convolution(x, taps, None, **form, most=0.24) is None
    x[0, 0, 0, 3] = float("nan")
    got = sparse_convolution(x, taps, None, **form)
    assert got is not None and got[0, :2, :2].isnan().all() and not got[0, 2:].isnan().any()
