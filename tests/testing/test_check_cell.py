"""Every law of check_cell fires on a cell that breaks it, and says so; sound cells of all kinds pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cells_to_check import (
    BROKEN,
    ByHand,
    Counting,
    IgnoringResets,
    Keeping,
    Leaky,
    Peeking,
    Projecting,
    Rotating,
    SelectingLate,
    Slow,
)

from eventflow.errors import InputError
from eventflow.testing import CELL_LAWS, check_cell


@pytest.mark.parametrize("make", [Leaky, Counting, Slow, lambda: Slow(real=True), Rotating, lambda: ByHand()])
def test_sound_cells_pass(make: Any) -> None:
    torch.manual_seed(1)
    cell = make()
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    drawn = torch.random.get_rng_state()
    check_cell(cell)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(
        torch.equal(value, before[name]) and value.dtype == torch.float32 for name, value in cell.state_dict().items()
    )


def test_every_law_has_a_broken_subject() -> None:
    assert set(BROKEN) == set(CELL_LAWS)
    assert all(law.__doc__ and law.__name__ == name for name, law in CELL_LAWS.items())


@pytest.mark.parametrize("law", CELL_LAWS)
def test_the_law_fires_and_names_itself(law: str) -> None:
    broken, words = BROKEN[law]
    torch.manual_seed(1)
    with pytest.raises(AssertionError, match=rf"^{broken.__name__} breaks 1 law\(s\)\n  {law}: .*{words}"):
        check_cell(broken(), laws=[law])


def test_step_that_peeks_at_the_event_breaks_causality() -> None:
    with pytest.raises(AssertionError, match="causality: step reads a left limit that depends on the features"):
        check_cell(Peeking(), laws=["causality"])


@pytest.mark.parametrize("broken", [Keeping, IgnoringResets, SelectingLate, Projecting])
def test_the_whole_check_reports_every_law_that_broke(broken: type) -> None:
    """SelectingLate's values are all right; Projecting is associative."""
    torch.manual_seed(1)
    with pytest.raises(AssertionError) as caught:
        check_cell(broken(), lengths=(1, 2, 9))
    named = {line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]}
    expected = {
        Keeping: {"no_hidden_state"},
        IgnoringResets: {"scan_values", "reset_isolates", "packed"},
        SelectingLate: {"padding_gradients"},
        Projecting: {"compose_acts", "scan_values", "scan_gradients"},
    }
    assert expected[broken] <= named <= set(CELL_LAWS)
    assert broken is not SelectingLate or named == {"padding_gradients"}
    assert broken is not Projecting or "compose_associates" not in named


def test_unknown_laws_are_named() -> None:
    with pytest.raises(InputError, match="did you mean 'chunking'"):
        check_cell(Leaky(), laws=["chunkin"])
