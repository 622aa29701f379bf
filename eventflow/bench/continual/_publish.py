"""Results for the project: datasets/<d>/results/continual.yaml, a picture, and the tables of datasets/continual.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflow._assets import ROOT
from eventflow.bench.continual._board import ORDERS, StreamBoard, board
from eventflow.bench.continual._cell import Job, result_file
from eventflow.bench.continual._text import TABLES, about, tables
from eventflow.bench.leaderboard._board import Spread
from eventflow.bench.leaderboard._store import read_json
from eventflow.errors import InputError

#: The page with the protocol; between two such lines for each dataset lies what is written here.
PAGE = Path("datasets") / "continual.md"
BEGIN, END = "<!-- {}: written by `eventflow bench continual --publish` -->", "<!-- /{} -->"
DIGITS = 4


def check(jobs: Sequence[Job]) -> None:
    """Refuse what could not be published, before anything runs.

    Raises:
        InputError: a dataset that is not of the catalogue, or files that no commit holds.
    """
    from eventflow.train._run import commit

    for name in {job["data"] for job in jobs}:
        if not (ROOT / "datasets" / name).is_dir():
            raise InputError(f"--publish: {name} is not of the catalogue")
        marked((ROOT / PAGE).read_text(encoding="utf-8"), name, "")
    if commit().endswith("+"):
        raise InputError("--publish: files differ from the last commit; results name a commit that holds them. Commit")


def publish(out: Path, jobs: Sequence[Job]) -> None:
    """Write the results of every dataset whose cells are all done, by commits that hold the files that ran."""
    for stream in board(out):
        results = [read_json(result_file(job)) for job in jobs if job["data"] == stream.name]
        if not results or any(result.get("state") != "done" for result in results):
            print(f"not published: {stream.name}, not every cell is done")
        elif any(result["commit"].endswith("+") for result in results):
            print(f"not published: {stream.name}, run from files that no commit holds")
        else:
            _publish(stream, results)


def marked(text: str, name: str, told: str) -> str:
    """The page with what it says of a dataset replaced.

    Raises:
        InputError: the page has no place for it.
    """
    begin, end = BEGIN.format(name), END.format(name)
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise InputError(f"{PAGE} has no place for {name}: expected the lines {begin} and {end}")
    return f"{before}{begin}\n{told}\n{end}{after}"


def _publish(stream: StreamBoard, results: Sequence[Mapping[str, Any]]) -> None:
    import yaml

    from eventflow.bench import _plots
    from eventflow.bench.continual._pictures import heat

    home = ROOT / "datasets" / stream.name / "results"
    home.mkdir(parents=True, exist_ok=True)
    path = home / "continual.yaml"
    path.write_text(yaml.safe_dump(_content(stream, results), sort_keys=False, width=120), encoding="utf-8")
    _plots.to_png(heat(stream), home / "continual.png", dpi=110)
    picture = f"![nll of every task after every task]({stream.name}/results/continual.png)"
    told = "\n".join(["", about(stream), "", *tables(stream, depth=4), picture, ""])
    page = ROOT / PAGE
    page.write_text(marked(page.read_text(encoding="utf-8"), stream.name, told), encoding="utf-8")
    print(f"published: {path.relative_to(ROOT)}, {PAGE}")


def _content(stream: StreamBoard, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    asked = [result["asked"] for result in results]
    found: dict[str, Any] = {
        "tasks": len(stream.facts["train"]), "sequences": asked[0]["sequences"], "steps": asked[0]["steps"],
        "blocks": asked[0]["blocks"], "seeds": sorted({each["seed"] for each in asked if not each["order"]}),
        "orders": max(each["order"] for each in asked),
        "commit": ", ".join(dict.fromkeys(result["commit"] for result in results)),
        "date": max(result["date"] for result in results), "machine": results[0]["machine"],
        "networks": {each["model"]: each["network"] for each in asked},
        "oracle": None if stream.oracle is None else round(float(stream.oracle.mean()), DIGITS),
    }  # fmt: skip
    seen, reordered = {}, {}
    for columns in TABLES.values():
        for row in stream.table(columns).rows:
            into = reordered if columns is ORDERS else seen
            into.setdefault(row.name, {}).update({key: _spread(value) for key, value in row.values.items()})
    return {**found, "ours": seen, "reordered": reordered}


def _spread(value: Spread) -> dict[str, float | None]:
    return {"mean": round(value.mean, DIGITS), "std": None if value.sd is None else round(value.sd, DIGITS)}
