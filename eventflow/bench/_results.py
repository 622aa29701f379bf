"""Results of trained models: run folders become models/<m>/results/<d>.yaml, and those the README's table."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventflow._assets import ROOT
from eventflow.errors import InputError, did_you_mean

DIGITS = 4


@dataclass(frozen=True)
class Kind:
    """What the results of one kind of model hold: what every file has and the table shows, and what it has if known.

    ``leading``: the datasets whose tables come first, since others publish numbers for the same files.
    """

    metrics: Mapping[str, str]
    more: tuple[str, ...] = ()
    leading: tuple[str, ...] = ()


#: By the task that models/<model>/model.yaml names.
KINDS = {
    "PointProcessTask": Kind(
        {
            "nll_per_event": "exact nll/event", "easytpp_nll_per_event": "EasyTPP's nll/event", "accuracy": "accuracy",
            "gap_rmse": "gap RMSE", "gap_mae": "gap MAE",
        },
        ("time_nll_per_event", "mark_nll_per_event", "otd", "tmap", "train_events_per_cpu_s", "eval_events_per_cpu_s",
         "num_parameters"),
        leading=("taxi",),
    ),
    "StreamTask": Kind({"return": "return", "steps": "steps"}, ("cpu_us_per_step",)),
    "FlowTask": Kind(
        {"epe_dense": "AEE every step", "epe_10hz": "AEE at 10 Hz", "pe3_dense": "3PE", "ae_dense": "AE"},
        ("epe_dense_events", "epe_10hz_events", "epe_10hz_reset", "epe_held", "pe1_dense", "num_parameters",
         "cpu_ms_per_step", "macs_per_step", "acs_per_step", "energy_mj_per_step", "firing_rate"),
    ),
}  # fmt: skip


def kind_of(model: str) -> tuple[str, Kind]:
    """The task of a folder under models/, and what its results hold.

    Raises:
        InputError: there is no such folder, or nothing says what results of its task hold.
    """
    from eventflow.train._references import load_yaml, names  # Lightning comes with it

    if model not in names("model"):
        raise InputError(f"models/{model}/model.yaml: no such file. {did_you_mean(model, names('model'))}")
    task = load_yaml(ROOT / "models" / model / "model.yaml")["class_path"].rpartition(".")[2]
    if task not in KINDS:
        raise InputError(f"models/{model}: results of a {task} are not known; expected one of {', '.join(KINDS)}")
    return task, KINDS[task]


def run(out: Path | None = None, *, runs: list[Path] | None = None, readme: Path | None = None) -> None:
    """Print the table of results/*.yaml; with run folders, first write the results file of those runs.

    Args:
        out: the results file to write from the runs; by default models/<model>/results/<data>.yaml.
        runs: run folders of one model on one dataset, one a seed, each judged by `eventflow test`.
        readme: a README whose table to bring up to date.
    """
    if runs:
        reports = [_report(folder) for folder in runs]
        target = out or ROOT / "models" / reports[0]["model"] / "results" / f"{reports[0]['data']}.yaml"
        write_results(target, reports)
    from eventflow.bench._results_table import readme_with_table, table

    print(table())
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        readme.write_text(readme_with_table(text), encoding="utf-8")


def write_results(path: Path, reports: Sequence[Mapping[str, Any]]) -> None:
    """Write ``ours`` and ``baselines`` of a results file; what it says of ``theirs`` is kept."""
    import yaml

    same = {(r["model"], r["data"], r["split"], json.dumps(_without_seed(r["config"]))) for r in reports}
    if len(same) > 1:
        raise InputError("these runs differ in more than their seed; a results file is about one model on one dataset")
    if len({r["seed"] for r in reports}) < len(reports):
        raise InputError(f"seeds {[r['seed'] for r in reports]}: expected a run for each seed")
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    first, (task, kind) = reports[0], kind_of(reports[0]["model"])
    if task == "StreamTask":
        raise InputError(f"results of agents: eventflow bench learn --model {first['model']} --env ... --publish")
    names = [*kind.metrics, *(name for name in kind.more if all(name in r["metrics"] for r in reports))]
    content["ours"] = {
        "metrics": {name: _spread([r["metrics"][name] for r in reports]) for name in names},
        "seeds": [r["seed"] for r in reports],
        "commit": ", ".join(dict.fromkeys(r["commit"] for r in reports)),
        "date": first["date"], "machine": first["machine"],
        "config": _without_seed(first["config"]),
    }  # fmt: skip
    content["baselines"] = {
        name: {key: round(value, DIGITS) for key, value in row.items() if key in kind.metrics}
        for name, row in first["baselines"].items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")


def entries(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a results file says of ours: one entry, or one for each variant of an agent."""
    ours = content.get("ours", [])
    return ours if isinstance(ours, list) else [ours]


def found() -> dict[str, dict[str, list[tuple[str, dict[str, Any]]]]]:
    """All results files: by task, by dataset (leading ones first), (model, content)."""
    import yaml

    files: dict[str, dict[str, list[tuple[str, dict[str, Any]]]]] = {}
    for path in sorted((ROOT / "models").glob("*/results/*.yaml")):
        model, content = path.parents[1].name, yaml.safe_load(path.read_text(encoding="utf-8"))
        files.setdefault(kind_of(model)[0], {}).setdefault(path.stem, []).append((model, content))
    return {
        task: dict(sorted(by_data.items(), key=lambda item: item[0] not in KINDS[task].leading))
        for task, by_data in files.items()
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return {"mean": round(statistics.fmean(values), DIGITS), "std": round(spread, DIGITS)}


def _without_seed(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "seed_everything"}


def _report(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise InputError(f"{folder}: no metrics.json. Write: eventflow test --ckpt_path {folder}")
    return json.loads(path.read_text(encoding="utf-8"))
