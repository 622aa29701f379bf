"""The Mamba Hawkes process (Gao, Dai & Hu 2024, arXiv:2407.05302): a selective state-space model reads the past."""

from __future__ import annotations

from torch import Tensor

from eventflow.nn import SelectiveSSM, SoftplusIntensity
from eventflow.tpp._query import by_rows
from eventflow.tpp.models._history import HistoryProcess, HistoryState


class Mamba(HistoryProcess):
    """One selective state-space cell over marks and gaps, softplus intensities that move as its states decay.

    Args:
        num_marks: K.
        hidden_size: H channels, and size of the embeddings.
        state_size: N numbers a channel.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, state_size: int = 16, time_scale: float = 1.0,
        quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(
            num_marks, SelectiveSSM(hidden_size + 1, hidden_size, state_size=state_size), embedding_size=hidden_size,
            gap_features=1, time_scale=time_scale, quadrature=quadrature,
        )  # fmt: skip
        self.head = SoftplusIntensity(hidden_size, num_marks)

    def _intensity(self, state: HistoryState, u: Tensor) -> Tensor:
        flat, ahead, shape = by_rows(state, u)
        return self.head(self.cell.read_ahead(flat.cell, ahead)).reshape(*shape, self.num_marks)  # type: ignore[operator]
