"""The columns of camera events as the kernels take them: few dtypes, one meaning, nothing of the caller's changed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[Any]
Span = tuple[float, float]


class Columns(NamedTuple):
    """n events. Polarity is 1 for positive, 0 for negative, whatever it was called before."""

    t: Array  # (n,) int64, uint32 or float64
    x: Array  # (n,) uint16, or float64: sub-pixel
    y: Array  # (n,) like x
    p: Array  # (n,) uint8


class Window(NamedTuple):
    """[start, start + length), or with its end where ``closed``; plain numbers, as compiled code wants them."""

    start: Any  # np.int64 or np.float64
    length: float
    closed: bool


def columns(op: str, t: Any, x: Any, y: Any, p: Any) -> Columns:
    """Check and convert; arrays that already have a good dtype are passed through without a copy.

    Raises:
        InputError: columns of different lengths or of no number dtype, a time or a position that is not finite, a
            polarity other than {0, 1}, bool or {-1, +1}.
    """
    given = {"t": np.asarray(t), "x": np.asarray(x), "y": np.asarray(y), "p": np.asarray(p)}
    sizes = {name: column.shape for name, column in given.items()}
    if given["t"].ndim != 1 or len(set(sizes.values())) > 1:
        raise InputError(f"{op}: t, x, y, p have shapes {list(sizes.values())}; expected four times (n,)")
    for name, column in given.items():
        if column.dtype.kind not in "iufb" and column.size:
            raise InputError(f"{op}: {name} is {column.dtype}; expected numbers")
    pixels = _pixels(op, "x", given["x"]), _pixels(op, "y", given["y"])
    if pixels[0].dtype != pixels[1].dtype:
        pixels = pixels[0].astype(np.float64), pixels[1].astype(np.float64)
    return Columns(times(op, given["t"]), *pixels, polarity(op, given["p"]))


def times(op: str, t: Array) -> Array:
    """(n,) int64, uint32 or float64, contiguous."""
    if t.dtype.kind != "f":
        return np.ascontiguousarray(t, np.uint32 if t.dtype == np.uint32 else np.int64)
    out = np.ascontiguousarray(t, np.float64)
    if not np.isfinite(out).all():
        i = int(np.argmin(np.isfinite(out)))
        raise InputError(f"{op}: t[{i}] is {out[i]}; expected finite times")
    return out


def polarity(op: str, p: Array) -> Array:
    """(n,) uint8 in {0, 1}: from bool, from {0, 1}, from {-1, +1}. Values of uint8 are checked by the kernels."""
    if p.dtype == np.uint8 or p.dtype == np.bool_:
        return np.ascontiguousarray(p).view(np.uint8)
    known = (p == 1) | (p == 0) | (p == -1)
    if not known.all():
        i = int(np.argmin(known))
        raise polarity_error(op, i, p[i])
    if p.dtype.kind != "u" and (p == -1).any() and (p == 0).any():
        raise InputError(f"{op}: p holds both 0 and -1; expected {{0, 1}}, bool or {{-1, +1}}. Write: p > 0")
    return (p == 1).view(np.uint8)


def polarity_error(op: str, i: int, seen: Any) -> InputError:
    """The error for a polarity that is none."""
    return InputError(f"{op}: p[{i}] is {seen}; expected {{0, 1}}, bool or {{-1, +1}}. Write: p > 0")


def pixel_error(op: str, i: int, seen: tuple[Any, Any], height: int, width: int) -> InputError:
    """The error for an integer pixel that is not on the sensor."""
    return InputError(
        f"{op}: event {i} is at pixel (x, y) = ({seen[0]}, {seen[1]}), outside height={height}, width={width}. "
        "Give the sensor's height and width, or cut first: keep = (x < width) & (y < height)"
    )


def first_fault(op: str, c: Columns, height: int, width: int) -> InputError | None:
    """What a kernel would stumble over: a polarity that is none, or an integer pixel off the sensor."""
    limits = ((c.p, 2), (c.x, width), (c.y, height)) if c.x.dtype == np.uint16 else ((c.p, 2),)
    if all(not len(column) or column.max() < limit for column, limit in limits):
        return None
    if (wrong := c.p > 1).any():
        i = int(np.argmax(wrong))
        return polarity_error(op, i, c.p[i])
    off = (c.x >= width) | (c.y >= height)
    if c.x.dtype == np.uint16 and off.any():
        i = int(np.argmax(off))
        return pixel_error(op, i, (c.x[i], c.y[i]), height, width)
    return None


def window(op: str, t: Array, span: Any) -> Window:
    """The half-open span that was given, or the closed [first, last] of the events."""
    kind = np.float64 if t.dtype.kind == "f" else np.int64
    if span is None:
        if not len(t):
            return Window(kind(0), 0.0, True)
        return Window(kind(t[0]), float(kind(t[-1]) - kind(t[0])), True)
    try:
        start, end = (kind(v) for v in span)
    except (TypeError, ValueError):
        raise InputError(f"{op}(span={span!r}): expected (start, end)") from None
    if any(float(v) != float(given) for v, given in zip((start, end), span, strict=True)):
        raise InputError(f"{op}(span={span!r}): times are {t.dtype}; expected a span of whole ticks")
    if not start < end:
        raise InputError(f"{op}(span={span!r}): expected start < end, both finite")
    return Window(start, float(end - start), False)


def sensor(op: str, bins: int, height: int, width: int) -> None:
    """Raise InputError unless a grid can have this shape."""
    for name, value in (("bins", bins), ("height", height), ("width", width)):
        if int(value) != value or value < 1:
            raise InputError(f"{op}({name}={value}): expected a positive integer")
    if height > 65535 or width > 65535 or bins * height * width >= 1 << 31:
        raise InputError(f"{op}: bins={bins}, height={height}, width={width} make a grid of more than 2^31 cells")


def rectified(op: str, c: Columns, rectify: Any, height: int, width: int) -> Columns:
    """Columns with sub-pixel positions ``rectify[y, x]``; the map is (height, width, 2) of (x, y)."""
    table = rectify_map(op, rectify, height, width)
    if c.x.dtype != np.uint16:
        raise InputError(f"{op}: x and y are sub-pixel already; rectify expects the raw integer pixels")
    if (fault := first_fault(op, c, height, width)) is not None:
        raise fault
    moved = table[c.y, c.x]
    return c._replace(x=moved[:, 0].astype(np.float64), y=moved[:, 1].astype(np.float64))


def whole_pixels(c: Columns, size: tuple[int, ...], *, shift: float) -> Columns:
    """Sub-pixel positions as pixels floor(x + shift); 65535, which no sensor has, where off (height, width)."""
    x, y = np.floor(c.x + shift), np.floor(c.y + shift)
    off = (x < 0) | (y < 0) | (x >= size[1]) | (y >= size[0])
    return c._replace(**{n: np.where(off, 65535, v).astype(np.uint16) for n, v in (("x", x), ("y", y))})


def rectify_map(op: str, rectify: Any, height: int, width: int) -> Array:
    """(height, width, 2) float32, checked."""
    table = np.ascontiguousarray(rectify, np.float32)
    if table.shape != (height, width, 2):
        raise InputError(f"{op}: rectify has shape {table.shape}; expected ({height}, {width}, 2): (x, y) at [y, x]")
    return table


def _pixels(op: str, name: str, x: Array) -> Array:
    if x.dtype == np.uint16 or not x.size:
        return np.ascontiguousarray(x, np.uint16)
    if x.dtype.kind == "f":
        out = np.ascontiguousarray(x, np.float64)
        if not np.isfinite(out).all():
            i = int(np.argmin(np.isfinite(out)))
            raise InputError(f"{op}: {name}[{i}] is {out[i]}; expected finite positions")
        return out
    if x.size and (x.min() < 0 or x.max() > 65535):
        i = int(np.argmax((x < 0) | (x > 65535)))
        raise InputError(f"{op}: {name}[{i}] is {x[i]}; expected an integer pixel of the sensor")
    return np.ascontiguousarray(x, np.uint16)


def whole(op: str, c: Columns) -> Columns:
    """The columns, or InputError where positions are sub-pixel."""
    if c.x.dtype != np.uint16:
        raise InputError(f"{op}: x and y are sub-pixel positions; expected integer pixels. Write: x.astype(int)")
    return c


def in_order(w: Window, t: Array) -> Window:
    """A closed window from the least to the greatest time, for events that are not in time order."""
    if not w.closed or not len(t):
        return w
    kind = np.float64 if t.dtype.kind == "f" else np.int64
    low, high = kind(t.min()), kind(t.max())
    return Window(low, float(high - low), True)


def checked(op: str, c: Columns, rectify: Any, height: int, width: int) -> Columns:
    """Columns that a definition may take: no fault, and rectified."""
    if (fault := first_fault(op, c, height, width)) is not None:
        raise fault
    return c if rectify is None else rectified(op, c, rectify, height, width)
