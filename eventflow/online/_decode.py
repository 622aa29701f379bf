"""Lines of bytes to events, or to the reason why a line is none."""

from __future__ import annotations

import json
import math
from typing import Any, TypeAlias

from eventflow.errors import did_you_mean
from eventflow.events import Schema

Key: TypeAlias = "str | int"
#: (key, t, mark)
Event: TypeAlias = "tuple[Key, int | float, int]"

_LARGEST = 2**63
_FIELDS = ("key", "t", "mark")


class Decoder:
    """JSON lines ``{"key": "user-7", "t": 12.5, "mark": 3}`` to events; further fields are allowed and not looked at.

    ``key`` is a string or an integer (7 and "7" are two keys); ``t`` a finite number (an integer keeps all its digits);
    ``mark`` an integer in [0, K), or a word of the schema's vocabulary; with one kind of event it may be absent.

    Args:
        schema: vocabulary, and K where it is known.
        num_marks: K, else.
    """

    def __init__(self, schema: Schema, num_marks: int) -> None:
        self._num_marks = num_marks
        self._words = {word: i for i, word in enumerate(schema.vocabulary or ())}
        self._scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # parses from an index

    def decode(self, lines: list[bytes]) -> list[Event | str | None]:
        """For each line its event, or the reason (a string) why it is none; None for an empty line."""
        scan, num_marks, words = self._scan, self._num_marks, self._words
        found: list[Event | str | None] = []
        for raw in lines:
            try:  # the usual line, fast; whatever is unusual is looked at in _explain
                text = raw.decode()
                record, end = scan(text, 0)
                key, t, mark = record["key"], record["t"], record["mark"]
                if type(mark) is str:
                    mark = words[mark]
                if (
                    end == len(text)
                    and (type(key) is str or type(key) is int)
                    and (t - t == 0.0 if type(t) is float else type(t) is int and -_LARGEST <= t < _LARGEST)
                    and type(mark) is int
                    and 0 <= mark < num_marks
                ):
                    found.append((key, t, mark))
                    continue
            except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
                pass
            found.append(self._explain(raw))
        return found

    def _explain(self, raw: bytes) -> Event | str | None:
        raw = raw.strip()
        if not raw:
            return None
        try:
            record = json.loads(raw)
        except UnicodeDecodeError as error:
            return f"not UTF-8 ({error.reason} at byte {error.start})"
        except (ValueError, RecursionError) as error:
            return f"not valid JSON ({error})"
        if not isinstance(record, dict):
            return f'expected an object {{"key": ..., "t": ..., "mark": ...}}; seen a {type(record).__name__}'
        if self._num_marks == 1:
            record.setdefault("mark", 0)
        for name in _FIELDS:
            if name not in record:
                return f"no field {name!r}; {did_you_mean(name, record)}"
        return self._checked(record["key"], record["t"], record["mark"])

    def _checked(self, key: Any, t: Any, mark: Any) -> Event | str:
        if type(key) not in (str, int):
            return f"key is {key!r}; expected a string or an integer"
        if type(t) not in (int, float):
            return f"t is {t!r}; expected a number"
        if not (math.isfinite(t) if type(t) is float else -_LARGEST <= t < _LARGEST):
            return f"t is {t!r}; expected a finite number (integers below 2**63)"
        if type(mark) is str and self._words:
            if mark not in self._words:
                return f"mark {mark!r} is not in the vocabulary; {did_you_mean(mark, self._words)}"
            mark = self._words[mark]
        if type(mark) is not int:
            expected = "an integer or a word of the vocabulary" if self._words else "an integer"
            return f"mark is {mark!r}; expected {expected}"
        if not 0 <= mark < self._num_marks:
            return f"mark {mark}; expected 0 <= mark < K={self._num_marks}"
        return key, t, mark
