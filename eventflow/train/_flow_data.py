"""A dataset of event-camera recordings with optical flow for Lightning."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import lightning.pytorch as L

from eventflow._assets import ROOT
from eventflow.errors import InputError, did_you_mean
from eventflow.events import Schema
from eventflow.io import Recording, card, open_recording
from eventflow.io._card import SPLITS
from eventflow.io._catalogue import data_folder
from eventflow.train._flow_loader import Clip, FlowLoader, JudgeLoader, Sampling, side_by_side
from eventflow.vision import DsecSequence, load_sequences, write_dataset
from eventflow.vision._flow_frames import CHANNELS, Frames, keep_all
from eventflow.vision._flow_targets import Stretch, Targets, stretches

PROTOCOLS = ("scenes", "80/20")


class FlowData(L.LightningDataModule):
    """Recordings as steps of event counts, with the flow of the last 100 ms at the end of each.

    Args:
        name: of a dataset (``sim_flow``, ``dsec``), its card's folder, or any folder with ``train/``, ``val/`` and
            ``test/`` in it, each with a folder for each sequence in DSEC's layout, or with recordings (any format that
            states its sensor's size), which have no ground truth: train on those with ``--model.loss contrast``.
        rate: steps, and flows, a second: a multiple of 10 (each 100 ms have rate / 10 steps).
        representation: of a step: "count" (2 channels) or "voxel" (1); see ``eventflow.vision.Frames``.
        batch_size: samples a step of the optimizer (for each process), and recordings that are judged side by side.
        crop: (height, width) of samples, at a random place; None: the whole image.
        flips: the probability of each flip of a sample, left-right and up-down, drawn apart.
        warm_up: steps of a sample that only prepare the state; None: those of 100 ms. Nor is anything judged before.
        steps: of a sample after those, with gradient; None: those of 100 ms.
        supervise: truth at the "last" step of a sample, as in the paper, or at "all" steps after the warm-up.
        targets: to train and select on: "composed" from the maps of 10 Hz, or "exact", known of simulated recordings.
            A test is against exact flow wherever it is known.
        protocol: "scenes": train, val and test are different recordings. "80/20": the authors': of every stretch of
            all recordings with ground truth, the first 80 % train, the last 20 % test; we put a tenth, the end of the
            80 %, aside as val. The authors judge the middle 288 x 384 pixels: --data.judged [288, 384].
        judged: (height, width) of the middle of the images that is run and judged by validate and test; None: the whole
            image.
        cache: folder for the event counts (float16), counted once; the size is said before it is written. None: they
            are counted from the events whenever they are needed.
        seed: of samples; None takes the one of ``seed_everything``, or 0.

    Raises:
        InputError: the dataset is not there or is broken; an option that is not known, or a number out of range.
    """

    def __init__(
        self, name: str, *, rate: int = 100, representation: str = "count", batch_size: int = 8,
        crop: tuple[int, int] | None = None, flips: float = 0.5, warm_up: int | None = None, steps: int | None = None,
        supervise: str = "last", targets: str = "composed", protocol: str = "scenes",
        judged: tuple[int, int] | None = None, cache: str | None = "~/.cache/eventflow/flow", seed: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dataset, self.rate, self.representation, self.protocol = name, rate, representation, protocol
        self._check(rate=rate, representation=representation, supervise=supervise, protocol=protocol, flips=flips)
        self.bins, self.channels, self.batch_size = rate // 10, CHANNELS[representation], batch_size
        warm_up, steps = (self.bins if value is None else value for value in (warm_up, steps))
        if min(batch_size, steps) < 1 or warm_up < 0:
            raise InputError(f"FlowData(batch_size={batch_size}, warm_up={warm_up}, steps={steps}): expected at least "
                             "1 sample, 0 and 1 steps")  # fmt: skip
        pixels = None if crop is None else (crop[0], crop[1])
        self.sampling = Sampling(warm_up, steps, supervise == "all", pixels, flips)
        self.targets, self.judged = targets, None if judged is None else (judged[0], judged[1])
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", "0")) if seed is None else seed
        self.cache = None if cache is None else Path(cache).expanduser()
        self.found = {split: [s for source in sources for s in stretches(source)]
                      for split, sources in self._sources(name).items()}  # fmt: skip
        if not self.found.get("train"):
            raise InputError(f"{name}: no recording to train on is longer than the 100 ms of a flow map")
        height, width = self.found["train"][0].size
        self.schema = Schema(unit="us", height=height, width=width)
        self._frames: dict[str, Frames] = {}
        FlowLoader(self.clips("train"), self.sampling, batch_size=1)  # what is wrong is said before a run begins
        if "val" in self.found or protocol == "80/20":
            self._middles("val")

    def _check(self, *, rate: int, representation: str, supervise: str, protocol: str, flips: float) -> None:
        if not isinstance(rate, int) or rate < 10 or rate % 10:
            raise InputError(f"FlowData(rate={rate}): expected a multiple of 10, as each 100 ms have rate / 10 steps. "
                             "Write: --data.rate 100")  # fmt: skip
        for key, value, known in (
            ("representation", representation, CHANNELS), ("supervise", supervise, ("last", "all")),
            ("protocol", protocol, PROTOCOLS),
        ):  # fmt: skip
            if value not in known:
                raise InputError(f"FlowData({key}={value!r}): {did_you_mean(value, known)}")
        if not 0 <= flips <= 1:
            raise InputError(f"FlowData(flips={flips}): expected a probability")

    @property
    def title(self) -> str:
        """What run folders call it."""
        return Path(self.dataset).resolve().name

    @property
    def has_truth(self) -> bool:
        """Whether any recording to train on has ground truth."""
        return any(stretch.has_truth for stretch in self.found["train"])

    # -- recordings -----------------------------------------------------------------------------------------------

    def _sources(self, name: str) -> dict[str, list[DsecSequence | Recording]]:
        folder = Path(name)
        if not (folder / "card.yaml").is_file() and (plain := _plain_recordings(folder)):
            return plain
        found = load_sequences(self._place(name))
        return {split: list(sequences) for split, sequences in found.items()}

    def _place(self, name: str) -> str | Path:
        """The folder to load: a simulated dataset that is not below EVENTFLOW_DATA is simulated into the cache."""
        path = Path(name)
        is_card = any((p / "card.yaml").is_file() for p in (path, ROOT / path, ROOT / "datasets" / path))
        if not is_card:
            return name
        entry, root = card(name), data_folder()
        if not entry.recipe or (root is not None and (root / entry.name).is_dir()) or self.cache is None:
            return name
        place = self.cache / entry.name
        due = sum(len(names) for names in entry.recordings.values())
        there = sum((place / split / n).is_dir() for split, names in entry.recordings.items() for n in names)
        if there < due:
            what = f"{due - there} recordings of {entry.recipe['duration']:g} s of {entry.name}"
            print(f"simulating {what} into {place}, once; this takes minutes", flush=True)
            write_dataset(place, name=name, threads=os.cpu_count() or 1, progress=True)
        return place

    def clips(self, split: str) -> list[Clip]:
        """What a split trains or is judged on, by the protocol.

        Raises:
            InputError: a split that is not there, or that is to be judged and has no ground truth.
        """
        if self.protocol == "80/20":
            found = [s for part in ("train", "val") for s in self.found.get(part, []) if s.has_truth]
            cuts = {"train": (0.0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1.0)}[split]
            return [self._clip(s, round(len(s) * cuts[0]), round(len(s) * cuts[1]), split) for s in found]
        if split not in self.found:
            raise InputError(f"dataset {self.dataset!r} has no split {split!r}; it has {', '.join(self.found)}")
        return [self._clip(stretch, 0, len(stretch), split) for stretch in self.found[split]]

    def _clip(self, stretch: Stretch, first: int, last: int, split: str) -> Clip:
        if stretch.name not in self._frames:
            self._frames[stretch.name] = Frames(
                stretch, self.bins, representation=self.representation, cache=self.cache
            )
        kind = "exact" if split == "test" and stretch.scene else self.targets
        return Clip(self._frames[stretch.name], Targets(stretch, self.bins, kind=kind), first, last)

    # -- Lightning ------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Count the events that no cache holds, those of recordings to be judged only included."""
        for split in SPLITS:
            if split in self.found or self.protocol == "80/20":
                self.clips(split)
        keep_all(list(self._frames.values()), progress=_bar)

    def _place_in_world(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> FlowLoader:
        """Samples in an order of (seed, epoch)."""
        rank, world = self._place_in_world()
        clips = self.clips("train")
        return FlowLoader(clips, self.sampling, batch_size=self.batch_size, seed=self.seed, rank=rank, world=world)

    def val_dataloader(self) -> JudgeLoader:
        """The recordings of val, from end to end."""
        return self._judged("val")

    def test_dataloader(self) -> JudgeLoader:
        """Those of test.

        Raises:
            InputError: they have no ground truth, as those of DSEC.
        """
        if not any(clip.targets.stretch.has_truth for clip in self.clips("test")):
            raise InputError(
                f"dataset {self.title!r}: the recordings of test have no ground truth that is public. Write: eventflow "
                "validate --ckpt_path RUN, for those of val; eventflow predict --ckpt_path RUN, for a submission; or "
                'train with --data.protocol "80/20"'
            )
        return self._judged("test")

    def predict_dataloader(self) -> JudgeLoader:
        """The clips of each recording of test."""
        found: dict[str, list[Clip]] = {}
        for clip in self.clips("test"):
            found.setdefault(clip.frames.stretch.name.rpartition(".")[0], []).append(clip)
        return JudgeLoader(list(found.values()))

    def _judged(self, split: str) -> JudgeLoader:
        rank, world = self._place_in_world()
        return JudgeLoader(side_by_side(self._middles(split), self.batch_size), rank=rank, world=world)

    def _middles(self, split: str) -> list[Clip]:
        """The clips of a split, as they are judged."""
        return [clip if self.judged is None else clip.centred(self.judged) for clip in self.clips(split)]


def _plain_recordings(folder: Path) -> dict[str, list[DsecSequence | Recording]]:
    """Recordings without truth: files that lie in train/, val/ and test/ of a folder; {} if there are none."""
    found = {}
    for split in SPLITS:
        files = sorted(p for p in (folder / split).glob("*") if p.is_file() and p.name[0] != ".")
        if files:
            found[split] = [open_recording(path) for path in files]
    return found


def _bar(frames: Iterable[Frames]) -> Iterable[Frames]:
    from rich.progress import track

    return track(list(frames), description="counting", transient=True)
