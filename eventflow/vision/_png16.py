"""Flow as 16-bit RGB PNG, DSEC's encoding: read and written here, because common image libraries silently give 8 bits.

R = 128 u + 2^15, G = 128 v + 2^15 (pixels), B = 1 where the flow is valid.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventflow.errors import InputError

Array = NDArray[Any]
_MAGIC = b"\x89PNG\r\n\x1a\n"


def encode_flow(flow: Array, valid: Array) -> Array:
    """(height, width, 3) uint16 of a flow (height, width, 2) in pixels; where not valid, or not finite, B is 0.

    Raises:
        InputError: a valid flow outside [-256, 256), which 16 bits cannot hold.
    """
    flow, valid = np.asarray(flow, np.float64), np.asarray(valid, bool)
    if flow.ndim != 3 or flow.shape[2] != 2 or valid.shape != flow.shape[:2]:
        raise InputError(f"encode_flow: flow {flow.shape}, valid {valid.shape}; expected (H, W, 2) and (H, W)")
    code = np.rint(np.where(valid[..., None], flow, 0.0) * 128 + 32768)
    if not ((code >= 0) & (code <= 65535)).all():
        worst = float(np.abs(np.where(valid[..., None], flow, 0.0)).max())
        raise InputError(f"encode_flow: a flow of {worst:.6g} pixels; 16 bits hold [-256, 256). Mark it as not valid")
    return np.concatenate([code, valid[..., None]], -1).astype(np.uint16)


def decode_flow(image: Array) -> tuple[Array, Array]:
    """Flow (height, width, 2) float32 in pixels and valid (height, width) bool, of 16-bit RGB."""
    image = np.asarray(image)
    if image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"decode_flow: {image.dtype} {image.shape}; expected uint16 (H, W, 3)")
    return (image[..., :2].astype(np.float32) - 32768) / 128, image[..., 2] == 1


def write_flow_png(path: str | os.PathLike[str], flow: Array, valid: Array) -> None:
    """One flow map as DSEC stores it."""
    write_png16(path, encode_flow(flow, valid))


def read_flow_png(path: str | os.PathLike[str]) -> tuple[Array, Array]:
    """Flow (height, width, 2) float32 in pixels and valid (height, width) bool."""
    return decode_flow(read_png16(path))


def write_png16(path: str | os.PathLike[str], image: Array) -> None:
    """A (height, width, 3) uint16 image, written beside and then moved into place."""
    image = np.asarray(image)
    if image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"write_png16: {image.dtype} {image.shape}; expected uint16 (H, W, 3)")
    height, width = image.shape[:2]
    rows = np.ascontiguousarray(image, ">u2").view(np.uint8).reshape(height, -1)
    up = np.concatenate([rows[:1], rows[1:] - rows[:-1]])  # filter 2 (up), 0 for the first row
    kind = np.full((height, 1), 2, np.uint8)
    kind[0] = 0
    body = zlib.compress(np.concatenate([kind, up], 1).tobytes(), 6)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_bytes(_MAGIC + _chunk(b"IHDR", head) + _chunk(b"IDAT", body) + _chunk(b"IEND", b""))
    os.replace(part, path)


def read_png16(path: str | os.PathLike[str]) -> Array:
    """(height, width, 3) uint16.

    Raises:
        InputError: not a PNG, broken, or not of 16-bit RGB.
    """
    data = Path(path).read_bytes()
    if not data.startswith(_MAGIC):
        raise InputError(f"{path}: not a PNG; it begins with {data[:8]!r}")
    head, body, at = b"", [], len(_MAGIC)
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        part = data[at + 8 : at + 8 + size]
        if data[at + 8 + size : at + 12 + size] != struct.pack(">I", zlib.crc32(kind + part)):
            raise InputError(
                f"{path}: broken PNG: the checksum of {kind!r} at byte {at} is wrong, or the file ends there"
            )
        head = part if kind == b"IHDR" else head
        body += [part] if kind == b"IDAT" else []
        at += 12 + size
        if kind == b"IEND":
            break
    if len(head) != 13 or not body:
        raise InputError(f"{path}: broken PNG: no header or no image in {len(data)} bytes")
    width, height, *rest = struct.unpack(">IIBBBBB", head)
    if rest != [16, 2, 0, 0, 0]:
        raise InputError(
            f"{path}: bit depth {rest[0]}, colour type {rest[1]}; expected 16-bit RGB (16, 2), not interlaced"
        )
    try:
        raw = zlib.decompress(b"".join(body))
    except zlib.error as error:
        raise InputError(f"{path}: broken PNG: {error}") from None
    if len(raw) != height * (1 + 6 * width):
        raise InputError(f"{path}: broken PNG: {len(raw)} bytes of pixels; expected {height * (1 + 6 * width)}")
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + 6 * width)
    if lines[:, 0].max(initial=0) > 4:
        raise InputError(f"{path}: broken PNG: row filter {lines[:, 0].max()}; expected 0 to 4")
    from eventflow.vision._unfilter import unfilter

    return unfilter(lines).view(">u2").astype(np.uint16).reshape(height, width, 3)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
