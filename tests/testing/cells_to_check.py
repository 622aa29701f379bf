"""Cells for test_check_cell: some sound, and one for each law that breaks it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from eventflow.nn import Affine, Cell, DiagSSM, LinearCell, fold, map_state, where_state
from eventflow.nn._cell import check_scan_shapes


class Memory(NamedTuple):
    h: Tensor


class Leaky(Cell[Memory]):
    """A sound cell: h decays between events, h' = tanh(W x + V h) at one; its first state is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.hidden_size = 2, 3
        self.feed, self.back = nn.Linear(2, 3), nn.Linear(3, 3)
        self.log_rate, self.start = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.randn(3))

    def init(self, batch: int) -> Memory:
        return Memory(self.start.expand(batch, 3))

    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return Memory(state.h * torch.exp(-self.log_rate.exp() * dt[..., None]))

    def update(self, state: Memory, x: Tensor) -> Memory:
        return Memory(torch.tanh(self.feed(x) + self.back(state.h)))

    def read(self, state: Memory) -> Tensor:
        return state.h


class Nested(NamedTuple):
    """A state of states, with a count."""

    inner: Memory
    seen: Tensor


class Counting(Leaky):
    """Sound: a nested state with an integer leaf."""

    def init(self, batch: int) -> Any:
        return Nested(super().init(batch), torch.zeros(batch, dtype=torch.int64))

    def evolve(self, state: Any, dt: Tensor) -> Any:
        return state._replace(inner=super().evolve(state.inner, dt))

    def update(self, state: Any, x: Tensor) -> Any:
        return Nested(super().update(state.inner, x), state.seen + 1)

    def read(self, state: Any) -> Tensor:
        return state.inner.h


class Slow(DiagSSM):
    """Sound: a linear cell that uses the generic prefix scan."""

    def __init__(self, real: bool = False) -> None:
        super().__init__(2, 3, steps=(0.1, 1.0), learn_init=True, real=real)

    scan_transitions = LinearCell.scan_transitions


class Twist(NamedTuple):
    """x -> w x + v, w a matrix: transitions that do not commute, one leaf of which has more axes than the state."""

    w: Tensor
    v: Tensor


