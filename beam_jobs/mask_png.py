"""Masks as PNG files: 8-bit grey, class ids as levels, so that every reader gives the ids back.

Written here and not by Pillow because masks are long runs of one value: run-length deflate over rows
without a filter is a good deal faster with zlib-ng than Pillow's encoder. Run-length deflate
searches no hash table, so its bytes do not depend on the processor, and they are those of zlib itself.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from zlib_ng import zlib_ng

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVEL = 1
_GREY_8_BIT = bytes((8, 0, 0, 0, 0))  # bit depth, colour type, and the only methods there are


def encode_mask(ids: np.ndarray) -> bytes:
    """A mask, uint8 (height, width), as a PNG file.

    Reference: https://www.w3.org/TR/png-3/
    """
    height, width = ids.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = ids
    compressor = zlib_ng.compressobj(_LEVEL, zlib_ng.DEFLATED, 15, 8, zlib_ng.Z_RLE)
    data = compressor.compress(rows.data) + compressor.flush()
    header = struct.pack(">II", width, height) + _GREY_8_BIT
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def class_pixels(ids: np.ndarray) -> np.ndarray:
    """int64 (256,): how many pixels of a mask, uint8 (height, width), hold each id.

    Counts runs and not pixels: street masks have few of them.
    """
    flat = ids.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    lengths = np.diff(starts, append=flat.size)
    return np.bincount(flat[starts], weights=lengths, minlength=256).astype(np.int64)  # exact below 2**53
