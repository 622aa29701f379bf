"""predictions on a stream: streaming TD beside the last value, on a sensor series; a thousand questions, their speed

Axes: T rows, D columns.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.bench._report import write
from eventflow.errors import InputError, did_you_mean
from eventflow.io import load_dataset
from eventflow.ops.gvf import GVFStream

if TYPE_CHECKING:
    from eventflow.rl import Settings

Array = NDArray[np.float64]
#: Of the observation's exponential average in the published recipe.
EMA = 0.999
LAST, PUBLISHED = "last value", "StreamTD, as published (0.999 average, future scale)"
#: Among which the linear learner chooses.
STEP_SIZES, LAMBDAS = (0.001, 0.003, 0.01, 0.03, 0.1), (0.5, 0.8, 0.95)
#: Sizes of the speed part: questions, features, events.
SPEED = (1000, 32, 2000)


class Series(NamedTuple):
    """``x`` (T, D) observations, ``target`` (T,) what is summed, ``truth`` (T,): sum over k >= 1 of
    discount^(k-1) target[t + k], to the end of the series; ``judged``: rows of the last half that see far enough."""

    x: Array
    target: Array
    truth: Array
    judged: slice
    discount: float


Method = Callable[[Series, int], Array]


def run(
    *, out: Path | None = None, data: str = "etth1", target: str = "OT", discount: float = 0.99,
    seeds: list[int] | None = None,
) -> None:  # fmt: skip
    """Predict the discounted sum of a column of a regular series, each row learned from once, and judge that.

    Errors are root mean squares over the last half, divided by the deviation of the truth over the whole series (1: no
    better than knowing the mean in hindsight). Predictions are made before what they are about. Below it: the time that
    1,000 general value functions take per event, compiled and by definition.

    Args:
        out: folder for gvf.json.
        data: a dataset whose rows are readings of a sensor.
        target: the column that is summed.
        discount: per row.
        seeds: of the networks' weights; by default 0 to 9.

    Raises:
        InputError: no such dataset or column.
    """
    series = load_series(data, target, discount)
    drawn = seeds or list(range(10))
    rows = {name: [nrmse(method(series, seed), series) for seed in drawn] for name, method in _methods()}
    speed = measure_speed()
    print(f"{data}: the sum of {target}, discount {discount} a row; error / deviation over the last half")
    for name, errors in rows.items():
        spread = f" +- {statistics.stdev(errors):.3f}" if len(set(errors)) > 1 else ""
        print(f"  {name:58} {statistics.mean(errors):.3f}{spread}")
    print(_verdict(rows[PUBLISHED], rows[LAST][0]))
    print(f"{SPEED[0]:,} questions, {SPEED[1]} features, one core, us per event: " + _shown(speed))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        report = {"data": data, "target": target, "discount": discount, "nrmse": rows, "us_per_event": speed}
        write(json.dumps(report, indent=1) + "\n", out / "gvf.json")


def _verdict(recipe: list[float], last: float) -> str:
    """Whether the published recipe beats the last value by more than two standard errors."""
    error = 2 * statistics.stdev(recipe) / len(recipe) ** 0.5 if len(recipe) > 1 else 0.0
    does = "beats" if statistics.mean(recipe) + error < last else "does not beat"
    return f"The published recipe {does} the last value here."


def load_series(data: str, target: str, discount: float) -> Series:
    """One sequence with float columns, as a series."""
    if not 0 <= discount < 1:
        raise InputError(f"bench gvf: discount={discount}; expected a number in [0, 1)")
    events = load_dataset(data, splits=["train"])["train"]
    columns = {name: column for name, column in events.marks.items() if column.dtype.kind == "f" and column.ndim == 1}
    if len(events) != 1 or not columns:
        raise InputError(
            f"bench gvf: {data!r} has {len(events)} sequences and the columns {list(columns)}; expected one sequence "
            "of readings. Write: --data etth1"
        )
    if target not in columns:
        raise InputError(f"bench gvf: --target {target!r}; {did_you_mean(target, columns)}")
    value, truth = columns[target], np.zeros(len(events.t))
    for t in range(len(value) - 2, -1, -1):
        truth[t] = value[t + 1] + discount * truth[t + 1]
    unseen = int(np.ceil(np.log(1e-3) / np.log(discount))) if discount else 1
    if len(value) < 4 * unseen:
        raise InputError(f"bench gvf: {data!r} has {len(value)} rows; expected at least {4 * unseen} for this discount")
    return Series(np.stack(list(columns.values()), 1), value, truth, slice(len(value) // 2, -unseen), discount)


def nrmse(predicted: Array, series: Series) -> float:
    """Root mean square error over the judged rows, divided by the deviation of the truth over all rows."""
    error = (predicted - series.truth)[series.judged]
    return float(np.sqrt(np.mean(error**2)) / series.truth.std())


def last_value(series: Series, seed: int) -> Array:
    """All that comes is as now."""
    return series.target / (1 - series.discount)


def running_mean(series: Series, seed: int) -> Array:
    """All that comes is as the mean so far."""
    return np.cumsum(series.target) / np.arange(1, len(series.target) + 1) / (1 - series.discount)


def published(series: Series, seed: int) -> Array:
    """The authors' recipe: the observation's slow average is all that the network sees, and the target is scaled by its
    smallest and largest value over the whole file, the future included."""
    from eventflow.rl import Settings

    low, high = series.target.min(), series.target.max()
    scaled = series._replace(x=_average(series.x, EMA), target=(series.target - low) / (high - low))
    return _network(scaled, seed, Settings(series.discount, scale=False)) * (high - low) + low / (1 - series.discount)


def raw(series: Series, seed: int) -> Array:
    """The same network on the observations as they are; the target's scale is the running one of StreamTD."""
    from eventflow.rl import Settings

    return _network(series, seed, Settings(series.discount))


