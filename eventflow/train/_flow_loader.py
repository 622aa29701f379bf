"""Samples of flow recordings, in an order of (seed, epoch) alone; and recordings to be judged from end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eventflow.errors import InputError
from eventflow.vision._flow_frames import Frames
from eventflow.vision._flow_targets import EVERYWHERE, Targets, Window

Array = NDArray[Any]


class Clip(NamedTuple):
    """Intervals [first, last) of a stretch: its steps, and the truth at their ends where there is any.

    window: (rows, columns) of the images that are run and judged.
    """

    frames: Frames
    targets: Targets
    first: int
    last: int
    window: Window = EVERYWHERE

    @property
    def bins(self) -> int:
        """Steps of an interval."""
        return self.frames.bins

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the window."""
        height, width = (len(range(n)[part]) for n, part in zip(self.frames.stretch.size, self.window, strict=True))
        return height, width

    def centred(self, size: tuple[int, int]) -> Clip:
        """The same of the middle ``size`` = (height, width) of the images.

        Raises:
            InputError: they are smaller.
        """
        whole = self.frames.stretch.size
        if size[0] > whole[0] or size[1] > whole[1] or min(size) < 1:
            raise InputError(f"--data.judged {list(size)}: {self.frames.stretch.name} is {whole[0]} x {whole[1]}. "
                             f"Write: --data.judged [{min(whole[0], size[0])}, {min(whole[1], size[1])}]")  # fmt: skip
        starts = [(n - part) // 2 for n, part in zip(whole, size, strict=True)]
        rows, columns = (slice(start, start + part) for start, part in zip(starts, size, strict=True))
        return self._replace(window=(rows, columns))

    def known(self, step: int) -> bool:
        """Whether there is truth at the end of a step of the stretch, of which nothing outside the clip is asked."""
        return (self.first + 1) * self.bins <= step <= self.last * self.bins and self.targets.known(step)


class FlowBatch(NamedTuple):
    """Steps to train on.

    counts (B, T, C, H, W); targets (B, S, 2, H, W) in pixels, where valid (B, S, H, W); at (S,): the steps, from 0, at
    whose ends they are; warm_up: steps at the start that want no gradient. real (B,): False for copies that only make
    up the number, and count for nothing.
    """

    counts: Tensor
    targets: Tensor
    valid: Tensor
    at: Tensor
    warm_up: Tensor
    real: Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a sample is: ``warm_up`` steps and ``steps`` more, with truth at the last one or at ``all`` of these.

    crop: (height, width) at a random place, None: everything. flips: the probability of each flip, left-right and
    up-down, drawn apart.
    """

    warm_up: int
    steps: int
    all: bool
    crop: tuple[int, int] | None
    flips: float

    @property
    def length(self) -> int:
        """Steps of a sample."""
        return self.warm_up + self.steps


class FlowLoader:
    """An iterable of :class:`FlowBatch`; every interval of every clip is a sample, which ends at a random step of it.

    The plan, ends, crops and flips follow from (seed, epoch), whatever the number of processes; see
    :class:`eventflow.train.EventLoader` for how processes share a step and how an epoch is resumed.

    Raises:
        InputError: no clip is long enough for a sample; a crop larger than the images.
    """

    def __init__(
        self, clips: Sequence[Clip], sampling: Sampling, *, batch_size: int, seed: int = 0, rank: int = 0,
        world: int = 1,
    ) -> None:  # fmt: skip
        self.clips, self.sampling, self.batch_size, self.seed = clips, sampling, batch_size, seed
        self.rank, self.world = rank, world
        self.sampler, self.batch_sampler = self, None  # where Lightning looks for set_epoch
        self._epoch = self._position = self._resume = 0
        self.samples = [(c, k) for c, clip in enumerate(clips) for k in self._intervals(clip)]
        if not self.samples:
            longest = max(((clip.last - clip.first) * clip.bins for clip in clips), default=0)
            raise InputError(
                f"a sample is warm_up + steps = {sampling.warm_up} + {sampling.steps} steps, ending anywhere in an "
                f"interval; the longest stretch to train on has {longest}. Write: --data.warm_up 0 --data.steps 1, or "
                "give longer recordings"
            )
        self._check_crop()

    def _check_crop(self) -> None:
        crop = self.sampling.crop
        for clip in self.clips if crop else ():
            height, width = clip.frames.stretch.size
            if crop and (crop[0] > height or crop[1] > width or min(crop) < 1):
                raise InputError(
                    f"--data.crop {list(crop)}: {clip.frames.stretch.name} is {height} x {width}. "
                    f"Write: --data.crop [{min(height, crop[0])}, {min(width, crop[1])}]"
                )

    def _intervals(self, clip: Clip) -> list[int]:
        """Those in which a sample may end, at any step."""
        first = clip.first + -(-(self.sampling.length - 1) // clip.bins)
        if clip.targets.kind == "composed" and not clip.frames.stretch.has_truth:
            return list(range(first, clip.last))
        return [k for k in range(max(first, clip.first + 1), clip.last) if clip.known((k + 1) * clip.bins)]

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Steps an epoch."""
        return -(-len(self.samples) // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[FlowBatch]:
        order = np.random.default_rng([self.seed, self._epoch]).permutation(len(self.samples))
        size = self.batch_size * self.world
        start, self._resume = self._resume, 0
        for i in range(start, len(self)):
            self._position = i + 1
            step = order[i * size : (i + 1) * size]
            mine = step[self.rank :: self.world]
            yield self._batch(mine if len(mine) else step[:1], real=len(mine) > 0)

    def _batch(self, samples: Array, *, real: bool) -> FlowBatch:
        counts, targets, valid = zip(*(self._sample(int(s)) for s in samples), strict=True)
        wanted = self.sampling.steps if self.sampling.all else 1
        at = np.arange(self.sampling.length - wanted, self.sampling.length)
        return FlowBatch(
            torch.from_numpy(np.stack(counts)), torch.from_numpy(np.stack(targets)), torch.from_numpy(np.stack(valid)),
            torch.from_numpy(at), torch.tensor(self.sampling.warm_up), torch.full((len(counts),), real),
        )  # fmt: skip

    def _sample(self, sample: int) -> tuple[Array, Array, Array]:
        """counts (T, C, h, w), targets (S, 2, h, w), valid (S, h, w)."""
        draw = np.random.default_rng([self.seed, self._epoch, sample, 7])
        (c, k), how = self.samples[sample], self.sampling
        clip = self.clips[c]
        end = k * clip.bins + int(draw.integers(1, clip.bins + 1))
        height, width = clip.frames.stretch.size
        h, w = how.crop or (height, width)
        top, left = int(draw.integers(0, height - h + 1)), int(draw.integers(0, width - w + 1))
        rows, columns = slice(top, top + h), slice(left, left + w)
        counts = clip.frames.read(end - how.length, end, rows, columns)
        wanted = range(end - how.steps + 1, end + 1) if how.all else (end,)
        targets, valid = np.zeros((len(wanted), 2, h, w), np.float32), np.zeros((len(wanted), h, w), bool)
        for i, step in enumerate(wanted):
            if clip.known(step):
                targets[i], valid[i] = clip.targets.at(step, (rows, columns))
        return flipped(counts, targets, valid, across=draw.random() < how.flips, down=draw.random() < how.flips)

    def state_dict(self) -> dict[str, Any]:
        """How many steps of the epoch were handed out (Lightning puts it into the checkpoint)."""
        return {"position": self._position % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next iteration starts where the saved one stood."""
        self._resume = int(state["position"])


def flipped(counts: Array, targets: Array, valid: Array, *, across: bool, down: bool) -> tuple[Array, Array, Array]:
    """Images (..., H, W) mirrored left-right (``across``), up-down (``down``); the flow's x and y change sign with it.

    ``targets`` are (..., 2, H, W).
    """
    for axis, component, wanted in ((-1, 0, across), (-2, 1, down)):
        if wanted:
            counts, targets, valid = (np.flip(part, axis) for part in (counts, targets, valid))
            sign = np.ones((2, 1, 1), targets.dtype)
            sign[component] = -1
            targets = targets * sign
    return tuple(np.ascontiguousarray(part) for part in (counts, targets, valid))  # type: ignore[return-value]


class JudgeLoader:
    """Clips in groups that are run side by side, each from its first step to its last: a list of them a step.

    With several processes each has its groups; one for which there is none gets an empty one.
    """

    def __init__(self, groups: Sequence[list[Clip]], *, rank: int = 0, world: int = 1) -> None:
        self.groups = groups[rank::world] or [[]]

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[list[Clip]]:
        return iter(self.groups)


def side_by_side(clips: Sequence[Clip], size: int) -> list[list[Clip]]:
    """Groups of at most ``size`` clips of one size of image; the longest come first."""
    groups: list[list[Clip]] = []
    for clip in sorted(clips, key=lambda c: (c.size, c.first - c.last)):
        last = groups[-1] if groups else []
        if last and len(last) < size and last[0].size == clip.size:
            last.append(clip)
        else:
            groups.append([clip])
    return groups
