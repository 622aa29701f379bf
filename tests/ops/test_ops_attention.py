"""Attention to runs of keys: every path == the definition == softmax by hand, gradients too; a query alone, and not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eventflow.errors import InputError
from eventflow.ops.attention import Seen, attention, attention_and_total, joined, self_attention


def drawn(seed: int, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[list[Tensor], Seen]:
    """Queries of N rows, keys and values of B sequences, and runs, some empty; shape: N, R, B, S, heads, d."""
    rows, places, count, slots, heads, width = shape
    g = torch.Generator().manual_seed(seed)
    sizes = (rows, places), (count, slots), (count, slots)
    given = [torch.randn(*s, heads, width, generator=g, dtype=torch.float64).to(dtype) for s in sizes]
    first, stop = (torch.randint(-1, slots + 3, (rows, places), generator=g) for _ in range(2))
    of = torch.randint(0, count, (rows,), generator=g) if seed % 2 or rows != count else None
    return given, Seen(first, stop, of)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@given(
    seed=st.integers(0, 999), rows=st.integers(0, 3), places=st.integers(0, 35), count=st.integers(1, 3),
    slots=st.integers(1, 21), heads=st.integers(1, 2), width=st.sampled_from([1, 2, 16, 20]), rest=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_all_paths_are_the_definition(
    dtype: torch.dtype, seed: int, rows: int, places: int, count: int, slots: int, heads: int, width: int, rest: bool
) -> None:
    tensors, seen = drawn(seed, (rows, places, count, slots, heads, width), dtype)
    results = []
    for backend in ("naive", "numba", "torch"):
        tensors = [x.clone().requires_grad_() for x in tensors]
        out = attention(*tensors, seen, rest=rest, backend=backend)
        assert out.dtype == dtype and out.shape == tensors[0].shape
        results.append((out.detach(), torch.autograd.grad((out * torch.arange(1, width + 1)).sin().sum(), tensors)))
    rtol = 1e-11 if dtype == torch.float64 else 3e-4
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("backend", ["naive", "numba", "torch"])
@given(
    seed=st.integers(0, 999), rows=st.integers(0, 3), places=st.integers(0, 35), cut=st.integers(0, 20),
    width=st.sampled_from([1, 16, 20]), rest=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=25)
def test_two_runs_make_one(backend: str, seed: int, rows: int, places: int, cut: int, width: int, rest: bool) -> None:
    (query, key, value), seen = drawn(seed, (rows, places, 2, 20, 2, width), torch.float64)
    query = query * 9
    early, late = seen._replace(stop=seen.stop.clamp_max(cut)), seen._replace(first=seen.first.clamp_min(cut))
    one = attention_and_total(query, key, value, early, rest=rest, backend=backend)
    two = attention_and_total(query, key, value, late, backend=backend)
    assert one[1].shape == query.shape[:3]
    torch.testing.assert_close(joined(one, two), attention(query, key, value, seen, rest=rest, backend="naive"))
    torch.testing.assert_close(one, attention_and_total(query, key, value, early, rest=rest, backend="naive"))


def test_two_runs_have_the_gradient_of_one() -> None:
    (query, key, value), seen = drawn(1, (3, 5, 2, 20, 2, 16), torch.float64)
    given = [x.requires_grad_() for x in (query, key, value)]
    early, late = seen._replace(stop=seen.stop.clamp_max(9)), seen._replace(first=seen.first.clamp_min(9))
    both = joined(attention_and_total(*given, early, rest=True), attention_and_total(*given, late))
    one = attention(*given, seen, rest=True)
    grads = [torch.autograd.grad(out.sin().sum(), given) for out in (both, one)]
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("rest", [False, True])
def test_it_is_softmax_query_by_query(rest: bool) -> None:
    """With logits in the hundreds, so that exponentials without their largest would overflow."""
    (query, key, value), seen = drawn(1, (4, 5, 2, 9, 2, 3), torch.float64)
    query = query * 200
    assert seen.of is not None
    out = attention(query, key, value, seen, rest=rest)
    for n, r, h in torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(2)).tolist():
        run = slice(max(int(seen.first[n, r]), 0), max(int(seen.stop[n, r]), 0))
        keys, values = (x[seen.of[n], run, h] for x in (key, value))
        logits = torch.cat([keys @ query[n, r, h] / math.sqrt(3), torch.zeros(int(rest), dtype=torch.float64)])
        expected = logits.softmax(0)[: len(values)] @ values
        torch.testing.assert_close(out[n, r, h], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("window", [3, 100])
def test_packed_self_attention_with_its_gradient(window: int) -> None:
    packed = torch.randn(2, 37, 3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stop = torch.arange(1, 38)[None]
    seen = Seen((stop - window).clamp_min(0), stop)
    pairs = []
    for backend in ("numba", "naive", "torch"):
        packed = packed.clone().requires_grad_()
        out = self_attention(packed, seen, backend=backend)
        pairs.append((out.detach(), torch.autograd.grad(out.sin().sum(), packed)))
    for other in pairs[1:]:
        torch.testing.assert_close(other, pairs[0], rtol=1e-10, atol=1e-10)


def test_strided_tensors_are_what_their_copies_are() -> None:
    (query, key, value), seen = drawn(3, (5, 18, 2, 7, 2, 16), torch.float64)
    turned = query.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3).requires_grad_()
    mixed = torch.stack([key, value], 3).requires_grad_()
    grads = []
    for q, k, v in ((query.requires_grad_(), key, value), (turned, mixed[:, :, :, 0], mixed[:, :, :, 1])):
        out = attention(q, k, v, seen, rest=True)
        grads.append((out.detach(), torch.autograd.grad(out.cos().sum(), q)[0]))
    torch.testing.assert_close(grads[1], grads[0], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_query_alone_is_the_same_query_among_others(dtype: torch.dtype) -> None:
    """To the last bit, whatever its neighbours see."""
    (query, key, value), seen = drawn(5, (3, 20, 2, 33, 2, 16), dtype)
    together = attention(query, key, value, seen, rest=True)
    assert seen.of is not None
    for n, r in ((0, 0), (1, 7), (2, 19)):
        one = Seen(seen.first[n, r].view(1, 1), seen.stop[n, r].view(1, 1), seen.of[n : n + 1])
        alone = attention(query[n : n + 1, r : r + 1], key, value, one, rest=True)
        assert torch.equal(alone[0, 0], together[n, r])


def test_wrong_arguments() -> None:
    (query, key, value), seen = drawn(1, (2, 3, 2, 4, 1, 2), torch.float32)
    with pytest.raises(InputError, match="did you mean 'numba'"):
        attention(query, key, value, seen, backend="nubma")
    with pytest.raises(InputError, match=r"key \(2, 4, 1, 2\), value \(2, 3, 1, 2\)"):
        attention(query, key, value[:, :3], seen)
    with pytest.raises(InputError, match=r"first \(2, 2\)"):
        attention(query, key, value, seen._replace(first=seen.first[:, :2]))
    with pytest.raises(InputError, match="expected the sequence of each row"):
        attention(query, key, value, seen._replace(of=torch.zeros(3, dtype=torch.int64)))
    with pytest.raises(InputError, match=r"of=0..2; expected the numbers of 2 sequences"):
        attention(query, key, value, seen._replace(of=torch.tensor([0, 2])))
