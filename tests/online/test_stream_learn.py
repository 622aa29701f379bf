"""``eventflow stream --learn``: answered first, learned from once, resumed exactly, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.cli import main
from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.online import Engine, StreamOptions
from eventflow.tpp import NHP, PointProcess, PromptNHP, StreamLearner, load_model, save_model

SCHEMA = Schema(num_marks=3)
MODELS: dict[str, Callable[[], PointProcess]] = {
    "nhp": lambda: NHP(3, hidden_size=4),
    "prompt_nhp": lambda: PromptNHP(3, hidden_size=4, prompts=4, retrieved=2, time_size=4),
}


def model(name: str) -> PointProcess:
    torch.manual_seed(0)
    return MODELS[name]()


def lines(number: int = 60, keys: int = 3, seed: int = 0) -> list[bytes]:
    draw = np.random.default_rng(seed)
    times = np.sort(draw.uniform(5, 25, number))
    rows = [{"key": int(draw.integers(keys)), "t": t, "mark": int(draw.integers(3))} for t in times.tolist()]
    return [json.dumps(row).encode() for row in rows]


def engine(name: str, **options: Any) -> tuple[Engine, StreamLearner]:
    learner = StreamLearner(model(name), **{"block": 16, "context": 3, "lr": 0.05, **options})
    return Engine(learner, StreamOptions(schema=SCHEMA, start=5.0)), learner


def nlls(answers: list[str]) -> list[float]:
    return [json.loads(answer)["nll"] for answer in answers]


@pytest.mark.parametrize("name", MODELS)
def test_chunks_and_snapshots_change_nothing(name: str) -> None:
    """Killed within a block and resumed from JSON and arrays: answers and scores are those of an uninterrupted run."""
    log = lines()
    with torch.inference_mode():
        whole, learner = engine(name)
        expected = whole.feed(log)[0]
        first, _ = engine(name)
        said = [answer for i in range(0, 40, 8) for answer in first.feed(log[i : i + 8])[0]]
        plain, arrays = first.dump()
        resumed, again = engine(name)
        resumed.load(json.loads(json.dumps(plain)), [np.array(array) for array in arrays])
        said += resumed.feed(log[40:])[0]
    assert said == expected
    assert again.progress == learner.progress and learner.progress["steps"] == 3
    for ours, theirs in zip(again.module.parameters(), learner.module.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    np.testing.assert_allclose(learner.progress["nll_per_event"], np.mean(nlls(expected)))
    np.testing.assert_allclose(learner.progress["last_block"], np.mean(nlls(expected)[32:48]))


@pytest.mark.parametrize("name", MODELS)
def test_every_event_is_answered_before_it_is_learned_from(name: str) -> None:
    """The first block is answered by the model as it was; the next one by another; and later events change nothing."""
    log = lines()
    frozen = Engine(model(name).double().eval(), StreamOptions(schema=SCHEMA, start=5.0))
    with torch.inference_mode():
        learning, learner = engine(name)
        before = nlls(frozen.feed(log)[0])
        after = nlls(learning.feed(log)[0])
        shorter = nlls(engine(name)[0].feed(log[:33])[0])
    assert after[:16] == before[:16] and after[16:] != before[16:]
    assert shorter == after[:33]
    assert learner.steps == 3


def test_a_block_of_one_sequence_is_its_likelihood() -> None:
    """All events of a key in one block, context from its start: one step of Adam on log_prob's own gradient."""
    log, process = lines(8, keys=1), model("prompt_nhp").double()
    with torch.inference_mode():
        running, learner = engine("prompt_nhp", block=8, context=8, lr=0.01)
        running.feed(log)
    rows = [json.loads(line) for line in log]
    state = process.init_at(torch.tensor([5.0], dtype=torch.float64))
    now, loss = 5.0, torch.zeros((), dtype=torch.float64)
    pool = process.prompts
    assert pool is not None
    for row in rows:
        log_prob, state = process.step(state, torch.tensor([row["mark"]]), torch.tensor([row["t"] - now]).double())
        loss, now = loss - log_prob[0] - pool.match_weight * process._match(state)[0], row["t"]
    optimizer = torch.optim.Adam(process.parameters(), lr=0.01)
    (loss / 8).backward()
    optimizer.step()
    for ours, (name, theirs) in zip(learner.module.parameters(), process.named_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")


def test_learning_learns() -> None:
    """A key's next mark follows from its last one, every 0.5: what is learned beats the best model without memory."""
    log = [json.dumps({"key": i % 2, "t": 5.0 + 0.25 * i, "mark": (i // 2) % 3}).encode() for i in range(400)]
    with torch.inference_mode():
        running, learner = engine("nhp", block=20, context=4, lr=0.05)
        said = nlls(running.feed(log)[0])
        size = running.table.bytes_per_key
    assert np.mean(said[-100:]) < 1 - np.log(2) + np.log(3) < np.mean(said[:20])
    assert running.table.bytes_per_key == size and running._block == [] and learner.progress["steps"] == 20


def test_pool_and_encoder_learn_at_their_own_rates() -> None:
    with torch.inference_mode():
        running, learner = engine("prompt_nhp", block=10)
        running.feed(lines(10))  # step 0: both
        pool = {id(p) for p in learner.module.prompts.parameters()}  # type: ignore[union-attr]
        before = [p.clone() for p in learner.module.parameters()]
        running.feed([json.dumps({"key": 0, "t": 26.0 + i, "mark": i % 3}).encode() for i in range(10)])
    for parameter, old in zip(learner.module.parameters(), before, strict=True):
        assert (id(parameter) in pool) == (not torch.equal(parameter, old))


def test_given_first_events_are_not_learned_from() -> None:
    learner = StreamLearner(model("nhp"), block=3)
    start = [p.clone() for p in learner.module.parameters()]
    with torch.inference_mode():
        running = Engine(learner, StreamOptions(schema=Schema(num_marks=3, given_first=True)))
        running.feed([json.dumps({"key": k, "t": 1.0 + k, "mark": 0}).encode() for k in range(3)])
    assert learner.steps == 1 and learner.count == 0
    assert all(torch.equal(p, q) for p, q in zip(learner.module.parameters(), start, strict=True))


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(model("prompt_nhp"), tmp_path / "m.ckpt", schema=SCHEMA, start=5.0)
    log = lines()
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(log) + b"\n")
    flags = ["--source", str(tmp_path / "log.jsonl"), "--checkpoint", str(tmp_path / "m.ckpt"), "--learn"]
    flags += ["--learn.every", "16", "--learn.context", "3", "--learn.lr", "0.05"]
    saved = ["--sink", str(tmp_path / "out.jsonl"), "--learn.save", str(tmp_path / "learned.ckpt")]
    assert main(["stream", *flags, *saved, "--snapshot", str(tmp_path / "state")]) == 0
    with torch.inference_mode():
        running, learner = engine("prompt_nhp")
        expected = running.feed(log)[0]
    assert (tmp_path / "out.jsonl").read_text().splitlines() == expected
    assert f"prequential nll {learner.progress['nll_per_event']:.4f}" in " ".join(capfd.readouterr().err.split())
    learned = load_model(tmp_path / "learned.ckpt").model
    for ours, theirs in zip(learned.parameters(), learner.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.float())
    other = [*flags[:-1], "0.1", "--sink", str(tmp_path / "out.jsonl"), "--snapshot", str(tmp_path / "state")]
    assert main(["stream", *other]) == 2
    assert "another checkpoint" in capfd.readouterr().err


def test_wrong_settings_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="block=0"):
        StreamLearner(model("nhp"), block=0)
    save_model(model("nhp"), tmp_path / "m.ckpt", schema=SCHEMA, start=5.0)
    flags = ["stream", "--checkpoint", str(tmp_path / "m.ckpt"), "--source", str(tmp_path / "no.jsonl")]
    assert main([*flags, "--learn.lr", "0.1"]) == 2
    assert "--learn.lr without --learn" in capfd.readouterr().err
    assert main([*flags, "--learn", "--learn.save", str(tmp_path / "nowhere" / "m.ckpt")]) == 2
    assert "there is no folder" in capfd.readouterr().err
