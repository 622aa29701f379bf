"""Sixteen queries of one row at a time, key by key (compiled).

``steps`` are the strides of (rows, places, heads) of query, key, value, out or its gradient, and of the gradients of
query, key and value: all arrays are flat, channels lie together, d is a multiple of sixteen. A block of fewer than
sixteen queries repeats its first one in the lanes before it. ``seen``: ``edges`` (1 or N, 1 or blocks, 4), of each row
or of all, the keys that some lane of a block sees, and those that all see; ``bounds`` (..., 2, 16), those of each lane.

Keys and values of a row are copied to where they lie together: sixteen cache misses at a time, not one after another.
"""

from __future__ import annotations

from typing import Any

import numba as nb

from eventflow.ops._lanes import JIT, LANES, at_least, fma, from_rows, get, load, put, splat, store, to_rows, where
from eventflow.ops._vecmath import exp_decay

#: Of a key that is not seen; no true logit is below HIDDEN / 10.
HIDDEN = -1e30
QUERY, KEY, VALUE, OUT, BY_QUERY, BY_KEY, BY_VALUE = range(7)


@nb.njit(cache=True, **JIT)
def runs(first: Any, stop: Any, edges: Any, bounds: Any) -> None:
    """Fill edges (rows, blocks, 4) and bounds (rows, blocks, 2, 16) from first and stop (rows, places)."""
    rows, blocks, _ = edges.shape
    places = len(first) // rows
    for n in range(rows):
        for block in range(blocks):
            r, at = block * LANES, n * blocks + block
            spare = max(LANES - (places - r), 0)
            low = inner_low = get(first, n * places + r)
            high = inner_high = get(stop, n * places + r)
            for lane in range(LANES):
                here = n * places + r + max(lane - spare, 0)
                a, b = get(first, here), get(stop, here)
                put(bounds, at * 2 * LANES + lane, a)
                put(bounds, (at * 2 + 1) * LANES + lane, b)
                low, high = min(low, a), max(high, b)
                inner_low, inner_high = max(inner_low, a), min(inner_high, b)
            put(edges, at * 4, low)
            put(edges, at * 4 + 1, max(high, low))
            put(edges, at * 4 + 2, inner_low)
            put(edges, at * 4 + 3, inner_high)


@nb.njit(**JIT)
def _starts(starts: Any, at: int, spare: int, step: int) -> None:
    """Where the rows of sixteen queries begin: ``at``, repeated in the ``spare`` lanes, and on by ``step``."""
    for lane in range(LANES):
        starts[lane] = at + max(lane - spare, 0) * step


@nb.njit(**JIT)
def _at(steps: Any, which: int, n: int, h: int) -> int:
    """Where the first place of a row lies, of one head."""
    return n * steps[which, 0] + h * steps[which, 2]


@nb.njit(**JIT)
def _span(edges: Any, n: int) -> Any:
    """The keys that some query of row n sees."""
    rows, blocks, _ = edges.shape
    at = (n if rows > 1 else 0) * blocks * 4
    low, high = get(edges, at), get(edges, at + 1)
    for block in range(1, blocks):
        low, high = min(low, get(edges, at + block * 4)), max(high, get(edges, at + block * 4 + 1))
    return low, high


@nb.njit(**JIT)
def _copy(table: Any, at: int, step: int, span: Any, width: int, rows: Any) -> None:
    """The rows of a span to ``rows``, end to end."""
    for j in range(span[0], span[1]):
        for i in range(0, width, LANES):
            store(rows, (j - span[0]) * width + i, load(table, at + j * step + i))


@nb.njit(**JIT)
def _shown(logit: Any, j: int, run: Any, bounds: Any, at: int) -> Any:
    """The logit of key j in the lanes that see it."""
    if j < run[2] or j >= run[3]:
        seen = where(load(bounds, at) * -1.0 + (j + 1), logit, HIDDEN)
        logit = where(load(bounds, at + LANES) - j, seen, HIDDEN)
    return logit


@nb.njit(**JIT)
def _products(lanes: Any, width: int, table: Any, rows: Any) -> Any:
    """Sixteen vectors (width x 16 lanes) by four rows of a table."""
    zero = load(lanes, 0) * 0.0
    a, b, c, d = rows
    at_a, at_b, at_c, at_d = zero, zero, zero, zero
    for i in range(width):
        x = load(lanes, i * LANES)
        at_a = fma(x, get(table, a + i), at_a)
        at_b = fma(x, get(table, b + i), at_b)
        at_c = fma(x, get(table, c + i), at_c)
        at_d = fma(x, get(table, d + i), at_d)
    return at_a, at_b, at_c, at_d


