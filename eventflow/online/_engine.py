"""The deterministic heart of a stream: lines in, answers and dead letters out, whatever the chunks they come in.

Order. The stream's clock is the largest t seen, over all keys. An event is released when the clock has reached
t + lateness; events are released in the order (t, arrival), and at the end of the stream all that wait are. An event
older than the last one released of its key is late: a dead letter. With lateness 0 every event is released at once, in
the order of arrival.

Numbers. Released events are stepped in waves: the first one of each key in the chunk together, then the second ones,
...; an operator whose rows depend on that row alone (see ``batch_invariant``) gives the same bits in any wave.
"""

from __future__ import annotations

import heapq
import json
import math
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.online._decode import Decoder, Key
from eventflow.online._invariant import batch_invariant
from eventflow.online._operator import BlockLearner, Moment, Operator, StateTable
from eventflow.online._options import Counters, StreamOptions


class Released(NamedTuple):
    """Events on their way through the operator, column by column."""

    slot: list[int]
    t: list[int | float]
    gap: list[int | float]
    mark: list[int]
    unscored: list[int]  # rows of given first events


class Engine:
    """See the module. ``numbered``: each answer carries ``seq``, its place in the output."""

    def __init__(self, operator: Operator, options: StreamOptions, *, numbered: bool = False) -> None:
        self._operator = operator
        self._options = options
        self._numbered = numbered
        num_marks = options.schema.num_marks or getattr(operator, "num_marks", None)
        if num_marks is None:
            raise InputError("how many kinds of event? Write: StreamOptions(schema=Schema(num_marks=K), ...)")
        own = getattr(operator, "num_marks", num_marks)
        if own != num_marks:
            raise InputError(f"the model has num_marks={own}, the schema {num_marks}")
        self._decoder = Decoder(options.schema, num_marks)
        self._learner = operator if isinstance(operator, BlockLearner) else None
        self._block: list[Moment] = []  # answered, not yet learned from
        self._new: list[tuple[int, float]] = []  # slots whose state knows no time yet, and when they began
        self._dated = getattr(operator, "dated", False)
        self._invariant = batch_invariant(getattr(operator, "module", operator))
        with self._invariant:
            self.table = StateTable(operator)
            self._try()
        self.counters = Counters()
        self._slots: dict[Key, int] = {}
        self._names: list[str] = []  # each key as JSON, by slot
        self._last: list[int | float | None] = []  # when its last released event was, by slot
        self._clock = -math.inf
        self._buffer: list[tuple[int | float, int, int, int]] = []  # a heap of (t, arrival, slot, mark)
        self._template = ""

    def _try(self) -> None:
        """One event of nobody: an operator that cannot run says so before anything is written, and is warm after it."""
        nobody, none = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=self.table.dtype)
        self._operator.observe(self._operator.init(1), {"mark": nobody}, none)

    @property
    def num_keys(self) -> int:
        """Keys held."""
        return len(self._slots)

    @property
    def waiting(self) -> int:
        """Events in the reorder buffer."""
        return len(self._buffer)

    @property
    def learned(self) -> dict[str, float]:
        """How learning goes, where the operator learns."""
        return {} if self._learner is None else dict(self._learner.progress)

    # -- events in --------------------------------------------------------------------------------------------------

    def feed(self, lines: list[bytes]) -> tuple[list[str], list[str]]:
        """(answers, dead letters) that these lines give rise to, as JSON lines."""
        ready, dead = Released([], [], [], [], []), []
        count, lateness = self.counters, self._options.lateness
        for raw, event in zip(lines, self._decoder.decode(lines), strict=True):
            count.lines += 1
            if event is None:
                continue
            if isinstance(event, str):
                count.malformed += 1
                dead.append(self._dead_letter(raw, event))
                continue
            key, t, mark = event
            slot = self._slots.get(key)
            if reason := self._unfit(slot, t):
                dead.append(self._dead_letter(raw, reason))
                continue
            if slot is None:
                slot = self._add(key)
            count.events_in += 1
            if not lateness:
                self._release(ready, slot, t, mark)
                continue
            heapq.heappush(self._buffer, (t, count.lines, slot, mark))
            self._clock = max(self._clock, t)
            while self._buffer and self._buffer[0][0] + lateness <= self._clock:
                t, _, slot, mark = heapq.heappop(self._buffer)
                self._release(ready, slot, t, mark)
        return self._answer(ready), dead

    def finish(self) -> list[str]:
        """The answers to all events that wait: the stream is at its end."""
        ready = Released([], [], [], [], [])
        while self._buffer:
            t, _, slot, mark = heapq.heappop(self._buffer)
            self._release(ready, slot, t, mark)
        return self._answer(ready)

    def _unfit(self, slot: int | None, t: int | float) -> str:
        """Why a well-formed event cannot be taken; "" if it can."""
        start = self._options.start
        if start is not None and t < start:
            self.counters.malformed += 1
            return f"t is {t}, before the start of the observation at {start}"
        if slot is not None:
            last = self._last[slot]
            if last is not None and t < last:
                self.counters.late += 1
                return f"late by {last - t}: the last event released of this key was at {last}"
        limit = self._options.max_keys
        if slot is None and limit is not None and len(self._slots) >= limit:
            self.counters.refused += 1
            return f"a new key, and {limit} are held already (max_keys)"
        return ""

    def _add(self, key: Key) -> int:
        slot = self._slots[key] = len(self._slots)
        self._names.append(json.dumps(key))
        self._last.append(None)
        return slot

    def _release(self, ready: Released, slot: int, t: int | float, mark: int) -> None:
        last = self._last[slot]
        self._last[slot] = t
        if last is None:
            last = self._options.start
            if self._options.schema.given_first:
                ready.unscored.append(len(ready.slot))
                last = t
            if self._dated:
                self._new.append((slot, float(last)))  # type: ignore[arg-type]
        ready.slot.append(slot)
        ready.t.append(t)
        ready.gap.append(t - last)  # type: ignore[operator]
        ready.mark.append(mark)

    def _dead_letter(self, raw: bytes, reason: str) -> str:
        text = raw.decode("utf-8", "backslashreplace")
        return json.dumps({"line": self.counters.lines, "reason": reason, "raw": text})

    # -- answers out ------------------------------------------------------------------------------------------------

    def _answer(self, ready: Released) -> list[str]:
        if not ready.slot:
            return []
        self.table.reserve(len(self._slots))
        self._begin()
        if self._learner is None:
            return self._write(ready, self._step(ready))
        lines, at = [], 0
        while at < len(ready.slot):
            piece = _piece(ready, at, at + self._learner.block - len(self._block))
            answers = self._step(piece)
            lines += self._write(piece, answers)
            self._learn(self._learner, piece, answers)
            at += len(piece.slot)
        return lines

    def _begin(self) -> None:
        """Tell the states of new keys when their observation began."""
        if self._new:
            slots, starts = zip(*self._new, strict=True)
            with self._invariant:
                first = self._operator.init_at(torch.tensor(starts, dtype=torch.float64))  # type: ignore[attr-defined]
            self.table.scatter(torch.tensor(slots), first)
            self._new.clear()

    def _learn(self, learner: BlockLearner, ready: Released, answers: dict[str, Tensor]) -> None:
        """Note what was answered; learn when a block is full."""
        unscored = set(ready.unscored)
        scored = [row not in unscored for row in range(len(ready.slot))]
        if "nll" in answers:
            learner.note([nll for nll, counts in zip(answers["nll"].tolist(), scored, strict=True) if counts])
        self._block += map(Moment, ready.slot, ready.mark, map(float, ready.gap), scored)
        if len(self._block) == learner.block:
            learner.learn_block(self.table, self._block)
            self._block = []

    def _step(self, ready: Released) -> dict[str, Tensor]:
        """The operator's answers, row by row as released."""
        order, edges = waves(ready.slot)
        slots = torch.from_numpy(np.array(ready.slot)[order])
        marks = torch.from_numpy(np.array(ready.mark)[order])
        gaps = torch.from_numpy(np.array(ready.gap, dtype=np.float64)[order]).to(self.table.dtype)
        parts: list[dict[str, Tensor]] = []
        for low, high in edges:
            for a in range(low, high, self._options.max_batch):
                b = min(a + self._options.max_batch, high)
                where = slots[a:b]
                before = self.table.gather(where)
                with self._invariant:
                    answers, after = self._operator.observe(before, {"mark": marks[a:b]}, gaps[a:b])
                self.table.scatter(where, after)
                parts.append(answers)
        if len(parts) == 1:
            return parts[0]
        back = torch.from_numpy(np.argsort(order))
        return {name: torch.cat([part[name] for part in parts])[back] for name in parts[0]}

    def _write(self, ready: Released, answers: dict[str, Tensor]) -> list[str]:
        if not self._template:
            seq = '"seq": %d, ' if self._numbered else ""
            self._template = f'{{{seq}"key": %s, "t": %r{"".join(f", {json.dumps(n)}: %s" for n in answers)}}}'
        columns: list[Any] = [[self._names[slot] for slot in ready.slot], ready.t]
        if self._numbered:
            first = self.counters.events_out
            columns.insert(0, range(first, first + len(ready.t)))
        broken: set[int] = set()
        for name, values in answers.items():
            texts = _texts(values, ready.t if name == "next_t" else None)
            unscored = ready.unscored if name == "nll" else []
            finite = values.isfinite()
            if not finite.all():
                wrong = (~finite.reshape(len(ready.t), -1).all(1)).nonzero()[:, 0].tolist()
                broken.update(set(wrong).difference(unscored))
                for row in wrong:
                    texts[row] = "null"
            for row in unscored:
                texts[row] = "null"
            columns.append(texts)
        self.counters.nonfinite += len(broken)
        self.counters.events_out += len(ready.t)
        template = self._template
        return [template % row for row in zip(*columns, strict=True)]

    # -- snapshots --------------------------------------------------------------------------------------------------

    def dump(self) -> tuple[dict[str, Any], list[Any]]:
        """(plain data, arrays): all that the next answers depend on."""
        plain = {
            "counters": asdict(self.counters),
            "keys": list(self._slots),
            "last": self._last,
            "clock": None if math.isinf(self._clock) else self._clock,
            "buffer": self._buffer,
        }
        states = self.table.dump(len(self._slots))
        if self._learner is None:
            return plain, states
        learned, arrays = self._learner.dump()
        plain["learner"] = {"block": self._block, "plain": learned, "states": len(states)}
        return plain, [*states, *arrays]

    def load(self, plain: dict[str, Any], arrays: list[Any]) -> None:
        """Inverse of :meth:`dump`."""
        self.counters = Counters(**plain["counters"])
        self._slots = {}
        self._names, self._last = [], []
        for key in plain["keys"]:
            self._add(key)
        self._last = list(plain["last"])
        self._clock = -math.inf if plain["clock"] is None else plain["clock"]
        self._buffer = [(t, arrival, slot, mark) for t, arrival, slot, mark in plain["buffer"]]
        if self._learner is not None:
            held = plain["learner"]
            self._block = [Moment(*moment) for moment in held["block"]]
            self._learner.load(held["plain"], arrays[held["states"] :])
            arrays = arrays[: held["states"]]
        self.table.load(arrays)
        self.table.reserve(len(self._slots))


def _piece(ready: Released, low: int, high: int) -> Released:
    """Rows low, ..., high - 1."""
    unscored = [row - low for row in ready.unscored if low <= row < high]
    return Released._make([*(column[low:high] for column in ready[:4]), unscored])


def waves(slots: list[int]) -> tuple[Any, list[tuple[int, int]]]:
    """(order, edges): rows reordered so that ``order[a:b]`` has each slot at most once, in the rows' order per slot."""
    if len(slots) == 1:
        return np.zeros(1, dtype=np.int64), [(0, 1)]
    seen: dict[int, int] = {}
    wave = np.empty(len(slots), dtype=np.int64)
    for row, slot in enumerate(slots):
        wave[row] = number = seen.get(slot, 0)
        seen[slot] = number + 1
    order = np.argsort(wave, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(np.bincount(wave))])
    return order, list(zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True))


def _texts(values: Tensor, now: list[int | float] | None) -> list[str]:
    """Each row as JSON, in the shortest digits that read back the same; ``now`` is added where it is given."""
    rows = values.tolist()
    if now is not None:
        rows = [t + ahead for t, ahead in zip(now, rows, strict=True)]
    if values.dtype == torch.bool:
        return [json.dumps(row) for row in rows]
    return list(map(repr, rows))
