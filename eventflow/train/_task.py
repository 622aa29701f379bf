"""Maximum likelihood training of a point process on Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import lightning.pytorch as L
import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from numpy.typing import NDArray
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import PaddedBatch, Schema
from eventflow.tpp import PointProcess, checkpoint_entry
from eventflow.tpp._settle import Settled, nll_per_event, settle
from eventflow.train._evaluate import Score, prediction_columns
from eventflow.train._loader import EventLoader
from eventflow.train._references import known_as
from eventflow.train._schedule import check_cycle, check_schedule, scheduled


class NetworkCallable(Protocol):
    """A class of point processes and its arguments, but for the two that the data supplies."""

    def __call__(self, num_marks: int, time_scale: float) -> PointProcess:
        """The point process for data with ``num_marks`` kinds of event and this mean gap."""
        ...


class PointProcessTask(L.LightningModule):
    """Fits a point process by maximum likelihood: the loss estimates the negative log-likelihood (nats) per event.

    The sum over a step's sequences, survival to the end of each span included, is divided by the number of events that
    so many sequences have *on average*. Dividing by the step's own events would give each event of a short, quiet
    sequence more weight than one of a busy one, and the fitted rates would come out low. k processes take the gradient
    of one process with k times the batch. A model with prompts adds the match of its retrievals to the loss, and says
    which weights rest at which step. Logged each epoch, for training (while the weights move) and validation
    (after the epoch): ``train/nll_per_event``, ``val/nll_per_event``, sums over the split divided by its scored events.

    Args:
        network: the point process, as class_path and init_args; ``num_marks`` and ``time_scale`` come from the data.
        num_marks: K, linked from the data.
        time_scale: mean gap of the training data, linked from the data.
        events_per_sequence: mean number of scored events of the training sequences, linked from the data.
        optimizer: as class_path and init_args.
        schedule: of the learning rate: "constant", or "one-cycle": up to the optimizer's over the first tenth of all
            steps, then down to nothing by the last (Smith & Topin 2019, arXiv:1708.07120); needs a ``max_epochs``.

    Raises:
        InputError: an unknown schedule.
    """

    def __init__(
        self, network: NetworkCallable, *, num_marks: int, time_scale: float = 1.0, events_per_sequence: float = 1.0,
        optimizer: OptimizerCallable = torch.optim.Adam, schedule: str = "constant",
    ) -> None:  # fmt: skip
        super().__init__()
        check_schedule("PointProcessTask", schedule)
        self._schedule = schedule
        self._network = network
        self.model = network(num_marks=num_marks, time_scale=time_scale)
        self._optimizer = optimizer
        self._events_per_sequence = events_per_sequence
        self._sums = torch.zeros(2, dtype=torch.float64)
        self._rng: list[Tensor] | None = None

    @property
    def title(self) -> str:
        """What run folders call it."""
        return known_as(type(self.model).__name__)

    def setup(self, stage: str) -> None:
        """Batches stay as they come, gaps in float64, whatever the precision: the model rounds them itself."""
        self.trainer.precision_plugin.convert_input = lambda data: data  # type: ignore[method-assign]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over all weights, and its schedule."""
        return scheduled(self._optimizer(self.model.parameters()), self._schedule, self.trainer)

    # -- training -------------------------------------------------------------------------------------------------

    def training_step(self, batch: PaddedBatch, batch_idx: int) -> Tensor:
        """nll per event of the average sequence, over all processes, times their number (DDP divides by it again); and
        what the model adds to it (:meth:`PointProcess.auxiliary`), which is not logged."""
        log_prob, auxiliary = self.model.fit_terms(batch)
        self._count(batch, log_prob)
        sequences = (batch.mask.any(1) | (batch.tail > 0)).sum()  # not those in which no time passed
        everywhere = self.trainer.strategy.reduce(sequences, reduce_op="sum")
        loss = (auxiliary - log_prob).sum()
        return loss * self.trainer.world_size / (everywhere.clamp_min(1) * self._events_per_sequence)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """What the model says rests at this step keeps its weights and the optimizer's moments."""
        for parameter in self.model.resting(self.trainer.global_step):
            parameter.grad = None

    def on_train_epoch_start(self) -> None:
        """A new epoch, a new mean."""
        self._sums = torch.zeros(2, dtype=torch.float64)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's mean."""
        self._log_mean("train/nll_per_event")

    # -- validation -----------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Put the training sums aside."""
        self._training_sums, self._sums = self._sums, torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: PaddedBatch, batch_idx: int) -> None:
        """Add a batch to the mean."""
        self._count(batch, self.model.log_prob(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the mean over the split; exact whatever the batch size and the number of processes."""
        self._log_mean("val/nll_per_event")
        self._sums = self._training_sums

    def _count(self, batch: PaddedBatch, log_prob: Tensor) -> None:
        nll, scored = -log_prob.detach().sum(), batch.scored.sum()
        self._sums = self._sums.to(nll.device) + torch.stack([nll.double(), scored.double()])

    def _log_mean(self, name: str) -> None:
        total, scored = self.trainer.strategy.reduce(self._sums.to(self.device, copy=True), reduce_op="sum").tolist()
        self.log(name, total / scored if scored else float("nan"), prog_bar=True, sync_dist=True)

    # -- judging, in float64 --------------------------------------------------------------------------------------

    def on_test_start(self) -> None:
        """Weights in float64, as many nodes a gap as the integrals take, sums at zero."""
        self._trained_dtype = self.model.dtype
        self.double()
        self.settled = self._settle(self.trainer.test_dataloaders)
        self.score = Score()

    def test_step(self, batch: PaddedBatch, batch_idx: int) -> None:
        """Add a batch to ``self.score``."""
        self.score.add(self.model, batch)

    def on_test_end(self) -> None:
        """Weights and nodes as they were."""
        self.model.quadrature = self.settled.trained
        self.to(self._trained_dtype)

    def _settle(self, loader: Any) -> Settled:
        settled = settle(self.model, lambda: nll_per_event(self.model, (batch.to(self.device) for batch in loader)))
        nodes = torch.tensor(settled.nodes, device=self.device)
        self.model.quadrature = int(self.trainer.strategy.reduce(nodes, reduce_op="max"))
        return settled

    def on_predict_start(self) -> None:
        """Weights in float64, as many nodes a gap as the integrals take."""
        self._trained_dtype = self.model.dtype
        self.double()
        self.settled = self._settle(self.trainer.predict_dataloaders)

    def predict_step(self, batch: PaddedBatch, batch_idx: int) -> dict[str, NDArray[Any]]:
        """Columns of the scored events of a batch of an :class:`EventLoader`, in its order."""
        loader = self.trainer.predict_dataloaders
        assert isinstance(loader, EventLoader)
        return prediction_columns(self.model, batch, loader.events, loader.share(loader.plan()[batch_idx]))

    def on_predict_end(self) -> None:
        """Weights and nodes as they were."""
        self.model.quadrature = self.settled.trained
        self.to(self._trained_dtype)

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the model without Lightning, and the state of torch's generators of every process."""
        data = getattr(self.trainer, "datamodule", None)
        schema = getattr(data, "schema", None) or Schema(num_marks=self.model.num_marks)
        checkpoint["eventflow"] = checkpoint_entry(self.model, schema, getattr(data, "start", None))
        states = self.trainer.strategy.all_gather(_rng_state(self.device).to(self.device))
        checkpoint["rng"] = list(states.cpu().reshape(self.trainer.world_size, -1))
        checkpoint["train_sums"] = self._sums.clone()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model; keep what training needs to go on exactly as it would have."""
        entry = checkpoint.get("eventflow")
        if entry is None:
            raise InputError("the checkpoint was not written by eventflow: it has no 'eventflow' entry")
        self.check(entry["class_path"], entry["init_args"], "the checkpoint")
        self._rng = checkpoint.get("rng")
        self._sums = checkpoint.get("train_sums", self._sums).clone()

    def on_train_start(self) -> None:
        """Continue torch's random numbers where the checkpoint left them; a cycle ends where it was made to end."""
        check_cycle(self._schedule, self.trainer)
        if self._rng is not None and len(self._rng) == self.trainer.world_size:
            _set_rng_state(self._rng[self.trainer.global_rank].cpu(), self.device)
        self._rng = None

    def adopt(self, trained: PointProcess) -> None:
        """Before judging: think in the time unit of a trained model, whose training data may have been another."""
        if "time_scale" in self.model.init_args:
            self.model = self._network(num_marks=self.model.num_marks, time_scale=trained.time_scale)

    def check(self, class_path: str, init_args: Mapping[str, Any], name: str) -> None:
        """Raise :class:`InputError` if the checkpoint ``name`` holds another model than this one."""
        here, expected = self.model.class_path, self.model.init_args
        if here != class_path:
            raise InputError(f"{name} holds {class_path}; this run's model is {here}. Give the model it was trained as")
        other = [key for key in sorted({*init_args, *expected}) if init_args.get(key) != expected.get(key)]
        if other:
            pairs = "; ".join(f"{key} is {init_args.get(key)!r} there, {expected.get(key)!r} here" for key in other)
            raise InputError(f"{name} holds {class_path} with other arguments or of other data: {pairs}")


def _rng_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_rng_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
