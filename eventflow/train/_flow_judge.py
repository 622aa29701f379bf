"""How good a flow network is on recordings, run from end to end: every step's flow against the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eventflow.nn import where_state
from eventflow.train._flow_loader import Clip
from eventflow.vision import FlowErrors, FlowNetwork
from eventflow.vision._flow_losses import contrast_loss

#: name -> what is judged: flows at every step, or at the ends of the intervals of 100 ms (10 Hz); over all pixels whose
#: truth is known, or those with events in the 100 ms too; "held": the last interval's flow, until the next; "reset":
#: with a state that is forgotten at every interval's start; "zero": no motion at all.
TALLIES = ("dense", "10hz", "dense_events", "10hz_events", "held", "10hz_reset", "zero")


class Moment(NamedTuple):
    """A step of clips side by side.

    step: of the stretches, from 1, counted from the clips' own starts. counts (B, C, H, W). flow (B, 2, H, W). alive:
    those of the clips that last so long.
    """

    step: int
    counts: Tensor
    flow: Tensor
    alive: list[int]


def run_clips(
    network: FlowNetwork[Any], clips: Sequence[Clip], *, device: torch.device, reset: bool = False
) -> Iterator[Moment]:
    """Every step of the clips, in time order, one state each; ``reset``: it is forgotten at every interval's start.

    With ``reset`` only the ends of the intervals are read.
    """
    bins, (height, width) = clips[0].bins, clips[0].size
    start = state = network.init(len(clips), height, width)
    for i in range(max(clip.last - clip.first for clip in clips)):
        alive = [k for k, clip in enumerate(clips) if clip.first + i < clip.last]
        block = np.zeros((len(clips), bins, clips[0].frames.channels, height, width), np.float32)
        for k in alive:
            first = (clips[k].first + i) * bins
            block[k] = clips[k].frames.read(first, first + bins, *clips[k].window)
        counts = torch.from_numpy(block).to(device)
        forget = torch.full((len(clips),), reset, device=device)
        state = where_state(forget, start, state) if reset else state
        for j in range(bins):
            if reset and j < bins - 1:
                state = network.update(state, counts[:, j])
                continue
            flow, state = network.step(state, counts[:, j])
            yield Moment(i * bins + j + 1, counts[:, j], flow.float(), alive)


class Judgement:
    """Sums over clips, added group by group.

    Args:
        bins: steps of an interval.
        warm_up: steps at the start of a clip that are not judged.
        thorough: all of ``TALLIES``; else "dense" and "10hz".
        smoothness: of the contrast loss; None: it is not asked for.
    """

    def __init__(self, bins: int, *, warm_up: int, thorough: bool = False, smoothness: float | None = None) -> None:
        self.bins, self.warm_up, self.thorough, self.smoothness = bins, warm_up, thorough, smoothness
        self.errors: dict[str, FlowErrors] = {name: FlowErrors() for name in TALLIES}
        self.contrast = torch.zeros(2, dtype=torch.float64)
        self.steps = 0

    def add(self, network: FlowNetwork[Any], clips: Sequence[Clip], device: torch.device) -> None:
        """Run the clips and add what came out."""
        if not clips:
            return
        recent: deque[Tensor] = deque(maxlen=self.bins)
        held: Tensor | None = None
        for moment in run_clips(network, clips, device=device):
            recent.append(moment.counts)
            self.steps += len(moment.alive)
            at_end = moment.step % self.bins == 0
            held = moment.flow if at_end else held
            if moment.step < self.warm_up:
                continue
            if self.smoothness is not None and at_end and len(recent) == self.bins:
                loss = contrast_loss(torch.stack(list(recent), 1), moment.flow, smoothness=self.smoothness)
                self.contrast += torch.stack(list(loss)).double().cpu()
            self._judge(clips, moment, torch.stack(list(recent), 1), held)
        if self.thorough:
            for moment in run_clips(network, clips, device=device, reset=True):
                if moment.step >= self.warm_up and (truth := self._truth(clips, moment)):
                    self._add("10hz_reset", moment.flow[truth[0]], truth)

    def _judge(self, clips: Sequence[Clip], moment: Moment, recent: Tensor, held: Tensor | None) -> None:
        truth = self._truth(clips, moment)
        if truth is None:
            return
        rows, at_end = truth[0], moment.step % self.bins == 0
        flow, ends = moment.flow[rows], ["10hz"] if at_end else []
        for name in ["dense", *ends]:
            self._add(name, flow, truth)
        if not self.thorough:
            return
        events = recent[rows].abs().sum((1, 2))
        for name in ["dense", *ends]:
            self._add(f"{name}_events", flow, truth, events)
        self._add("zero", torch.zeros_like(flow), truth)
        if held is not None:
            self._add("held", held[rows], truth)

    def _truth(self, clips: Sequence[Clip], moment: Moment) -> tuple[Tensor, Tensor, Tensor] | None:
        """(rows, flow, valid) of the clips whose truth is known now."""
        known = [(k, clips[k].first * self.bins + moment.step) for k in moment.alive]
        known = [(k, step) for k, step in known if clips[k].known(step)]
        if not known:
            return None
        flows, valid = zip(*(clips[k].targets.at(step, clips[k].window) for k, step in known), strict=True)
        device = moment.flow.device
        rows = torch.tensor([k for k, _ in known], device=device)
        return rows, torch.from_numpy(np.stack(flows)).to(device), torch.from_numpy(np.stack(valid)).to(device)

    def _add(self, name: str, flow: Tensor, truth: tuple[Tensor, Tensor, Tensor], events: Tensor | None = None) -> None:
        self.errors[name] = self.errors[name].update(flow, truth[1], truth[2], events=events)

    # -- over processes, and out --------------------------------------------------------------------------------------

    def sums(self) -> Tensor:
        """Everything as one vector, which can be added over processes."""
        parts = [(e.pixels, e.distance, e.angle, *e.above) for e in self.errors.values()]
        return torch.cat([torch.tensor(parts, dtype=torch.float64).flatten(), self.contrast])

    def take(self, sums: Tensor) -> None:
        """The sums of all processes."""
        rows = sums[:-2].reshape(len(TALLIES), -1).tolist()
        for name, (pixels, distance, angle, *above) in zip(TALLIES, rows, strict=True):
            self.errors[name] = FlowErrors(int(pixels), distance, angle, tuple(int(n) for n in above))
        self.contrast = sums[-2:].cpu()

    def compute(self) -> dict[str, float]:
        """``epe_dense``, ``pe1_dense``, ..., ``ae_10hz``, ... of every tally that saw a pixel; ``contrast``."""
        out: dict[str, float] = {}
        for name, errors in self.errors.items():
            if errors.pixels:
                out.update({f"{key}_{name}": value for key, value in errors.compute().items()})
        if self.contrast[1]:
            out["contrast"] = float(self.contrast[0] / self.contrast[1])
        return out
