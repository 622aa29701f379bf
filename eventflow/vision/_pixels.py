"""Compiled parts of the simulator: what each pixel sees, and when it fires. Row by row, the plain loops first.

Loops over a row that hold no branch are kept apart from those that do, so that LLVM vectorises them.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def advance(rows, scene, place, images, state, thresholds, clock, out, n):  # pragma: no cover - compiled
    """One step of the rows [first, last): render what they see after it, and append the events on the way there.

    Args:
        rows: (first, last).
        scene: textures, homographies, looks and boxes, see :func:`see_row`.
        place: (2, height, width) image position that each pixel looks at.
        images: (before, after), each (height, width) float64; the second is written.
        state, thresholds, clock, out: see :func:`fire_row`.
        n: number of events that are in ``out`` already.

    Returns:
        (events in ``out`` now, the next row): the row is ``last``, or the first for which ``out`` has no room; call
        again with more of it.
    """
    before, after = images
    width = before.shape[1]
    scratch = (np.empty((4, width)), np.empty(width, np.uint32))
    busy, wanted = np.empty(width, np.uint8), np.empty(width, np.int32)
    for row in range(rows[0], rows[1]):
        see_row(row, scene, (place[0, row], place[1, row]), after[row], scratch)
        pixels, mine = (state[0][row], state[1][row]), (thresholds[0][row], thresholds[1][row])
        some, most = watch_row(before[row], after[row], pixels, mine, clock, busy, wanted)
        if n + most > len(out[0]):
            return n, row
        if some:
            n = fire_row(row, (before[row], after[row]), pixels, mine, clock, out, n, wanted[:some])
        settle_row(state[0][row], thresholds[0][row], clock)
    return n, rows[1]


@njit(cache=True, nogil=True, error_model="numpy")
def see_row(row, scene, place, image, scratch):  # pragma: no cover - compiled
    """What a row sees, as log intensity.

    Args:
        row: its number.
        scene: textures (planes, n, n), n a power of two, periodic; (planes, 3, 3) image position to texture position;
            (planes, 6): contrast, brightness, middle x, middle y, radius x, radius y (0 covers everything); the
            :func:`boxes` that they lie in.
        place: (x, y), each (width,): image position that each pixel looks at.
        image: (width,) written; an edge mixes intensities, not their logarithms.
        scratch: (4, width) float64 and (width,) uint32.
    """
    textures, homographies, looks, boxes = scene
    floats, cells = scratch
    for k in range(len(textures)):
        left, right = boxes[k, 2], boxes[k, 3]
        if row < boxes[k, 0] or row >= boxes[k, 1] or left >= right:
            continue
        look, there = looks[k], image[left:right]
        u, v, level, distance = (
            floats[0, left:right], floats[1, left:right], floats[2, left:right], floats[3, left:right]
        )  # fmt: skip
        _positions(homographies[k], place[0][left:right], place[1][left:right], u, v)
        if look[4] == 0.0:
            _sample(textures[k], look, u, v, cells[left:right], there)
            continue
        _distances(u, v, look, distance)
        _sample(textures[k], look, u, v, cells[left:right], level)
        _cover(min(look[4], look[5]), distance, level, there)


@njit(cache=True, nogil=True, error_model="numpy")
def _cover(narrow, distance, level, image):  # pragma: no cover - compiled
    """Lay ``level`` over ``image`` where the squared distance from the middle is small."""
    outer, inner = (1.0 + 1.0 / narrow) ** 2, max(1.0 - 1.0 / narrow, 0.0) ** 2
    for i in range(len(image)):
        if distance[i] <= inner:
            image[i] = level[i]
        elif distance[i] < outer:
            cover = (1.0 - np.sqrt(distance[i])) * narrow / 2.0 + 0.5
            image[i] = np.log(np.exp(image[i]) * (1.0 - cover) + np.exp(level[i]) * cover)


@njit(cache=True, nogil=True, error_model="numpy")
def boxes(homographies, looks, size, margin):  # pragma: no cover - compiled
    """(planes, 4): first row, row after the last, first column, column after the last that a plane can reach.

    An ellipse lies within the polygon of 32 sides about it, and so do their images. ``margin`` is the farthest that a
    pixel looks from its own place.
    """
    out = np.empty((len(looks), 4), np.int64)
    height, width = size
    for k in range(len(looks)):
        out[k] = 0, height, 0, width
        x, y, a, b = looks[k, 2], looks[k, 3], looks[k, 4], looks[k, 5]
        if a == 0.0:
            continue
        back, stretch = _adjugate(homographies[k]), (1.0 + 1.0 / min(a, b)) / np.cos(np.pi / 32)
        low, high, behind = np.full(2, np.inf), np.full(2, -np.inf), False
        sign = back[2, 0] * x + back[2, 1] * y + back[2, 2]
        for i in range(32):
            u, v = x + a * stretch * np.cos(np.pi * i / 16), y + b * stretch * np.sin(np.pi * i / 16)
            w = back[2, 0] * u + back[2, 1] * v + back[2, 2]
            behind |= w * sign <= 0.0
            for j in range(2):
                at = (back[j, 0] * u + back[j, 1] * v + back[j, 2]) / w
                low[j], high[j] = min(low[j], at), max(high[j], at)
        if not behind:
            for j, n in ((0, width), (1, height)):
                out[k, 2 - 2 * j] = min(max(np.floor(low[j] - margin), 0.0), n)
                out[k, 3 - 2 * j] = max(min(np.ceil(high[j] + margin) + 1.0, n), 0.0)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _positions(h, x, y, u, v):  # pragma: no cover - compiled
    a, b, c, d, e, f, g, i, j = h[0, 0], h[0, 1], h[0, 2], h[1, 0], h[1, 1], h[1, 2], h[2, 0], h[2, 1], h[2, 2]
    for k in range(len(u)):
        w = 1.0 / (g * x[k] + i * y[k] + j)
        u[k] = (a * x[k] + b * y[k] + c) * w
        v[k] = (d * x[k] + e * y[k] + f) * w


@njit(cache=True, nogil=True, error_model="numpy")
def _distances(u, v, look, distance):  # pragma: no cover - compiled
    """Squared distance from an ellipse's middle, in radii."""
    x, y, a, b = look[2], look[3], 1.0 / look[4], 1.0 / look[5]
    for k in range(len(u)):
        distance[k] = ((u[k] - x) * a) ** 2 + ((v[k] - y) * b) ** 2


