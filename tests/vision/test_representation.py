"""Representations: rules against their definitions, chunks against the whole, filters, augmentations with flow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import InputError
from eventflow.events import Events, Schema
from eventflow.ops import event_count, event_frame, spike_tensor, time_surface, timestamp_image, voxel_grid
from eventflow.vision import (
    CenterCrop,
    Compose,
    Denoise,
    DropEvent,
    EventCount,
    EventFrame,
    Motion,
    Plane,
    RandomCrop,
    RandomFlipLR,
    RandomFlipPolarity,
    RandomFlipUD,
    RandomTimeReversal,
    RefractoryPeriod,
    Sample,
    Scene,
    SpatialJitter,
    SpikeTensor,
    TimeJitter,
    TimestampImage,
    TimeSurface,
    UniformNoise,
    VoxelGrid,
    random_scene,
    simulate,
)

RULES = ("dsec", "eraft", "bflow", "tonic", "openeb", "openeb_volume")
H, W = 12, 16
SIZE = {"height": H, "width": W}
SPAN = (10_000, 60_000)


def draw(n: int = 2000, seed: int = 0) -> Events:
    """Events before, in and after ``SPAN``."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 70_000, n))
    marks = {"x": rng.integers(0, W, n).astype(np.uint16), "y": rng.integers(0, H, n).astype(np.uint16)}
    schema = Schema(unit="us", **SIZE)
    return Events.of(t, span=(0, 70_000), schema=schema, p=rng.integers(0, 2, n).astype(np.uint8), **marks)


def columns(events: Events):
    return events.t, *(events.marks[name] for name in "xyp")


def by_rule(rule: str, events: Events, bins: int) -> np.ndarray:
    """The voxel grid as each library defines it, event by event, over the half-open SPAN."""
    grid = np.zeros((bins, H, W))
    start, end = SPAN
    for t, x, y, p in zip(*columns(events), strict=True):
        share, sign = (int(t) - start) / (end - start), 2.0 * p - 1
        if rule == "bflow":
            for b in range(bins):  # a triangle about each of the bins, wherever the event is
                grid[b, y, x] += sign * max(0.0, 1 - abs(share * (bins - 1) - b))
            continue
        if not 0 <= share < 1:
            continue
        if rule == "openeb_volume":  # bins are clamped; what the lower one does not get, the higher one gets
            position = share * bins - 0.5
            low = min(max(math.floor(position), 0), bins - 1)
            weight = max(0.0, 1 - abs(low - position))
            grid[low, y, x] += sign * weight
            grid[min(low + 1, bins - 1), y, x] += sign * (1 - weight)
            continue
        position = share * (bins - 1 if rule in ("dsec", "eraft") else bins) - (0.5 if rule == "openeb" else 0.0)
        low = math.floor(position)
        for b, weight in ((low, 1 - (position - low)), (low + 1, position - low)):
            if 0 <= b < bins:
                grid[b, y, x] += sign * weight
    if rule == "eraft":
        filled = grid[grid != 0]
        grid[grid != 0] = (filled - filled.mean()) / filled.std(ddof=1)
    return grid


@pytest.mark.parametrize("bins", [2, 5, 15])
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_its_definition(rule, bins) -> None:
    events = draw(400)
    grid = VoxelGrid(bins=bins, rule=rule, **SIZE)
    got = grid.flush(grid.step(grid.init(*SPAN), events))
    np.testing.assert_allclose(got, by_rule(rule, events, bins), atol=2e-5)


def test_the_rules_differ_by_as_much_as_said() -> None:
    events = draw(5000)
    grids = {}
    for rule in ("dsec", "tonic", "openeb", "openeb_volume"):
        rep = VoxelGrid(bins=5, rule=rule, **SIZE)
        grids[rule] = rep.flush(rep.step(rep.init(*SPAN), events))
    for rule in ("tonic", "openeb"):
        assert 0.2 < np.abs(grids[rule] - grids["dsec"]).sum() / np.abs(grids["dsec"]).sum() < 1.5
    inside = events.slice(*SPAN)
    mass = 2.0 * inside.marks["p"].sum() - inside.num_events
    assert grids["dsec"].sum() == pytest.approx(mass, abs=1e-2) == grids["openeb_volume"].sum()
    assert abs(grids["tonic"].sum() - mass) > 0.5 and abs(grids["openeb"].sum() - mass) > 0.5


