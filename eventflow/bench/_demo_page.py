"""The demo's page: what was done, what came out, and what it means, for a reader who has never seen a point process."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from eventflow.bench import _demo_flow, _plots, _report
from eventflow.bench._demo import DATASET, Results, checkpoint, shown
from eventflow.tpp import (
    QQ,
    KSTest,
    PointProcess,
    Poisson,
    fit_baselines,
    intensity_path,
    ks_exponential,
    load_model,
    qq_exponential,
    time_rescaling_residuals,
    truth,
)

FITTED, TRUTH = "Neural Hawkes (fitted)", "true process"
#: key in metrics.json -> head of its column
COLUMNS = {"nll_per_event": "nll per event", "accuracy": "accuracy", "gap_rmse": "RMSE", "gap_mae": "MAE"}
MINUTES = 60.0  # of a discussion, in the picture of intensities


class Calibration(NamedTuple):
    """QQ points and test of each process on the test events, by its name."""

    qq: dict[str, QQ]
    ks: dict[str, KSTest]


def write_page(results: Results, seconds: float) -> None:
    """Draw the pictures, write them as PNG files, and write ``index.html`` with all of it inside."""
    model = load_model(checkpoint(results.out)).model.double()
    calibration = calibrate(results, model)
    pictures = {
        "learning": _learning(results),
        "intensity": _intensity(results, model),
        "calibration": _plots.calibration(calibration.qq),
    }
    svg = {}
    for name, picture in pictures.items():
        _plots.to_png(picture, results.out / f"{name}.png")
        svg[name] = _plots.to_svg(picture, name=name)
    document = _report.page(
        "From a log of events to a live model",
        "An event log was simulated from a law that we know; a neural point process was fitted to it, judged against "
        f"that law, and run live. All of it was computed on this machine just now, in {seconds:.0f} seconds.",
        [
            _numbers(results), _data(results), _learned(svg), _beside(results),
            _calibrated(svg["calibration"], calibration), _live(results),
            _demo_flow.section(results.camera, results.out), _next(results),
        ],
        footer=f"eventflow demo, {results.report['date']}, {results.report['machine']}",
    )  # fmt: skip
    _report.write(document, results.out / "index.html")


# -- sections -----------------------------------------------------------------------------------------------------


def _numbers(results: Results) -> str:
    ours, best = results.report["metrics"]["nll_per_event"], results.comparison.truth["nll_per_event"]
    poisson = results.report["baselines"]["Poisson"]["nll_per_event"]
    pairs = [
        (f"{ours:.3f}", "nats per unseen event: how surprised the fitted model is. Less is better"),
        (f"{best:.3f}", "the same for the law that made the data; in the long run nothing does better"),
        (f"{(poisson - ours) / (poisson - best):.0%}", "of the way from events at random (Poisson) to that law"),
        (f"{results.live.per_second:,.0f}/s", "events answered live, each with a forecast of the next"),
    ]
    return _report.section("In numbers", _report.facts(pairs))


def _data(results: Results) -> str:
    rows = [[name, len(part), part.num_events, part.num_events / len(part)] for name, part in results.events.items()]
    same = "the same, value for value, as" if results.same_as_shipped else "equal but for rounding on this machine to"
    return _report.section(
        "The data",
        _report.paragraph(
            "Discussions, each watched for 100 minutes. An event is a post, a reply or a share, at a moment in time. "
            "Posts come mostly by themselves and draw replies within a minute; replies draw shares; shares spread "
            "slowly. Such a law is called a Hawkes process: every event raises the rate of others for a while."
        ),
        _report.table(["split", "discussions", "events", "events each"], rows, digits=1),
        _report.paragraph(f"Simulated here; {same} the sample that comes with eventflow.", note=True),
    )


def _learned(svg: dict[str, str]) -> str:
    return _report.section(
        "What it learned",
        _report.figure(
            svg["learning"],
            "Learning: how far above the true law the model lies, in nats per event, after each pass over the data. "
            "Validation discussions are never trained on: where training falls below zero and validation does not, "
            "the model begins to learn by heart. The upper line is the best that counting reaches.",
        ),
        _report.figure(
            svg["intensity"],
            "One unseen discussion. Strokes are events. The pale line is the true rate of posts, replies and shares at "
            "every moment; the thin one is what the fitted model believes. It was never shown the pale line.",
        ),
    )


def _beside(results: Results) -> str:
    named = {**results.report["baselines"], FITTED: results.report["metrics"], TRUTH: results.comparison.truth}
    rows = [[name, *(row.get(key) for key in COLUMNS)] for name, row in named.items()]
    gap, error = results.comparison.gap, results.comparison.gap_error
    return _report.section(
        "Beside the truth and the trivial",
        _report.paragraph(
            f"On unseen discussions the fitted model lies {gap:.3f} ± {error:.3f} nats per event above the true law. A "
            "model that does not beat the rows made of counts and averages has learned nothing: eventflow prints them "
            "beside every result."
        ),
        _report.table(["", *COLUMNS.values()], rows, strong=[FITTED]),
        _report.paragraph(
            "nll: negative log-likelihood, first events and last silences included. accuracy: how often the likeliest "
            "kind of event was the one that came. RMSE and MAE: error of the forecast waiting time, in minutes (of its "
            "mean and of its median). A dash: makes no such forecast.",
            note=True,
        ),
    )


def _calibrated(svg: str, calibration: Calibration) -> str:
    tests = [[name, test.statistic, _p_value(test.p_value)] for name, test in calibration.ks.items()]
    return _report.section(
        "Is it calibrated?",
        _report.paragraph(
            "If a model's rates are right, then on a clock that ticks once for each event it expects, waiting times "
            "are exponential with mean 1, whatever the data. That can be seen, and tested."
        ),
        _report.figure(
            svg,
            "Waiting times on each model's own clock, against what they should be. A calibrated model follows the "
            "diagonal; at each point it stays in the grey band 95 % of the time.",
        ),
        _report.table(["Kolmogorov-Smirnov test", "distance", "p-value"], tests),
        _report.paragraph("A small p-value, below 0.01 say, means: these rates are not right.", note=True),
    )


def _live(results: Results) -> str:
    live = results.live
    same = abs(live.streamed_nll - live.batch_nll) < 1e-6
    asked, answer = live.sample
    word = (results.events["test"].schema.vocabulary or ())[json.loads(asked)["mark"]]
    return _report.section(
        "Live",
        _report.paragraph(
            f"The {live.events:,} unseen events were then read one by one, {live.keys} discussions interleaved, with "
            "one small state kept for each. Every line in gets one line out: how surprising the event was (nll), when "
            "the next one is due (next_t, the median), and what it will be (probabilities of post, reply, share). "
            f"One line in, a {word}, and its answer:"
        ),
        _report.code(f"{asked}\n{answer}"),
        _report.verdict(
            same,
            f"live or in one batch, the numbers are the same: {live.streamed_nll:.7f} and {live.batch_nll:.7f} nats "
            f"per event on average; no event differs by more than {live.largest_difference:.0e}.",
        ),
    )


def _next(results: Results) -> str:
    event = json.dumps({"key": "me", "t": 1.0, "mark": 0})
    best = shown(checkpoint(results.out))
    steps = [
        ("Look at a log of your own (CSV, JSON lines, parquet, XES, access logs).", "eventflow data info my_log.csv"),
        ("Fit another model to this data.", f"eventflow fit --data {DATASET} --model rmtpp"),
        (
            "Send the live model an event, here a post one minute in, and read its forecast.",
            f"echo '{event}' | eventflow stream --checkpoint {best} --source - --sink -",
        ),
    ]  # fmt: skip
    made = f"Everything this page was made from lies in the folder {shown(results.out)}."
    return _report.section("What to do next", _report.commands(steps), _report.paragraph(made, note=True))


# -- pictures -----------------------------------------------------------------------------------------------------


def _learning(results: Results) -> Any:
    true = results.comparison.true_nll
    epoch = [row["epoch"] + 1 for row in results.curve]
    curves = {
        "training": (epoch, [row["train/nll_per_event"] - true["train"] for row in results.curve]),
        "validation": (epoch, [row["val/nll_per_event"] - true["val"] for row in results.curve]),
    }
    rows = {row.name: row for row in fit_baselines(results.events["train"]).evaluate(results.events["val"])}
    trivial = rows["renewal + Markov-2"].nll_per_event
    assert trivial is not None
    lines = {TRUTH: 0.0, "best trivial model": trivial - true["val"]}
    return _plots.learning_curve(curves, references=lines, ylabel="nats per event above the truth")


def _intensity(results: Results, model: PointProcess) -> Any:
    test = results.events["test"]
    lively = test[int(np.argsort(test.lengths, kind="stable")[len(test) * 3 // 4])].slice(0.0, MINUTES)
    t, true = intensity_path(truth(DATASET).process, lively, points=1500)
    _, ours = intensity_path(model, lively, points=1500)
    return _plots.intensity_over_time(
        t, {"truth": true, "fitted model": ours}, events=(lively.t, lively.marks["mark"]),
        names=test.schema.vocabulary or (), unit=test.schema.unit,
    )  # fmt: skip


def calibrate(results: Results, model: PointProcess) -> Calibration:
    """Time-rescaling residuals of the fitted model, of the truth, and of events at random."""
    counts = fit_baselines(results.events["train"])
    poisson = Poisson(counts.num_marks, rate=(counts.rate * counts.majority).tolist()).double()
    processes = {FITTED: model, TRUTH: truth(DATASET).process, "Poisson": poisson}
    residuals = {name: time_rescaling_residuals(each, results.events["test"]) for name, each in processes.items()}
    return Calibration(
        {name: qq_exponential(each) for name, each in residuals.items()},
        {name: ks_exponential(each) for name, each in residuals.items()},
    )


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
