"""Learning rates over a training: as the optimizer says, or one cycle."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from eventflow.errors import InputError, did_you_mean

SCHEDULES = ("constant", "one-cycle")


def check_schedule(owner: str, schedule: str) -> None:
    """Raise :class:`InputError` for an unknown schedule."""
    if schedule not in SCHEDULES:
        raise InputError(f"{owner}(schedule={schedule!r}): {did_you_mean(schedule, SCHEDULES)}")


def scheduled(optimizer: torch.optim.Optimizer, schedule: str, trainer: L.Trainer) -> OptimizerLRScheduler:
    """What ``configure_optimizers`` returns: the optimizer, and its cycle over all steps of the training.

    Raises:
        InputError: nothing says when training ends.
    """
    if schedule == "constant":
        return optimizer
    steps = trainer.estimated_stepping_batches
    if not math.isfinite(steps) or steps < 1:
        raise InputError("schedule one-cycle must know when training ends. Write: --trainer.max_epochs 100")
    peak = [group["lr"] for group in optimizer.param_groups]
    cycle: Any = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=int(steps), pct_start=0.1, cycle_momentum=False
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def check_cycle(schedule: str, trainer: L.Trainer) -> None:
    """Raise :class:`InputError` if a resumed cycle was made for another number of steps."""
    cycles = [c.scheduler for c in trainer.lr_scheduler_configs if schedule == "one-cycle"]
    steps = int(trainer.estimated_stepping_batches) if cycles else 0
    for cycle in cycles:
        total = int(cycle.state_dict()["total_steps"])
        if total != steps:
            raise InputError(
                f"this one-cycle schedule was made for {total} steps, and max_epochs now makes it {steps}. "
                f"Resume with the first max_epochs, or train anew"
            )
