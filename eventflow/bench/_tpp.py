"""leaderboard of point processes: models x datasets x seeds, resumable, in parallel, with a search if asked"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eventflow._assets import ROOT
from eventflow.errors import InputError, require

if TYPE_CHECKING:
    from eventflow.bench.leaderboard._jobs import Job
    from eventflow.bench.leaderboard._plan import Pair

#: Seconds between two writings of the board while cells are run.
RENEW = 120.0


def run(
    *, data: list[str], model: list[str], out: Path, config: list[str] | None = None, seeds: Sequence[int] = (0, 1, 2),
    max_epochs: int | None = None, executor: Literal["serial", "processes", "ray"] = "serial",
    workers: int | None = None, tune: int | None = None, publish: bool = False,
) -> None:  # fmt: skip
    """Train and judge every model on every dataset with every seed, and write leaderboard.md, .html and .json.

    A cell is trained as by `eventflow fit` (early stopping on validation nll; configs/tpp/<model>_<data>.yaml where the
    catalogue has it), and judged once on test events. A cell that is done is not run again, one that was cut goes on
    from its last checkpoint, one that failed is tried again. The board shows everything that lies in the folder.

      eventflow bench tpp --data taxi taobao --model nhp rmtpp --seeds 0 1 2 --executor processes --out board

    Exit code 1 if a cell failed; the others are in the tables.

    Args:
        data: datasets, by name or folder.
        model: models, by name or folder.
        out: the folder of this leaderboard; the same one again continues it.
        config: configurations on top; one that names a model or a dataset counts for that alone, one that names both
            takes the place of the catalogue's.
        seeds: of the initial weights and of the order of sequences.
        max_epochs: epochs at most, whatever the configurations say.
        executor: cells one after the other, in processes of this machine, or on a Ray cluster (extra ray).
        workers: cells at once; by default one for each CPU.
        tune: trials of a search for hyperparameters on validation nll (extra tune), before the cells are run with what
            it found, which is written to best/<model>_<data>.yaml.
        publish: write models/<model>/results/<data>.yaml from the finished seeds.

    Raises:
        InputError: an unknown name or key; cells there of another configuration; an extra that is not installed.
    """
    from eventflow.bench.leaderboard import _plan, _store

    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: expected different numbers, none below 0")
    for name, value in (("workers", workers), ("tune", tune)):
        if value is not None and value < 1:
            raise InputError(f"--{name} {value}: expected at least 1")
    require("matplotlib", "viz")
    pairs = _plan.plan(data, model, config=config or (), max_epochs=max_epochs)
    _check_data(pairs)
    if publish:
        _check_publish(pairs)
    out = out.resolve()
    with _store.alone(out):
        how = {"executor": executor, "workers": 1 if executor == "serial" else workers or os.cpu_count() or 1}
        words = dict(zip([pair.model for pair in pairs], [m for _ in data for m in model], strict=True))
        if tune is not None:
            pairs = _search(out, pairs, words, count=tune, seed=seeds[0], how=how)
        _prepare(out, pairs, seeds)
        _run_cells(out, pairs, seeds, how)
        write_board(out)
        failed = _failures(out, pairs, seeds)
        if publish:
            _publish(out, pairs, seeds)
    print(f"written: {out}/leaderboard.md, .html, .json")
    if failed:
        print("\n".join([f"{len(failed)} of {len(pairs) * len(seeds)} cells failed:", *failed]))
        print("the same command again tries them anew")
        raise SystemExit(1)


def write_board(out: Path) -> None:
    """Write leaderboard.md, .json and .html of what lies in the folder, each whole or not at all."""
    from eventflow.bench._report import write_three
    from eventflow.bench.leaderboard import _board, _page, _text
    from eventflow.train._run import provenance

    write_three(_board.board(out), out / "leaderboard", made=provenance(), text=_text, page=_page)


def _check_data(pairs: Sequence[Pair]) -> None:
    """Refuse data that is not there before anything is trained."""
    from eventflow.io import load_dataset

    for name in {pair.name: None for pair in pairs}:
        load_dataset(name)


def _prepare(out: Path, pairs: Sequence[Pair], seeds: Sequence[int]) -> None:
    """Write what is asked of each pair; refuse a folder in which something else was asked."""
    from eventflow.bench.leaderboard import _plan, _store, _tune
    from eventflow.train._references import load_yaml

    homes = {pair.hash: (pair, _store.Cell(out, pair.data, pair.model, seeds[0]).home) for pair in pairs}
    for pair, home in homes.values():
        if (home / "config.yaml").is_file():
            other = _plan.changes(load_yaml(home / "config.yaml"), pair.asked)
            if other:
                raise InputError(
                    f"{home} was made with another configuration: {'; '.join(other[:4])}. "
                    "Give another --out, or remove that folder"
                )
    for pair, home in homes.values():
        if not (home / "config.yaml").is_file():
            _tune.write_yaml(home / "config.yaml", pair.asked, f"{pair.model} on {pair.data}, every seed")


def _run_cells(out: Path, pairs: Sequence[Pair], seeds: Sequence[int], how: dict[str, Any]) -> None:
    """Run what is not done yet: first all models with the first seed, so that an early board has them all."""
    from eventflow.bench.leaderboard import _executors, _jobs, _progress, _store

    shared = {"out": str(out), "cwd": os.getcwd()}
    for data, name in {pair.data: pair.name for pair in pairs}.items():
        key = _store.digest([name, _jobs.horizon_of(name), _jobs.BASELINES])
        if _store.read_json(_store.baselines_file(out, data)).get("hash") != key:
            _jobs.perform({**shared, "kind": "baselines", "data": data, "name": name, "hash": key})
    jobs = [
        {**shared, "kind": "cell", "data": p.data, "model": p.model, "name": p.name, "seed": seed, "hash": p.hash}
        for seed in seeds for p in pairs
    ]  # fmt: skip
    jobs = [job for job in jobs if _store.read_json(_jobs.cell_of(job).result).get("state") != "done"]
    tasks = {id(job): _progress.Task(_jobs.cell_of(job).name, _jobs.cell_of(job).result) for job in jobs}
    ticker = _progress.Ticker(RENEW)
    with _progress.Progress(list(tasks.values()), what="cells") as progress:

        def finished(job: Job, died: str | None) -> None:
            if died:
                _tell_death(job, died)
            progress.done(tasks[id(job)])
            if ticker.due():
                write_board(out)

        _executors.execute(jobs, finished, **how)


def _tell_death(job: Job, died: str) -> None:
    from eventflow.bench.leaderboard import _jobs, _store

    cell = _jobs.cell_of(job)
    told = {"state": "failed", "died": True, "hash": job["hash"], "error": died, "log": str(cell.log)}
    _store.write_json(cell.result, told)


def _failures(out: Path, pairs: Sequence[Pair], seeds: Sequence[int]) -> list[str]:
    from eventflow.bench.leaderboard import _store

    found = []
    for cell in (_store.Cell(out, pair.data, pair.model, seed) for pair in pairs for seed in seeds):
        result = _store.read_json(cell.result)
        if result.get("state") != "done":
            found.append(f"  {cell.name}: {result.get('error', 'no result')} ({cell.log})")
    return found


# -- the search ---------------------------------------------------------------------------------------------------


def _search(
    out: Path, pairs: Sequence[Pair], words: dict[str, str], *, count: int, seed: int, how: dict[str, Any]
) -> list[Pair]:
    """Bring every pair's search up to ``count`` trials; each pair with what was found.

    Ends here, with exit code 1, where a trial's process died: what would be found now is not what was asked for.
    """
    from eventflow.bench.leaderboard import _executors, _progress, _store, _tune

    shared = {"out": str(out), "cwd": os.getcwd()}
    jobs = [{**shared, **job} for p in pairs for job in _tune.trials(out, p, words[p.model], count=count, seed=seed)]
    tasks = {
        id(job): _progress.Task(f"{job['model']} on {job['data']}, trial {job['number']}", _tune.result_file(job))
        for job in jobs
    }
    lost: list[str] = []
    with _progress.Progress(list(tasks.values()), what="trials") as progress:

        def finished(job: Job, died: str | None) -> None:
            if died:
                _store.write_json(_tune.result_file(job), {"state": "failed", "error": died})
                lost.append(f"  {tasks[id(job)].name}: {died}")
            progress.done(tasks[id(job)])

        _executors.execute(jobs, finished, **how)
    if lost:
        print("\n".join([f"{len(lost)} of {len(jobs)} trials were cut off:", *lost]))
        print("the same command again goes on with them; with a smaller --tune it does without")
        raise SystemExit(1)
    found = [_tune.best_config(out, pair, words[pair.model], seed=seed) for pair in pairs]
    for _, path in found:
        print(f"found: {path}")
    return [pair for pair, _ in found]


# -- publishing ---------------------------------------------------------------------------------------------------


def _check_publish(pairs: Sequence[Pair]) -> None:
    from eventflow.train._run import commit

    for pair in pairs:
        if not (ROOT / "models" / pair.model).is_dir() or not (ROOT / "datasets" / pair.data).is_dir():
            raise InputError(f"--publish: {pair.model} on {pair.data} is not of the catalogue")
    if commit().endswith("+"):
        raise InputError("--publish: files differ from the last commit; results name a commit that holds them. Commit")


def _publish(out: Path, pairs: Sequence[Pair], seeds: Sequence[int]) -> None:
    """Write the results files of pairs whose seeds are all done."""
    from eventflow.bench._results import write_results
    from eventflow.bench.leaderboard import _store

    for pair in pairs:
        results = [_store.read_json(_store.Cell(out, pair.data, pair.model, seed).result) for seed in seeds]
        if any(result.get("state") != "done" for result in results):
            print(f"not published: {pair.model} on {pair.data}, not every seed is done")
            continue
        if any(result["report"]["commit"].endswith("+") for result in results):
            print(f"not published: {pair.model} on {pair.data}, run from files that no commit holds")
            continue
        path = ROOT / "models" / pair.model / "results" / f"{pair.data}.yaml"
        write_results(path, [_with_more(result) for result in results])
        print(f"published: {path.relative_to(ROOT)}")
    print("next: eventflow bench results --readme README.md")


def _with_more(result: dict[str, Any]) -> dict[str, Any]:
    """A cell's report whose metrics hold what only the leaderboard measures too."""
    from eventflow.bench._results import KINDS

    report, places = result["report"], (result["report"]["metrics"], result["horizon"], result)
    names = KINDS["PointProcessTask"].more
    more = {name: place[name] for place in reversed(places) for name in names if place.get(name) is not None}
    return {**report, "metrics": {**more, **report["metrics"]}}
