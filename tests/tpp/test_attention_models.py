"""SAHP, THP and AttNHP: every law, windows, states with and without queues, EasyTPP's variants, errors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eventflow.errors import InputError
from eventflow.events import Events, Schema, pad
from eventflow.nn import map_state, state_leaves
from eventflow.testing import check_batch_invariant, check_point_process
from eventflow.tpp import SAHP, THP, AttNHP, PointProcess

MODELS: dict[str, Callable[..., PointProcess]] = {"sahp": SAHP, "thp": THP, "attnhp": AttNHP}
TRANSFORMERS = ("sahp", "thp")


def make(name: str, **options: Any) -> PointProcess:
    """A small model, away from special starts."""
    torch.manual_seed(3)
    process = MODELS[name](3, **{"hidden_size": 4, "time_scale": 0.5, **options})
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return process


def sequences(lengths: tuple[int, ...] = (9, 0, 4, 13), marks: int = 3) -> Events:
    rng = np.random.default_rng(1)
    parts = [{"t": np.cumsum(rng.exponential(0.5, n)), "mark": rng.integers(0, marks, n)} for n in lengths]
    return Events.from_sequences(parts, span=(0.0, 20.0), schema=Schema(num_marks=marks))


LAWS: list[tuple[str, dict[str, Any]]] = [
    *((name, options) for name in TRANSFORMERS for options in ({"window": 3}, {}, {"compat": "easytpp"})),
    ("attnhp", {"window": 2, "layers": 1, "heads": 1, "hidden_size": 2, "time_size": 2}),
]
SLOW = [  # a hundred thousand times are asked, each of them an attention
    pytest.param("attnhp", options, marks=pytest.mark.slow)
    for options in (
        {"window": 3},
        {"window": 16, "mark_queries": True, "layers": 1, "heads": 1},
        {"compat": "easytpp", "window": 3, "time_size": 4},
    )
]


@pytest.mark.parametrize(("name", "options"), [*LAWS, *SLOW], ids=str)
def test_every_law(name: str, options: dict[str, Any]) -> None:
    check_point_process(make(name, quadrature=30, **options))


@pytest.mark.parametrize("name", MODELS)
def test_encoded_states_go_on_as_live_ones(name: str) -> None:
    """The state after a prefix, from ``encode``, steps on with the numbers of the whole sequence."""
    process, events = make(name, window=4).double(), sequences()
    batch = pad(events, dtype=torch.float64)
    with torch.no_grad():
        states, whole = process.encode(batch), process.event_log_prob(batch)
        row, at = 3, 6
        state = map_state(lambda leaf: leaf[row : row + 1, at], states)
        for j in range(at + 1, 13):
            seen, state = process.step(state, batch.mark[row : row + 1, j], batch.dt[row : row + 1, j])
            torch.testing.assert_close(seen, whole[row : row + 1, j])
        padded = map_state(lambda leaf: leaf[2, [3, 12]], states)
        for leaf in state_leaves(padded):
            torch.testing.assert_close(leaf[0], leaf[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_window_forgets_and_a_long_one_does_not(name: str) -> None:
    events = sequences((12,))
    changed = Events.of(events.t, mark=np.r_[(events.marks["mark"][:1] + 1) % 3, events.marks["mark"][1:]],
                        span=(0.0, 20.0), schema=events.schema)  # fmt: skip
    deep = 6 if name == "attnhp" else 5  # an event of AttNHP attends to those before it, not to itself
    for window, layers, reach in ((3, 1, 3), (3, 2, deep), (64, 2, 12)):
        process = make(name, window=window, layers=layers).double()
        with torch.no_grad():
            one, two = (process.event_log_prob(pad(e, dtype=torch.float64))[0] for e in (events, changed))
        differs = ((one - two).abs() > 1e-12).nonzero()[:, 0]
        assert differs.max() == min(reach, 11)


@pytest.mark.parametrize("name", MODELS)
def test_no_number_depends_on_the_window_beyond_the_sequence(name: str) -> None:
    events = sequences()
    one, two = (make(name, window=window).double().log_prob(events) for window in (14, 200))
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"window": 3}, {"window": 3, "mark_queries": True}], ids=str)
def test_states_that_share_their_past_answer_as_queues_do(options: dict[str, Any]) -> None:
    """AttNHP: what whole sequences share, and what each state keeps for itself, give the same forecasts."""
    process, batch = make("attnhp", **options).double(), pad(sequences(), dtype=torch.float64)
    with torch.no_grad():
        left, queues = process.left_states(batch)[0], process.encode(batch)
        shared = map_state(lambda leaf: leaf[:, 1:], left)
        after = map_state(lambda leaf: leaf[:, :-1], queues)
        ahead = torch.rand(*shared.elapsed.shape, 5, dtype=torch.float64)
        torch.testing.assert_close(process.intensity(shared, ahead), process.intensity(after, ahead))
        some = [map_state(lambda leaf: leaf[3, [2, 7]], state) for state in (shared, after)]
        torch.testing.assert_close(*(process.predict_next(state) for state in some))
        other = process.left_states(batch)[0]
    with pytest.raises(InputError, match="cannot be joined"):
        map_state(lambda a, b: torch.cat([a, b]), left, other)


@pytest.mark.parametrize("name", MODELS)
def test_states_without_queues_say_so(name: str) -> None:
    process, batch = make(name), pad(sequences())
    _, last = process.left_states(batch)
    with pytest.raises(InputError, match=r"can be asked.*\nnot|model\.encode\(batch\)"):
        process.update(last, torch.zeros(len(batch), dtype=torch.int64))


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_the_same_in_any_batch(name: str) -> None:
    check_batch_invariant(make(name, window=3).double().eval(), rows=15, steps=4)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_long_stream_in_float32_keeps_its_phase(name: str) -> None:
    """After ten million gaps the encoding is still right: the clock is float64, whatever the model is."""
    process = make(name, window=4)
    double, clock, mark = (
        copy.deepcopy(process).double(),
        torch.tensor([12345678.9], dtype=torch.float64),
        torch.tensor([1]),
    )
    single = process.update(process.init(1)._replace(clock=clock), mark).h
    assert single.dtype == torch.float32
    expected = double.update(double.init(1)._replace(clock=clock), mark).h
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)
    for shifted in (process, process.double().float()):
        again = shifted.update(shifted.init(1)._replace(clock=clock), mark).h
        torch.testing.assert_close(again, single, rtol=0, atol=0)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_wrong_arguments(name: str) -> None:
    with pytest.raises(InputError, match="did you mean 'easytpp'"):
        MODELS[name](3, compat="easytp")
    with pytest.raises(InputError, match="layers=0"):
        MODELS[name](3, layers=0)
    with pytest.raises(InputError, match="heads=5"):
        MODELS[name](3, heads=5)


def test_easytpps_attnhp_steps_as_it_scores() -> None:
    """No start event, self-attention, heads one after another: live, and in a batch."""
    process = make("attnhp", compat="easytpp", window=4).double()
    batch = pad(sequences(), dtype=torch.float64)
    with torch.no_grad():
        whole, state = process.event_log_prob(batch), process.init(4)
        for j in range(4):
            seen, state = process.step(state, batch.mark[:, j], torch.where(batch.mask[:, j], batch.dt[:, j], 0.1))
            rows = batch.mask[:, j]
            torch.testing.assert_close(seen[rows], whole[rows, j])


def test_wrong_arguments_of_attnhp() -> None:
    with pytest.raises(InputError, match="did you mean 'easytpp'"):
        AttNHP(3, compat="easytp")
    with pytest.raises(InputError, match="asks once for all marks"):
        AttNHP(3, compat="easytpp", mark_queries=True)
    with pytest.raises(InputError, match="time_size=3"):
        AttNHP(3, time_size=3)
    with pytest.raises(InputError, match=r"window=0\): expected at least 1"):
        AttNHP(3, window=0)


@pytest.mark.parametrize("mark_queries", [False, True])
def test_attnhp_is_its_equations(mark_queries: bool) -> None:
    """Event by event, head by head, with loops: equations of the docstring, 1 in the denominator, no self-attention."""
    process = AttNHP(3, hidden_size=4, time_size=4, fastest=1.0, mark_queries=mark_queries, time_scale=2.0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in process.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    process = process.double()
    events = sequences((7,))
    past = [(3, 0.0), *zip(events.marks["mark"].tolist(), (events.t / 2.0).tolist(), strict=True)]

    def z(time: float) -> torch.Tensor:
        return torch.tensor([f(time * w) for w in (1.0, 0.01) for f in (math.sin, math.cos)], dtype=torch.float64)

    def embed(h: torch.Tensor, time: float, before: list[tuple[int, float]], head: int) -> list[torch.Tensor]:
        """h^0, h^1, h^2 of what is embedded at a time, after the events before."""
        towers = [embed(process.embedding.weight[m], t, before[:j], head) for j, (m, t) in enumerate(before)]
        out = [h]
        for layer in range(2):

            def linear(x: torch.Tensor, at: float, k: int, layer: int = layer) -> torch.Tensor:
                part = slice(4 * k, 4 * k + 4)
                whole = torch.cat([z(at), x]) @ process.weight[layer, head, :, part]
                return whole + process.bias[layer, head, part]

            query = linear(out[-1], time, 0)
            top, bottom = torch.zeros(4, dtype=torch.float64), torch.ones((), dtype=torch.float64)
            for tower, (_, at) in zip(towers, before, strict=True):
                f = torch.exp(query @ linear(tower[layer], at, 1) / 2.0)
                top, bottom = top + f * linear(tower[layer], at, 2), bottom + f
            out.append(out[-1] + torch.tanh(top / bottom))
        return out

    time = past[-1][1] + 0.35
    with torch.no_grad():
        tokens = process.embedding.weight[:3] if process.query is None else process.query.expand(3, -1)
        expected = []
        for k in range(3):
            h = torch.cat([embed(tokens[k], time, past, head)[-1] for head in range(2)])
            expected.append(process.head(h)[k] / 2.0)
        state = process.left_states(pad(events, dtype=torch.float64))[1]
        seen = process.intensity(state, torch.tensor([0.7], dtype=torch.float64))[0]
    torch.testing.assert_close(seen, torch.stack(expected))
