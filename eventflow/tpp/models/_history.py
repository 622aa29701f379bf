"""Point processes whose past is summarised by a Cell: what RMTPP, the Neural Hawkes process and others share."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eventflow.events import PaddedBatch
from eventflow.nn import Cell, state_leaves
from eventflow.tpp._process import PointProcess
from eventflow.tpp.models._prompt_cell import PromptCell
from eventflow.tpp.models._prompt_pool import PromptPool


class HistoryState(NamedTuple):
    """``cell``: the cell's state just after the last event; ``elapsed`` (...,): the silence since, in time_scale units.

    Silence is kept as a number and applied when the state is read, so that a hundred short silences equal a long one.
    """

    cell: Any
    elapsed: Tensor


class HistoryProcess(PointProcess):
    """A cell encodes the marks and gaps; a subclass turns (cell state, time since the last event) into intensities.

    Args:
        num_marks: K.
        cell: takes features of ``embedding_size + gap_features`` numbers an event.
        embedding_size: of a mark.
        gap_features: 1 to give the cell log(1 + gap / time_scale), for cells that do not evolve between events.
        bos: start each span with an update by a "beginning of sequence" mark of its own (Mei & Eisner 2017, sec. 3.2).
    """

    def __init__(
        self, num_marks: int, cell: Cell, *, embedding_size: int, gap_features: int = 0, bos: bool = True,
        time_scale: float = 1.0, quadrature: int = 20,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        self.cell = cell
        self.bos = bos
        self.gap_features = gap_features
        self.embedding = nn.Embedding(num_marks + bos, embedding_size)

    def init(self, batch: int) -> HistoryState:
        return self._begun(self.cell.init(batch))

    def init_at(self, start: Tensor) -> HistoryState:
        """See :meth:`PointProcess.init_at`; only prompts look at the stream's time."""
        if not isinstance(self.cell, PromptCell):
            return self.init(len(start))
        return self._begun(self.cell.at(self.cell.init(len(start)), start.double() / self.time_scale))

    def _begun(self, cell: Any) -> HistoryState:
        """The state at the start of a span, from the cell's."""
        first = next(iter(state_leaves(cell)))
        state = HistoryState(cell, self.embedding.weight.new_zeros(len(first)))
        if not self.bos:
            return state
        return self._update(state, torch.full((len(first),), self.num_marks, device=first.device))

    @property
    def prompts(self) -> PromptPool | None:
        """The pool of the cell, where it has one."""
        return self.cell.pool if isinstance(self.cell, PromptCell) else None

    def _match(self, state: HistoryState) -> Tensor:
        return state.cell.match

    def features(self, mark: Tensor, gap: Tensor) -> Tensor:
        """(..., embedding_size + gap_features) what the cell sees of an event: its mark, and the gap before it."""
        embedded = self.embedding(mark)
        return torch.cat([embedded, gap.log1p()[..., None]], -1) if self.gap_features else embedded

    def _evolve(self, state: HistoryState, u: Tensor) -> HistoryState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: HistoryState, mark: Tensor) -> HistoryState:
        left = self.cell.evolve(state.cell, state.elapsed)
        return HistoryState(self.cell.update(left, self.features(mark, state.elapsed)), torch.zeros_like(state.elapsed))

    def encode(self, batch: PaddedBatch) -> HistoryState:
        """See :meth:`PointProcess.encode`."""
        self._check_marks(batch)
        return self._encode(batch.mark, self._gaps(batch.dt), batch.mask, self.init_at(batch.start))

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor, first: HistoryState | None = None) -> HistoryState:
        gap = torch.where(mask, u, 0)
        first = self.init(len(mark)) if first is None else first
        states, _ = self.cell.scan(self.features(mark, gap), gap, first.cell, mask=mask)
        return HistoryState(states, torch.zeros_like(u))
