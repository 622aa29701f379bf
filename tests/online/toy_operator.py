"""Small operators for the tests of live running: fast, with a known answer, or broken on purpose."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from eventflow.nn import GRU


class ToyState(NamedTuple):
    """The GRU's hidden state (N, H), and how long ago the last event was."""

    cell: Any
    seen: Tensor


class Toy(nn.Module):
    """An exponential clock and a mark head on a GRU that is fed marks and gaps: exact, and quick."""

    def __init__(self, num_marks: int = 3, hidden: int = 7, seed: int = 0) -> None:
        super().__init__()
        self.num_marks = num_marks
        torch.manual_seed(seed)
        self.cell = GRU(hidden, hidden)
        self.embedding = nn.Embedding(num_marks, hidden)
        self.head = nn.Linear(hidden, num_marks)
        self.double()

    def init(self, batch: int) -> ToyState:
        return ToyState(self.cell.init(batch), torch.zeros(batch, dtype=torch.float64))

    def observe(self, state: ToyState, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], ToyState]:
        mark = marks["mark"]
        rate, log_probs = self._read(state)
        nll = rate * dt - rate.log() - log_probs.gather(1, mark[:, None])[:, 0]
        features = self.embedding(mark) * torch.log1p(dt)[:, None].tanh()
        after = ToyState(self.cell.update(state.cell, features), state.seen + 1)
        rate, log_probs = self._read(after)
        return {"nll": nll, "next_t": math.log(2) / rate, "next_mark_probs": log_probs.exp()}, after

    def _read(self, state: ToyState) -> tuple[Tensor, Tensor]:
        logits = self.head(self.cell.read(state.cell))
        return functional.softplus(logits).sum(-1), logits.log_softmax(-1)


class Counting:
    """No network at all: answers how many events the key has had, and their sum of gaps."""

    num_marks = 5

    def init(self, batch: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, dtype=torch.float64)

    def observe(self, state: Any, marks: dict[str, Tensor], dt: Tensor) -> tuple[dict[str, Tensor], Any]:
        count, total = state[0] + 1, state[1] + dt
        return {"nll": dt, "next_t": dt + 1, "count": count, "mark": marks["mark"], "total": total}, (count, total)


def write_events(path: Path, count: int, *, keys: int = 9, num_marks: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """``count`` interleaved events as JSON lines, in the order of time."""
    draw = np.random.default_rng(seed)
    t = np.cumsum(draw.exponential(size=count))
    records = [
        {"key": f"user-{draw.integers(keys)}", "t": float(t[i]), "mark": int(draw.integers(num_marks))}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return records