@pytest.mark.parametrize("interpolation", ["time", "trilinear"])
@pytest.mark.parametrize("bins", [1, 2, 6])
def test_dsec_rule_is_the_op(bins, interpolation) -> None:
    events = draw()
    table = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1) + np.random.default_rng(2).normal(size=(H, W, 2))
    rep = VoxelGrid(bins=bins, interpolation=interpolation, rectify=table, **SIZE)
    how = {"bins": bins, "interpolation": interpolation, "rectify": table, **SIZE}
    np.testing.assert_allclose(rep(events, closed=True), voxel_grid(*columns(events), **how), atol=2e-5)
    streamed = rep.flush(rep.step(rep.init(*SPAN), events))
    np.testing.assert_allclose(streamed, voxel_grid(*columns(events), span=SPAN, **how), atol=2e-5)
    split = VoxelGrid(bins=bins, interpolation=interpolation, rectify=table, split_polarity=True, **SIZE)(events)
    np.testing.assert_allclose(split[0] - split[1], rep(events), atol=5e-5)
    assert split.min() >= 0


def test_normalisations() -> None:
    events = draw(300)
    plain = VoxelGrid(bins=3, **SIZE)(events)
    got = VoxelGrid(bins=3, normalise="nonzero", **SIZE)(events)
    assert got[plain != 0].mean() == pytest.approx(0, abs=1e-5)
    assert got[plain != 0].std(ddof=1) == pytest.approx(1, abs=1e-5) and (got[plain == 0] == 0).all()
    np.testing.assert_allclose(VoxelGrid(bins=3, normalise="max", **SIZE)(events), plain / np.abs(plain).max())
    for how in ("nonzero", "max"):
        for few in (draw(0), draw(1)):
            assert np.isfinite(VoxelGrid(bins=3, normalise=how, **SIZE)(few)).all()


REPRESENTATIONS = [
    *(VoxelGrid(bins=4, rule=rule, **SIZE) for rule in RULES),
    VoxelGrid(bins=4, interpolation="trilinear", split_polarity=True, **SIZE),
    EventCount(bins=4, **SIZE),
    EventCount(bins=4, interpolation="bilinear", rectify=np.ones((H, W, 2)) * 3.3, **SIZE),
    EventFrame(**SIZE),
    EventFrame(reduce="last", **SIZE),
    TimeSurface(tau=2e4, **SIZE),
    TimeSurface(tau=5e4, decay="linear", **SIZE),
    TimestampImage(**SIZE),
    TimestampImage(reduce="mean", **SIZE),
    SpikeTensor(bins=4, **SIZE),
    SpikeTensor(bins=4, kernel="exponential", measure="count", **SIZE),
]