@nb.njit(**JIT)
def _sum(sums: Any, width: int, table: Any, span: Any, weights: Any) -> None:
    """sums (width x 16 lanes) = the rows of a table (of ``span`` = low, high, counted from 0), each by its weight."""
    zero = load(sums, 0) * 0.0
    for i in range(0, width * LANES, LANES):
        store(sums, i, zero)
    for j in range(span[0], span[1], 4):
        a, b, c, d = _four(j, span[1], width)
        at = (j - span[0]) * LANES
        by_a, by_b = load(weights, at), load(weights, at + LANES)
        by_c, by_d = load(weights, at + 2 * LANES), load(weights, at + 3 * LANES)
        for i in range(width):
            x = load(sums, i * LANES)
            x = fma(by_a, get(table, a + i), x)
            x = fma(by_b, get(table, b + i), x)
            x = fma(by_c, get(table, c + i), x)
            x = fma(by_d, get(table, d + i), x)
            store(sums, i * LANES, x)


@nb.njit(**JIT)
def _four(j: int, high: int, width: int) -> Any:
    """Where the rows j, ..., j + 3 begin; beyond the last one it is repeated (nobody sees those)."""
    last = high - 1
    return j * width, min(j + 1, last) * width, min(j + 2, last) * width, min(j + 3, last) * width


@nb.njit(**JIT)
def _logits(keys: Any, run: Any, limits: Any, lanes: Any, weights: Any) -> None:
    """Logits of the run: queries in lanes, scaled, by the copied keys, whose first one is number ``low``."""
    (key, width, low), (bounds, at) = keys, limits
    for j in range(run[0], run[1], 4):
        a, b, c, d = _products(lanes, width, key, _four(j - low, run[1] - low, width))
        to = (j - run[0]) * LANES
        store(weights, to, _shown(a, j, run, bounds, at))
        store(weights, to + LANES, _shown(b, j + 1, run, bounds, at))
        store(weights, to + 2 * LANES, _shown(c, j + 2, run, bounds, at))
        store(weights, to + 3 * LANES, _shown(d, j + 3, run, bounds, at))


@nb.njit(**JIT)
def _queries(query: Any, starts: Any, width: int, scale: float, lanes: Any) -> None:
    from_rows(query, starts, width, lanes, 0, LANES)
    for i in range(0, width * LANES, LANES):
        store(lanes, i, load(lanes, i) * scale)