class Rotating(LinearCell[Memory]):
    """Sound: the state is turned by the gap and squeezed at an event by a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size, self.hidden_size = 2, 2
        self.feed, self.squeeze = nn.Linear(2, 2), nn.Parameter(torch.tensor([[0.9, 0.2], [0.0, 0.5]]))
        self.start = nn.Parameter(torch.randn(2))

    def _turn(self, dt: Tensor) -> Tensor:
        return torch.stack([torch.stack([dt.cos(), -dt.sin()], -1), torch.stack([dt.sin(), dt.cos()], -1)], -2)

    def init(self, batch: int) -> Memory:
        return Memory(self.start.expand(batch, 2))

    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return Memory((self._turn(dt) @ state.h[..., None])[..., 0])

    def update(self, state: Memory, x: Tensor) -> Memory:
        return Memory((self.squeeze @ state.h[..., None])[..., 0] + self.feed(x))

    def read(self, state: Memory) -> Tensor:
        return state.h

    def lift(self, x: Tensor, dt: Tensor) -> Twist:
        return Twist(self.squeeze @ self._turn(dt), self.feed(x))

    def compose(self, a: Twist, b: Twist) -> Twist:
        return Twist(b.w @ a.w, (b.w @ a.v[..., None])[..., 0] + b.v)

    def apply(self, m: Twist, state: Memory) -> Memory:  # type: ignore[override]
        return Memory((m.w @ state.h[..., None])[..., 0] + m.v)


# -- one broken subject a law ------------------------------------------------------------------------------------------


class Widening(Leaky):
    def read(self, state: Memory) -> Tensor:
        return state.h.double()


class Growing(Leaky):
    def update(self, state: Memory, x: Tensor) -> Memory:
        return Memory(torch.cat([super().update(Memory(state.h[..., :3]), x).h, state.h], -1))

    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return state


class Mutating(Leaky):
    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        with torch.no_grad():
            dt += 1
        return super().evolve(state, dt)


class Fading(Leaky):
    """Reads a little less each time."""

    reads = 0

    def read(self, state: Memory) -> Tensor:
        self.reads += 1
        return state.h * 0.9**self.reads


class Keeping(Leaky):
    """Keeps its state on itself (snntorch's default)."""

    mine: Memory | None = None

    def update(self, state: Memory, x: Tensor) -> Memory:
        state = state if self.mine is None or self.mine.h.shape != state.h.shape else self.mine
        self.mine = super().update(state, x)
        return self.mine


class Careless(Leaky):
    """Takes what it is given."""

    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        length = x.shape[1]
        cut = [None if part is None else part[:, :length] for part in (dt, reset, mask)]
        return fold(self, x[..., :2], cut[0], state, reset=cut[1], mask=cut[2])  # type: ignore[arg-type]


class Rounding(Leaky):
    """target + (h - target): right but for the last bit."""

    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return Memory(0.3 + (super().evolve(state, dt).h - 0.3))


class Hyperbolic(Leaky):
    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return Memory(state.h / (1 + dt[..., None]))


class SecondAxis(Leaky):
    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return Memory(state.h * torch.exp(-self.log_rate.exp() * dt[:, None]))


class RightLimit(Leaky):
    def step(self, state: Memory, x: Tensor, dt: Tensor) -> tuple[Tensor, Memory]:
        after = self.update(self.evolve(state, dt), x)
        return self.read(after), after


class Timeless(Slow):
    def lift(self, x: Tensor, dt: Tensor) -> Affine:
        return super().lift(x, torch.zeros_like(dt))


class Projecting(Slow):
    """Associative, and wrong."""

    def compose(self, a: Affine, b: Affine) -> Affine:
        return b


class Inflating(Slow):
    def compose(self, a: Affine, b: Affine) -> Affine:
        return Affine(b.gain * a.gain, 1.1 * (b.gain * a.shift + b.shift))


class IgnoringResets(Leaky):
    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        return fold(self, x, dt, state, mask=mask)


class LastButOne(Leaky):
    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        states, last = fold(self, x, dt, state, reset=reset, mask=mask)
        return states, map_state(lambda leaf: leaf[:, -2], states) if x.shape[1] > 1 else last


class Detaching(Leaky):
    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        return fold(self, x, dt.detach(), state, reset=reset, mask=mask)


class NeedingEvents(Leaky):
    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        states, _ = fold(self, x, dt, state, reset=reset, mask=mask)
        return states, map_state(lambda leaf: leaf[:, -1], states)


class ChunkNormalising(Leaky):
    """Divides the gaps by the mean of the chunk."""

    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        return fold(self, x, dt / dt.mean(1, keepdim=True), state, reset=reset, mask=mask)


class Numbering(Leaky):
    """Counts its events on itself: lost in a crash."""

    count = 0

    def update(self, state: Memory, x: Tensor) -> Memory:
        self.count += 1
        return super().update(state, x + 0.1 * self.count)


class Pooling(Leaky):
    """Sees the mean of all features, those to come too."""

    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        return fold(self, x + x.mean(1, keepdim=True), dt, state, reset=reset, mask=mask)


class Peeking(Leaky):
    """Left limits that know the event."""

    def step(self, state: Memory, x: Tensor, dt: Tensor) -> tuple[Tensor, Memory]:
        y, after = super().step(state, x, dt)
        return y + 1e-3 * x.sum(-1, keepdim=True), after


class ByHand(Leaky):
    """A loop of one's own, in which a subclass says how to select."""

    clean = True

    def select(self, condition: Tensor, yes: Memory, no: Memory) -> Memory:
        return where_state(condition, yes, no)

    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        check_scan_shapes(self, x, dt, reset, mask)
        if dt.shape[1] == 0:
            return fold(self, x, dt, state)
        if mask is not None and self.clean:
            x, dt = torch.where(mask[..., None], x, 0), torch.where(mask, dt, 0)
        now, states = self.init(len(dt)) if state is None else state, []
        for i in range(dt.shape[1]):
            new = torch.zeros(len(dt), dtype=torch.bool) if reset is None else reset[:, i]
            real = torch.ones(len(dt), dtype=torch.bool) if mask is None else mask[:, i]
            before = self.select(new & real, self.init(len(dt)), now)
            now = self.select(real, self.update(self.evolve(before, dt[:, i]), x[:, i]), now)
            states.append(now)
        return Memory(torch.stack([s.h for s in states], 1)), now


class Multiplying(ByHand):
    """0 * NaN is NaN."""

    def select(self, condition: Tensor, yes: Memory, no: Memory) -> Memory:
        keep = condition[:, None].to(yes.h.dtype)
        return Memory(keep * yes.h + (1 - keep) * no.h)


class MultiplyingPadding(Multiplying):
    clean = False


class SelectingLate(ByHand):
    """Selects the values, but NaN has been through the weights: their gradients are NaN."""

    clean = False


class AgeingPadding(Leaky):
    """Lets time pass in padding."""

    def scan(self, x: Tensor, dt: Tensor, state: Any = None, *, reset: Any = None, mask: Any = None) -> Any:
        if mask is None:
            return fold(self, x, dt, state, reset=reset)
        states, _ = fold(self, x, dt, state, reset=reset, mask=mask)
        states = where_state(mask, states, self.evolve(states, torch.ones_like(dt)))
        return states, map_state(lambda leaf: leaf[:, -1], states)


class AllOrNone(Leaky):
    """Branches on the whole batch (FlashRNN's vanilla sLSTM: torch.all(n == 0))."""

    def update(self, state: Memory, x: Tensor) -> Memory:
        fresh = (state.h - self.start).abs().sum() < 1e-9
        return super().update(state, x + 1 if bool(fresh) else x)

    def evolve(self, state: Memory, dt: Tensor) -> Memory:
        return state


class Ranking(Leaky):
    """Rows differ by where they lie."""

    def update(self, state: Memory, x: Tensor) -> Memory:
        rank = torch.arange(state.h.shape[0], dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 1))
        return super().update(state, x + 0.1 * rank)


