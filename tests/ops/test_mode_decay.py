"""Numbers that fade, read ahead: compiled == definition, gradients too; a state alone, and not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops.mode_decay import mode_decay


def drawn(seed: int, rows: int, times: int, channels: int, width: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, channels, width, generator=g, dtype=torch.float64)
    rate, pace, ahead = (
        torch.rand(*shape, generator=g, dtype=torch.float64) * 4
        for shape in ((channels, width), (rows, channels), (rows, times))
    )
    return [weight, rate, pace, ahead]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(
    seed=st.integers(0, 99), rows=st.integers(0, 4), times=st.integers(0, 6), channels=st.integers(1, 3),
    width=st.sampled_from([1, 16, 19]),
)  # fmt: skip
@settings(deadline=None, max_examples=20)
def test_compiled_is_the_definition(
    dtype: torch.dtype, seed: int, rows: int, times: int, channels: int, width: int
) -> None:
    results = []
    for backend in ("numba", "naive"):
        *learned, ahead = (x.to(dtype) for x in drawn(seed, rows, times, channels, width))
        learned = [x.requires_grad_() for x in learned]
        out = mode_decay(*learned, ahead, backend=backend)
        assert out.dtype == dtype and out.shape == (rows, times, channels)
        results.append((out.detach(), torch.autograd.grad((out * torch.arange(1, channels + 1)).sin().sum(), learned)))
    rtol = 1e-12 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(results[0], results[1], rtol=rtol, atol=rtol)


def test_a_state_alone_is_the_same_state_among_others() -> None:
    weight, rate, pace, ahead = (x.float() for x in drawn(1, 9, 5, 3, 16))
    together = mode_decay(weight, rate, pace, ahead)
    assert torch.equal(mode_decay(weight[4:5], rate, pace[4:5], ahead[4:5]), together[4:5])


def test_wrong_arguments() -> None:
    weight, rate, pace, ahead = drawn(1, 2, 2, 2, 2)
    with pytest.raises(InputError, match="did you mean 'naive'"):
        mode_decay(weight, rate, pace, ahead, backend="naiv")
    with pytest.raises(InputError, match=r"rate \(1, 2\)"):
        mode_decay(weight, rate[:1], pace, ahead)
