"""The loss and metrics of PointProcessTask against their definitions, and what several processes compute together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import Tensor

from eventflow.errors import InputError
from eventflow.events import PaddedBatch, pad
from eventflow.tpp import Hawkes, Poisson, PromptNHP, load_model
from eventflow.train import EventData, EventLoader, PointProcessTask


def task_of(kind: Callable[..., Any], *, rank_sum: Callable[[Tensor], Tensor], world: int = 1) -> PointProcessTask:
    """A task outside a trainer, with a stand-in for the sum over processes."""
    task = PointProcessTask(kind, num_marks=3, time_scale=0.5)
    strategy = SimpleNamespace(reduce=lambda x, reduce_op: rank_sum(x))
    task.__dict__["_trainer"] = SimpleNamespace(strategy=strategy, world_size=world)
    task._fabric = None
    return task


def gradients(task: PointProcessTask) -> list[Tensor]:
    return [weight.grad.clone() for weight in task.model.parameters() if weight.grad is not None]


def test_the_loss_is_the_nll_per_scored_event(tiny_data: Path) -> None:
    data = EventData(str(tiny_data), batch_size=45)
    batch = next(iter(data.train_dataloader()))
    task = task_of(Hawkes, rank_sum=lambda x: x)
    task._events_per_sequence = data.events_per_sequence
    loss = task.training_step(batch, 0)
    expected = -task.model.log_prob(batch).sum() / batch.num_scored
    torch.testing.assert_close(loss, expected)
    assert batch.num_scored == data.events["train"].num_scored


def test_steps_of_short_and_long_sequences_weigh_events_alike(tiny_data: Path) -> None:
    """Batches hold sequences of about one length: the mean of their gradients must be that of all sequences at once."""
    data = EventData(str(tiny_data))
    events = data.events["train"]
    count = next(n for n in (9, 5, 3) if len(events) % n == 0)
    task = task_of(Hawkes, rank_sum=lambda x: x).double()
    task._events_per_sequence = data.events_per_sequence
    batches = list(EventLoader(events, batch_size=count))
    assert len({batch.num_scored for batch in batches}) > 1
    torch.stack([task.training_step(batch, 0) for batch in batches]).mean().backward()
    stepwise = gradients(task)
    task.model.zero_grad()
    (-task.model.log_prob(events).sum() / events.num_scored).backward()
    for one, whole in zip(stepwise, gradients(task), strict=True):
        torch.testing.assert_close(one, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("world", "size"), [(2, 11), (3, 7)])  # of 45: a last step of 1, and one of 3
def test_processes_together_take_the_gradient_of_one(tiny_data: Path, world: int, size: int) -> None:
    """DDP averages gradients over processes; the mean of theirs must be that of one process with the whole step."""
    events = EventData(str(tiny_data)).events["train"]  # lengths 0 to 20: the shares have different numbers of events
    whole = EventLoader(events, batch_size=size * world, shuffle=True)
    shares = [EventLoader(events, batch_size=size, shuffle=True, rank=r, world=world) for r in range(world)]
    for step, *parts in zip(whole, *shares, strict=True):
        loss, expected = loss_and_gradients(step, lambda x: x)
        counts: list[Tensor] = []
        for part in parts:
            loss_and_gradients(part, lambda x, into=counts: into.append(x.clone()) or x, world)
        total = torch.stack(counts).sum()
        together = [loss_and_gradients(part, lambda x, n=total: n, world) for part in parts]
        assert np.mean([mine for mine, _ in together]) == pytest.approx(loss, rel=1e-12)
        for one, *many in zip(expected, *(mine for _, mine in together), strict=True):
            torch.testing.assert_close(torch.stack(many).mean(0), one, rtol=1e-10, atol=1e-12)


def loss_and_gradients(
    batch: PaddedBatch, rank_sum: Callable[[Tensor], Tensor], world: int = 1
) -> tuple[float, list[Tensor]]:
    """Of one training step of a Hawkes process whose processes sum with ``rank_sum``."""
    task = task_of(Hawkes, rank_sum=rank_sum, world=world).double()
    loss = task.training_step(batch, 0)
    loss.backward()
    return loss.item(), gradients(task)


def trained(
    data: EventData, network: Callable[..., Any], folder: Path, *, max_epochs: int, lr: float = 1e-3
) -> tuple[L.Trainer, Any]:
    torch.manual_seed(0)
    task = PointProcessTask(
        network, num_marks=data.num_marks, time_scale=data.time_scale,
        optimizer=lambda weights: torch.optim.Adam(weights, lr=lr),
    )  # fmt: skip
    trainer = L.Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
        enable_model_summary=False, enable_checkpointing=False, max_epochs=max_epochs,
    )  # fmt: skip
    trainer.fit(task, data)
    return trainer, task


def test_training_finds_the_maximum_likelihood(tiny_data: Path, tmp_path: Path) -> None:
    """A Poisson process has it in closed form: the rate of each mark is its events over the watched time."""
    data = EventData(str(tiny_data), batch_size=45)
    _, task = trained(data, Poisson, tmp_path, max_epochs=100, lr=0.1)
    train = data.events["train"]
    expected = np.bincount(train.marks["mark"], minlength=3) / (train.span[:, 1] - train.span[:, 0]).sum()
    np.testing.assert_allclose(task.model.rate.detach()[0], expected, rtol=1e-3)


@pytest.mark.parametrize("batch_size", [3, 13])
def test_the_logged_validation_is_exact_whatever_the_batch_size(
    tiny_data: Path, tmp_path: Path, batch_size: int
) -> None:
    data = EventData(str(tiny_data), batch_size=batch_size)
    trainer, task = trained(data, Hawkes, tmp_path, max_epochs=1)
    val = data.events["val"]
    expected = -task.model.log_prob(val).sum() / val.num_scored
    assert float(trainer.callback_metrics["val/nll_per_event"]) == pytest.approx(expected.item(), rel=1e-6)


def test_the_logged_training_mean_weighs_every_event_alike(tiny_data: Path, tmp_path: Path) -> None:
    data = EventData(str(tiny_data), batch_size=10)
    trainer, task = trained(data, Hawkes, tmp_path, max_epochs=1, lr=0.0)  # weights that do not move
    train = data.events["train"]
    expected = -task.model.log_prob(train).sum() / train.num_scored
    assert float(trainer.callback_metrics["train/nll_per_event"]) == pytest.approx(expected.item(), rel=1e-6)


def test_a_checkpoint_rebuilds_the_model_without_lightning(tiny_data: Path, tmp_path: Path) -> None:
    data = EventData(str(tiny_data))
    trainer, task = trained(data, Hawkes, tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = load_model(tmp_path / "a.ckpt")
    batch = pad(data.events["test"])
    assert torch.equal(loaded.model.log_prob(batch), task.model.log_prob(batch))
    assert (loaded.schema, loaded.start) == (data.schema, 0.0)


def test_what_the_data_tells_the_model(tiny_data: Path) -> None:
    data = EventData(str(tiny_data))
    gaps = data.events["train"].gaps
    assert (data.num_marks, data.start, data.title) == (3, 0.0, "tiny")
    assert data.time_scale == pytest.approx(gaps.mean(), rel=1e-12)


def test_another_model_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    data = EventData(str(tiny_data))
    trainer, _ = trained(data, Hawkes, tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match="holds eventflow.tpp.Hawkes; this run's model is eventflow.tpp.Poisson"):
        trainer.fit(PointProcessTask(Poisson, num_marks=3), data, ckpt_path=tmp_path / "a.ckpt", weights_only=True)


def test_prompts_are_trained_on_their_match_at_their_own_rate(tiny_data: Path) -> None:
    """The loss has the match, the logged nll has not, and the encoder rests at every second step of the optimizer."""
    data = EventData(str(tiny_data), batch_size=45)
    batch = next(iter(data.train_dataloader()))
    task = task_of(lambda **given: PromptNHP(hidden_size=4, prompts=4, retrieved=2, **given), rank_sum=lambda x: x)
    task._events_per_sequence = data.events_per_sequence
    loss = task.training_step(batch, 0)
    log_prob, auxiliary = task.model.fit_terms(batch)
    torch.testing.assert_close(loss, (auxiliary - log_prob).sum() / batch.num_scored)
    assert task._sums.tolist() == pytest.approx([-float(log_prob.detach().sum()), batch.num_scored])
    optimizer = torch.optim.Adam(task.model.parameters())
    pool = {id(p) for p in task.model.prompts.parameters()}  # type: ignore[union-attr]
    for step in range(3):
        before = [p.detach().clone() for p in task.model.parameters()]
        task.model.zero_grad()
        task.training_step(batch, 0).backward()
        task.trainer.global_step = step  # type: ignore[misc]
        task.on_before_optimizer_step(optimizer)
        optimizer.step()
        for parameter, old in zip(task.model.parameters(), before, strict=True):
            assert (id(parameter) in pool or step % 2 == 0) == (not torch.equal(parameter.detach(), old))
