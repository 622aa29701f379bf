"""The exact forecast of the next event: no sampling, no noise, no horizon.

The intensity is evaluated at Gauss-Legendre nodes of panels, until nothing survives; mean, median and mark
probabilities follow by quadrature in float64. Most intensities are smooth on the scale on which events come: a few wide
panels do, and their last Legendre coefficients tell whether they did. Rows for which they did not get panels that
double in width from a first one as short as the intensity demands; and then those, each in four.
"""

from __future__ import annotations

from collections.abc import Callable
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
    return Prediction(mean.view(lead), median.view(lead), probs.view(*lead, -1), never.view(lead))


def _forecast(ask: Ask, state: Any, *, wide: bool) -> tuple[Any, ...]:
    """The columns of a prediction; each grid is for the rows that those before it did not resolve."""
    now = ask(state, torch.zeros_like(state.elapsed)).sum(-1).double()
    said, left = (), torch.arange(len(now), device=now.device)
    for grid in (WIDE, FINE, DENSE)[0 if wide else 1 :]:
        some = map_state(lambda leaf, i=left: leaf.index_select(0, i), state) if said else state
        panels = _asked(ask, some, grid, 1 / now[left].clamp_min(1.0) if grid is WIDE else _short(now[left]))
        rough = ~(unresolved(*panels, now[left].cpu().numpy()) < RESOLVED)
        better = next_event(*panels)
        for column, values in zip(said or better, better, strict=True):
            column[left.cpu().numpy()] = values
        said, left = said or better, left[torch.from_numpy(rough).to(left.device)]
        if not len(left):
            break
    return said


def _short(now: Tensor) -> Tensor:
    return (0.25 / now.clamp_min(1e-300)).clamp_max(2.0**-4)


def _asked(ask: Ask, state: Any, grid: Grid, first: Tensor) -> tuple[Any, Any]:
    """(N, P, n, J) intensities and (N, P) widths of as many panels as it takes until no row survives."""
    nodes, weights = (torch.from_numpy(x.copy()).to(first) for x in gauss_legendre(ORDER))
    alive = torch.ones_like(first, dtype=torch.bool)
    hazard = torch.zeros_like(first)
    lam, width = [], []
    for count in grid.counts:
        start, wide = grid.panels(first, sum(block.shape[1] for block in width), count)
        block = _on_panels(ask, state, start[..., None] + wide[..., None] * nodes, alive)
        lam.append(block)
        width.append(wide)
        hazard = hazard + ((block.sum(-1).double() @ weights) * wide).sum(1)
        alive = hazard < ALIVE
        if not alive.any():
            break
    return torch.cat(lam, 1).cpu().numpy(), torch.cat(width, 1).cpu().numpy()


def _on_panels(ask: Ask, state: Any, u: Tensor, alive: Tensor) -> Tensor:
    """(N, P, n, J) intensities; rows that are no longer alive are not evaluated (their panels are not used)."""
    rows = alive.nonzero()[:, 0]
    some = len(rows) < len(alive)
    chosen = map_state(lambda leaf: leaf.index_select(0, rows), state) if some else state
    flat = u[rows].flatten(1).to(state.elapsed) if some else u.flatten(1).to(state.elapsed)
    lam = ask(queried(chosen, 1), flat).unflatten(1, u.shape[1:])
    return lam if not some else lam.new_zeros(len(alive), *lam.shape[1:]).index_copy(0, rows, lam)
