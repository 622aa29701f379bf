"""Datasets whose card says how they are cut into tasks."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike

from eventflow.errors import InputError
from eventflow.io import card, list_datasets, load_dataset
from eventflow.tpp.continual._tasks import Task, cut_at


def load_tasks(
    name_or_path: str | PathLike[str], *, splits: Iterable[str] | None = None, history: str | None = None
) -> dict[str, list[Task]]:
    """The splits of a dataset, each cut at the times on its card: task j of every split is the same window of time.

    Args:
        name_or_path: as :func:`eventflow.io.load_dataset` takes it.
        splits: the ones wanted; None: all there are.
        history: "carried" or "none"; None: as the card says.

    Raises:
        InputError: the card has no ``recipe: {tasks: {times, history}}``; the data is not there.
    """
    entry = card(name_or_path)
    tasks = entry.recipe.get("tasks")
    if not isinstance(tasks, dict) or set(tasks) != {"times", "history"}:
        known = ", ".join(name for name in list_datasets() if "tasks" in card(name).recipe)
        raise InputError(
            f"the card of {entry.name!r} does not say how it is cut into tasks (recipe: tasks: times, history). Those "
            f"that do: {known}. Or cut it yourself: cut_by_time(load_dataset({entry.name!r})['train'], 10)"
        )
    parts = load_dataset(name_or_path, splits=splits)
    chosen = tasks["history"] if history is None else history
    return {split: cut_at(events, tasks["times"], history=chosen) for split, events in parts.items()}