@pytest.mark.parametrize("rep", REPRESENTATIONS, ids=lambda r: f"{type(r).__name__}-{getattr(r, 'rule', '')}")
@given(cuts=st.lists(st.integers(0, 2000), max_size=5), seed=st.integers(0, 3))
def test_any_chunking_gives_the_same_bits_and_states_are_values(rep, cuts, seed) -> None:
    events = draw(seed=seed)
    first = rep.init(*SPAN)
    kept = [v.copy() for v in first.sums]
    whole = rep.flush(rep.step(first, events))
    assert np.abs(whole).sum() > 10
    state, edges = first, [0, *sorted(cuts), 2000]
    for lo, hi in zip(edges, edges[1:], strict=False):
        state = rep.step(state, events._between(lo, hi, 0, 70_000))
    np.testing.assert_array_equal(rep.flush(state), whole)
    for before, after in zip(kept, first.sums, strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_others_are_the_ops() -> None:
    events = draw()
    c, how = columns(events), {"span": (0, 70_000), **SIZE}
    pairs = [
        (EventCount(bins=3, **SIZE), event_count(*c, bins=3, **how)),
        (EventFrame(**SIZE), event_frame(*c, **how)),
        (TimestampImage(reduce="mean", **SIZE), timestamp_image(*c, reduce="mean", **how)),
        (SpikeTensor(bins=3, **SIZE), spike_tensor(*c, bins=3, **how)),
        (TimeSurface(tau=3e4, **SIZE), time_surface(*c, tau=3e4, at=70_000, **SIZE)),
    ]
    for rep, want in pairs:
        np.testing.assert_allclose(rep(events), want, atol=1e-6)


# -- filters ----------------------------------------------------------------------------------------------------------


def naive_filter(which, events: Events) -> list[bool]:
    last: dict[tuple[int, int], int] = {}
    keep = []
    for t, x, y, _ in zip(*columns(events), strict=True):
        at = (int(x), int(y))
        if isinstance(which, RefractoryPeriod):
            keep.append(at not in last or t - last[at] >= which.delta)
            if keep[-1]:
                last[at] = t
        else:
            near = [
                (dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx or dy) and (which.diagonal or not dx * dy)
            ]
            keep.append(any(t - last.get((at[0] + dx, at[1] + dy), -1e18) < which.filter_time for dx, dy in near))
            last[at] = t
    return keep


@pytest.mark.parametrize("which", [RefractoryPeriod(3000), Denoise(600), Denoise(300.0, diagonal=True)], ids=str)
@given(cut=st.integers(0, 1500))
def test_filters_are_their_definition_and_may_be_streamed(which, cut) -> None:
    events = draw(1500)
    keep = np.array(naive_filter(which, events))
    assert 0.1 < keep.mean() < 0.95
    got = which(events)
    np.testing.assert_array_equal(got.t, events.t[keep])
    np.testing.assert_array_equal(got.marks["x"], events.marks["x"][keep])
    state = which.init(H, W)
    state, head = which.step(state, events._between(0, cut, 0, 70_000))
    state, tail = which.step(state, events._between(cut, 1500, 0, 70_000))
    np.testing.assert_array_equal(np.concatenate([head.t, tail.t]), got.t)


def test_denoising_takes_noise_and_leaves_signal() -> None:
    from eventflow.vision import Camera

    signal = simulate(random_scene(2, height=64, width=64, speed=400), duration=0.05)
    noise = simulate(Scene((Plane(),), 64, 64), Camera(shot_noise_hz=5.0), duration=0.5)
    # of noise, 1 - exp(-4 * 5 Hz * 4 ms) = 7.7 % have a neighbour by chance
    assert 0.05 < Denoise(4000.0)(noise).num_events / noise.num_events < 0.1
    assert Denoise(4000.0)(signal).num_events > 0.6 * signal.num_events


# -- augmentations ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> Sample:
    """A scene that moves by (8, -7) pixels in the window, everywhere."""
    scene = Scene((Plane(Motion(velocity=(-160.0, 140.0)), seed=3),), 48, 64)
    flow, visible = scene.flow(0.0, 0.05)
    return Sample(simulate(scene, duration=0.05), flow.astype(np.float32), visible)


def sharpness(sample: Sample) -> float:
    """Variance of the image of events, each taken back along the flow (constant here) to the window's start."""
    events, flow = sample.events, sample.flow[sample.valid].mean(0)
    share = (events.t - events.span[0, 0]) / (events.span[0, 1] - events.span[0, 0])
    x, y = events.marks["x"] - share * flow[0], events.marks["y"] - share * flow[1]
    height, width = sample.size
    image = event_count(
        events.t, x, y, events.marks["p"], bins=1, height=height, width=width, interpolation="bilinear"
    )[0]
    return float((image[0] - image[1])[8:-8, 8:-8].var())


@pytest.mark.parametrize(
    "transform",
    [
        RandomFlipLR(1.0), RandomFlipUD(1.0), RandomTimeReversal(1.0), RandomFlipPolarity(1.0), RandomCrop((40, 50)),
        CenterCrop((40, 50)), DropEvent(0.1),
        Compose([RandomFlipLR(1.0), RandomTimeReversal(1.0), CenterCrop((40, 52))]),
    ],
    ids=lambda t: type(t).__name__,
)  # fmt: skip
def test_flow_still_sharpens_what_was_transformed(sample, transform) -> None:
    before = (sample.events.t.copy(), sample.flow.copy())
    got = transform(sample, np.random.default_rng(0))
    got.events.validate()
    right = sharpness(got)
    wrong = [sharpness(replace(got, flow=got.flow * np.array(s, np.float32))) for s in ((-1, 1), (1, -1), (0, 0))]
    assert right > 1.3 * max(wrong)
    np.testing.assert_array_equal(sample.events.t, before[0])
    np.testing.assert_array_equal(sample.flow, before[1])


def test_flips_twice_are_nothing(sample) -> None:
    rng = np.random.default_rng(0)
    for transform in (RandomFlipLR(1.0), RandomFlipUD(1.0), RandomFlipPolarity(1.0)):
        twice = transform(transform(sample, rng), rng)
        np.testing.assert_array_equal(twice.flow, sample.flow)
        for name in "xyp":
            np.testing.assert_array_equal(twice.events.marks[name], sample.events.marks[name])
    back = RandomTimeReversal(1.0)(RandomTimeReversal(1.0)(sample, rng), rng)
    np.testing.assert_array_equal(np.sort(back.events.t), np.sort(sample.events.t))
    assert RandomFlipLR(0.0)(sample, rng) is sample


def test_reversed_flow_is_that_of_the_scene_run_backwards() -> None:
    scene = random_scene(5, height=60, width=80, speed=250)
    flow, visible = scene.flow(0.0, 0.05)
    got = RandomTimeReversal(1.0)(Sample(simulate(scene, duration=0.05), flow, visible), np.random.default_rng(0))
    want, _ = scene.flow(0.05, 0.0)
    error = np.hypot(*np.moveaxis(got.flow - want, -1, 0))[got.valid]
    assert got.valid.mean() > 0.6 and np.median(error) < 0.1 and np.quantile(error, 0.99) < 0.6


def test_jitter_and_noise(sample) -> None:
    rng = np.random.default_rng(0)
    n = sample.events.num_events
    moved = SpatialJitter(1.5)(sample, rng).events.validate()
    assert 0.8 * n < moved.num_events < n
    late = TimeJitter(500.0)(sample, rng).events.validate()
    assert 0.9 * n < late.num_events < n and not np.array_equal(late.t, sample.events.t[: late.num_events])
    more = UniformNoise(777)(sample, rng).events.validate()
    assert more.num_events == n + 777
    assert DropEvent(0.0)(sample, rng).events.num_events == n and DropEvent(1.0)(sample, rng).events.num_events == 0


def test_mistakes_are_named(sample) -> None:
    with pytest.raises(InputError, match="did you mean 'tonic'"):
        VoxelGrid(bins=3, rule="tonik", **SIZE)
    with pytest.raises(InputError, match="expected start < end"):
        EventFrame(**SIZE).init(5, 5)
    with pytest.raises(InputError, match="half-open"):
        EventCount(bins=2, **SIZE)(draw(), closed=True)
    with pytest.raises(InputError, match="expected something smaller"):
        CenterCrop((100, 100))(sample, np.random.default_rng(0))
    with pytest.raises(InputError, match="flow is"):
        Sample(sample.events, np.zeros((3, 3, 2)))
    with pytest.raises(InputError, match="positive time"):
        Denoise(0.0)
    with pytest.raises(InputError, match="sensor's size is not known"):
        RefractoryPeriod(5)(Events.of([1, 2], x=[0, 1], y=[0, 1], p=[0, 1], span=(0, 3)))
