"""``eventflow stream --learner`` and ``eventflow bench gvf``: what learns as it goes, from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def write_events(path: Path, count: int = 4000) -> None:
    draw = np.random.default_rng(0)
    t = np.cumsum(draw.exponential(0.5, size=count))
    path.write_text("".join(f'{{"key": "a", "t": {t[i]}, "mark": {i % 3}}}\n' for i in range(count)))


def test_a_shipped_learner_runs_live_and_learns(cli: Any, tmp_path: Path) -> None:
    """Events at rate 2, a third of each mark: a discounted count over horizon h is worth about 2 h / 3."""
    write_events(tmp_path / "events.jsonl")
    answer = cli("stream", "--learner", "models/event_gvfs", "--source", "events.jsonl", "--sink", "out.jsonl")
    assert answer.code == 0, answer.err
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(told) == 4000 and set(told[0]) == {"key", "t", "value", "error"} and len(told[0]["value"]) == 9
    late = np.array([line["value"] for line in told[2000:]]).mean(0).reshape(3, 3)
    np.testing.assert_allclose(late[1], 2 * 10 / 3, rtol=0.2)  # horizon 10


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "neither --checkpoint nor --learner was given"),
        (("--learner", "event_gvf"), "did you mean 'event_gvfs'"),
        (("--learner", "bad.yaml"), "unknown key 'klass'"),
        (("--learner", "odd.yaml"), "does not take these arguments"),
        (("--learner", "wrong.yaml"), "is no operator"),
    ],
)
def test_mistakes_are_told(cli: Any, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "bad.yaml").write_text("klass: x")
    (tmp_path / "odd.yaml").write_text("class_path: eventflow.rl.EventGVFs\ninit_args: {num_mark: 3}")
    (tmp_path / "wrong.yaml").write_text("class_path: eventflow.rl.GVF\ninit_args: {signal: 1}")
    answer = cli("stream", *words, "--source", "none.jsonl")
    assert answer.code == 2 and message in answer.err, answer.err


def test_the_last_value_stands_beside_streaming_prediction(data_root: Path) -> None:
    """ETTh1 as we measured it: raw observations beat the last value, the published recipe does not."""
    from eventflow.bench._gvf import _verdict as bench_verdict
    from eventflow.bench._gvf import last_value as last
    from eventflow.bench._gvf import load_series, nrmse, published, raw, running_mean

    series = load_series("etth1", "OT", 0.99)
    assert series.x.shape == (17_420, 7)
    brute = sum(0.99 ** (k - 1) * series.target[100 + k] for k in range(1, 17_320))
    assert series.truth[100] == pytest.approx(brute, rel=1e-12)
    errors = {method.__name__: nrmse(method(series, 0), series) for method in (last, running_mean, published, raw)}
    assert errors["raw"] < 0.27 < 0.289 < errors["last_value"] < 0.291 < errors["running_mean"]
    assert errors["published"] > 0.98 * errors["last_value"]
    assert bench_verdict([0.30, 0.31], 0.29).split()[3:6] == ["does", "not", "beat"]
    assert bench_verdict([0.26, 0.25], 0.29).split()[3] == "beats" != bench_verdict([0.2, 0.37], 0.29).split()[3]


def test_what_is_predicted_is_not_yet_known(data_root: Path) -> None:
    """Changing the future changes no prediction before it (the published recipe's scale, which looks ahead, aside)."""
    from eventflow.bench import _gvf as bench

    whole = bench.load_series("etth1", "OT", 0.99)
    series = bench.Series(whole.x[:400].copy(), whole.target[:400].copy(), whole.truth[:400], whole.judged, 0.99)
    other = series._replace(x=series.x.copy(), target=series.target.copy())
    other.x[300:] *= -3
    other.target[300:] += 50
    for method in (bench.last_value, bench.running_mean, bench.raw, bench.recurrent, bench.linear):
        before, after = method(series, 0), method(other, 0)
        np.testing.assert_array_equal(before[:300], after[:300], err_msg=method.__name__)
        assert not math.isclose(before[350], after[350])


def test_bench_gvf_says_what_is_wrong(cli: Any, data_root: Path) -> None:
    answer = cli("bench", "gvf", "--target", "OIL")
    assert answer.code == 2 and "--target 'OIL'" in answer.err
    answer = cli("bench", "gvf", "--data", "hawkes")
    assert answer.code == 2 and "expected one sequence of readings" in answer.err