@nb.njit(**JIT)
def _block(edges: Any, n: int, r: int) -> Any:
    """(number of the block among ``bounds``, its run: low, high, inner low, inner high)."""
    rows, blocks, _ = edges.shape
    at = (n if rows > 1 else 0) * blocks + (r // LANES if blocks > 1 else 0)
    return at, (get(edges, at * 4), get(edges, at * 4 + 1), get(edges, at * 4 + 2), get(edges, at * 4 + 3))


@nb.njit(cache=True, **JIT)
def forward(given: Any, seen: Any, options: Any, work: Any, results: Any) -> None:
    """Fill out, and ``kept``: of each block of sixteen queries the largest logit, and 1 / (rest + sum)."""
    (query, key, value, steps), (edges, bounds, of), (size, scale, rest) = given, seen, options
    lanes, sums, weights, _, starts, keys, values, _, _ = work
    out, kept = results
    rows, places, heads, width = size
    block = 0
    for n in range(rows):
        span = _span(edges, n)
        for h in range(heads):
            _copy(key, _at(steps, KEY, of[n], h), steps[KEY, 1], span, width, keys)
            _copy(value, _at(steps, VALUE, of[n], h), steps[VALUE, 1], span, width, values)
            for r in range(0, places, LANES):
                spare = max(LANES - (places - r), 0)
                which, run = _block(edges, n, r)
                at = _at(steps, QUERY, n, h) + r * steps[QUERY, 1]
                _starts(starts, at, spare, steps[QUERY, 1])
                _queries(query, starts, width, scale, lanes)
                _logits((keys, width, span[0]), run, (bounds, which * 2 * LANES), lanes, weights)
                top, inverse = _weigh(run[1] - run[0], rest, weights)
                _sum(sums, width, values, (run[0] - span[0], run[1] - span[0]), weights)
                for i in range(0, width * LANES, LANES):
                    store(sums, i, load(sums, i) * inverse)
                store(kept, block * 2 * LANES, top)
                store(kept, (block * 2 + 1) * LANES, inverse)
                block += 1
                _starts(starts, _at(steps, OUT, n, h) + r * steps[OUT, 1], spare, steps[OUT, 1])
                to_rows(out, starts, width, sums, 0, LANES)


@nb.njit(**JIT)
def _weigh(count: int, rest: float, weights: Any) -> Any:
    """Logits to f, relative to the largest one; returns that one, and 1 / (rest + sum), 0 where nothing is seen."""
    whole = (count + 3) // 4 * 4 * LANES
    top = splat(rest) * 0.0 + (0.0 if rest > 0 else HIDDEN)
    for i in range(0, whole, LANES):
        top = at_least(top, load(weights, i))
    total = exp_decay(top * -1.0) * rest if rest > 0 else top * 0.0
    for i in range(0, whole, LANES):
        logit = load(weights, i)
        f = where(logit - 0.1 * HIDDEN, exp_decay(logit - top), 0.0)
        total = total + f
        store(weights, i, f)
    return top, where(total, 1.0 / total, 0.0)


@nb.njit(cache=True, **JIT)
def backward(given: Any, seen: Any, options: Any, work: Any, results: Any) -> None:
    """Fill the gradient of the queries, and add to those of keys and values; ``kept`` is of :func:`forward`."""
    (query, key, value, steps, grad, kept), (edges, bounds, of), (size, scale, _) = given, seen, options
    lanes, sums, weights, slopes, starts, keys, values, to_keys, to_values = work
    by_query, by_key, by_value = results
    rows, places, heads, width = size
    block = 0
    for n in range(rows):
        span = _span(edges, n)
        low, whole = span[0], (span[1] - span[0]) * width
        for h in range(heads):
            _copy(key, _at(steps, KEY, of[n], h), steps[KEY, 1], span, width, keys)
            _copy(value, _at(steps, VALUE, of[n], h), steps[VALUE, 1], span, width, values)
            to_keys[:whole] = 0.0
            to_values[:whole] = 0.0
            for r in range(0, places, LANES):
                spare, count = max(LANES - (places - r), 0), min(LANES, places - r)
                which, run = _block(edges, n, r)
                here = (run[0] - low, run[1] - low)
                at_query = _at(steps, QUERY, n, h) + r * steps[QUERY, 1]
                _starts(starts, at_query, spare, steps[QUERY, 1])
                _queries(query, starts, width, scale, lanes)
                _logits((keys, width, low), run, (bounds, which * 2 * LANES), lanes, weights)
                at_grad = _at(steps, OUT, n, h) + r * steps[OUT, 1]
                _starts(starts, at_grad, spare, steps[OUT, 1])
                from_rows(grad, starts, width, sums, 0, LANES)
                _slopes((values, width, here), kept, block * 2 * LANES, scale, (sums, weights, slopes))
                block += 1
                _sum(sums, width, keys, here, slopes)
                _starts(starts, _at(steps, BY_QUERY, n, h) + r * steps[BY_QUERY, 1], spare, steps[BY_QUERY, 1])
                to_rows(by_query, starts, width, sums, 0, LANES)
                _spread((query, at_query, steps[QUERY, 1]), (slopes, spare, count), here, to_keys, width)
                _spread((grad, at_grad, steps[OUT, 1]), (weights, spare, count), here, to_values, width)
            _return(to_keys, span, width, by_key, _at(steps, BY_KEY, of[n], h), steps[BY_KEY, 1])
            _return(to_values, span, width, by_value, _at(steps, BY_VALUE, of[n], h), steps[BY_VALUE, 1])


@nb.njit(**JIT)
def _return(rows: Any, span: Any, width: int, table: Any, at: int, step: int) -> None:
    """The reverse of :func:`_copy`, added to what is there."""
    for j in range(span[0], span[1]):
        for i in range(0, width, LANES):
            to = at + j * step + i
            store(table, to, load(table, to) + load(rows, (j - span[0]) * width + i))


@nb.njit(**JIT)
def _slopes(given: Any, kept: Any, block: int, scale: float, work: Any) -> None:
    """From logits (in ``weights``) and the gradient of out (in ``sums``): weights, and scaled slopes of the logits."""
    (values, width, here), (sums, weights, slopes) = given, work
    top, inverse = load(kept, block), load(kept, block + LANES)
    for j in range(here[0], here[1], 4):
        a, b, c, d = _products(sums, width, values, _four(j, here[1], width))
        i = (j - here[0]) * LANES
        store(slopes, i, a)
        store(slopes, i + LANES, b)
        store(slopes, i + 2 * LANES, c)
        store(slopes, i + 3 * LANES, d)
    whole = (here[1] - here[0] + 3) // 4 * 4 * LANES
    mean = top * 0.0
    for i in range(0, whole, LANES):
        logit = load(weights, i)
        share = where(logit - 0.1 * HIDDEN, exp_decay(logit - top) * inverse, 0.0)
        store(weights, i, share)
        mean = fma(share, load(slopes, i), mean)
    for i in range(0, whole, LANES):
        store(slopes, i, load(weights, i) * (load(slopes, i) - mean) * scale)


@nb.njit(**JIT)
def _spread(rows: Any, weights: Any, here: Any, target: Any, width: int) -> None:
    """To each key of a run, the sum of the rows of up to sixteen queries, each by its weight; by sixteen channels."""
    (table, at, step), (by, spare, count) = rows, weights
    low, high = here
    for j in range(low, high, 4):
        a, b, c, d = _four(j, high, width)
        w = (j - low) * LANES + spare
        for i in range(0, width, LANES):
            at_a, at_b, at_c, at_d = load(target, a + i), load(target, b + i), load(target, c + i), load(target, d + i)
            for lane in range(count):
                x = load(table, at + lane * step + i)
                at_a = fma(x, get(by, w + lane), at_a)
                at_b = fma(x, get(by, w + LANES + lane), at_b)
                at_c = fma(x, get(by, w + 2 * LANES + lane), at_c)
                at_d = fma(x, get(by, w + 3 * LANES + lane), at_d)
            if j + 3 < high:
                store(target, d + i, at_d)
            if j + 2 < high:
                store(target, c + i, at_c)
            if j + 1 < high:
                store(target, b + i, at_b)
            store(target, a + i, at_a)
