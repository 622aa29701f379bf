"""Packed sequences as padded tensors (and back): the one place where absolute time becomes differences.

Axes: B sequences, T events of the longest one. Padding is on the right; masks are True for real events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events._events import Array, Events


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """B sequences, padded on the right to T events.

    Args:
        t: (B, T) float64, time since the span's start; padding repeats the last time.
        dt: (B, T) gap before each event, the first one from the span's start; 0 in padding.
        marks: name -> (B, T, ...); 0 in padding.
        mask: (B, T) bool, True for real events.
        scored: (B, T) bool, True for events with a likelihood of their own (``mask`` less the given first events).
        tail: (B,) silence from the last event (or the span's start) to the span's end.
        start: (B,) float64, when each span starts in the stream's own time.
    """

    t: Tensor
    dt: Tensor
    marks: dict[str, Tensor]
    mask: Tensor
    scored: Tensor
    tail: Tensor
    start: Tensor

    @property
    def mark(self) -> Tensor:
        """(B, T) int64: the column ``mark``; zeros where the events have none (a single kind of event)."""
        return self.marks["mark"] if "mark" in self.marks else torch.zeros_like(self.mask, dtype=torch.int64)

    @property
    def lengths(self) -> Tensor:
        """(B,) real events in each row."""
        return self.mask.sum(1)

    @property
    def num_scored(self) -> int:
        """Events with a likelihood of their own, in the whole batch."""
        return int(self.scored.sum())

    def __len__(self) -> int:
        return self.mask.shape[0]

    def to(self, target: torch.device | str | torch.dtype) -> PaddedBatch:
        """On another device, or with ``dt`` and ``tail`` in another dtype (``t`` and ``start`` stay float64)."""
        if isinstance(target, torch.dtype):
            return replace(self, dt=self.dt.to(target), tail=self.tail.to(target))
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        marks = {name: column.to(target) for name, column in self.marks.items()}
        return PaddedBatch(**{**{k: v.to(target) for k, v in moved.items() if k != "marks"}, "marks": marks})

    def pin_memory(self) -> PaddedBatch:
        """In page-locked memory (called by torch's DataLoader)."""
        pinned = {f.name: getattr(self, f.name).pin_memory() for f in fields(self) if f.name != "marks"}
        return PaddedBatch(**pinned, marks={name: column.pin_memory() for name, column in self.marks.items()})


def pad(events: Events, index: Sequence[int] | Array | None = None, *, dtype: torch.dtype | None = None) -> PaddedBatch:
    """The chosen sequences (all by default) as one padded batch, with gaps in ``dtype`` (torch's default dtype).

    Differences are taken in t's own dtype (int64 or float64) and only then rounded.
    """
    chosen = events if index is None else events[np.asarray(index)]
    lengths = chosen.lengths
    rows, width = len(chosen), int(lengths.max(initial=0))
    column = np.arange(width)
    mask = column[None, :] < lengths[:, None]
    since_start = (chosen.t - chosen.span[chosen.sequence, 0]).astype(np.float64)
    t = np.zeros((rows, width))
    t[mask] = since_start
    last = np.zeros(rows)
    filled = lengths > 0
    last[filled] = t[filled, lengths[filled] - 1]
    t = np.where(mask, t, last[:, None])
    dt = np.zeros((rows, width))
    dt[mask] = chosen.gaps
    tail_from = chosen.span[:, 0].copy()
    tail_from[filled] = chosen.t[chosen.offsets[1:][filled] - 1]
    tail = (chosen.span[:, 1] - tail_from).astype(np.float64)
    scored = mask.copy()
    if width:
        scored[chosen.given_first, 0] = False
    dtype = dtype or torch.get_default_dtype()
    marks = {name: torch.from_numpy(_spread(col, mask)) for name, col in chosen.marks.items()}
    return PaddedBatch(
        torch.from_numpy(t), torch.from_numpy(dt).to(dtype), marks, torch.from_numpy(mask), torch.from_numpy(scored),
        torch.from_numpy(tail).to(dtype), torch.from_numpy(chosen.span[:, 0].astype(np.float64)),
    )  # fmt: skip


def unpad(values: Tensor, mask: Tensor) -> Tensor:
    """(n, ...) rows of the real events, in packed order, of padded (B, T, ...) values."""
    if values.shape[:2] != mask.shape:
        raise InputError(f"unpad: values are {tuple(values.shape)}, mask {tuple(mask.shape)}; expected (B, T, ...)")
    return values[mask]


def _spread(column: Array, mask: Array) -> Array:
    out = np.zeros(mask.shape + column.shape[1:], dtype=np.int64 if column.dtype.kind in "iu" else column.dtype)
    out[mask] = column
    return out
