"""The law of a live operator: a row's bits do not depend on the batch. ``check_batch_invariant`` tries it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eventflow.nn import map_state, state_leaves
from eventflow.online import Operator, batch_invariant


def check_batch_invariant(
    operator: Operator, *, num_marks: int | None = None, rows: int = 37, steps: int = 4, seed: int = 0
) -> None:
    """Check that ``operator``, inside :func:`eventflow.online.batch_invariant`, gives the same bits in any batch.

    Sequences of random marks and gaps (0, tiny, ordinary and huge) are stepped alone, then in every batch size up to 20
    and some beyond 300, in other orders and subsets; answers and states must agree to the last bit.

    Args:
        operator: any; in the dtype in which it will run.
        num_marks: kinds of event; None is ``operator.num_marks``.
        rows: sequences.
        steps: events of each.
        seed: of the sequences.

    Raises:
        AssertionError: names the answer, the row and the batch that differ.
    """
    kinds = num_marks or getattr(operator, "num_marks", 1)
    draw = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        mode = batch_invariant(operator)
        with mode:
            first = operator.init(1)
        dtype = next((leaf.dtype for leaf in state_leaves(first) if leaf.is_floating_point()), torch.float64)
        marks = torch.randint(0, kinds, (rows, steps), generator=draw)
        gaps = torch.rand(rows, steps, generator=draw, dtype=torch.float64) ** 3
        gaps *= torch.tensor([0.0, 1e-6, 1.0, 30.0, 1e4])[torch.randint(0, 5, (rows, steps), generator=draw)]
        events = (marks, gaps.to(dtype))
        alone = _stacked([_stepped(operator, mode, events, torch.tensor([row])) for row in range(rows)])
        for batch in _batches(rows, draw):
            _compare(alone, _stepped(operator, mode, events, batch), batch)


def _batches(rows: int, draw: torch.Generator) -> list[Tensor]:
    sizes = [*range(2, 21), rows]
    chosen = [torch.randperm(rows, generator=draw)[:size] for size in sizes if size <= rows]
    return [*chosen, torch.arange(rows), torch.randint(0, rows, (300,), generator=draw), torch.arange(rows).repeat(30)]


def _stepped(operator: Operator, mode: Any, events: tuple[Tensor, Tensor], batch: Tensor) -> dict[str, Tensor]:
    """Answers (N, steps, ...) and leaves of the last state (N, ...) of the sequences in ``batch``."""
    marks, gaps = events
    answers: list[dict[str, Tensor]] = []
    with mode:
        state = map_state(lambda leaf: leaf.expand(len(batch), *leaf.shape[1:]).clone(), operator.init(1))
    for step in range(marks.shape[1]):
        mark, dt = marks[batch, step], gaps[batch, step]
        with mode:
            answer, state = operator.observe(state, {"mark": mark}, dt)
        answers.append(answer)
    found = {name: torch.stack([a[name] for a in answers], 1) for name in answers[0]}
    return {**found, **{f"leaf {i} of the state": leaf for i, leaf in enumerate(state_leaves(state))}}


def _stacked(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _compare(alone: dict[str, Tensor], together: dict[str, Tensor], batch: Tensor) -> None:
    for name, values in together.items():
        expected = alone[name][batch]
        same = (values == expected) | (values.isnan() & expected.isnan())
        if not same.all():
            row = int((~same.reshape(len(batch), -1)).any(1).nonzero()[0])
            raise AssertionError(
                f"{name} of row {int(batch[row])} is {values[row].tolist()} in a batch of {len(batch)}, and "
                f"{expected[row].tolist()} alone: some operation depends on the whole batch"
            )
