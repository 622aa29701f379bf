"""Order, lateness, decoding, numbering and numbers of the deterministic heart of a stream."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_operator import Counting, Toy

from eventflow.errors import InputError
from eventflow.events import Schema
from eventflow.online import Engine, StreamOptions

K5 = Schema(num_marks=5)


def _lines(*events: tuple[Any, Any, Any]) -> list[bytes]:
    return [json.dumps({"key": key, "t": t, "mark": mark}).encode() for key, t, mark in events]


def _feed(
    lines: list[bytes], *, operator: Any = None, chunk: int = 10**6, **options: Any
) -> tuple[list[Any], list[Any]]:
    with torch.inference_mode():
        engine = Engine(operator or Counting(), StreamOptions(**{"schema": K5, "start": 0.0, **options}))
        out: list[str] = []
        dead: list[str] = []
        for i in range(0, len(lines), chunk):
            answers, letters = engine.feed(lines[i : i + chunk])
            out += answers
            dead += letters
        out += engine.finish()
    return [json.loads(line) for line in out], [json.loads(line) for line in dead]


def test_one_answer_per_event_with_the_gap_of_its_own_key() -> None:
    out, dead = _feed(_lines(("a", 1.5, 0), ("b", 2, 1), ("a", 4.0, 2), (7, 5.0, 3), ("7", 6.0, 4)))
    assert not dead
    assert [(o["key"], o["t"], o["nll"], o["count"], o["mark"]) for o in out] == [
        ("a", 1.5, 1.5, 1, 0), ("b", 2, 2.0, 1, 1), ("a", 4.0, 2.5, 2, 2), (7, 5.0, 5.0, 1, 3), ("7", 6.0, 6.0, 1, 4),
    ]  # fmt: skip
    assert [o["next_t"] for o in out] == [1.5 + 2.5, 2 + 3.0, 4.0 + 3.5, 5.0 + 6.0, 6.0 + 7.0]
    assert isinstance(out[1]["t"], int), "t comes back as it was given"


def test_a_given_first_event_is_not_scored() -> None:
    given = Schema(num_marks=5, given_first=True)
    out, _ = _feed(_lines(("a", 100.0, 0), ("a", 103.0, 1), ("b", 7, 0)), schema=given, start=None)
    assert [o["nll"] for o in out] == [None, 3.0, None]
    assert [o["total"] for o in out] == [0.0, 3.0, 0.0]


def test_ticks_keep_their_digits() -> None:
    now = 1_700_000_000_123_456_789
    out, _ = _feed(_lines(("a", now, 0), ("a", now + 3, 1)), schema=Schema(num_marks=5, given_first=True), start=None)
    assert [o["t"] for o in out] == [now, now + 3] and out[1]["nll"] == 3.0


def test_numbers_read_back_the_same() -> None:
    t = [0.1 + 0.2, 1e-9 + 1, 123456789.123456789, 1e16]
    out, _ = _feed(_lines(*(("a", x, 0) for x in t)))
    assert [o["t"] for o in out] == t
    assert [o["nll"] for o in out] == [t[0], *(b - a for a, b in zip(t, t[1:], strict=False))]


def test_late_events_are_dead_letters_with_the_reason() -> None:
    lines = _lines(("a", 5.0, 0), ("b", 1.0, 0), ("a", 4.0, 1), ("a", 5.0, 2))
    out, dead = _feed(lines)
    assert [(o["key"], o["t"]) for o in out] == [("a", 5.0), ("b", 1.0), ("a", 5.0)]
    assert dead == [
        {"line": 3, "reason": "late by 1.0: the last event released of this key was at 5.0", "raw": lines[2].decode()}
    ]
    out, dead = _feed(lines, lateness=4.0)
    assert not dead and [(o["key"], o["t"]) for o in out] == [("b", 1.0), ("a", 4.0), ("a", 5.0), ("a", 5.0)]


def test_an_event_is_released_when_the_clock_says_so() -> None:
    with torch.inference_mode():
        engine = Engine(Counting(), StreamOptions(schema=K5, start=0.0, lateness=2.0))
        seen = [[json.loads(o)["t"] for o in engine.feed([line])[0]] for line in
                _lines(("a", 1.0, 0), ("b", 2.9, 0), ("a", 3.0, 0), ("a", 2.0, 0), ("c", 5.5, 0))]  # fmt: skip
        assert seen == [[], [], [1.0], [], [2.0, 2.9, 3.0]]
        assert engine.waiting == 1 and [json.loads(o)["t"] for o in engine.finish()] == [5.5]


@given(data=st.data())
def test_any_disorder_within_the_lateness_changes_nothing(data: st.DataObject) -> None:
    t = sorted(data.draw(st.sets(st.integers(0, 400), min_size=1, max_size=40)))
    events = [(data.draw(st.sampled_from("abc")), x / 4, data.draw(st.integers(0, 4))) for x in t]
    delays = [data.draw(st.integers(0, 12)) / 4 for _ in events]
    arrival = sorted(range(len(events)), key=lambda i: (events[i][1] + delays[i], data.draw(st.integers(0, 9))))
    shuffled = [events[i] for i in arrival]
    expected, none = _feed(_lines(*events))
    out, dead = _feed(_lines(*shuffled), lateness=3.0, chunk=data.draw(st.integers(1, 9)))
    assert not none and not dead and out == expected


@settings(max_examples=15)
@given(data=st.data())
def test_the_output_depends_on_the_order_of_the_input_alone(data: st.DataObject) -> None:
    draw = data.draw(st.randoms(use_true_random=False))
    events = [(draw.choice("abcdefg"), draw.uniform(0, 30), draw.randrange(3)) for _ in range(60)]
    lines = _lines(*events)
    lines[17] = b"{broken"
    lateness = data.draw(st.sampled_from([0.0, 2.0, 1e6]))
    options = {"operator": Toy(), "schema": Schema(num_marks=3), "lateness": lateness}
    whole = _feed(lines, **options)
    assert len(whole[0]) + len(whole[1]) == 60
    for chunk, batch in ((1, 1), (7, 3), (60, 2)):
        assert _feed(lines, chunk=chunk, max_batch=batch, **options) == whole


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"nonsense", "not valid JSON"),
        (b'{"key": "a", "t": 1.0, "mark": 0} {}', "not valid JSON"),
        (b'{"key": "a", "t": 1.0, "mark": 0', "not valid JSON"),
        (b'{"key": "\xff", "t": 1.0, "mark": 0}', "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "seen a list"),
        (b'{"key": "a", "t": 1.0, "Mark": 0}', "no field 'mark'; did you mean 'Mark'?"),
        (b'{"t": 1.0, "mark": 0}', "no field 'key'"),
        (b'{"key": null, "t": 1.0, "mark": 0}', "key is None"),
        (b'{"key": true, "t": 1.0, "mark": 0}', "key is True"),
        (b'{"key": 1.5, "t": 1.0, "mark": 0}', "key is 1.5"),
        (b'{"key": "a", "t": "1.0", "mark": 0}', "t is '1.0'; expected a number"),
        (b'{"key": "a", "t": NaN, "mark": 0}', "t is nan"),
        (b'{"key": "a", "t": 1e999, "mark": 0}', "t is inf"),
        (b'{"key": "a", "t": 99999999999999999999, "mark": 0}', "expected a finite number"),
        (b'{"key": "a", "t": true, "mark": 0}', "t is True"),
        (b'{"key": "a", "t": -0.5, "mark": 0}', "before the start"),
        (b'{"key": "a", "t": 1.0, "mark": -1}', "mark -1; expected 0 <= mark < K=5"),
        (b'{"key": "a", "t": 1.0, "mark": 5}', "mark 5; expected 0 <= mark < K=5"),
        (b'{"key": "a", "t": 1.0, "mark": 1.0}', "mark is 1.0; expected an integer"),
        (b'{"key": "a", "t": 1.0, "mark": "walk"}', "mark is 'walk'; expected an integer"),
    ],
)
def test_what_is_no_event_goes_to_the_dead_letters(line: bytes, reason: str) -> None:
    out, dead = _feed([b"", *_lines(("a", 1.0, 0)), line, b"  ", *_lines(("a", 2.0, 0))])
    assert [o["t"] for o in out] == [1.0, 2.0], "the run goes on"
    assert len(dead) == 1 and dead[0]["line"] == 3 and reason in dead[0]["reason"]
    assert dead[0]["raw"] == line.decode("utf-8", "backslashreplace")


def test_unusual_but_right_lines_are_taken() -> None:
    odd = [
        b'  {"t": 1, "mark": 0, "key": "a", "amount": 3.5}\r',
        '{"key": "Zo\u00eb \U0001f600", "t": 2.0, "mark": 1}'.encode(),
        b'{"key": "\\ud800", "t": 3.0, "mark": 1}',
    ]
    out, dead = _feed(odd)
    assert not dead and [o["key"] for o in out] == ["a", "Zo\u00eb \U0001f600", "\ud800"]


def test_words_are_marks_where_there_is_a_vocabulary() -> None:
    schema = Schema(vocabulary=("walk", "404", "stand", "x", "y"))
    lines = _lines(("a", 1.0, "404"), ("a", 2.0, 2), ("a", 3.0, "wlak"))
    out, dead = _feed(lines, schema=schema)
    assert [o["mark"] for o in out] == [1, 2]
    assert dead[0]["reason"] == "mark 'wlak' is not in the vocabulary; did you mean 'walk'?"


def test_with_one_kind_of_event_the_mark_may_be_absent() -> None:
    class One(Counting):
        num_marks = 1

    out, dead = _feed([b'{"key": "a", "t": 1.0}'], operator=One(), schema=Schema(num_marks=1))
    assert not dead and out[0]["mark"] == 0


def test_keys_beyond_the_bound_are_refused_aloud() -> None:
    out, dead = _feed(_lines(("a", 1.0, 0), ("b", 2.0, 0), ("c", 3.0, 0), ("a", 4.0, 0)), max_keys=2)
    assert [o["key"] for o in out] == ["a", "b", "a"]
    assert "max_keys" in dead[0]["reason"]


def test_numbers_that_are_not_finite_become_null_and_are_counted() -> None:
    class Never(Counting):
        def observe(self, state: Any, marks: Any, dt: Any) -> Any:
            answers, after = super().observe(state, marks, dt)
            gap = torch.where(marks["mark"] == 1, torch.inf, answers["next_t"])
            return {**answers, "next_t": gap, "pair": torch.stack([dt, gap], -1)}, after

    lines = _lines(("a", 1.0, 0), ("b", 2.0, 1), ("a", 4.0, 0))
    with torch.inference_mode():
        engine = Engine(Never(), StreamOptions(schema=K5, start=0.0))
        out = [json.loads(line) for line in engine.feed(lines)[0]]
    assert [o["next_t"] for o in out] == [3.0, None, 8.0]
    assert [o["pair"] for o in out] == [[1.0, 2.0], None, [3.0, 4.0]]
    assert engine.counters.nonfinite == 1


def test_the_answers_are_those_of_stepping_each_key_alone() -> None:
    """Against the definition: one key after the other, one event after the other, no table, no batch."""
    import random

    draw = random.Random(0)
    drawn = [(draw.choice("abcde"), draw.uniform(0, 50), draw.randrange(3)) for _ in range(200)]
    events = sorted(drawn, key=lambda event: event[1])
    operator = Toy()
    out, _ = _feed(_lines(*events), operator=operator, schema=Schema(num_marks=3))
    with torch.inference_mode():
        for key in "abcde":
            state, last = operator.init(1), 0.0
            mine = iter([o for o in out if o["key"] == key])
            for _, t, mark in (e for e in events if e[0] == key):
                gap = torch.tensor([t - last], dtype=torch.float64)
                answer, state = operator.observe(state, {"mark": torch.tensor([mark])}, gap)
                seen = next(mine)
                assert math.isclose(seen["nll"], float(answer["nll"]), rel_tol=1e-12)
                assert math.isclose(seen["next_t"], t + float(answer["next_t"]), rel_tol=1e-12)
                assert seen["next_mark_probs"] == pytest.approx(answer["next_mark_probs"][0].tolist(), rel=1e-12)
                last = t


def test_a_key_costs_the_same_after_ten_thousand_events() -> None:
    with torch.inference_mode():
        engine = Engine(Counting(), StreamOptions(schema=K5, start=0.0))
        engine.feed(_lines(("a", 0.5, 0)))
        before = [leaf.numel() * leaf.element_size() for leaf in engine.table._leaves]
        plain = len(json.dumps(engine.dump()[0]))
        for chunk in range(20):
            engine.feed(_lines(*(("a", 1.0 + 500 * chunk + i, i % 5) for i in range(500))))
        after = [leaf.numel() * leaf.element_size() for leaf in engine.table._leaves]
        assert engine.counters.events_out == 10_001 and after == before
        assert len(json.dumps(engine.dump()[0])) < plain + 60, "only the digits of counters and times may grow"
        assert engine.table.bytes_per_key == 8 + 8


def test_a_state_that_grows_is_refused() -> None:
    class Hoarder(Counting):
        def init(self, batch: int) -> Any:
            return (torch.zeros(batch, 1, dtype=torch.float64),)

        def observe(self, state: Any, marks: Any, dt: Any) -> Any:
            return {"nll": dt}, (torch.cat([state[0], dt[:, None]], 1),)

    with pytest.raises(InputError, match="one size for ever"):
        _feed(_lines(("a", 1.0, 0)), operator=Hoarder())


@pytest.mark.parametrize(
    "shape, device, word", [((2, 3), "cpu", r"expected \(1, ...\)"), ((1, 3), "meta", "on the CPU")]
)
def test_a_state_that_no_table_can_hold_is_refused(shape: tuple[int, ...], device: str, word: str) -> None:
    class Odd(Counting):
        def init(self, batch: int) -> Any:
            return (torch.zeros(*shape, device=device),)

    with pytest.raises(InputError, match=word):
        _feed([], operator=Odd())


@pytest.mark.parametrize(
    "options, word",
    [
        ({"start": None}, "--start 0"),
        ({"lateness": -1.0}, "lateness -1.0"),
        ({"lateness": math.nan}, "lateness nan"),
        ({"start": math.inf}, "start inf"),
        ({"every": 0}, "every 0"),
        ({"max_keys": 0}, "max_keys 0"),
        ({"seconds": 0.0}, "seconds 0.0"),
        ({"schema": Schema(num_marks=4)}, "num_marks=5, the schema 4"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        _feed([], **options)
