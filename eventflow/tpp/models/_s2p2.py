"""The state-space point process S2P2 (Chang et al., NeurIPS 2025, arXiv:2412.19634).

A stack of latent linear Hawkes layers: dx = Lambda x dt + B u dt + E alpha dN, y = C x + D u, and the signal of the
layer above is u' = LayerNorm(gelu(y) + u); intensities are scaled softpluses of the last signal. Lambda is diagonal, so
that the states after all events of a sequence are one scan a layer; ``ops.latent_hawkes`` says what happens in a gap.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.errors import InputError, did_you_mean
from eventflow.events import PaddedBatch
from eventflow.nn import SoftplusIntensity
from eventflow.nn._heads import log_scaled_softplus
from eventflow.ops import scan
from eventflow.ops.latent_hawkes import Gap, Layer, Stack, llh_compensator, llh_intensity, llh_signal, naive
from eventflow.tpp._process import Rule
from eventflow.tpp._query import by_rows
from eventflow.tpp.models._asked import AskedProcess
from eventflow.tpp.models._s2p2_layer import LatentHawkesLayer

VARIANTS = ("backward", "forward")


class S2P2State(NamedTuple):
    """Just after the last event: ``x`` (..., L, 2P), real parts, then imaginary parts; ``pace`` (..., L, P) at which
    time passes; ``hold`` (..., L, 2P) the input that is held until the next event (..., L, 0 in the backward variant);
    ``elapsed`` (...) since."""

    x: Tensor
    pace: Tensor
    hold: Tensor
    elapsed: Tensor


class S2P2(AskedProcess):
    """Latent linear Hawkes layers, one above the other.

    Args:
        num_marks: K.
        hidden_size: H, of the signals between the layers. Training is fast where H and P are multiples of 16.
        state_size: P, complex states a layer.
        layers: L.
        variant: "backward" takes a layer's input, between two events, for what it is at the moment that is asked for;
            "forward" for what it was just after the last event. (The zero-order hold, from either end of the interval.)
        relative_time: the signal just after an event sets the pace of time until the next (input-dependent dynamics).
        dropout: of the layers' outputs, in training; the same units throughout a gap.
        time_scale: see :class:`PointProcess`.
        quadrature: nodes per gap of the compensator.
    """

    easytpp_points = 10

    def __init__(
        self, num_marks: int, *, hidden_size: int = 128, state_size: int = 16, layers: int = 4,
        variant: str = "backward", relative_time: bool = True, dropout: float = 0.1, time_scale: float = 1.0,
        quadrature: int = 10,
    ) -> None:  # fmt: skip
        super().__init__(num_marks, time_scale=time_scale, quadrature=quadrature)
        if variant not in VARIANTS:
            raise InputError(f"S2P2(variant={variant!r}): {did_you_mean(variant, VARIANTS)}")
        if min(hidden_size, state_size, layers) < 1:
            raise InputError(
                f"S2P2(hidden_size={hidden_size}, state_size={state_size}, layers={layers}): expected 1 or more of each"
            )
        if not 0 <= dropout < 1:
            raise InputError(f"S2P2(dropout={dropout}): expected 0 <= dropout < 1")
        self.hidden_size, self.state_size, self.variant, self.dropout = hidden_size, state_size, variant, dropout
        self.embedding = nn.Embedding(num_marks, hidden_size)
        self.layers = nn.ModuleList(
            LatentHawkesLayer(hidden_size, state_size, first=i == 0, relative_time=relative_time) for i in range(layers)
        )
        self.head = SoftplusIntensity(hidden_size, num_marks)

    # -- weights --------------------------------------------------------------------------------------------------

    def _layers(self) -> list[LatentHawkesLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def _norms(self) -> list[nn.LayerNorm | None]:
        """The layer norm below each layer, and that below the head."""
        return [None, *(layer.norm for layer in self._layers())]

    def _stack(self) -> Stack:
        norms = self._norms()
        layers = tuple(layer.folded(norm) for layer, norm in zip(self._layers(), norms, strict=False))
        top = self._layers()[-1].norm
        bias = self.head.bias + functional.linear(top.bias, self.head.weight)
        return Stack(layers, (self.head.weight * top.weight, bias, self.head.log_scale))

    def _impulses(self) -> Tensor:
        """(K, L, 2P) what an event of each mark adds to the states."""
        return torch.stack([functional.linear(self.embedding.weight, la.weight_event) for la in self._layers()], 1)

    def _held(self, signal: Tensor | None, layer: Layer, like: Tensor) -> Tensor:
        """(..., 2P) the input a forward layer holds from now on; (..., 0) of a backward one."""
        if self.variant == "backward":
            return like[..., :0]
        if signal is None or layer.weight_in is None:
            return torch.zeros_like(like)
        return functional.linear(signal, layer.weight_in, layer.bias_in)

    # -- one event at a time --------------------------------------------------------------------------------------

    def init(self, batch: int) -> S2P2State:
        layers = self._layers()
        x = torch.stack([layer.start for layer in layers]).expand(batch, -1, -1)
        pace = torch.stack([layer.pace(None, None) for layer in layers]).expand(batch, -1, -1)
        hold = torch.zeros_like(x)[..., : 0 if self.variant == "backward" else None]
        return S2P2State(x, pace, hold, x.new_zeros(batch))

    def _evolve(self, state: S2P2State, u: Tensor) -> S2P2State:
        return state._replace(elapsed=state.elapsed + u)

    def _update(self, state: S2P2State, mark: Tensor) -> S2P2State:
        stack, gap, impulses = self._stack(), self._gap(state), self._impulses()[mark]
        left: Tensor | None = None
        right: Tensor | None = None
        leaves: list[tuple[Tensor, Tensor, Tensor]] = []
        for i, (own, layer, norm) in enumerate(zip(self._layers(), stack.layers, self._norms(), strict=False)):
            held = self._input(gap, i, left, layer)
            x = naive.moved(state.x[..., i, :], held, naive.decay(state.pace[..., i, :], state.elapsed, layer))
            after = x + impulses[..., i, :]
            pace = own.pace(right, norm)
            leaves.append((after, pace.expand(*after.shape[:-1], -1), self._held(right, layer, after)))
            left = naive.signal(functional.linear(x, layer.weight_out), left, layer, None)
            right = naive.signal(functional.linear(after, layer.weight_out), right, layer, None)
        x, pace, hold = (torch.stack(leaf, -2) for leaf in zip(*leaves, strict=True))
        return S2P2State(x, pace, hold, torch.zeros_like(state.elapsed))

    def _gap(self, state: S2P2State) -> Gap:
        return Gap(state.x, state.pace, None if self.variant == "backward" else state.hold)

    def _input(self, gap: Gap, i: int, signal: Tensor | None, layer: Layer) -> Tensor | None:
        """b of layer i between two events: held, or made of the signal below, or none."""
        if signal is None or layer.weight_in is None:
            return None
        return functional.linear(signal, layer.weight_in, layer.bias_in) if gap.hold is None else gap.hold[..., i, :]

    def _intensity(self, state: S2P2State, u: Tensor) -> Tensor:
        flat, at, shape = by_rows(state, u)
        return llh_intensity(self._gap(flat), at, self._stack()).view(*shape, self.num_marks)

    def _log_intensity(self, state: S2P2State, mark: Tensor, u: Tensor) -> Tensor:
        stack = self._stack()
        return self._log_head(naive.top_signal(self._gap(state), state.elapsed + u, stack, None), mark, stack)

    def _log_head(self, top: Tensor, mark: Tensor, stack: Stack) -> Tensor:
        weight, bias, log_scale = stack.head
        return log_scaled_softplus(functional.linear(top, weight, bias), log_scale).gather(-1, mark[..., None])[..., 0]

    # -- whole sequences ------------------------------------------------------------------------------------------

    def _encode(self, mark: Tensor, u: Tensor, mask: Tensor) -> S2P2State:
        return self._sweep(mark, torch.where(mask, u, 0), mask, None)[0]

    def _sweep(self, mark: Tensor, gap: Tensor, mask: Tensor, keep: Tensor | None) -> tuple[S2P2State, Tensor]:
        """(states after each event, (B, T, H) last signals just before it), layer by layer; ``keep`` (B, T + 1, L, H)
        is of the gap before each event, and of that after the last."""
        stack, start, impulses = self._stack(), self.init(len(mark)), self._impulses()[mark]
        own = self._layers()
        signals: tuple[Tensor | None, Tensor | None] = (None, None)
        leaves: list[tuple[Tensor, Tensor, Tensor]] = []
        for i, (layer, norm) in enumerate(zip(stack.layers, self._norms(), strict=False)):
            left, right = signals
            pace = own[i].pace(right, norm).expand(*mark.shape, -1)
            hold = self._held(right, layer, impulses[..., i, :])
            before, held = (torch.cat([first[:, None, i], x[:, :-1]], 1) for first, x in
                            ((start.pace, pace), (start.hold, hold)))  # fmt: skip
            inputs = self._input(Gap(before, before, held[..., None, :] if held.shape[-1] else None), 0, left, layer)
            turn = naive.decay(before, gap, layer)
            x, after = _scanned(turn, inputs, impulses[..., i, :], (start.x[:, i], mask))
            leaves.append((after, pace, hold))
            kept = None if keep is None else (keep[:, :-1, i], keep[:, 1:, i])
            signals = self._signals((x, after), signals, layer, kept)
        after, pace, hold = (torch.stack(leaf, 2) for leaf in zip(*leaves, strict=True))
        if not bool(mask.all()):  # padding carries the last pace and held input on
            last = (mask.long().cumsum(1) - 1).clamp_min(0)[..., None, None]
            pace, hold = (leaf.gather(1, last.expand(leaf.shape)) for leaf in (pace, hold))
            empty = ~mask[:, :1, None, None]
            pace = torch.where(empty, start.pace[:, None], pace)
            hold = torch.where(empty, start.hold[:, None], hold)
        top = signals[0]
        assert top is not None
        return S2P2State(after, pace, hold, torch.zeros_like(gap)), top

    def _signals(self, x: tuple[Tensor, Tensor], below: Any, layer: Layer, keep: Any) -> tuple[Tensor, Tensor]:
        """The signals of a layer just before and just after the events, (B, T, H) each."""
        y = functional.linear(torch.stack(x), layer.weight_out)
        lower, kept = (None if a is None or a[0] is None else torch.stack(a).flatten(0, -2) for a in (below, keep))
        left, right = llh_signal(y.flatten(0, -2), lower, layer, keep=kept).view(y.shape)
        return left, right

    def _keep(self, shape: torch.Size) -> Tensor | None:
        """(B, T + 1, L, H) what the layers' outputs are multiplied by in each gap, or None."""
        if not (self.training and self.dropout):
            return None
        size = shape[0], shape[1] + 1, len(self.layers), self.hidden_size
        kept = torch.rand(size, dtype=self.dtype, device=self.head.bias.device) >= self.dropout
        return kept.to(self.dtype) / (1 - self.dropout)

    def _terms(self, batch: PaddedBatch, scored: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """(B, T) log-densities of the scored events, 0 elsewhere; (B,) integral over the last silence."""
        self._check_marks(batch)
        gap = torch.where(batch.mask, self._gaps(batch.dt), 0)
        keep, first, stack = self._keep(gap.shape), self.init(len(batch)), self._stack()
        if not gap.shape[1]:
            tail = llh_compensator(self._gap(first), self._gaps(batch.tail), stack, rule)
            return torch.zeros_like(gap), tail
        after, top = self._sweep(batch.mark, gap, batch.mask, keep)
        here = self._log_head(top, torch.where(batch.mask, batch.mark, 0), stack)
        dt = torch.cat([gap, self._gaps(batch.tail)[:, None]], 1)  # the last silence, from the last state
        chosen = torch.cat([scored, torch.ones_like(scored[:, :1])], 1) & (dt > 0)
        states = (torch.cat([a[:, None], b], 1)[chosen] for a, b in zip(first[:3], after[:3], strict=True))
        rows = self._gap(S2P2State._make([*states, dt[chosen]]))
        silence = llh_compensator(rows, dt[chosen], stack, rule, keep=None if keep is None else keep[chosen])
        silence = torch.zeros_like(dt).masked_scatter(chosen, silence)
        terms = torch.where(scored, here - silence[:, :-1] - math.log(self.time_scale), 0)
        return terms, silence[:, -1]


def _scanned(
    turn: tuple[Tensor, Tensor], held: Tensor | None, impulse: Tensor, given: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(B, T, 2P) states just before and just after all events; padding carries the last state on."""
    start, mask = given
    entered = torch.zeros_like(impulse) if held is None else naive.moved(torch.zeros_like(held), held, turn)
    jump = torch.where(mask[..., None], impulse, 0)
    added = torch.where(mask[..., None], entered, 0) + jump
    gates = torch.where(mask[..., None], torch.complex(*turn), 1)
    after = scan(gates, torch.complex(*added.chunk(2, -1)), torch.complex(*start.chunk(2, -1)))
    after = torch.cat([after.real, after.imag], -1)
    return after - jump, after