#: law -> (a cell that breaks it, words of the message)
BROKEN = {
    "dtype_kept": (Widening, "step gives torch.float64 from a cell in torch.float32"),
    "state_size": (Growing, r"expected \[\(3, 3\)\]"),
    "inputs_untouched": (Mutating, "evolve changed its input dt"),
    "read_is_pure": (Fading, "a second read"),
    "no_hidden_state": (Keeping, "stream 0 of two in turn"),
    "input_errors": (Careless, "x with a feature too many"),
    "evolve_zero": (Rounding, "after a silence of 0"),
    "evolve_adds": (Hyperbolic, "two silences"),
    "query_axes": (SecondAxis, "must match the size"),
    "step_reads_the_left_limit": (RightLimit, r"against read\(evolve\(s, dt\)\)"),
    "lift_is_evolve_then_update": (Timeless, r"apply\(lift\(x, dt\), s\), leaf x: .* differ"),
    "compose_acts": (Projecting, r"apply\(compose\(a, b\), s\), leaf x: .* differ"),
    "compose_associates": (Inflating, r"compose\(compose\(a, b\), c\), leaf shift: .* differ"),
    "scan_values": (IgnoringResets, "with resets, leaf h: .* differ"),
    "scan_final": (LastButOne, "final state, length 2"),
    "scan_gradients": (Detaching, "the gradient of dt: .* differ"),
    "scan_empty": (NeedingEvents, "index -1 is out of bounds"),
    "chunking": (ChunkNormalising, "cut at"),
    "resume": (Numbering, "crash at"),
    "causality": (Pooling, "gradient with respect to x of later events"),
    "reset_isolates": (Multiplying, "with NaN before it.*: nan"),
    "padding_values": (MultiplyingPadding, "nan in padding"),
    "padding_gradients": (SelectingLate, "with nan in padding: the gradient of x is not finite"),
    "packed": (AgeingPadding, "padded against alone"),
    "batch_independence": (AllOrNone, "row 0 of 4"),
    "batch_permutation": (Ranking, "rows in the order"),
}
