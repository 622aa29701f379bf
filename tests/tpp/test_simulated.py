"""The embedded default: the shipped sample is what its card says, and the card's law makes it again."""

from __future__ import annotations

import filecmp

import numpy as np
import pytest

from eventflow.cli import main
from eventflow.errors import InputError
from eventflow.io import card, load_dataset
from eventflow.tpp import fit_baselines, ks_exponential, time_rescaling_residuals, truth


@pytest.fixture(scope="module")
def hawkes():
    return load_dataset("hawkes")


def test_simulated_again_it_is_the_sample_value_for_value(hawkes):
    again = truth("hawkes").simulate()
    for split, events in hawkes.items():
        np.testing.assert_array_equal(again[split].t, events.t)
        np.testing.assert_array_equal(again[split].marks["mark"], events.marks["mark"])
        np.testing.assert_array_equal(again[split].offsets, events.offsets)
        np.testing.assert_array_equal(again[split].span, events.span)
        assert again[split].schema == events.schema


def test_the_command_writes_the_sample_byte_for_byte(tmp_path, capsys):
    assert main(["data", "simulate", "hawkes", str(tmp_path / "again")]) == 0
    assert "150 sequences, 7,168 events" in capsys.readouterr().out
    for split in ("train", "val", "test"):
        sample = card("hawkes").folder / f"sample.{split}.parquet"
        assert filecmp.cmp(sample, tmp_path / "again" / f"{split}.parquet", shallow=False)
    assert load_dataset(tmp_path / "again")["test"].num_events == 2478


def test_the_sample_is_small():
    assert sum(path.stat().st_size for path in card("hawkes").folder.glob("sample.*")) <= 50_000


def test_the_truth_is_the_law_of_the_data(hawkes):
    law = truth("hawkes")
    branching = law.process.branching.detach().numpy()
    rate = np.linalg.solve(np.eye(3) - branching, law.process.mu.detach().numpy())
    np.testing.assert_allclose(rate, card("hawkes").truth["rate"], atol=1e-6)
    assert np.abs(np.linalg.eigvals(branching)).max() < 0.6
    for split, events in hawkes.items():
        nll = -law.process.log_prob(events).sum().item() / events.num_scored
        assert nll == pytest.approx(card("hawkes").truth["nll_per_event"][split], abs=2e-6)
        assert ks_exponential(time_rescaling_residuals(law.process, events)).p_value > 1e-3
    train = hawkes["train"]
    seen = np.bincount(train.marks["mark"]) / (train.span[:, 1] - train.span[:, 0]).sum()
    np.testing.assert_allclose(seen, rate, rtol=0.1)  # 5 sigma of counts that come in clusters; and quiet beginnings


def test_no_trivial_baseline_reaches_the_truth(hawkes):
    law = truth("hawkes")
    oracle = -law.process.log_prob(hawkes["test"]).sum().item() / hawkes["test"].num_scored
    rows = {row.name: row for row in fit_baselines(hawkes["train"]).evaluate(hawkes["test"])}
    renewal, poisson = rows["renewal + Markov-2"].nll_per_event, rows["Poisson"].nll_per_event
    assert renewal is not None and poisson is not None
    assert oracle + 0.1 < renewal < poisson - 0.3


def test_mistakes_are_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="'taxi' is real data.*Simulated ones: hawkes"):
        truth("taxi")
    (tmp_path / "note.txt").write_text("mine")
    assert main(["data", "simulate", "hawkes", str(tmp_path)]) == 2
    assert "there is something already" in capsys.readouterr().err
    assert main(["data", "simulate", "hawks", str(tmp_path / "new")]) == 2
    assert "did you mean 'hawkes'?" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
