"""Words to small integers, chunk by chunk: sequence keys and marks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from eventflow.errors import InputError, did_you_mean
from eventflow.events._events import Array
from eventflow.io._columns import on_command_line
from eventflow.io.logs._cells import Cells, as_strings

#: Integers beyond this that are mostly unused are names, not marks.
SPARSE = 100_000
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})\Z")


@dataclass(slots=True)
class WordCoder:
    """Gives each distinct word a code, in the order of first appearance."""

    codes: dict[str, int] = field(default_factory=dict)
    first_row: list[int] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The words, by code."""
        return list(self.codes)

    def encode(self, cells: Cells, rows: Array) -> Array:
        """(n,) codes, -1 where the cell is missing; ``rows`` are the line numbers, kept for the first of each word."""
        coded = as_strings(cells).dictionary_encode()
        words = coded.dictionary.to_pylist()
        index = np.asarray(coded.indices.fill_null(len(words)), dtype=np.int64)
        first = np.zeros(len(words) + 1, dtype=np.int64)
        first[index[::-1]] = rows[::-1]
        table = np.empty(len(words) + 1, dtype=np.int64)
        table[-1] = -1
        for i, word in enumerate(words):
            code = self.codes.setdefault(word, len(self.codes))
            if code == len(self.first_row):
                self.first_row.append(int(first[i]))
            table[i] = code
        return table[index]


@dataclass(slots=True)
class Marks:
    """What the words of a mark column turned out to be: ``table`` code -> mark (-1: refused), and the vocabulary."""

    table: Array
    num_marks: int
    vocabulary: tuple[str, ...] | None
    refused: dict[int, str]


def settle_marks(
    words: list[str], *, vocabulary: tuple[str, ...] | None, num_marks: int | None, as_words: bool
) -> Marks:
    """Decide what each word is, once all of them were seen.

    With a vocabulary, words are looked up in it; integers are taken as they are, unless ``as_words``; other words make
    the vocabulary, in alphabetical order (numerical, if all are integers).
    """
    integers = all(_INTEGER.match(word) for word in words)
    if vocabulary is not None:
        place = {word: i for i, word in enumerate(vocabulary)}
        refused = {
            code: f"is not in the vocabulary; {did_you_mean(word, vocabulary)}"
            for code, word in enumerate(words)
            if word not in place
        }
        return Marks(np.array([place.get(word, -1) for word in words], dtype=np.int64), len(place), vocabulary, refused)
    if integers and not as_words:
        values = np.array([int(word) for word in words], dtype=np.int64)
        size = num_marks or int(values.max(initial=0)) + 1
        if num_marks is None and size > max(SPARSE, 20 * len(words)):
            raise InputError(
                f"its largest value is {size - 1}, but it has {len(words):,} different ones: these are names rather "
                f"than kinds counted from 0. Write: {on_command_line(words=True)}"
            )
        outside = (values < 0) | (values >= size)
        refused = {int(code): f"is outside [0, K={size})" for code in np.flatnonzero(outside)}
        return Marks(np.where(outside, -1, values), size, None, refused)
    ordered = tuple(sorted(words, key=(lambda word: (int(word), word)) if integers else None))
    place = {word: i for i, word in enumerate(ordered)}
    return Marks(np.array([place[word] for word in words], dtype=np.int64), len(ordered), ordered, {})


def find_words(cells: Cells, pattern: str) -> pa.Array:
    """What the groups of ``pattern`` find in each cell, joined with a space; null where it does not match."""
    coded = as_strings(cells).dictionary_encode()
    found = [re.search(pattern, word) for word in coded.dictionary.to_pylist()]
    words = [" ".join(group or "" for group in match.groups()) if match else None for match in found]
    return pa.DictionaryArray.from_arrays(coded.indices, pa.array(words, pa.string())).cast(pa.string())
