"""SoftplusIntensity against exact arithmetic, for arguments of any size, and EasyTPP's head; wide lognormals."""

from __future__ import annotations

import math
from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext

import pytest
import torch

from eventflow.nn import LogNormalMixture, SoftplusIntensity


def exact(x: float, scale: float) -> Decimal:
    """s log(1 + e^(x / s)) with 200 digits."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 200, MAX_EMAX, MIN_EMIN
        s = Decimal(scale)
        return s * (1 + (Decimal(x) / s).exp()).ln()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_right_to_the_last_digits(dtype: torch.dtype, scale: float) -> None:
    head = SoftplusIntensity(1, 1).to(dtype)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.zero_()
        head.log_scale.fill_(math.log(scale))
    s = head.log_scale.exp().item()
    eps = torch.finfo(dtype).eps
    for x in (-60.0, -19.9, -3.0, -0.1, 0.0, 0.3, 5.0, 19.9, 20.1, 30.0, 36.9, 41.0, 90.0, 1e4, 1e8):
        seen, want = head(torch.tensor([[x]], dtype=dtype)).item(), exact(x, s)
        slack = 8 * eps * max(1.0, abs(x) / s)  # the argument itself is rounded
        assert abs(Decimal(seen) - want) <= max(Decimal(slack) * want, Decimal(torch.finfo(dtype).tiny)), x
        log_seen, log_want = head.log_intensity(torch.tensor([[x]], dtype=dtype)).item(), want.ln()
        assert abs(Decimal(log_seen) - log_want) <= Decimal(slack) * max(1, abs(log_want)), x


def test_logarithm_and_its_gradient_where_the_intensity_underflows() -> None:
    head = SoftplusIntensity(1, 1)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.zero_()
    h = torch.tensor([[-500.0], [-100.0], [2.0]], requires_grad=True)
    assert head(h)[0, 0] == 0
    log = head.log_intensity(h)
    torch.testing.assert_close(log[:2, 0], torch.tensor([-500.0, -100.0]))
    (grad,) = torch.autograd.grad(log.sum(), h)
    torch.testing.assert_close(grad[:2, 0], torch.ones(2))
    torch.testing.assert_close(log[2], head(h)[2].log())


def test_total_marks_and_gradients() -> None:
    torch.manual_seed(0)
    head = SoftplusIntensity(4, 3).double()
    with torch.no_grad():
        head.log_scale.normal_()
    h = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    total, marks = head.intensities(h)
    assert total.shape == (2, 5) and marks.shape == (2, 5, 3)
    torch.testing.assert_close(total, marks.sum(-1))
    scale = head.log_scale.exp()
    torch.testing.assert_close(marks, scale * torch.log1p(torch.exp((h @ head.weight.T + head.bias) / scale)))
    torch.testing.assert_close(head.log_intensity(h), marks.log())
    assert torch.autograd.gradcheck(lambda x: head(x), h)
    assert torch.autograd.gradcheck(lambda x: head.log_intensity(x), h)


@pytest.mark.peer
def test_easytpp_head_with_the_same_weights() -> None:
    """log_scale = -log_beta; theirs is linear from 20 on, which is 2e-9 off there."""
    layers = pytest.importorskip("easy_tpp.model.torch_model.torch_baselayer", reason="EasyTPP is not installed")
    torch.manual_seed(0)
    theirs = layers.ScaledSoftplus(3).double()
    head = SoftplusIntensity(4, 3).double()
    with torch.no_grad():
        theirs.log_beta.normal_()
        head.log_scale.copy_(-theirs.log_beta)
        h = torch.randn(50, 4, dtype=torch.float64) * 3
        x = torch.nn.functional.linear(h, head.weight, head.bias)
        torch.testing.assert_close(head(h), theirs(x), rtol=5e-9, atol=1e-14)


def test_the_mean_of_lognormals_is_no_wider_than_a_deviation_of_two() -> None:
    """One component: P(T > 1) = 1/2 and E[T] = exp(sigma^2 / 2), sigma = 2 for all wider ones."""
    head, h, zero = LogNormalMixture(1, 1, components=1).double(), torch.zeros(1).double(), torch.zeros(()).double()
    with torch.no_grad():
        for sigma in (0.5, 2.0, 20.0, 1e9):
            head.components.bias.copy_(torch.tensor([0.0, 0.0, math.log(sigma)]))
            mean = math.exp(min(sigma, 2.0) ** 2 / 2)
            assert head.mean_beyond(h, zero).item() == pytest.approx(mean, rel=1e-7)  # TINY is taken off the times
            assert head.log_survival(h, zero + 1.0).exp().item() == pytest.approx(0.5, abs=1e-8)
            area = torch.trapezoid(
                head.log_density(h, (x := torch.linspace(-18, 18, 20_001).double()).exp()).exp() * x.exp(), x
            )
            assert area.item() == pytest.approx(1.0, abs=1e-6)
