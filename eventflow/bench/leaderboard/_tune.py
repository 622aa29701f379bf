"""Hyperparameters by optuna, on validation nll alone: the test events are never looked at.

The space is models/<m>/search.yaml where there is one, else the default below: flags of `eventflow fit`, each with what
to draw from.

    model.optimizer.lr: {low: 0.0003, high: 0.03, log: true}     # a number, here on a logarithmic scale
    model.network.layers: {low: 1, high: 4}                      # integers, if both ends are
    model.network.hidden_size: {values: [16, 32, 64]}            # one of these
    model.optimizer: {value: torch.optim.AdamW}                  # always this

Trials draw by TPE, and stop where their validation nll is above the median of the others at the same epoch. All of it
is in a journal in the output folder: a search that was cut goes on, the trial that was cut from its last checkpoint.
"""

from __future__ import annotations

import copy
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflow.bench._report import write
from eventflow.bench.leaderboard._jobs import Job, logged, one_line, train
from eventflow.bench.leaderboard._plan import Pair, resolved
from eventflow.bench.leaderboard._store import digest, epochs, read_json, write_json
from eventflow.errors import InputError, did_you_mean, require
from eventflow.train import Pass
from eventflow.train._references import load_yaml, resolve

#: key -> what to draw from; keys of the network count where its class has them.
DEFAULT: dict[str, dict[str, Any]] = {
    "model.optimizer": {"value": "torch.optim.AdamW"},
    "model.optimizer.lr": {"low": 3e-4, "high": 3e-2, "log": True},
    "model.optimizer.weight_decay": {"low": 1e-4, "high": 1.0, "log": True},
    "model.network.hidden_size": {"values": [16, 32, 64, 128]},
    "model.network.dropout": {"low": 0.0, "high": 0.5},
}
_FORMS = ({"value"}, {"values"}, {"low", "high"}, {"low", "high", "log"})
#: Trials that end by themselves, and epochs of each, before others are stopped.
STARTUP, WARMUP = 3, 3


def space(word: str, asked: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The search space of a --model, every key of it checked against the classes that take it.

    Raises:
        InputError: a key that no class takes, or a form that is none of the four.
    """
    path = resolve("model", word)
    file = path.with_name("search.yaml") if path is not None and path.name == "model.yaml" else None
    if file is None or not file.is_file():
        known = asked["model"]["init_args"]["network"].get("init_args", {})
        return {key: form for key, form in DEFAULT.items() if _has(key, known)}
    found = load_yaml(file)
    for key, form in found.items():
        if not isinstance(form, Mapping) or set(form) not in _FORMS:
            raise InputError(f"{file}: {key}: {form!r}; expected low, high and maybe log; or values; or value")
        _check_form(file, key, form)
        try:
            resolved_with(asked, {key: _first(form)}, file.parent)
        except InputError as error:
            raise InputError(f"{file}: {key}: {error}") from None
    return found


def resolved_with(asked: Mapping[str, Any], values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration with some keys changed, resolved and checked again; ``folder`` is named in what is raised."""
    import tempfile

    import yaml

    changed = copy.deepcopy(dict(asked))
    for key, value in values.items():
        _put(changed, key, value)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(changed, file)
        file.flush()
        try:
            return resolved(["--config", file.name])
        except InputError as error:
            raise InputError(str(error).replace(file.name, str(folder))) from None


def study_name(pair: Pair, found: Mapping[str, Any], seed: int) -> str:
    """One study for each thing asked, space and seed."""
    return f"{pair.model}_{pair.data}_{digest([pair.asked, found, seed])}"


def open_study(out: Path, name: str, *, seed: int = 0) -> Any:
    """The study of that name in the folder's journal."""
    optuna: Any = require("optuna", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (out / "tune").mkdir(parents=True, exist_ok=True)
    backend = optuna.storages.journal.JournalFileBackend(str(out / "tune" / "journal.log"))
    return optuna.create_study(
        study_name=name, storage=optuna.storages.JournalStorage(backend), load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP),
    )  # fmt: skip


def trials(out: Path, pair: Pair, word: str, *, count: int, seed: int) -> list[dict[str, Any]]:
    """The jobs that bring a search up to ``count`` trials; what was cut is put first in line again."""
    found = space(word, pair.asked)
    name = study_name(pair, found, seed)
    study = open_study(out, name)
    states = [trial.state.name for trial in study.trials]
    for trial in study.trials:
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=require("optuna", "tune").trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
    over = states.count("COMPLETE") + states.count("PRUNED") + _refused(study)
    shared = {"kind": "trial", "data": pair.data, "model": pair.model, "study": name, "asked": pair.asked}
    jobs = [{**shared, "space": found, "seed": seed, "number": number, "out": str(out)} for number in range(count)]
    return [job for job in jobs if not _over(result_file(job))][: max(count - over, 0)]


def result_file(job: Job) -> Path:
    """Where a trial says how it stands."""
    return _home(job) / f"{job['number']}.json"


def run_trial(job: Job) -> None:
    """Draw, train, and tell the study; a failure is told too, and others go on."""
    study = open_study(Path(job["out"]), job["study"], seed=1000 * job["seed"] + job["number"])
    trial = study.ask()
    place = result_file(job)
    with logged(place.with_suffix(".log")) as log:
        try:
            _run_trial(job, study, trial)
        except Exception as error:
            traceback.print_exc(file=log)
            trial.set_user_attr("error", one_line(error))
            study.tell(trial, state=require("optuna", "tune").trial.TrialState.FAIL)
            write_json(place, {"state": "failed", "error": one_line(error), "over": True})


def _run_trial(job: Job, study: Any, trial: Any) -> None:
    values = {key: _draw(trial, key, form) for key, form in job["space"].items()}
    asked = resolved_with(job["asked"], values, _home(job))
    run, pruned = _own(_home(job) / digest(asked), study, trial), []
    config = run.with_name(f"{run.name}.yaml")
    write_yaml(config, asked, "one trial of a search")
    write_json(result_file(job), {"state": "running", "since": time.time(), "run": str(run)})
    trial.set_user_attr("config", str(config))
    for row in epochs(run):  # of an earlier attempt, cut in the middle
        trial.report(_value(row["val_nll"]), row["epoch"])

    def watch(done: Pass) -> bool:
        trial.report(_value(done.val_nll), done.epoch)
        if trial.should_prune():
            pruned.append(done.epoch)
        return bool(pruned)

    train(run, ["--config", str(config), "--seed_everything", str(job["seed"])], watch=watch)
    best = min(_value(row["val_nll"]) for row in epochs(run))
    states = require("optuna", "tune").trial.TrialState
    if pruned or not math.isfinite(best):
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, best, state=states.COMPLETE)
    numbers = {key.rpartition(".")[2]: value for key, value in trial.params.items() if _is_number(value)}
    drawn = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
    text = f"val nll {best:.4f}{' (stopped)' if pruned else ''} after {len(epochs(run))} epochs: {drawn}"
    write_json(result_file(job), {"state": "done", "text": text, "value": best})


