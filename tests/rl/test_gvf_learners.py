"""Questions about streams: closed forms of renewal and semi-Markov processes, a thousand questions, live learning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.io import open_sink, open_source
from eventflow.online import StreamOptions, run
from eventflow.ops.gvf import GVFStream
from eventflow.rl import GVF, EventGVFs, GVFs, gamma_laplace, renewal_value, semi_markov_value
from eventflow.testing import check_batch_invariant

EVENTS = 400_000


def renewal(shape: float, events: int = EVENTS) -> GVFStream:
    """One feature, always 1; signal 1 at each event; gamma-distributed gaps of mean 1."""
    dt = np.random.default_rng(4).gamma(shape, 1 / shape, events)
    return GVFStream(np.ones((events, 1)), dt, np.ones((events, 1)))


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])  # bursts, Poisson, a clock
@pytest.mark.parametrize("lambda_", [0.0, 0.9])
def test_a_renewal_process_has_its_closed_form(shape: float, lambda_: float) -> None:
    """V = L / (1 - L). The mean of the late weights is within 5 standard errors; the error of the trace's usual
    mistake (decay by the discount of the same gap that bootstraps) is not."""
    rate = 0.5
    question = GVF(0, horizon=1 / rate, lambda_=lambda_, trace_rate=0.2, step_size=2e-3, bound=0.0)
    found = GVFs([question], 1).scan(renewal(shape)).value[EVENTS // 4 :, 0]
    blocks = found.reshape(50, -1).mean(1)
    error = blocks.std() / np.sqrt(50)
    low, square = (gamma_laplace(r, shape=shape, mean=1.0) for r in (rate, 2 * rate))
    truth = renewal_value(low)
    assert abs(found.mean() - truth) < 5 * error and error < 0.01 * truth
    if lambda_:
        fade = [lambda_ * gamma_laplace(r, shape=shape, mean=1.0) for r in (rate + 0.2, 2 * rate + 0.2)]
        mean_trace = 1 / (1 - fade[0])
        wrong = (low + fade[1] * mean_trace) / (1 + fade[0] * mean_trace - low - fade[1] * mean_trace)
        assert square < low and abs(wrong - truth) > 20 * error


def test_a_poisson_process_of_rate_mu_is_worth_mu_over_beta() -> None:
    assert renewal_value(gamma_laplace(0.25, shape=1.0, mean=0.5)) == pytest.approx(2 / 0.25)
    assert renewal_value(gamma_laplace(0.25, shape=np.inf, mean=0.5)) == pytest.approx(1 / np.expm1(0.125))


def test_a_rate_is_integrated_without_noise() -> None:
    """Signal 1 as a rate is worth 1 / beta whatever the gaps; without a discount, the time until the stop."""
    stream = renewal(0.3, 60_000)
    value = GVFs([GVF(0, 5.0, "rate", step_size=0.05, lambda_=0.5, bound=0.0)], 1).scan(stream).value
    np.testing.assert_allclose(value[-1], 5.0, rtol=1e-9)
    stops = np.ones((60_000, 1), np.bool_)
    until = GVF(0, kind="rate", until=0, step_size=1e-3, bound=0.0)
    value = GVFs([until], 1).scan(stream._replace(stops=stops)).value
    assert value[30_000:].mean() == pytest.approx(1.0, abs=5 * np.sqrt(1 / 0.3 / 30_000))


def test_a_semi_markov_process_has_its_closed_form() -> None:
    draw = np.random.default_rng(0)
    transition, means = np.array([[0.1, 0.9, 0.0], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]]), np.array([0.5, 1.0, 3.0])
    mark = np.zeros(EVENTS, np.int64)
    steps = draw.random(EVENTS)
    for i in range(1, EVENTS):
        mark[i] = np.searchsorted(transition[mark[i - 1]].cumsum(), steps[i], side="right")
    dt = draw.exponential(size=EVENTS) * means[np.roll(mark, 1)]
    hot = np.eye(3)[mark]
    asked = [GVF(k, horizon=4.0, lambda_=0.7, step_size=4e-3, bound=0.0) for k in range(3)]
    found = GVFs(asked, 3).scan(GVFStream(hot, dt, hot)).value  # after an event of mark i: what weight[:, i] says
    laplace = np.array([gamma_laplace(0.25, shape=1.0, mean=mean) for mean in means])[:, None]
    for k in range(3):
        truth = semi_markov_value(transition, laplace, np.eye(3)[k])
        for i in range(3):
            late = found[EVENTS // 4 :, k][mark[EVENTS // 4 :] == i]
            assert late.mean() == pytest.approx(truth[i], rel=0.02)


def test_a_thousand_questions_are_a_thousand_learners() -> None:
    """Sharing the stream changes no number; memory does not grow."""
    draw = np.random.default_rng(1)
    asked = [
        GVF(int(draw.integers(3)), float(draw.choice([1.0, 10.0])), lambda_=float(draw.random()), until=int(u))
        for u in draw.integers(0, 2, 1000)
    ]
    stream = GVFStream(
        draw.normal(size=(300, 16)), draw.exponential(size=300), draw.normal(size=(300, 3)), draw.random((300, 2)) < 0.1
    )
    every = GVFs(asked, 16)
    together = every.scan(stream)
    for i in (0, 17, 999):
        alone = GVFs([asked[i]], 16).scan(stream)
        np.testing.assert_array_equal(alone.value[:, 0], together.value[:, i])
    assert sum(leaf.nbytes for leaf in together.state) == sum(leaf.nbytes for leaf in every.init())
    answers = every.predict(together.state, stream.features[-1])
    np.testing.assert_allclose(answers, together.value[-1], rtol=1e-12)


def test_questions_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="did you mean 'rate'"):
        GVF(0, kind="rates")
    with pytest.raises(InputError, match=r"lambda_=1.5\): expected a number in \[0, 1\]"):
        GVF(0, lambda_=1.5)
    with pytest.raises(InputError, match="unknown key 'horizn'; did you mean 'horizon'"):
        GVFs([{"signal": 0, "horizn": 3}], 2)
    with pytest.raises(InputError, match="no question"):
        GVFs([], 2)
    with pytest.raises(InputError, match="signal=4; expected a mark, 0 to 2, or 3"):
        EventGVFs(3, questions=[GVF(4)])
    with pytest.raises(InputError, match="diverges"):
        semi_markov_value(np.eye(2), 1.0, [1, 1])


def events(path: Path, count: int = 600) -> list[dict[str, object]]:
    """Three keys, two marks, irregular."""
    draw = np.random.default_rng(2)
    t = np.cumsum(draw.exponential(size=count))
    found = [{"key": f"k{draw.integers(3)}", "t": float(t[i]), "mark": int(draw.integers(2))} for i in range(count)]
    path.write_text("".join(json.dumps(event) + "\n" for event in found))
    return found


def stream(folder: Path, name: str, stop_after: int | None = None, **options: object) -> list[dict[str, object]]:
    source, sink = open_source(str(folder / "events.jsonl")), open_sink(str(folder / name))
    count = iter(range(10**6))
    operator = EventGVFs(2, horizons=[2.0, 20.0])
    settings = StreamOptions(schema=Schema(num_marks=2), start=0.0, chunk=50, **options)  # type: ignore[arg-type]
    run(operator, source, sink, settings, stop=None if stop_after is None else lambda: next(count) >= stop_after)
    sink.close()
    source.close()
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_live_answers_are_those_of_one_learner_per_key(tmp_path: Path) -> None:
    told = events(tmp_path / "events.jsonl")
    answers = stream(tmp_path, "out.jsonl")
    for key in ("k0", "k1", "k2"):
        mine = [event for event in told if event["key"] == key]
        t = np.array([event["t"] for event in mine], float)
        hot = np.eye(2)[[int(str(event["mark"])) for event in mine]]
        dt = np.diff(t, prepend=0.0)
        since = t[:, None] - t[None]
        seen = np.tril(np.ones_like(since))
        counts = [np.einsum("ij,jk->ik", seen * np.exp(-np.maximum(since, 0) / h), hot) for h in (2.0, 20.0)]
        table = np.stack(counts, 2).reshape(len(t), -1)
        squares = np.cumsum(table**2, 0) / np.arange(1, len(t) + 1)[:, None]
        table = table / np.sqrt(np.where(squares > 0, squares, 1))
        features = np.concatenate([np.ones((len(t), 1)), hot, table], 1)
        asked = [GVF(mark, horizon) for horizon in (2.0, 20.0) for mark in range(2)]
        expected = GVFs(asked, 7).scan(GVFStream(features, dt, hot))
        said = [answer for answer in answers if answer["key"] == key]
        np.testing.assert_allclose([answer["value"] for answer in said], expected.value, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose([answer["error"] for answer in said], expected.error, rtol=1e-9, atol=1e-11)


def test_a_learner_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    events(tmp_path / "events.jsonl")
    whole = stream(tmp_path, "whole.jsonl")
    stream(tmp_path, "cut.jsonl", stop_after=5, snapshot=tmp_path / "state")
    assert len((tmp_path / "cut.jsonl").read_text().splitlines()) == 250
    assert stream(tmp_path, "cut.jsonl", snapshot=tmp_path / "state") == whole


def test_a_key_learns_the_same_in_any_batch() -> None:
    check_batch_invariant(EventGVFs(3, horizons=[1.0, 30.0]))
