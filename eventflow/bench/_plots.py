"""Pictures in one house style: learning curves, intensities with events, calibration, bars. Needs the extra ``viz``.

Every function returns a matplotlib figure; :func:`to_svg` makes it part of a page (it follows the page's light or dark
colours), :func:`to_png` a file. The colours are Okabe and Ito's, for colour-blind readers too; dashes differ as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventflow.errors import InputError, require

Array = NDArray[np.float64]

INK, FAINT, PAPER = "#1b1f24", "#8b929b", "#fefefe"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
WIDTH = 5.4  # inches: a phone shows it at its own size, a desktop enlarged

_THEME = {INK: "currentColor", FAINT: "var(--faint)", PAPER: "var(--paper)"}
_THEME |= {colour: f"var(--series-{i})" for i, colour in enumerate(SERIES)}

_STYLE = {
    "font.size": 10.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 10.5, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": FAINT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "lines.linewidth": 1.7,
    "axes.grid": True, "grid.color": FAINT, "grid.alpha": 0.28, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "xtick.major.size": 3, "ytick.major.size": 3, "legend.frameon": False, "legend.handlelength": 2.6,
    "figure.facecolor": "none", "axes.facecolor": "none", "svg.fonttype": "none", "svg.hashsalt": "eventflow",
    "font.family": "sans-serif",
}  # fmt: skip


@contextmanager
def house_style() -> Iterator[Any]:
    """matplotlib's ``pyplot`` under our settings, without a display; the caller's settings come back afterwards."""
    matplotlib = require("matplotlib", "viz")
    with matplotlib.rc_context(_STYLE):
        yield require("matplotlib.figure", "viz")


def learning_curve(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, references: Mapping[str, float] | None = None,
    xlabel: str = "epoch", ylabel: str = "nll per event (nats)",
) -> Any:  # fmt: skip
    """Lines over training, name -> (x, y), with horizontal references such as the truth and a trivial baseline."""
    if not curves:
        raise InputError("learning_curve: no curve given")
    with house_style() as figures:
        figure = figures.Figure(figsize=(WIDTH, 3.1), layout="constrained")
        axes = figure.subplots()
        for i, (name, (x, y)) in enumerate(curves.items()):
            axes.plot(x, y, color=SERIES[i % 6], ls=DASHES[i % 6], marker="o", ms=2.6, label=name)
        low, high = axes.get_ylim()
        for i, (name, value) in enumerate((references or {}).items(), start=len(curves)):
            axes.axhline(value, color=SERIES[i % 6], ls=DASHES[i % 6], lw=1.4, label=name)
            low, high = min(low, value), max(high, value)
        pad = 0.06 * (high - low)
        axes.set_ylim(low - pad, high + pad)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(loc="upper right")
    return figure


def bands(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], *, xlabel: str, ylabel: str) -> Any:
    """The mean over seeds as a line, one standard deviation about it as a band; name -> (x (n,), y (seeds, n)).

    Where a seed has no number (nan) the others count; one seed has no band.
    """
    if not curves:
        raise InputError("bands: no curve given")
    with house_style() as figures:
        figure = figures.Figure(figsize=(WIDTH, 3.1), layout="constrained")
        axes = figure.subplots()
        for i, (name, (x, ys)) in enumerate(curves.items()):
            at, values = np.asarray(x, np.float64), np.asarray(ys, np.float64)
            known = np.isfinite(values).sum(0)
            at, values = at[known > 0], values[:, known > 0]
            mean = np.nanmean(values, 0)
            axes.plot(at, mean, color=SERIES[i % 6], ls=DASHES[i % 6], label=name)
            if len(values) > 1:
                spread = np.sqrt(np.nansum((values - mean) ** 2, 0) / np.maximum(known[known > 0] - 1, 1))
                axes.fill_between(at, mean - spread, mean + spread, color=SERIES[i % 6], alpha=0.18, lw=0)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.margins(x=0)
        if len(curves) > 3:  # no room among the lines
            figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
        else:
            axes.legend(loc="best")
    return figure


def intensity_over_time(
    t: ArrayLike, curves: Mapping[str, ArrayLike], *, events: tuple[ArrayLike, ArrayLike], names: Sequence[str],
    unit: str = "",
) -> Any:  # fmt: skip
    """Intensities (n, K) over ``t`` (n,), one panel a mark, with that mark's events as ticks below.

    Args:
        t: times.
        curves: name -> (n, K) intensities; the first is drawn thick and pale, as the truth.
        events: times and marks of the events shown.
        names: of the K marks.
        unit: of time, for the labels.
    """
    when, which = np.asarray(events[0]), np.asarray(events[1])
    per = f"events per {unit}" if unit else "events per unit of time"
    with house_style() as figures:
        figure = figures.Figure(figsize=(WIDTH, 0.7 + 1.45 * len(names)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(len(names), 1, sharex=True))
        for k, axes in enumerate(panels):
            for i, (name, values) in enumerate(curves.items()):
                first = i == 0 and len(curves) > 1
                look = {"lw": 3.2, "alpha": 0.5} if first else {"lw": 1.3, "ls": DASHES[max(i - 1, 0) % 6]}
                axes.plot(t, np.asarray(values)[:, k], color=SERIES[i % 6], label=name, **look)
            _event_ticks(axes, when[which == k])
            count = int((which == k).sum())
            axes.set_title(f"{names[k]}  ({count} {'event' if count == 1 else 'events'})")
            axes.margins(x=0)
        panels[-1].set_xlabel(f"time ({unit})" if unit else "time")
        figure.supylabel(f"intensity ({per})", fontsize=10.5)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return figure


def _event_ticks(axes: Any, times: Array) -> None:
    """Short strokes in a band under the curves."""
    top = axes.get_ylim()[1]
    axes.set_ylim(-0.16 * top, top * 1.04)
    axes.vlines(times, -0.14 * top, -0.03 * top, color=INK, lw=0.9)
    axes.axhline(0, color=FAINT, lw=0.6)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= top])


def calibration(series: Mapping[str, Any], *, level: float = 0.95) -> Any:
    """Quantile against quantile: residuals, name -> ``tpp.QQ``, against Exp(1), with the band of the first one."""
    if not series:
        raise InputError("calibration: no residuals given")
    with house_style() as figures:
        figure = figures.Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        band = next(iter(series.values()))
        axes.fill_between(
            band.expected, band.low, band.high, color=FAINT, alpha=0.3, lw=0, label=f"{level:.0%} band if calibrated"
        )
        end = float(band.expected[-1])
        axes.plot([0, end], [0, end], color=INK, lw=0.8)
        for i, (name, qq) in enumerate(series.items()):
            axes.plot(qq.expected, qq.observed, color=SERIES[i % 6], marker="os^Dv<"[i % 6], ms=2.8, lw=0.9, label=name)
        axes.set(xlabel="expected: quantiles of Exp(1)", ylabel="observed: residuals", xlim=(0, None))
        axes.set_ylim(0, 1.15 * max(float(band.high[-1]), float(band.observed[-1])))  # others may leave the picture
        axes.legend(loc="upper left")
    return figure


def bars(
    values: Mapping[str, float], *, errors: Mapping[str, float] | None = None, xlabel: str,
    references: Mapping[str, float] | None = None,
) -> Any:  # fmt: skip
    """Horizontal bars, name -> value, with error bars (one standard deviation) where there are any."""
    if not values:
        raise InputError("bars: no value given")
    names, errors = list(values), errors or {}
    with house_style() as figures:
        figure, axes, row = _rows(figures, names, xlabel, references or {})
        spread = [errors.get(name, 0.0) for name in names]
        axes.barh(row, list(values.values()), color=SERIES[0], height=0.62)
        some = np.asarray(spread) > 0
        if some.any():
            at, width = np.asarray(list(values.values()))[some], np.asarray(spread)[some]
            axes.errorbar(at, row[some], xerr=width, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5)
        axes.axvline(0, color=FAINT, lw=0.8)
        axes.grid(axis="y", visible=False)
    return figure


def dots(
    values: Mapping[str, float], *, errors: Mapping[str, float] | None = None, xlabel: str,
    references: Mapping[str, float] | None = None,
) -> Any:  # fmt: skip
    """A dot a name on an axis as wide as they lie apart (0 is of no account), with error bars where there are any."""
    if not values:
        raise InputError("dots: no value given")
    names, errors = list(values), errors or {}
    with house_style() as figures:
        figure, axes, row = _rows(figures, names, xlabel, references or {})
        spread = [errors.get(name, 0.0) for name in names]
        look = {"fmt": "o", "color": SERIES[0], "ms": 6.5, "ecolor": INK, "elinewidth": 1.3, "capsize": 3.5}
        axes.errorbar(list(values.values()), row, xerr=spread, **look)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.margins(x=0.08)
    return figure


def _rows(figures: Any, names: Sequence[str], xlabel: str, references: Mapping[str, float]) -> tuple[Any, Any, Any]:
    """A figure, its axes, and the height of every name on them, the first on top; references as labelled lines."""
    figure = figures.Figure(figsize=(WIDTH, 1.0 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots()
    row = np.arange(len(names))[::-1]
    for i, (name, value) in enumerate(references.items(), start=1):
        axes.axvline(value, color=SERIES[i % 6], ls=DASHES[i % 6], lw=1.4, label=name)
    axes.set_yticks(row, names)
    axes.set_xlabel(xlabel)
    if references:
        figure.legend(loc="outside upper right", ncols=2)
    return figure, axes, row


def panels(
    pictures: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]], *,
    band: tuple[ArrayLike, ArrayLike, ArrayLike] | None, xlabel: str, ylabel: str,
) -> Any:  # fmt: skip
    """One small panel a name, two abreast, on the same axes: thin lines (x, y), one a seed.

    Args:
        pictures: name -> its lines.
        band: x, low, high of a grey band with its diagonal, in every panel.
        xlabel: of the lowest panels.
        ylabel: of all.
    """
    if not pictures:
        raise InputError("panels: no line given")
    rows = -(-len(pictures) // 2)
    with house_style() as figures:
        figure = figures.Figure(figsize=(WIDTH, 0.8 + 1.55 * rows), layout="constrained")
        grid = figure.subplots(rows, 2, sharex=band is not None, sharey=True, squeeze=False).ravel()
        for axes, (name, lines) in zip(grid, pictures.items(), strict=False):
            if band is not None:
                x, low, high = map(np.asarray, band)
                axes.fill_between(x, low, high, color=FAINT, alpha=0.3, lw=0)
                axes.plot([0, x[-1]], [0, x[-1]], color=INK, lw=0.7)
                axes.set_ylim(0, 1.3 * float(high[-1]))
            for i, (x, y) in enumerate(lines):
                axes.plot(x, y, color=SERIES[i % 6], lw=1.2, marker="." if len(np.asarray(x)) == 1 else None)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_title(name)
        if band is None:
            grid[0].set_ylim(*_settled(pictures))
        for axes in grid[max(len(pictures) - 2, 0) : len(pictures)]:
            axes.tick_params(labelbottom=True)  # there may be none below it
        for axes in grid[len(pictures) :]:
            axes.set_visible(False)
        figure.supxlabel(xlabel, fontsize=10.5)
        figure.supylabel(ylabel, fontsize=10.5)
    return figure


def _settled(pictures: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]]) -> tuple[float, float]:
    """Limits of y within which all lines end, and where most of them run: first epochs may lie far above."""
    arrays = (np.asarray(y, np.float64) for lines in pictures.values() for _, y in lines)
    lines = [y[np.isfinite(y)] for y in arrays]
    every = np.concatenate(lines)
    if not len(every):
        return 0.0, 1.0
    low = every.min()
    high = max(np.quantile(every, 0.9, method="lower"), max(y[-1] for y in lines if len(y)))
    pad = 0.25 * max(high - low, 1e-3)
    return float(low - pad / 2), float(min(high + pad, every.max() + pad / 2))


def images(panels: Mapping[str, NDArray[np.uint8]], *, widths: Sequence[float] | None = None) -> Any:
    """Pictures (height, width, 3) beside one another, each under its name, pixels as squares; relative ``widths``."""
    if not panels:
        raise InputError("images: none given")
    with house_style() as figures:
        shares = list(widths or [1] * len(panels))
        height, width = next(iter(panels.values())).shape[:2]
        figure = figures.Figure(figsize=(WIDTH, WIDTH / sum(shares) * shares[0] * height / width + 0.3))
        figure.set_layout_engine("constrained")
        row = np.atleast_1d(figure.subplots(1, len(panels), width_ratios=shares))
        for axes, (name, picture) in zip(row, panels.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(name, fontsize=8, fontweight="normal", loc="center")
            axes.set_axis_off()
    return figure


def heat_maps(
    pictures: Mapping[str, ArrayLike], *, columns: int, xlabel: str, ylabel: str, label: str
) -> Any:
    """A panel for each square matrix, ``columns`` abreast, all in the same colours; rows and columns count from 1.

    Rows are told from top to bottom. The diagonal is outlined. The colours end at the 98th percentile, so that one bad
    cell does not make all others look alike.
    """
    if not pictures:
        raise InputError("heat_maps: no matrix given")
    matrices = {name: np.asarray(values, np.float64) for name, values in pictures.items()}
    every = np.concatenate([matrix.ravel() for matrix in matrices.values()])
    low, high = np.nanmin(every), np.nanpercentile(every, 98)
    rows = -(-len(matrices) // columns)
    longest = max(len(line) for name in matrices for line in name.split("\n"))
    with house_style() as figures:
        side = 0.78 * WIDTH / columns
        figure = figures.Figure(figsize=(WIDTH, 0.7 + (side + 0.4) * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        image = None
        for axes, (name, matrix) in zip(grid, matrices.items(), strict=False):
            size = len(matrix)
            extent = (0.5, size + 0.5, size + 0.5, 0.5)
            image = axes.imshow(matrix, vmin=low, vmax=high, cmap="cividis_r", extent=extent)
            steps = np.arange(size).repeat(2) + 0.5
            axes.plot(np.append(steps[1:], size + 0.5), steps, color=INK, lw=1.0)
            axes.set_title(name, fontsize=min(10.5, 10.5 * 42 / columns / longest))  # no wider than its panel
            axes.grid(visible=False)
            axes.set_xticks(range(1, size + 1, 1 + size // 8))
            axes.set_yticks(range(1, size + 1, 1 + size // 8))
        for axes in grid[len(matrices) :]:
            axes.set_visible(False)
        assert image is not None, "no matrix to draw"
        figure.colorbar(image, ax=grid.tolist(), label=label, shrink=min(1.0, 3.0 / rows), extend="max")
        figure.supxlabel(xlabel, fontsize=10.5)
        figure.supylabel(ylabel, fontsize=10.5)
    return figure


def to_svg(figure: Any, *, name: str) -> str:
    """The figure as an ``<svg>`` element for a page: its colours are the page's, its ids start with ``name``."""
    with house_style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    for colour, variable in _THEME.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )


def to_png(figure: Any, path: Path, *, dpi: int = 160) -> None:
    """The figure as a PNG file on white paper."""
    with house_style():
        figure.savefig(path, dpi=dpi, facecolor=PAPER)
