"""The exact forecast of the next event: no sampling, no noise, no horizon.

The intensity is evaluated at Gauss-Legendre nodes on panels that double in width from a first one as short as the
intensity demands, until nothing survives; mean, median and mark probabilities follow by quadrature in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from eventflow.nn import map_state
from eventflow.ops.quadrature import gauss_legendre, next_event
from eventflow.tpp._query import Prediction, queried

if TYPE_CHECKING:
    from eventflow.tpp._process import PointProcess

ORDER = 8  # nodes per panel
PANELS = (12, 8, 8, 8, 8)  # asked for in turn, while something survives; the last edge is > 1e11 first panels away
CHUNK = 1 << 22  # intensities held at once
ALIVE = 28.0  # an integrated intensity below this goes on; a little more than -log of ``next_event``'s extinction


@torch.no_grad()
def predict_next(process: PointProcess, state: Any) -> Prediction:
    """See :meth:`PointProcess.predict_next`. Leading axes are the state's; a row's numbers depend on that row alone."""
    lead = state.elapsed.shape
    flat = map_state(lambda leaf: leaf.flatten(0, len(lead) - 1) if lead else leaf[None], state)
    rows = flat.elapsed.shape[0]
    size = max(1, CHUNK // (PANELS[0] * ORDER * process.num_marks))
    parts = [_forecast(process, map_state(lambda x, i=i: x[i : i + size], flat)) for i in range(0, max(rows, 1), size)]
    scale = (process.time_scale, process.time_scale, 1.0, 1.0)
    columns = [np.concatenate(column) * by for column, by in zip(zip(*parts, strict=True), scale, strict=True)]
    mean, median, probs, never = (torch.from_numpy(column).to(flat.elapsed) for column in columns)
    return Prediction(mean.view(lead), median.view(lead), probs.view(*lead, -1), never.view(lead))


def _forecast(process: PointProcess, state: Any) -> tuple[Any, ...]:
    now = process._intensity(state, torch.zeros_like(state.elapsed)).sum(-1)
    first = (0.25 / now.double().clamp_min(1e-300)).clamp_max(2.0**-4)
    nodes, weights = (torch.from_numpy(x.copy()).to(first) for x in gauss_legendre(ORDER))
    alive = torch.ones_like(first, dtype=torch.bool)
    hazard = torch.zeros_like(first)
    lam, width = [], []
    for count in PANELS:
        start, wide = _panels(first, sum(block.shape[1] for block in width), count)
        block = _on_panels(process, state, start[..., None] + wide[..., None] * nodes, alive)
        lam.append(block)
        width.append(wide)
        hazard = hazard + ((block.double().sum(-1) @ weights) * wide).sum(1)
        alive = hazard < ALIVE
        if not alive.any():
            break
    return next_event(torch.cat(lam, 1).cpu().numpy(), torch.cat(width, 1).cpu().numpy())


def _panels(first: Tensor, index: int, count: int) -> tuple[Tensor, Tensor]:
    """(N, count) starts and widths of panels ``index``, ... : edges at 0, h, 2h, 4h, 8h, ..."""
    j = torch.arange(index, index + count, device=first.device)
    edge = torch.where(j > 0, 2.0 ** (j - 1).to(first), 0.0)
    return first[:, None] * edge, first[:, None] * edge.clamp_min(1.0).where(j > 0, 1.0)


def _on_panels(process: PointProcess, state: Any, u: Tensor, alive: Tensor) -> Tensor:
    """(N, P, n, K) intensities; rows that are no longer alive are not evaluated (their panels are not used)."""
    shape = (*u.shape, process.num_marks)
    rows = alive.nonzero()[:, 0]
    some = len(rows) < len(alive)
    chosen = map_state(lambda leaf: leaf.index_select(0, rows), state) if some else state
    flat = u[rows].flatten(1).to(state.elapsed) if some else u.flatten(1).to(state.elapsed)
    lam = process._intensity(queried(chosen, 1), flat).unflatten(1, u.shape[1:])
    return lam if not some else lam.new_zeros(shape).index_copy(0, rows, lam)
