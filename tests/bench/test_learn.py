"""bench learn: a run that is cut goes on with the same numbers, tables and pictures say what the runs did."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventflow.bench import _learn_cell, _learn_results
from eventflow.errors import InputError
from eventflow.rl import Agent, Episode, Settings, StreamQ

pytest.importorskip("gymnasium")
pytest.importorskip("matplotlib")

WORDS = ("bench", "learn", "--model", "stream_q", "--env", "CartPole-v1", "--steps", "600", "--out", "out")


def read(seed: int, variant: str = "obgd") -> dict[str, Any]:
    return json.loads((Path("out") / "cartpole-v1" / f"stream_q-{variant}" / f"{seed}.json").read_text())


def test_the_table_the_curve_and_the_picture(cli: Any) -> None:
    answer = cli(*WORDS, "--seeds", "0", "3", "--rule", "obgd", "obgd-official", "--settings", "exploration_steps=200")
    assert answer.code == 0, answer.err
    agent = StreamQ("CartPole-v1", seed=3, settings=Settings(exploration_steps=200)).learn(600)
    late = [e.total for e in agent.episodes if e.step > 540]
    found = read(3)
    assert found["state"] == "done" and found["metrics"]["return"] == pytest.approx(sum(late) / len(late))
    assert len(found["curve"]) == 100 and found["episodes"] == len(agent.episodes)
    assert (Path("out") / "cartpole-v1.png").stat().st_size > 5000
    lines = (Path("out") / "learned.md").read_text().splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == ["**obgd**", "**obgd-official**"]
    assert not list(Path("out").rglob("*.npz"))


def test_a_run_that_was_cut_goes_on_with_the_same_numbers(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(*WORDS, "--seeds", "0").code == 0
    whole = read(0)
    shutil.rmtree("out")
    tell, calls = _learn_cell._Watch.tell, []

    def cut(self: Any, agent: Agent) -> None:
        tell(self, agent)
        calls.append(agent.num_steps)
        if len(calls) == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(_learn_cell._Watch, "tell", cut)
    assert cli(*WORDS, "--seeds", "0").code == 130
    assert read(0)["state"] == "running" and 0 < calls[-1] < 600
    assert cli(*WORDS, "--seeds", "0").code == 0
    assert calls[12] == calls[11]  # it went on where it was saved
    assert {k: read(0)[k] for k in ("curve", "episodes")} == {k: whole[k] for k in ("curve", "episodes")}


def test_a_curve_is_the_mean_of_what_ended() -> None:
    episodes = [Episode(0, 5, 5, 1.0), Episode(1, 10, 5, 3.0), Episode(2, 1000, 990, 7.0)]
    found = _learn_cell.curve(episodes, 1000)
    assert found[0] == 2.0 and found[99] == 7.0 and found[1:99] == [None] * 98


def result(seed: int, value: float, steps: int = 1000) -> dict[str, Any]:
    asked = {"env": "CartPole-v1", "model": "stream_q", "rule": "obgd", "compat": None, "steps": steps, "settings": {}}
    return {
        "state": "done", "asked": {**asked, "seed": seed}, "commit": "abc", "date": "today", "machine": "this",
        "metrics": {"return": value, "steps": steps, "cpu_us_per_step": 50.0}, "curve": [None] * 50 + [value] * 50,
    }  # fmt: skip


def test_results_and_the_card_s_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "models" / "stream_q"
    home.mkdir(parents=True)
    (home / "card.md").write_text(f"before\n{_learn_results.BEGIN}\nold\n{_learn_results.END}\nafter\n")
    (home / "results").mkdir()
    theirs = {"model": "theirs", "return": 4.2, "steps": 100, "source": "a paper"}
    other = {**_learn_results.entry("intentional", [result(0, 1.0)]), "variant": "intentional"}
    (home / "results" / "cartpole-v1.yaml").write_text(yaml.safe_dump({"theirs": [theirs], "ours": [other]}))
    monkeypatch.setattr(_learn_results, "ROOT", tmp_path)
    _learn_results.publish({"CartPole-v1": {"obgd": [result(0, 400.0), result(1, 500.0)]}})
    content = yaml.safe_load((home / "results" / "cartpole-v1.yaml").read_text())
    assert [each["variant"] for each in content["ours"]] == ["intentional", "obgd"] and content["theirs"] == [theirs]
    ours = content["ours"][1]
    assert ours["metrics"]["return"] == {"mean": 450.0, "std": round(math.sqrt(5000), 2)} and ours["seeds"] == [0, 1]
    text = (home / "card.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| CartPole-v1 | 1,000 | **obgd** | 450 ± 70.71 | 400, 500 | 50 |" in text
    assert "| CartPole-v1 | 100 | theirs | 4.20 | a paper |" in text
    assert (home / "cartpole-v1.png").is_file()
    with pytest.raises(InputError, match="no table to write"):
        _learn_results.card_with_table("nothing", home)


def test_mistakes_are_told(cli: Any) -> None:
    for words, message in (
        (("--model", "stream_w"), "did you mean 'stream_q'"),
        (("--env", "CartPol-v1"), "did you mean 'CartPole-v1'"),
        (("--env", "Pendulum-v1"), "Write: StreamAC"),
        (("--rule", "obdg"), "did you mean 'obgd'"),
        (("--rule", "obgd-oficial"), "did you mean 'official'"),
        (("--settings", "lamda_=0.5"), "did you mean 'lambda_'"),
        (("--settings", "discount=high"), "expected a value like 0.99"),
        (("--seeds", "1", "1"), "expected different numbers"),
        (("--steps", "0"), "expected at least 1"),
    ):
        answer = cli(*WORDS, *words)
        assert answer.code == 2 and message in answer.err, answer.err
        assert not Path("out").exists()


def test_other_runs_in_the_folder_and_failed_ones(cli: Any) -> None:
    assert cli(*WORDS, "--seeds", "0").code == 0
    answer = cli(*WORDS, "--seeds", "0", "--steps", "700")
    assert answer.code == 2 and "steps: 600, now 700" in answer.err
    answer = cli(*WORDS, "--seeds", "0", "--steps", "5", "--rule", "stream2026")
    assert answer.code == 1 and "no episode of CartPole-v1 ended in the last tenth" in answer.out