@njit(cache=True, nogil=True, error_model="numpy")
def _sample(texture, look, u, v, cells, level):  # pragma: no cover - compiled
    """Bilinear, periodic. ``u`` and ``v`` become the fractions right of and below the texture pixels ``cells``."""
    contrast, brightness = look[0], look[1]
    flat, size, last = texture.reshape(-1), np.uint32(texture.shape[0]), np.uint32(texture.shape[0] - 1)
    for k in range(len(u)):
        left, top = np.floor(u[k]), np.floor(v[k])
        u[k] -= left
        v[k] -= top
        cells[k] = (np.uint32(np.int32(top)) & last) * size + (np.uint32(np.int32(left)) & last)
    for k in range(len(u)):
        cell, r, d = cells[k], u[k], v[k]
        i, j = cell & ~last, cell & last
        right, below = (j + np.uint32(1)) & last, (i + size) & (size * size - np.uint32(1))
        high = flat[cell] * (1.0 - r) + flat[i | right] * r
        low = flat[below | j] * (1.0 - r) + flat[below | right] * r
        level[k] = brightness + contrast * (high * (1.0 - d) + low * d)


@njit(cache=True, nogil=True, error_model="numpy")
def watch_row(before, after, state, thresholds, clock, busy, wanted):  # pragma: no cover - compiled
    """``wanted``: the columns of pixels that fire or are held in this step.

    Returns how many they are, and the most events that they can fire.
    """
    reference, held = state
    up, down = thresholds
    start, length, _, leak = clock
    rate = leak * length
    for k in range(len(busy)):
        b = after[k] + rate * up[k]
        busy[k] = (b >= reference[k] + up[k]) | (b <= reference[k] - down[k]) | (held[k] > start)
    n = 0
    for k in range(len(busy)):
        wanted[n] = k
        n += np.int64(busy[k])
    most = 0
    for i in range(n):
        k = wanted[i]
        farthest = abs(after[k] - before[k]) + abs(after[k] - reference[k]) + rate * up[k]
        most += np.int64(farthest / min(up[k], down[k])) + 2
    return n, most


