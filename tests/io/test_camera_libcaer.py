"""Packets of iniVation's driver for ROS against the layouts, read word by word."""

from __future__ import annotations

import numpy as np
import pytest

from eventflow.io.cameras._libcaer import Words, events
from eventflow.io.cameras._source import BrokenError

_BASE = 1_744_227_144_732_712_018


def _word_by_word(words: np.ndarray, base: int, state: dict[str, int]) -> list[tuple[int, int, int, int]]:
    """Events of ``libcaer_cmp`` words, as the layout says; ``state`` holds x, y and p from packet to packet."""
    out, high, low = [], 0, 0
    for word in words.tolist():
        kind, rest = word >> 12, word & 0xFFF
        if kind == 0:
            high = rest << 12
        elif kind == 1:
            low = rest
        elif kind == 2:
            state["x"] = rest & 0x7FF
        elif kind == 3:
            out.append((base // 1000 + high + low, state["x"], rest & 0x7FF, rest >> 11))
        elif kind == 4:
            state["y"], state["p"] = rest & 0x7FF, rest >> 11
        else:
            for i in range(8):
                if rest >> i & 1:
                    out.append((base // 1000 + high + low, state["x"], state["y"] + i, state["p"]))
            state["y"] += 8
    return out


def test_words_of_random_packets():
    rng = np.random.default_rng(0)
    decoder, state = Words(), {"x": 0, "y": 0, "p": 0}
    total = 0
    for length in (400, 0, 1, 7, 400):
        kinds, rest = rng.integers(0, 6, length), rng.integers(0, 256, length)
        polarity = rng.integers(0, 2, length) << 11
        words = (kinds << 12 | rest | np.where((kinds == 3) | (kinds == 4), polarity, 0)).astype("<u2")
        expected = _word_by_word(words, _BASE, state)
        got = decoder.step(words.view(np.uint8), _BASE)
        assert list(zip(*(column.tolist() for column in got), strict=True)) == expected
        total += len(expected)
    assert total > 400


def test_a_word_of_no_known_kind():
    with pytest.raises(BrokenError, match="byte 2 of a packet: word 0x6001"):
        Words().step(np.array([0x1000, 0x6001], "<u2").view(np.uint8), 0)


def test_events_whose_time_rolls_over_within_a_packet():
    t = [2**31 - 2, 2**31 - 1, 0, 5]
    x, y, p, valid = [345, 1, 2, 3], [259, 0, 7, 9], [1, 0, 1, 0], [1, 1, 1, 0]
    words = [(x[i] << 17 | y[i] << 2 | p[i] << 1 | valid[i], t[i]) for i in range(4)]
    got = events(np.array(words, "<u4").view(np.uint8).reshape(-1), 7_000)
    assert got.t.tolist() == [2**31 + 5, 2**31 + 6, 2**31 + 7]
    assert [column.tolist() for column in got[1:]] == [x[:3], y[:3], p[:3]]
    with pytest.raises(BrokenError, match="9 bytes; expected 8 an event"):
        events(np.zeros(9, np.uint8), 0)
