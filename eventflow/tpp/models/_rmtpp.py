"""Recurrent marked temporal point process (Du et al., KDD 2016).

lambda*(t) = exp(v . h_j + w (t - t_j) + b) (their eq. 11), marks ~ softmax(V h_j + c) (eq. 10): the compensator, and so
the likelihood (eq. 12), survival and inverse, are in closed form (:class:`eventflow.nn.Gompertz`).
"""

from __future__ import annotations

from eventflow.nn import RNN, Gompertz
from eventflow.tpp.models._neural import DurationProcess


class RMTPP(DurationProcess):
    """A recurrent network, an intensity that rises or falls exponentially in the time since the last event.

    Args:
        num_marks: K.
        hidden_size: H, of the network.
        embedding_size: of a mark.
        time_scale: see :class:`PointProcess`.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, embedding_size: int = 32, time_scale: float = 1.0
    ) -> None:
        cell, head = RNN(embedding_size + 1, hidden_size), Gompertz(hidden_size, num_marks)
        super().__init__(num_marks, cell, head, time_scale=time_scale)
