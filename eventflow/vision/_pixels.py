"""Compiled parts of the simulator: what each pixel sees, and when it fires."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def render(texture, h, look, place, image):  # pragma: no cover - compiled
    """Lay a plane over ``image`` (height, width), log intensity.

    Args:
        texture: (n, n), n a power of two; periodic.
        h: (3, 3) image position to texture position.
        look: (contrast, brightness, middle x, middle y, radius x, radius y); a radius of 0 covers everything.
        place: (2, height, width) image position that each pixel looks at.
        image: changed in place; an edge mixes intensities, not their logarithms.
    """
    last = texture.shape[0] - 1
    contrast, brightness, u0, v0, a, b = look
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            x, y = place[0, row, column], place[1, row, column]
            w = 1.0 / (h[2, 0] * x + h[2, 1] * y + h[2, 2])
            u, v = (h[0, 0] * x + h[0, 1] * y + h[0, 2]) * w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) * w
            cover = 1.0
            if a > 0.0:
                distance = np.sqrt(((u - u0) / a) ** 2 + ((v - v0) / b) ** 2)
                cover = min(max((1.0 - distance) * min(a, b) / 2.0 + 0.5, 0.0), 1.0)
                if cover == 0.0:
                    continue
            left, top = np.floor(u), np.floor(v)
            i, j, r, d = np.int64(top), np.int64(left), u - left, v - top
            above = texture[i & last, j & last] * (1 - r) + texture[i & last, (j + 1) & last] * r
            below = texture[(i + 1) & last, j & last] * (1 - r) + texture[(i + 1) & last, (j + 1) & last] * r
            level = brightness + contrast * (above * (1 - d) + below * d)
            if cover < 1.0:
                level = np.log(np.exp(image[row, column]) * (1.0 - cover) + np.exp(level) * cover)
            image[row, column] = level


@njit(cache=True, nogil=True)
def fire(images, state, thresholds, clock, out):  # pragma: no cover - compiled
    """Events of one step, in which log intensity goes in a straight line from one image to the next.

    A pixel fires when log intensity has moved by its threshold from the reference, which then moves there. After an
    event it is held for the refractory time, and its reference is then what it sees at the end of it. A leak lets the
    reference sink, so that a pixel in constant light fires positive events.

    Args:
        images: (before, after), each (height, width) float64.
        state: (reference, held), (height, width): log intensity, and until when the pixel is held (us).
        thresholds: (positive, negative), (height, width).
        clock: (start us, length us, refractory us, leak: fall of the reference in thresholds per us).
        out: (t float64, x, y, p); filled as far as they go.

    Returns:
        number of events; if larger than the room in ``out``, nothing of the state may be used.
    """
    before, after = images
    reference, held = state
    positive, negative = thresholds
    start, length, refractory, leak = clock
    ts, xs, ys, ps = out
    n, room = 0, len(ts)
    for row in range(before.shape[0]):
        for column in range(before.shape[1]):
            up, down = positive[row, column], negative[row, column]
            fall = leak * up * length
            # relative to a reference that stands still, the signal goes from a to b
            a, b = before[row, column], after[row, column] + fall
            level, since = reference[row, column], 0.0
            until = (held[row, column] - start) / length
            if until > 0.0:
                if until >= 1.0:
                    reference[row, column] = b - fall
                    continue
                level, since = a + (b - a) * until, until
            while True:
                target = level + up if b > a else level - down
                if (b > a and target > b) or (b < a and target < b) or a == b:
                    break
                since = max(since, (target - a) / (b - a))
                if n < room:
                    ts[n], xs[n], ys[n], ps[n] = start + length * since, column, row, 1 if b > a else 0
                n += 1
                level = target
                if refractory > 0.0:
                    held[row, column] = start + length * since + refractory
                    since += refractory / length
                    if since >= 1.0:
                        level = b
                        break
                    level = a + (b - a) * since
            reference[row, column] = level - fall
    return n
