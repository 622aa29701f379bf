"""Unknown keys along the signatures of classes: what is refused, in which words, and what is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from eventflow.errors import InputError
from eventflow.train._keys import Part, check_config, check_flag, check_part

FLAGS = ("config", "data", "model", "out", "trainer", "trainer.max_epochs", "early_stopping.patience", "checkpoint")
TASK = "eventflow.train.PointProcessTask"


@dataclass
class Numbers:
    """A dataclass as a parameter's type."""

    gain: float = 1.0
    steps: int = 3


class Leaf:
    def __init__(self, size: int = 1, numbers: Numbers | None = None, name: str | Numbers = "x") -> None: ...


class Twig:
    def __init__(self, length: int = 1) -> None: ...


class Tree:
    def __init__(self, leaf: Any = Leaf, *, rate: float = 0.1) -> None: ...


HOME = Tree.__module__
TREE = Part(Tree)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ({"laef": {}}, "x.laef"),
        ({"init_args": {"rat": 1}}, "x.init_args.rat"),
        ({"leaf": {"sise": 1}}, "x.leaf.sise"),
        ({"leaf": {"init_args": {"sise": 1}}}, "x.leaf.init_args.sise"),
        ({"leaf": {"numbers": {"gian": 1}}}, "x.leaf.numbers.gian"),
        ({"leaf": {"class_path": f"{HOME}.Leaf", "init_args": {"numbers": {"x": 1}}}}, "x.leaf.init_args.numbers.x"),
        ({"leaf": {"class_path": f"{HOME}.Twig", "init_arg": {}}}, "x.leaf.init_arg"),
    ],
)
def test_what_nothing_takes_is_refused_with_its_path(said: Any, path: str) -> None:
    with pytest.raises(InputError, match=f"^{path}: unknown key"):
        check_part(said, "x", TREE)


@pytest.mark.parametrize(
    "said",
    [
        {"leaf": {"size": 2, "numbers": {"gain": 2.0}}, "rate": 1},
        {"init_args": {"leaf": {"init_args": {"numbers": None}}}},
        {"leaf": {"class_path": f"{HOME}.Twig", "init_args": {"length": 2}}},
        {"leaf": f"{HOME}.Twig"},
        {"leaf": {"name": "any text", "numbers": "null"}},
        {"dict_kwargs": {"anything": 1}},
    ],
)
def test_what_something_takes_is_taken(said: Any) -> None:
    check_part(said, "x", TREE)


def test_a_flag_is_checked_along_the_class_that_the_words_before_it_put_there() -> None:
    parts = {"model": check_part({"class_path": TASK, "init_args": {"network": "eventflow.tpp.RMTPP"}}, "m: ", Part())}
    with pytest.raises(InputError, match="--model.network.layers: unknown key 'layers'"):
        check_flag("--model.network.layers", "2", FLAGS, parts)
    for name in ("eventflow.tpp.S2P2", "S2P2", '{"class_path": "eventflow.tpp.S2P2"}'):
        other = check_flag("--model.network", name, FLAGS, parts)
        check_flag("--model.network.layers", "2", FLAGS, other)
        with pytest.raises(InputError, match="--model.network.mark_slopes: unknown key"):
            check_flag("--model.network.mark_slopes", "true", FLAGS, other)
    with pytest.raises(InputError, match="--model.network: no class 'S2P3' beside RMTPP.*did you mean 'S2P2'"):
        check_flag("--model.network", "S2P3", FLAGS, parts)
    assert check_flag("--model.optimizer", "AdamW", FLAGS, parts)["model"].at("optimizer").kind is torch.optim.AdamW


def test_the_settings_of_an_agent_are_known() -> None:
    agent = {"class_path": "eventflow.train.StreamTask", "init_args": {"agent": "eventflow.rl.StreamQ"}}
    parts = {"model": check_part(agent, "m: ", Part())}
    check_flag("--model.agent.init_args.settings.discount", "0.9", FLAGS, parts)
    with pytest.raises(InputError, match="settings.discont: unknown key 'discont'; did you mean 'discount'"):
        check_flag("--model.agent.init_args.settings.discont", "0.9", FLAGS, parts)
    with pytest.raises(InputError, match="settings.lrr: unknown key 'lrr'; known: backend, discount"):
        check_flag("--model.agent.settings", "{lrr: 1}", FLAGS, parts)


def test_a_configuration_may_add_to_what_stands_before_it() -> None:
    parts = {"model": check_part({"class_path": TASK, "init_args": {"network": "eventflow.tpp.NHP"}}, "m: ", Part())}
    after = check_config({"model": {"network": {"hidden_size": 3}}}, "c.yaml: ", FLAGS, parts)
    assert after["model"].at("network").kind is parts["model"].at("network").kind is not None
    for keys, path in (({"network": {"hiden_size": 3}}, "network.hiden_size"), ({"netwrk": {}}, "netwrk")):
        with pytest.raises(InputError, match=f"^c.yaml: model.{path}: unknown key"):
            check_config({"model": keys}, "c.yaml: ", FLAGS, parts)
    with pytest.raises(InputError, match="c.yaml: model: keys for a class that nothing before it names.*--model"):
        check_config({"model": {"network": {"hidden_size": 3}}}, "c.yaml: ", FLAGS, {})


def test_keys_and_flags_of_the_command_itself() -> None:
    with pytest.raises(InputError, match="c.yaml: trainr: unknown key 'trainr'; did you mean 'trainer'"):
        check_config({"trainr": {}}, "c.yaml: ", FLAGS, {})
    with pytest.raises(InputError, match="c.yaml: trainer.max_epoch: unknown key"):
        check_config({"trainer": {"max_epoch": 3}}, "c.yaml: ", FLAGS, {})
    with pytest.raises(InputError, match="--ot: unknown flag; did you mean 'out'"):
        check_flag("--ot", None, FLAGS, {})