def recurrent(series: Series, seed: int) -> Array:
    """A DiagSSM before the network, learned through by exact gradients; observations normalised as they come."""
    import torch

    from eventflow.nn import DiagSSM
    from eventflow.ops.rtrl import RTRLStream
    from eventflow.rl import RecurrentTD

    torch.manual_seed(seed)
    scale, length = np.maximum.accumulate(np.abs(series.target)), len(series.target)
    one = np.ones(length)
    stream = RTRLStream(
        _normalised(series.x), one, series.target / scale, series.discount * one, np.zeros(length, np.bool_)
    )
    cell = DiagSSM(series.x.shape[1], 32, num_states=8, steps=(0.02, 1.0))
    return RecurrentTD(cell).scan(stream).value * scale


def linear(series: Series, seed: int) -> Array:
    """One general value function, linear in the normalised observations; of STEP_SIZES and LAMBDAS those that were best
    in the second quarter, of which nothing is judged."""
    from eventflow.rl import GVF, GVFs, with_bias

    scale, one = np.maximum.accumulate(np.abs(series.target)), np.ones(len(series.target))
    horizon = -1 / np.log(series.discount) if series.discount else 1e-9
    stream = with_bias(_normalised(series.x), one, (series.target / scale)[:, None])
    asked = [GVF(0, horizon, "step", step_size=a, lambda_=fade) for a in STEP_SIZES for fade in LAMBDAS]
    said = GVFs(asked, series.x.shape[1] + 1).scan(stream).value * scale[:, None]
    half, unseen = series.judged.start, -series.judged.stop
    before = series._replace(judged=slice(half // 2, half - unseen))
    return said[:, int(np.argmin([nrmse(each, before) for each in said.T]))]


def _methods() -> list[tuple[str, Method]]:
    return [
        (LAST, last_value),
        ("running mean", running_mean),
        (PUBLISHED, published),
        ("StreamTD, raw observations", raw),
        ("RecurrentTD (DiagSSM, exact gradients)", recurrent),
        ("GVF, linear", linear),
    ]


def _network(series: Series, seed: int, settings: Settings) -> Array:
    """What StreamTD says just after each row."""
    from eventflow.rl import StreamTD

    learner = StreamTD(series.x.shape[1], seed=seed, settings=settings)
    said = [learner.begin(series.x[0])]
    said += [learner.step(float(r), x) for r, x in zip(series.target[1:], series.x[1:], strict=True)]
    return np.array(said)


def _average(x: Array, keep: float) -> Array:
    """Exponential average over rows, from the first one on."""
    import torch

    from eventflow.ops import scan

    b = torch.from_numpy((1 - keep) * x)[None]
    return scan(torch.full_like(b, keep), b, torch.from_numpy(x[:1].copy()))[0].numpy()


def _normalised(x: Array) -> Array:
    """(x - mean) / deviation of the rows so far, each row included in its own; at most 10 in size."""
    count = np.arange(1, len(x) + 1)[:, None]
    mean = np.cumsum(x, 0) / count
    before = np.concatenate([x[:1], mean[:-1]])
    variance = np.cumsum((x - before) * (x - mean), 0) / np.maximum(count - 1, 1)
    variance[0] = 1
    return np.clip((x - mean) / np.sqrt(variance + 1e-8), -10, 10)


def measure_speed() -> dict[str, float]:
    """us per event of CPU time: compiled in both precisions, and by definition; checked to be the same first."""
    from eventflow.ops.gvf import gvf_scan
    from eventflow.rl import GVF, GVFs

    questions, features, events = SPEED
    draw = np.random.default_rng(0)
    asked = [GVF(int(draw.integers(8)), float(draw.choice([1.0, 10.0, 100.0]))) for _ in range(questions)]
    stream = GVFStream(draw.normal(size=(events, features)), draw.exponential(size=events), draw.random((events, 8)))
    few = GVFStream(*(part[:4] for part in stream[:3]))
    found = {}
    for name, float32 in (("float64", False), ("float32", True)):
        learner = GVFs(asked, features, float32=float32)
        compiled = gvf_scan(few, learner.terms, learner.init())
        begin = time.process_time()
        definition = gvf_scan(few, learner.terms, learner.init(), backend="naive")
        slow = (time.process_time() - begin) / 4
        np.testing.assert_allclose(compiled.value, definition.value, rtol=1e-4 if float32 else 1e-9, atol=1e-6)
        times = []
        for _ in range(5):
            begin = time.process_time()
            learner.scan(stream)
            times.append((time.process_time() - begin) / events)
        found[name] = 1e6 * min(times)
        found[f"{name}, definition"] = 1e6 * slow
    return found


def _shown(speed: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.0f}" for name, value in speed.items())
