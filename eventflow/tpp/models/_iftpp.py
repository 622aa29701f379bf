"""Intensity-free learning of temporal point processes (Shchur, Bilos & Guennemann, ICLR 2020, arXiv:1909.12127).

log of the next gap ~ a mixture of normals whose parameters are read off a GRU's state (their eq. 2 and section 3.2);
marks are independent of it. Density, survival, mean and samples in closed form; no integral anywhere.
"""

from __future__ import annotations

from torch import Tensor

from eventflow.nn import GRU, LogNormalMixture
from eventflow.tpp._process import Rule
from eventflow.tpp.models._history import HistoryState
from eventflow.tpp.models._neural import DurationProcess

#: The shortest gap EasyTPP's density is asked for, in the data's unit.
SHORTEST = 1e-5


class IFTPP(DurationProcess):
    """A GRU and a log-normal mixture.

    Args:
        num_marks: K.
        hidden_size: H, of the GRU (the paper's 64).
        embedding_size: of a mark (the paper's 32).
        components: of the mixture (the paper's 64).
        time_scale: see :class:`PointProcess`.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 64, embedding_size: int = 32, components: int = 64,
        time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        cell = GRU(embedding_size + 1, hidden_size)
        super().__init__(
            num_marks, cell, LogNormalMixture(hidden_size, num_marks, components=components), time_scale=time_scale
        )

    def _log_density(self, state: HistoryState, mark: Tensor, u: Tensor, rule: Rule | None = None) -> Tensor:
        """In closed form by any rule, as EasyTPP's IntensityFree, which integrates nothing."""
        return super()._log_density(state, mark, u if rule is None else u.clamp_min(SHORTEST / self.time_scale))
