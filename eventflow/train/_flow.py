"""Training of optical flow networks on Lightning, step after step, as Ponghiran et al. (ICCV 2023) do it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from eventflow.errors import InputError, did_you_mean
from eventflow.nn import map_state
from eventflow.train._flow_data import FlowData
from eventflow.train._flow_judge import Judgement, run_clips
from eventflow.train._flow_loader import Clip, FlowBatch
from eventflow.train._flow_report import flow_report, flow_text
from eventflow.train._references import known_as
from eventflow.train._schedule import check_cycle, check_schedule, scheduled
from eventflow.vision import DsecSequence, EVFlowNet, FlowNetwork, flow_entry, write_dsec_submission
from eventflow.vision._flow_losses import MEASURES, Weighed, contrast_loss, supervised_loss

LOSSES = (*MEASURES, "contrast")


class FlowNetworkCallable(Protocol):
    """A class of flow networks and its arguments, but for the channels of a step, which the data supplies."""

    def __call__(self, channels: int) -> FlowNetwork[Any]:
        """The network for steps of so many channels."""
        ...


class FlowTask(L.LightningModule):
    """Trains a flow network sequentially: warm-up steps without gradient, then backpropagation through time.

    A sample's first steps run in eval mode without gradient, so that the state is one that a stream would have; through
    the others the gradient flows, at most ``bptt`` steps back. Losses are sums over all pixels of a step of the
    optimizer, those of all processes, divided by their number: a step of several processes is that of one, but that
    batch-norm normalises each one's samples by themselves (on GPUs ``--trainer.sync_batchnorm true`` joins them).

    Logged each epoch: ``train/loss`` (while the weights move); ``val/loss``, by which the best weights are kept: the
    mean end-point error in pixels over the known pixels of every step of the validation recordings, run from end to end
    with one state each (with the loss "contrast", and where nothing is known: that loss); ``val/epe_10hz``, the same at
    the ends of the intervals of 100 ms only.

    Args:
        network: as class_path and init_args; ``channels`` comes from the data.
        channels: of a step, linked from the data.
        bins: steps in the 100 ms that a flow spans, linked from the data.
        loss: "epe" (end-point error), "mse" (the authors'), or "contrast", which asks for no ground truth: how sharp
            the events of the last 100 ms become when they are moved back along the flow (image of warped events).
        scales: weights of the network's scales from the finest on; the paper's is the finest alone.
        bptt: how many steps back the gradient goes; None: to the warm-up.
        smoothness: weight of the smoothness term of "contrast".
        optimizer: as class_path and init_args.
        schedule: of the learning rate: "constant", or "one-cycle", as in ``PointProcessTask``.

    Raises:
        InputError: an unknown loss or schedule; a network that looks at another time than the flow spans.
    """

    #: What the command line links from the data, and what it watches.
    FROM_DATA = ("channels", "bins")
    MONITOR = ("val/loss", "min")

    def __init__(
        self, network: FlowNetworkCallable, *, channels: int = 2, bins: int = 10, loss: str = "epe",
        scales: Sequence[float] = (1.0,), bptt: int | None = None, smoothness: float = 0.1,
        optimizer: OptimizerCallable = torch.optim.Adam, schedule: str = "constant",
    ) -> None:  # fmt: skip
        super().__init__()
        check_schedule("FlowTask", schedule)
        if loss not in LOSSES:
            raise InputError(f"FlowTask(loss={loss!r}): {did_you_mean(loss, LOSSES)}")
        if bptt is not None and bptt < 1:
            raise InputError(f"FlowTask(bptt={bptt}): expected at least 1 step, or null for all of them")
        self.model = network(channels=channels)
        if isinstance(self.model, EVFlowNet) and self.model.bins != bins:
            raise InputError(
                f"EVFlowNet(bins={self.model.bins}) looks at {self.model.bins} steps; at {10 * bins} Hz the 100 ms of "
                f"a flow are {bins}. Write: --model.network.bins {bins}"
            )
        if not scales or min(scales) < 0 or not scales[0]:
            raise InputError(f"FlowTask(scales={list(scales)}): expected weights from the finest scale on, the first "
                             "above 0. Write: --model.scales [1.0]")  # fmt: skip
        self._optimizer, self._schedule = optimizer, schedule
        self._loss, self._scales, self._bptt, self._smoothness = loss, tuple(scales), bptt, smoothness
        self._bins = bins
        self._sums = torch.zeros(2, dtype=torch.float64)

    @property
    def title(self) -> str:
        """What run folders call it: the folder under models/."""
        return known_as(type(self.model).__name__)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all weights, and its schedule."""
        return scheduled(self._optimizer(self.model.parameters()), self._schedule, self.trainer)

    # -- training -------------------------------------------------------------------------------------------------

    def training_step(self, batch: FlowBatch, batch_idx: int) -> Tensor:
        """The mean over all processes' pixels (or images), times their number, as DDP divides by it."""
        loss = self.loss(batch)
        everywhere = self.trainer.strategy.reduce(loss.weight.detach().clone(), reduce_op="sum")
        if self._loss != "contrast" and batch_idx == 0 and self.current_epoch == 0 and not float(everywhere):
            raise InputError(
                "no pixel of the first step has ground truth: the recordings have none, or there is none in these "
                "samples. Write: --model.loss contrast, which needs none"
            )
        self._sums = self._sums.to(self.device) + torch.stack([loss.total.detach(), loss.weight.detach()]).double()
        return loss.total * self.trainer.world_size / everywhere.clamp_min(1)

    def loss(self, batch: FlowBatch) -> Weighed:
        """The loss of a batch: a sum, and over how many pixels (contrast: images)."""
        counts, warm_up = batch.counts, int(batch.warm_up)
        state = self._warm(counts[:, :warm_up])
        wanted = {int(step): i for i, step in enumerate(batch.at.tolist())}
        parts = []
        for step in range(warm_up, counts.shape[1]):
            if self._bptt is not None and step > warm_up and (step - warm_up) % self._bptt == 0:
                state = map_state(Tensor.detach, state)
            if step not in wanted:
                state = self.model.update(state, counts[:, step])
                continue
            flows, state = self.model.step_scales(state, counts[:, step])
            flows = [flow.float() for flow in flows]
            parts.append(self._part(batch, flows, step, wanted[step]))
        return Weighed(*(torch.stack(part).sum() for part in zip(*parts, strict=True)))

    def _part(self, batch: FlowBatch, flows: list[Tensor], step: int, i: int) -> Weighed:
        if self._loss != "contrast":
            valid = batch.valid[:, i] & batch.real[:, None, None]
            return supervised_loss(
                flows, batch.targets[:, i], valid, measure=self._loss, scales=self._scales
            )
        first = step + 1 - self._bins
        if first < 0:
            raise InputError(
                f"--model.loss contrast: looks at the {self._bins} steps of the last 100 ms; at this place a sample "
                f"has {step + 1}. Write: --data.warm_up {self._bins}"
            )
        seen = batch.counts[:, first : step + 1].abs() * batch.real[:, None, None, None, None]
        return contrast_loss(seen, flows[-1], smoothness=self._smoothness)

    def _warm(self, counts: Tensor) -> Any:
        """The state after the warm-up: eval mode, no gradient."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            state = self.model.init(counts.shape[0], *counts.shape[-2:])
            for x in counts.unbind(1):
                state = self.model.update(state, x)
        self.model.train(training)
        return state

    def on_train_epoch_start(self) -> None:
        """A new epoch, a new mean."""
        self._sums = torch.zeros(2, dtype=torch.float64)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean."""
        total, weight = self.trainer.strategy.reduce(self._sums.to(self.device, copy=True), reduce_op="sum").tolist()
        self.log("train/loss", total / weight if weight else math.nan, prog_bar=True, sync_dist=True)

    # -- validation, test -----------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Sums at zero."""
        self._begin(thorough=False)

    def validation_step(self, batch: list[Clip], batch_idx: int) -> None:
        """Run a group of recordings."""
        self._judgement.add(self.model, batch, self.device)

    def on_validation_epoch_end(self) -> None:
        """Log the means over the split; exact whatever the number of processes."""
        numbers = self._judged()
        supervised = self._loss != "contrast" and "epe_dense" in numbers
        score = numbers["epe_dense"] if supervised else numbers.get("contrast", math.nan)
        self.log("val/loss", score, prog_bar=True, sync_dist=True)
        for name in ("epe_dense", "epe_10hz"):
            if name in numbers:
                self.log(f"val/{name}", numbers[name], sync_dist=True)

    def on_test_epoch_start(self) -> None:
        """Sums at zero."""
        self._begin(thorough=True)

    def test_step(self, batch: list[Clip], batch_idx: int) -> None:
        """Run a group of recordings, with and without reset."""
        self._judgement.add(self.model, batch, self.device)

    def on_test_epoch_end(self) -> None:
        """``self.numbers``: everything by name."""
        self.numbers = self._judged()

    def _begin(self, *, thorough: bool) -> None:
        data = getattr(self.trainer, "datamodule", None)
        truth = not isinstance(data, FlowData) or data.has_truth
        warm_up = data.sampling.warm_up if isinstance(data, FlowData) else self._bins
        contrast = self._smoothness if self._loss == "contrast" or not truth else None
        self._judgement = Judgement(self._bins, warm_up=warm_up, thorough=thorough, smoothness=contrast)

    def _judged(self) -> dict[str, float]:
        sums = self.trainer.strategy.reduce(self._judgement.sums().to(self.device), reduce_op="sum")
        assert isinstance(sums, Tensor)
        self._judgement.take(sums.cpu())
        return self._judgement.compute()

    def report(self, data: FlowData, *, config: dict[str, Any], checkpoint: Path) -> tuple[dict[str, Any], str]:
        """After a test: what metrics.json holds, and the same as a table."""
        report = flow_report(self.model, data, self.numbers, config=config, checkpoint=checkpoint)
        return {"model": self.title, **report}, flow_text({"model": self.title, **report})

    # -- prediction: a submission -----------------------------------------------------------------------------------

    #: Where ``predict`` writes: a folder of 16-bit PNGs for each recording.
    submission: Path | None = None

    def predict_step(self, batch: list[Clip], batch_idx: int) -> list[Path]:
        """Write the flow of every map that the benchmark asks for of a recording; its files."""
        source = batch[0].frames.stretch.source
        assert self.submission is not None
        if not isinstance(source, DsecSequence):
            name = batch[0].frames.stretch.name
            raise InputError(f"{name}: only sequences in DSEC's layout name the maps that are due. Write: eventflow "
                             "stream --checkpoint CKPT --source FILE --sink flow.npz")  # fmt: skip

        def flows() -> Any:
            for clip in batch:
                for moment in run_clips(self.model, [clip], device=self.device):
                    interval, part = divmod(moment.step, clip.bins)
                    if not part and clip.frames.stretch.maps[clip.first + interval - 1] >= 0:
                        yield moment.flow[0].movedim(0, -1).cpu().numpy()

        return write_dsec_submission(self.submission, source, flows())

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network without Lightning, and the running mean."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, FlowData):
            checkpoint["eventflow"] = flow_entry(
                self.model, schema=data.schema, bins=self._bins, representation=data.representation
            )
        checkpoint["train_sums"] = self._sums.clone()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another network; keep what training needs to go on exactly as it would have."""
        entry = checkpoint.get("eventflow")
        if entry is None:
            raise InputError("the checkpoint was not written by eventflow: it has no 'eventflow' entry")
        self._check(entry)
        self._sums = checkpoint.get("train_sums", self._sums).clone()

    def on_train_start(self) -> None:
        """A cycle ends where it was made to end."""
        check_cycle(self._schedule, self.trainer)

    def _check(self, entry: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` if the entry is of another network, or of steps of another length."""
        here, there = self.model.class_path, entry.get("class_path")
        if here != there:
            raise InputError(f"the checkpoint holds {there}; this run's model is {here}. Give the model it was made of")
        theirs, own = {**entry["init_args"], "bins per 100 ms": entry.get("bins")}, dict(self.model.init_args)
        own["bins per 100 ms"] = self._bins
        if other := [key for key in sorted({*theirs, *own}) if theirs.get(key) != own.get(key)]:
            pairs = "; ".join(f"{key} is {theirs.get(key)!r} there, {own.get(key)!r} here" for key in other)
            raise InputError(f"the checkpoint holds {there} with other arguments: {pairs}")
