"""``check_cell``: the laws of everything with memory, for our cells and for yours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eventflow.nn import Cell
from eventflow.testing import _cell_algebra, _cell_batch, _cell_scan, _cell_value
from eventflow.testing._cell_subject import Subject
from eventflow.testing._laws import run_laws

Law = Callable[[Subject], None]

#: name -> law, in the order in which they are checked.
CELL_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        _cell_value.dtype_kept,
        _cell_value.state_size,
        _cell_value.inputs_untouched,
        _cell_value.read_is_pure,
        _cell_value.no_hidden_state,
        _cell_value.input_errors,
        _cell_algebra.evolve_zero,
        _cell_algebra.evolve_adds,
        _cell_algebra.query_axes,
        _cell_algebra.step_reads_the_left_limit,
        _cell_algebra.lift_is_evolve_then_update,
        _cell_algebra.compose_acts,
        _cell_algebra.compose_associates,
        _cell_scan.scan_values,
        _cell_scan.scan_final,
        _cell_scan.scan_gradients,
        _cell_scan.scan_empty,
        _cell_scan.chunking,
        _cell_scan.resume,
        _cell_scan.causality,
        _cell_batch.reset_isolates,
        _cell_batch.padding_values,
        _cell_batch.padding_gradients,
        _cell_batch.packed,
        _cell_batch.batch_independence,
        _cell_batch.batch_permutation,
    )
}


def check_cell(
    cell: Cell, *, seed: int = 0, lengths: Sequence[int] = (1, 2, 63, 64, 65), laws: Sequence[str] | None = None,
    draw: Callable[[torch.Generator, tuple[int, int]], Tensor] | None = None,
) -> None:  # fmt: skip
    """Check every law of a cell, in float64 (dtypes in float32 too), in eval mode, on random events.

    Values, final state and gradients of ``scan`` against the folded ``step``, with resets and masks; any chunking;
    snapshot, serialise and resume after a crash; the laws of ``evolve`` and of linear cells; packed == padded == one by
    one; padding, other rows and what lies before a reset (NaN too) never matter; causality; purity. What each law says
    is the first line of its docstring: ``CELL_LAWS[name].__doc__``. Gradients of parameters are not asked to survive a
    NaN *event* (only NaN padding): an event before a reset is real, and has a share in them.

    Args:
        cell: any cell; it is copied, never changed. Weights far from zero make the test sharper.
        seed: of the events; torch's global generator is left as it was.
        lengths: of the sequences on which ``scan`` is compared with the folded ``step``; add 1000 if you can wait.
        laws: names from ``CELL_LAWS``; None is all of them.
        draw: ``draw(generator, (B, T))`` gives float64 features (B, T, input_size); None draws normal ones.

    Raises:
        AssertionError: names every law that broke, and by how much.
        InputError: an unknown law.
    """

    def subject() -> Subject:
        return Subject(copy.deepcopy(cell).double().eval(), seed, tuple(lengths), draw)

    with torch.random.fork_rng(devices=[]):
        run_laws(type(cell).__name__, CELL_LAWS, laws, subject)
