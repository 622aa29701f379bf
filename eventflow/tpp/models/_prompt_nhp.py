"""PromptTPP on the Neural Hawkes process: a pool of prompts in front of the continuous-time LSTM."""

from __future__ import annotations

from torch import Tensor

from eventflow.nn import CTLSTM, CTLSTMState, SoftplusIntensity
from eventflow.tpp._process import PointProcess
from eventflow.tpp.models._history import HistoryProcess, HistoryState
from eventflow.tpp.models._nhp import NHP
from eventflow.tpp.models._prompt_cell import PromptCell


class PromptNHP(NHP):
    """An :class:`NHP` whose cell is a :class:`PromptCell` (see there for the arguments not given here).

    Args:
        num_marks: K.
        hidden_size: H, of the cell and of the embeddings.
        prompts: M.
        retrieved: N.
        time_size: numbers of the code of the stream's time.
        fastest: its largest angular frequency, per ``time_scale``.
        discount: how much an event counts in the query's mean when the next one has come.
        match_weight: of the match in the training loss; the likelihood never holds it.
        pool_every: training steps from one update of the pool to the next.
        encoder_every: the same of everything else.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    cell: PromptCell  # type: ignore[assignment]

    def __init__(
        self, num_marks: int, *, hidden_size: int = 64, prompts: int = 10, retrieved: int = 4, time_size: int = 16,
        fastest: float = 2.0, discount: float = 1.0, match_weight: float = 0.1, pool_every: int = 1,
        encoder_every: int = 2, time_scale: float = 1.0, quadrature: int = 20,
    ) -> None:  # fmt: skip
        cell = PromptCell(
            CTLSTM(hidden_size, hidden_size), prompts=prompts, retrieved=retrieved, time_size=time_size,
            fastest=fastest, discount=discount, match_weight=match_weight, pool_every=pool_every,
            encoder_every=encoder_every,
        )  # fmt: skip
        HistoryProcess.__init__(
            self, num_marks, cell, embedding_size=hidden_size, time_scale=time_scale, quadrature=quadrature
        )
        self.head = SoftplusIntensity(hidden_size, num_marks)

    # An event's input is its mark and its prompts, so that the NHP's table of K inputs does not do.
    _encode = HistoryProcess._encode
    event_log_prob = PointProcess.event_log_prob
    _exact_log_prob = PointProcess._exact_log_prob
    _easytpp_log_prob = PointProcess._easytpp_log_prob

    def _memory(self, state: HistoryState, silence: Tensor) -> CTLSTMState:
        return self.cell.cell.evolve(state.cell.inner, silence)  # type: ignore[no-any-return]
