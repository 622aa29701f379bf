"""Attention over the whole past in memory of constant size, with the law of the next gap as a mixture of lognormals."""

from __future__ import annotations

from eventflow.nn import Aaren, LinearAttention, LogNormalMixture
from eventflow.tpp.models._neural import DurationProcess


class AarenTPP(DurationProcess):
    """Attention as a recurrent network (:class:`eventflow.nn.Aaren`: Feng et al. 2024, arXiv:2405.13956) reads the
    past.

    Args:
        num_marks: K.
        hidden_size: H, and size of the marks' embedding; a multiple of ``heads``.
        heads: with a query and a decay each.
        components: of the mixture for the next gap.
        time_scale: see :class:`PointProcess`.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, heads: int = 2, components: int = 8, time_scale: float = 1.0
    ) -> None:
        cell = Aaren(hidden_size + 1, hidden_size, heads=heads)
        head = LogNormalMixture(hidden_size, num_marks, components=components)
        super().__init__(num_marks, cell, head, time_scale=time_scale)


class LinearAttentionTPP(DurationProcess):
    """Linear attention that fades in real time (:class:`eventflow.nn.LinearAttention`: Katharopoulos et al. 2020,
    arXiv:2006.16236) reads the past.

    Args:
        num_marks: K.
        hidden_size: H, and size of the marks' embedding; a multiple of ``heads``.
        heads: with a decay each, and a matrix of (H / heads) (H / heads + 1) numbers.
        components: of the mixture for the next gap.
        time_scale: see :class:`PointProcess`.
    """

    def __init__(
        self, num_marks: int, *, hidden_size: int = 32, heads: int = 2, components: int = 8, time_scale: float = 1.0
    ) -> None:
        cell = LinearAttention(hidden_size + 1, hidden_size, heads=heads)
        head = LogNormalMixture(hidden_size, num_marks, components=components)
        super().__init__(num_marks, cell, head, time_scale=time_scale)