@njit(cache=True, nogil=True, error_model="numpy")
def fire_row(row, images, state, thresholds, clock, out, n, wanted):  # pragma: no cover - compiled
    """Events of one step, in which log intensity goes in a straight line from one image to the next.

    A pixel fires when log intensity has moved by its threshold from the reference, which then moves there. After an
    event it is held for the refractory time, and its reference is then what it sees at the end of it. A leak lets the
    reference sink, so that a pixel in constant light fires positive events.

    Args:
        row: number of the row.
        images: (before, after), each (width,) float64.
        state: (reference, held), (width,): log intensity, and until when the pixel is held (us).
        thresholds: (positive, negative), (width,).
        clock: (start us, length us, refractory us, leak: fall of the reference in thresholds per us).
        out: (t float64, x, y, p), with room enough.
        n: number of events in ``out``; the number after this row is returned.
        wanted: the columns to look at. Their references do not sink here: see :func:`settle_row`.
    """
    before, after = images
    reference, held = state
    start, length, refractory, leak = clock
    ts, xs, ys, ps = out
    for i in range(len(wanted)):
        column = wanted[i]
        up, down = thresholds[0][column], thresholds[1][column]
        # relative to a reference that stands still, the signal goes from a to b
        a, b = before[column], after[column] + leak * up * length
        level, since = reference[column], 0.0
        until = (held[column] - start) / length
        if until >= 1.0:
            reference[column] = b
            continue
        if until > 0.0:
            level, since = a + (b - a) * until, until
        while True:
            target = level + up if b > a else level - down
            if (b > a and target > b) or (b < a and target < b) or a == b:
                break
            since = max(since, (target - a) / (b - a))
            ts[n], xs[n], ys[n], ps[n] = start + length * since, column, row, 1 if b > a else 0
            n += 1
            level = target
            if refractory > 0.0:
                held[column] = start + length * since + refractory
                since += refractory / length
                if since >= 1.0:
                    level = b
                    break
                level = a + (b - a) * since
        reference[column] = level
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def settle_row(reference, up, clock):  # pragma: no cover - compiled
    """The references sink by what leaks in a step."""
    rate = clock[3] * clock[1]
    if rate > 0.0:
        for k in range(len(reference)):
            reference[k] -= rate * up[k]


@njit(cache=True, nogil=True, error_model="numpy")
def homographies(motions, t, centre):  # pragma: no cover - compiled
    """(planes, 3, 3): ``Scene.homography`` of every plane at time t (s); the columns of ``motions`` are those of
    ``eventflow.vision._scene.motion_table``, ``centre`` the (x, y) of the image."""
    out = np.empty((len(motions), 3, 3))
    turn = 2.0 * np.pi * t
    x, y = centre
    for k in range(len(motions)):
        m = motions[k]
        angle, scale = m[7] * t, np.exp(m[8] * np.sin(m[9] * turn))
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        sway = np.sin(m[6] * turn)
        u, v = m[0] + m[2] * t + m[4] * sway, m[1] + m[3] * t + m[5] * sway
        swing = np.sin(m[12] * turn) / (x + 0.5)
        tx, ty = m[10] * swing, m[11] * swing
        # texture = [[c, -s, u], [s, c, v], [0, 0, 1]] [[1, 0, 0], [0, 1, 0], [tx, ty, 1]] (image - centre)
        out[k, 0, 0], out[k, 0, 1] = c + u * tx, u * ty - s
        out[k, 1, 0], out[k, 1, 1] = s + v * tx, c + v * ty
        out[k, 2, 0], out[k, 2, 1] = tx, ty
        out[k, 0, 2] = u - out[k, 0, 0] * x - out[k, 0, 1] * y
        out[k, 1, 2] = v - out[k, 1, 0] * x - out[k, 1, 1] * y
        out[k, 2, 2] = 1.0 - tx * x - ty * y
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def step_length(motions, t, size, max_step):  # pragma: no cover - compiled
    """Seconds, at most 1 ms, in which no plane moves by more than ``max_step`` pixels on the image."""
    height, width = size
    centre = ((width - 1) / 2.0, (height - 1) / 2.0)
    now, length, move = homographies(motions, t, centre), 1e-3, np.empty((3, 3))
    for k in range(len(motions)):
        while True:
            then = homographies(motions[k : k + 1], t + length, centre)[0]
            _compose(_adjugate(then), now[k], move)
            farthest = 0.0
            for i in range(9):
                x, y = centre[0] * (i % 3), centre[1] * (i // 3)
                w = move[2, 0] * x + move[2, 1] * y + move[2, 2]
                u = (move[0, 0] * x + move[0, 1] * y + move[0, 2]) / w
                v = (move[1, 0] * x + move[1, 1] * y + move[1, 2]) / w
                farthest = max(farthest, np.hypot(u - x, v - y))
            if farthest <= max_step:
                break
            length *= 0.9 * max_step / farthest
    return length


@njit(cache=True, nogil=True, error_model="numpy")
def _adjugate(h):  # pragma: no cover - compiled
    """The inverse but for a factor, which does not matter in a homography."""
    out = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            a, b, c, d = (j + 1) % 3, (j + 2) % 3, (i + 1) % 3, (i + 2) % 3
            out[i, j] = h[a, c] * h[b, d] - h[a, d] * h[b, c]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _compose(a, b, out):  # pragma: no cover - compiled
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
