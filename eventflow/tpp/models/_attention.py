"""Point processes whose past is read by a transformer: what SAHP and THP share.

Training runs all events of a batch at once; live, every layer keeps a queue of its last keys and values, so that one
event costs O(window). Both attend to the last ``window`` events only, and give the same numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from eventflow.errors import InputError, did_you_mean
from eventflow.events import PaddedBatch
from eventflow.nn import WindowAttention, WindowState
from eventflow.tpp._process import PointProcess

NOT_CONTINUED = (
    "{name}: this state came from left_states, which keeps no queues and can be asked, but not continued. "
    "Write: model.encode(batch)"
)


class AttentionState(NamedTuple):
    """``layers``: the queue of each layer, or () where a state is only to be asked, not continued (``left_states``);
    ``h`` (..., H) of the last event; ``clock`` (...), float64: where the last event lies in the sequence; ``elapsed``.
    """

    layers: tuple[WindowState, ...]
    h: Tensor
    clock: Tensor
    elapsed: Tensor


class TransformerLayer(nn.Module):
    """Attention and a position-wise network, each with residual and layer norm behind (Vaswani et al. 2017, sec. 3.1).

    Bare: attention alone, as in EasyTPP.
    """

    def __init__(self, hidden_size: int, *, heads: int, window: int, bare: bool) -> None:
        super().__init__()
        self.attention = WindowAttention(hidden_size, hidden_size, window=window, heads=heads, decay=False)
        self.bare = bare
        if not bare:
            self.out = nn.Linear(hidden_size, hidden_size)
            self.norm_attention, self.norm_feed = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
            self.feed = feed_forward(hidden_size)

    def forward(self, x: Tensor, attended: Tensor) -> Tensor:
        """(..., H) from what went into the attention, and what came out of it."""
        if self.bare:
            return attended
        x = self.norm_attention(x + self.out(attended))
        return self.norm_feed(x + self.feed(x))


class AttentionProcess(PointProcess):
    """A transformer encodes marks and times of events; a subclass turns h of the last one into intensities.

    Args:
        num_marks: K.
        hidden_size: H, a multiple of ``heads``.
        layers: of the transformer.
        heads: of each layer.
        window: events each layer attends to, itself included; live memory and time of an event are O(window).
        compat: "easytpp" for EasyTPP's variant of the model, with its parameters one for one; None is the paper's.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    #: The encoding is added before every layer, not only before the first.
    every_layer = False
    #: What ``clock`` is before the first event.
    before_first = 0.0

    def __init__(
        self, num_marks: int, *, hidden_size: int, layers: int, heads: int, window: int, compat: str | None,
        time_scale: float, quadrature: int,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        name = type(self).__name__
        if compat not in (None, "easytpp"):
            raise InputError(f"{name}(compat={compat!r}): {did_you_mean(str(compat), ['easytpp'])}")
        if layers < 1 or hidden_size % 2:
            raise InputError(f"{name}(hidden_size={hidden_size}, layers={layers}): expected an even size, >= 1 layer")
        self.hidden_size, self.compat = hidden_size, compat
        self.bos = compat is None
        self.embedding = nn.Embedding(num_marks + self.bos, hidden_size)
        bare = compat is not None
        self.layers = nn.ModuleList(
            TransformerLayer(hidden_size, heads=heads, window=window, bare=bare) for _ in range(layers)
        )

    # -- what a subclass writes -----------------------------------------------------------------------------------

    def _tick(self, clock: Tensor, gap: Tensor) -> Tensor:
        """The clock at an event, from the clock at the one before it and the gap between them."""
        raise NotImplementedError

    def _clocks(self, gap: Tensor) -> Tensor:
        """(B, T) clocks at all events, float64."""
        raise NotImplementedError

    def _encoding(self, clock: Tensor, gap: Tensor) -> Tensor:
        """(..., H) encoding of an event's place in time."""
        raise NotImplementedError

    def _after(self, layer: nn.Module, x: Tensor, attended: Tensor) -> Tensor:
        """What a layer makes of what it attended to."""
        return layer(x, attended)

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> AttentionState:
        h = self.embedding.weight.new_zeros(batch, self.hidden_size)
        clock = h.new_full((batch,), self.before_first, dtype=torch.float64)
        windows = tuple(layer.attention.init(batch) for layer in self._stack())
        state = AttentionState(windows, h, clock, h.new_zeros(batch))
        return self._update(state, torch.full((batch,), self.num_marks, device=h.device)) if self.bos else state

    def _stack(self) -> list[TransformerLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _evolve(self, state: AttentionState, u: Tensor) -> AttentionState:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: AttentionState, mark: Tensor) -> AttentionState:
        if not state.layers:
            raise InputError(NOT_CONTINUED.format(name=type(self).__name__))
        clock = self._tick(state.clock, state.elapsed)
        x, encoding = self.embedding(mark), self._encoding(clock, state.elapsed)
        windows = []
        for i, (layer, window) in enumerate(zip(self._stack(), state.layers, strict=True)):
            x = x + encoding if i == 0 or self.every_layer else x
            windows.append(layer.attention.update(window, x))
            x = self._after(layer, x, layer.attention.read(windows[-1]))
        return AttentionState(tuple(windows), x, clock, torch.zeros_like(state.elapsed))

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> AttentionState:
        start, gap = self.init(len(mark)), torch.where(mask, u, 0)
        still = torch.zeros_like(gap)
        clock = self._clocks(torch.cat([gap.new_zeros(len(gap), self.bos), gap], 1))[:, self.bos :]
        x, encoding = self.embedding(mark), self._encoding(clock, gap)
        windows = []
        for i, (layer, window) in enumerate(zip(self._stack(), start.layers, strict=True)):
            x = x + encoding if i == 0 or self.every_layer else x
            windows.append(layer.attention.scan(x, still, window, mask=mask)[0])
            x = self._after(layer, x, layer.attention.attend(x, still, window, mask=mask)[0])
        count = mask.long().cumsum(1)  # padding, on the right, carries the last event's on
        h = torch.cat([start.h[:, None], x], 1).gather(1, count[..., None].expand_as(x))
        return AttentionState(tuple(windows), h, torch.cat([start.clock[:, None], clock], 1).gather(1, count), still)

    def left_states(self, batch: PaddedBatch) -> tuple[AttentionState, AttentionState]:
        """As :meth:`PointProcess.left_states`, without the queues: states to be asked, not continued."""
        self._check_marks(batch)
        h, clock = self._hidden(batch.mark, torch.where(batch.mask, self._gaps(batch.dt), 0))
        still = torch.zeros_like(batch.dt, dtype=self.dtype)
        left = AttentionState((), h[:, :-1], clock[:, :-1], still)
        row, last = torch.arange(len(batch), device=h.device), batch.lengths
        return left, AttentionState((), h[row, last], clock[row, last], still.new_zeros(len(batch)))

    def _hidden(self, mark: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 + T, H) after the start and after each event, and the clocks."""
        batch = len(mark)
        if self.bos:
            mark = torch.cat([mark.new_full((batch, 1), self.num_marks), mark], 1)
            gap = torch.cat([gap.new_zeros(batch, 1), gap], 1)
        clock = self._clocks(gap)
        x, encoding = self.embedding(mark), self._encoding(clock, gap)
        for i, layer in enumerate(self._stack()):
            x = x + encoding if i == 0 or self.every_layer else x
            x = self._after(layer, x, layer.attention.from_start(x))
        if self.bos:
            return x, clock
        start = clock.new_full((batch, 1), self.before_first)
        return torch.cat([x.new_zeros(batch, 1, self.hidden_size), x], 1), torch.cat([start, clock], 1)


def feed_forward(hidden_size: int) -> nn.Sequential:
    """H -> 2 H -> H with a rectifier between."""
    return nn.Sequential(nn.Linear(hidden_size, 2 * hidden_size), nn.ReLU(), nn.Linear(2 * hidden_size, hidden_size))


@lru_cache
def frequencies(size: int) -> tuple[float, ...]:
    """The size / 2 angular frequencies 10000^(-2 i / size) (Vaswani et al. 2017, sec. 3.5)."""
    return tuple(10000.0 ** (-i / size) for i in range(0, size, 2))


@lru_cache
def spread(size: int, fastest: float) -> tuple[float, ...]:
    """size / 2 angular frequencies from ``fastest`` to the slowest of :func:`frequencies`, a geometric sequence."""
    slowest, steps = frequencies(size)[-1], max(size // 2 - 1, 1)
    return tuple(fastest * (slowest / fastest) ** (i / steps) for i in range(size // 2))


def sinusoids(time: Tensor, known: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """(...) float64 -> (..., 2 n): sines and cosines, in turn, of n angular frequencies."""
    angle = _angles(time, known, dtype)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)


def phases(clock: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """(...) float64 -> (..., size / 2) angles in [0, 2 pi) of :func:`frequencies`."""
    return _angles(clock, frequencies(size), dtype)


def _angles(time: Tensor, known: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """(..., n) angles in [0, 2 pi): reduced, as parts of a turn, before they are rounded to the model's dtype."""
    turns = time[..., None] * (torch.tensor(known, dtype=torch.float64, device=time.device) / (2 * math.pi))
    return ((turns - turns.floor()) * (2 * math.pi)).to(dtype)