def _own(run: Path, study: Any, trial: Any) -> Path:
    """The run folder of a trial: that of its configuration, unless a trial that drew the same is at work there."""
    trial.set_user_attr("run", str(run))
    others = (t for t in study.trials if t.number < trial.number and t.state.name == "RUNNING")
    if any(other.user_attrs.get("run") == str(run) for other in others):
        run = run.with_name(f"{run.name}-{trial.number}")
        trial.set_user_attr("run", str(run))
    return run


def best_config(out: Path, pair: Pair, word: str, *, seed: int) -> tuple[Pair, Path]:
    """What the search found, as a Pair and as a file that --config takes.

    Raises:
        InputError: no trial came to an end.
    """
    study = open_study(out, study_name(pair, space(word, pair.asked), seed))
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    if not done:
        raise InputError(f"no trial for {pair.model} on {pair.data} came to an end; see {_home_of(out, pair)}/*.log")
    best = min(done, key=lambda trial: (trial.value, trial.number))
    asked = load_yaml(Path(best.user_attrs["config"]))
    path = out / "best" / f"{pair.model}_{pair.data}.yaml"
    note = f"best of {len(study.trials)} trials: validation nll per event {best.value:.4f} with seed {seed}"
    write_yaml(path, asked, note)
    return Pair(pair.data, pair.model, asked), path


def write_yaml(path: Path, content: Mapping[str, Any], note: str) -> None:
    """A configuration with a line on what it is, whole or not at all."""
    import yaml

    write(f"# {note}\n{yaml.safe_dump(dict(content), sort_keys=False, width=120)}", path)


def _home(job: Job) -> Path:
    return Path(job["out"]) / "tune" / job["data"] / job["model"] / job["study"].rpartition("_")[2]


def _home_of(out: Path, pair: Pair) -> Path:
    return out / "tune" / pair.data / pair.model


def _over(place: Path) -> bool:
    """Whether a trial came to an end, good or bad; one whose process died has not."""
    told = read_json(place)
    return told.get("state") == "done" or bool(told.get("over"))


def _refused(study: Any) -> int:
    return sum(trial.state.name == "FAIL" and "error" in trial.user_attrs for trial in study.trials)


def _value(nll: float | None) -> float:
    return math.inf if nll is None or not math.isfinite(nll) else nll


def _has(key: str, network: Mapping[str, Any]) -> bool:
    group, _, name = key.removeprefix("model.").partition(".")
    return group != "network" or name in network


def _draw(trial: Any, key: str, form: Mapping[str, Any]) -> Any:
    if "value" in form:
        return form["value"]
    if "values" in form:
        return trial.suggest_categorical(key, form["values"])
    whole = isinstance(form["low"], int) and isinstance(form["high"], int)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(key, form["low"], form["high"], log=bool(form.get("log", False)))


def _first(form: Mapping[str, Any]) -> Any:
    return form["value"] if "value" in form else form["values"][0] if "values" in form else form["low"]


def _check_form(file: Path, key: str, form: Mapping[str, Any]) -> None:
    if "values" in form and not (isinstance(form["values"], Sequence) and form["values"]):
        raise InputError(f"{file}: {key}: values {form['values']!r}; expected a list")
    if "low" in form:
        low, high = form["low"], form["high"]
        if not (_is_number(low) and _is_number(high) and low < high and (low > 0 or not form.get("log"))):
            raise InputError(f"{file}: {key}: from {low!r} to {high!r}; expected low < high, and low > 0 for log")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _put(asked: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key as a flag would; a class given anew starts with its own defaults."""
    *path, last = [word for word in key.split(".") if word not in ("init_args", "class_path")]
    node: Any = asked
    for word in path:
        node = node.setdefault("init_args", {}) if "class_path" in node else node
        if isinstance(node.get(word), str):
            node[word] = {"class_path": node[word]}
        node = node.setdefault(word, {})
        if not isinstance(node, dict):
            raise InputError(f"{key}: {word!r} has no keys of its own; {did_you_mean(last, [word])}")
    node = node.setdefault("init_args", {}) if "class_path" in node else node
    node[last] = value
