"""What ``eventflow bench learn`` leaves: results files of models, tables, pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eventflow._assets import ROOT
from eventflow.bench._learn_cell import POINTS, slug
from eventflow.errors import InputError

#: Of a card: what lies between them is written by ``--publish``.
BEGIN, END = "<!-- learned: written by `eventflow bench learn --publish` -->", "<!-- /learned -->"
_HEAD = ["environment", "interactions", "learned by", "return", "by seed", "us a step"]
Results = Sequence[Mapping[str, Any]]


def rows(env: str, found: Mapping[str, Results]) -> list[list[str]]:
    """A row for each variant of an environment, from the results of its seeds."""
    return [_row(env, entry(name, results)) for name, results in found.items()]


def entry(variant: str, results: Results) -> dict[str, Any]:
    """What a results file says of a variant."""
    first, metrics = results[0], [result["metrics"] for result in results]
    returns = [each["return"] for each in metrics]
    config = {key: value for key, value in first["asked"].items() if key not in ("seed", "model") and value}
    return {
        "variant": variant,
        "metrics": {
            "return": _spread(returns), "steps": _spread([each["steps"] for each in metrics]),
            "cpu_us_per_step": _spread([each["cpu_us_per_step"] for each in metrics]),
        },
        "seeds": [result["asked"]["seed"] for result in results],
        "by_seed": [round(value, 2) for value in returns],
        "commit": ", ".join(dict.fromkeys(result["commit"] for result in results)),
        "date": first["date"], "machine": first["machine"], "config": config,
    }  # fmt: skip


def _key(each: Mapping[str, Any]) -> tuple[str, int]:
    """What an entry is about: its variant and its steps."""
    return each["variant"], each["config"]["steps"]


def publish(found: Mapping[str, Mapping[str, Results]]) -> None:
    """Write results, pictures (of the longest runs) and the card's table of the model; other entries stay."""
    import yaml

    home = None
    for env, each in found.items():
        model = next(iter(each.values()))[0]["asked"]["model"]
        home = ROOT / "models" / model
        path = home / "results" / f"{slug(env)}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        new = [entry(name, results) for name, results in each.items()]
        content["ours"] = list({_key(each): each for each in (*content.get("ours", []), *new)}.values())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False, width=120), encoding="utf-8")
        if _key(new[0])[1] == max(_key(each)[1] for each in content["ours"]):
            picture(each, home / f"{slug(env)}.png")
        print(f"published: {path.relative_to(ROOT)}")
    if home is not None:
        card = home / "card.md"
        card.write_text(card_with_table(card.read_text(encoding="utf-8"), home), encoding="utf-8")


def card_with_table(text: str, home: Path) -> str:
    """A card with the table of the folder's results files brought up to date."""
    import yaml

    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise InputError(f"{home}/card.md has no table to write: expected the lines {BEGIN} and {END}")
    lines, pictures = [], ""
    for path in sorted((home / "results").glob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for each in content.get("ours", []):
            lines.append(_row(each["config"]["env"], each))
        env = content["ours"][0]["config"]["env"] if content.get("ours") else path.stem
        pictures += f"\n![{env}]({path.stem}.png)" if content.get("ours") else ""
        for each in content.get("theirs", []):
            lines.append([env, _count(each.get("steps")), each["model"], _shown(each["return"]), each["source"], ""])
    told = f"{table(lines)}\n{pictures}".strip() if lines else "No run has been published."
    return f"{before}{BEGIN}\n{told}\n{END}{after}"


def table(lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (_HEAD, ["---"] * len(_HEAD), *lines))


def picture(found: Mapping[str, Results], path: Path) -> None:
    """The learning curves of an environment."""
    import numpy as np

    from eventflow.bench import _plots

    curves = {}
    for name, results in found.items():
        steps = results[0]["metrics"]["steps"]
        x = (np.arange(POINTS) + 0.5) / POINTS * steps / 1000
        values = np.array([result["curve"] for result in results], np.float64)
        for seed in values:  # between points where episodes ended; a long one may last many
            known = np.flatnonzero(np.isfinite(seed))
            seed[known[0] :] = np.interp(np.arange(known[0], POINTS), known, seed[known])
        curves[name] = (x, values)
    count = len(next(iter(found.values())))
    seeds = f"mean of {count} seeds ± sd" if count > 1 else "one seed"
    figure = _plots.bands(curves, xlabel="interactions / 1,000", ylabel=f"return ({seeds})")
    _plots.to_png(figure, path)


def _row(env: str, each: Mapping[str, Any]) -> list[str]:
    metrics = each["metrics"]
    spread = f" ± {_shown(metrics['return']['std'])}" if len(each["seeds"]) > 1 else ""
    return [
        env, _count(metrics["steps"]["mean"]), f"**{each['variant']}**", _shown(metrics["return"]["mean"]) + spread,
        ", ".join(_shown(value) for value in each["by_seed"]), f"{metrics['cpu_us_per_step']['mean']:.0f}",
    ]  # fmt: skip


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    return {"mean": round(statistics.fmean(values), 2), "std": round(spread, 2)}


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def _count(steps: float | None) -> str:
    return "" if steps is None else f"{steps:,.0f}"
