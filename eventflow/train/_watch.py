"""Being told of every pass over a split: what it cost, and what came out; and ending a training early."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import lightning.pytorch as L


class Pass(NamedTuple):
    """One epoch of training, or one pass of judging.

    split: "train" or "test". epoch: from 0. events: scored ones of this process. cpu_s, wall_s: what they took; of an
    epoch without its validation, of a test without its first batch where it has others (in it, kernels are loaded, and
    its events are not counted). val_nll: ``val/nll_per_event`` after the epoch; None where there is none.
    """

    split: str
    epoch: int
    events: int
    cpu_s: float
    wall_s: float
    val_nll: float | None


class Watch(L.Callback):
    """Calls ``tell`` after every epoch of fit, before its checkpoint is written, and after the pass of test.

    Training ends after an epoch for which ``tell`` answered True.
    """

    def __init__(self, tell: Callable[[Pass], bool]) -> None:
        self.tell = tell
        self._start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Called by Lightning."""
        self._events += int(batch.scored.sum())

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning: the clock stands still while it validates."""
        self._stop()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._go()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning, after the epoch's validation."""
        nll = trainer.callback_metrics.get("val/nll_per_event")
        if self._told("train", trainer.current_epoch, None if nll is None else float(nll)):
            trainer.should_stop = True

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._start()

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Called by Lightning."""
        self._events += int(batch.scored.sum())
        if batch_idx == 0 and sum(trainer.num_test_batches) > 1:
            self._start()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Called by Lightning."""
        self._told("test", trainer.current_epoch, None)

    # -- the clock ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._events, self._cpu, self._wall = 0, 0.0, 0.0
        self._go()

    def _go(self) -> None:
        self._since = time.process_time(), time.perf_counter()

    def _stop(self) -> None:
        self._cpu += time.process_time() - self._since[0]
        self._wall += time.perf_counter() - self._since[1]

    def _told(self, split: str, epoch: int, nll: float | None) -> bool:
        self._stop()
        return self.tell(Pass(split, epoch, self._events, self._cpu, self._wall, nll))
