"""The dataset sim_flow: all recordings of the recipe on its card."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from eventflow.errors import InputError
from eventflow.io import card
from eventflow.vision._sim_flow import Recipe, recipe_of, write_recording

#: What a recipe on a card holds besides the speeds.
_KEYS = ("duration", "height", "width", "planes", "exact_hz", "noise")


def recording_of(recipe: Mapping[str, Any], name: str) -> Recipe:
    """The recording ``seed_N`` of the recipe on a card: everything is drawn from N.

    The speed is drawn from the recipe's ``speeds`` (low, high), evenly in its logarithm.
    """
    seed, (low, high) = int(name.removeprefix("seed_")), recipe["speeds"]
    speed = float(np.exp(np.random.default_rng([seed, 1]).uniform(np.log(low), np.log(high))))
    return recipe_of(seed, speed=speed, **{key: recipe[key] for key in _KEYS})


def write_dataset(out: Path, *, name: str = "sim_flow", threads: int = 1, progress: bool = False) -> None:
    """Simulate every recording of a card's recipe that ``out`` does not hold yet: ``out/SPLIT/seed_N``.

    Args:
        out: the dataset's folder, for example EVENTFLOW_DATA/sim_flow. An interrupted run can be repeated: each
            recording is there whole or not at all.
        name: of the dataset, or a card's folder.
        threads: recordings that are simulated at once.
        progress: show a bar.
    """
    entry = card(name)
    if not entry.recipe:
        raise InputError(f"dataset {entry.name!r} has no recipe on its card; known: sim_flow")
    jobs = [(out / split / each, each) for split, names in entry.recordings.items() for each in names]
    missing = [(path, each) for path, each in jobs if not path.exists()]
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(lambda job: write_recording(recording_of(entry.recipe, job[1]), job[0]), missing)
        events = sum(_shown(made, len(missing)) if progress else made)
    print(f"{out}: {len(missing)} recordings simulated, {events:,} events; {len(jobs) - len(missing)} were there")


def _shown(counts: Any, total: int) -> Any:
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("recordings", total=total)
        for count in counts:
            bar.advance(task)
            yield count
