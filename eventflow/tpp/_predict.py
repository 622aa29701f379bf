"""The exact forecast of the next event: no sampling, no noise, no horizon.

The intensity is evaluated at Gauss-Legendre nodes of panels, until nothing survives; mean, median and mark
probabilities follow by quadrature in float64. Most intensities are smooth on the scale on which events come: a few wide
panels do, and their last Legendre coefficients tell whether they did. Rows for which they did not get panels that
double in width from a first one as short as the intensity demands; and then those, each in four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eventflow.nn import map_state
from eventflow.ops.quadrature import gauss_legendre, next_event, unresolved
from eventflow.tpp._query import Prediction, queried

if TYPE_CHECKING:
    from eventflow.tpp._process import PointProcess

ORDER = 8  # nodes per panel
CHUNK = 1 << 20  # intensities held at once
ALIVE = 28.0  # an integrated intensity below this goes on; a little more than -log of ``next_event``'s extinction
RESOLVED = 1e-3  # of ``unresolved``: the forecast is then right to about 1e-6

#: (state, times (N, Q) ahead) -> (N, Q, J) intensities.
Ask = Callable[[Any, Tensor], Tensor]


class Grid(NamedTuple):
    """Edges of panels in units of the first, which double from the last one on, and how many are asked for in turn."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def panels(self, first: Tensor, index: int, count: int) -> tuple[Tensor, Tensor]:
        """(N, count) starts and widths of panels ``index``, ..., where the first one is ``first`` (N,) wide."""
        known = len(self.edges) - 1
        edge = np.concatenate([self.edges, self.edges[-1] * 2.0 ** np.arange(1, max(index + count - known, 0) + 1)])
        start, width = edge[index : index + count], np.diff(edge)[index : index + count]
        return first[:, None] * torch.from_numpy(start).to(first), first[:, None] * torch.from_numpy(width).to(first)


WIDE = Grid((0, 1, 3, 6, 10, 16, 40), (6, 1, 2, 4, 8, 8, 8))
FINE = Grid((0, 1, 2), (12, 8, 8, 8, 8))  # the last edges are > 1e11 first panels away
DENSE = Grid(
    tuple(np.concatenate([np.linspace(a, b, 4, endpoint=False) for a, b in pairwise([0.0, *2.0 ** np.arange(45)])])),
    (48, 32, 32, 32),
)  # each of them in four


@torch.no_grad()
def predict_next(process: PointProcess, state: Any, *, ask: Ask | None = None, marks: int = 0) -> Prediction:
    """See :meth:`PointProcess.predict_next`. Leading axes are the state's; a row's numbers depend on that row alone.

    ``ask`` answers with ``marks`` intensities that sum to the total, where that is less work than one of each mark.
    """
    ask, marks = ask or process._intensity, marks or process.num_marks
    lead = state.elapsed.shape
    flat = map_state(lambda leaf: leaf.flatten(0, len(lead) - 1) if lead else leaf[None], state)
    rows = flat.elapsed.shape[0]
    size = max(1, CHUNK // (WIDE.counts[0] * ORDER * marks))
    parts = [
        _forecast(ask, map_state(lambda x, i=i: x[i : i + size], flat), wide=process.smooth)
        for i in range(0, max(rows, 1), size)
    ]
    scale = (process.time_scale, process.time_scale, 1.0, 1.0)
    columns = [np.concatenate(column) * by for column, by in zip(zip(*parts, strict=True), scale, strict=True)]
    mean, median, probs, never = (torch.from_numpy(column).to(flat.elapsed) for column in columns)
    return Prediction(mean.view(lead), median.view(lead), probs.view(*lead, probs.shape[-1]), never.view(lead))


def _forecast(ask: Ask, state: Any, *, wide: bool) -> tuple[Any, ...]:
    """The columns of a prediction; each grid is for the rows that those before it did not resolve."""
    now = ask(state, torch.zeros_like(state.elapsed)).sum(-1).double()
    said: tuple[Any, ...] = ()
    left = torch.arange(len(now), device=now.device)
    for grid in (WIDE, FINE, DENSE)[0 if wide else 1 :]:
        some = map_state(lambda leaf, i=left: leaf.index_select(0, i), state) if said else state
        first, rough = 1 / now[left].clamp_min(1.0) if grid is WIDE else _short(now[left]), []
        for rows, lam, width in _asked(ask, some, grid, first):
            at = left[rows]
            here = at.cpu().numpy()
            better = next_event(lam, width)
            said = said or tuple(np.empty((len(now), *column.shape[1:])) for column in better)
            for column, values in zip(said, better, strict=True):
                column[here] = values
            still = ~(unresolved(lam, width, now[at].cpu().numpy()) < RESOLVED)
            rough.append(at[torch.from_numpy(still).to(at.device)])
        left = torch.cat(rough)
        if not len(left):
            break
    return said


def _short(now: Tensor) -> Tensor:
    return (0.25 / now.clamp_min(1e-300)).clamp_max(2.0**-4)


def _asked(ask: Ask, state: Any, grid: Grid, first: Tensor) -> Iterator[tuple[Tensor, Any, Any]]:
    """(rows (M,), intensities (M, P, n, J), widths (M, P)) of rows that need the same number of panels, until nothing
    of them survives; every row comes once."""
    nodes, weights = (torch.from_numpy(x.copy()).to(first) for x in gauss_legendre(ORDER))
    rows, hazard = torch.arange(len(first), device=first.device), torch.zeros_like(first)
    lam, width = first.new_empty(len(first), 0, ORDER, 0), first.new_empty(len(first), 0)
    for i, count in enumerate(grid.counts):
        start, wide = grid.panels(first, width.shape[1], count)
        u = (start[..., None] + wide[..., None] * nodes).flatten(1).to(state.elapsed)
        block = ask(queried(state, 1), u).unflatten(1, (count, ORDER))
        hazard = hazard + ((block.sum(-1).double() @ weights) * wide).sum(1)
        lam, width = torch.cat([lam, block], 1) if i else block, torch.cat([width, wide], 1)
        alive = (hazard < ALIVE) & (i + 1 < len(grid.counts))
        if len(rows) and alive.all():
            continue
        over, left = (x.nonzero()[:, 0] for x in (~alive, alive))
        yield rows[over], lam.index_select(0, over).cpu().numpy(), width[over].cpu().numpy()
        if not len(left):
            return
        rows, hazard, first, width = rows[left], hazard[left], first[left], width[left]
        lam, state = lam.index_select(0, left), map_state(lambda x, i=left: x.index_select(0, i), state)
