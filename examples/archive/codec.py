"""The compressors, all from the standard library.

A block is compressed by itself: so blocks can be made and read in parallel, in any order, and damage to one is damage
to that one. What does not get smaller is stored as it is. Reading is bounded: what unpacks to more than its header
says is damaged, and is not unpacked any further.

All of these give up the GIL while they work, which is why threads are enough.
"""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any

RAW, ZLIB, LZMA, ZSTD = range(4)

# A dictionary as large as a block: with the preset's eight megabytes each thread would need a hundred of memory.
_FILTERS: list[dict[str, Any]] = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 18}]

NAMES = {"none": RAW, "zlib": ZLIB, "lzma": LZMA}
"""What ``--compress`` takes on this Python."""

_PACK: dict[int, Callable[[bytes], bytes]] = {
    ZLIB: lambda data: zlib.compress(data, 6),
    LZMA: lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS),
}
_UNPACK: dict[int, Callable[[bytes, int], bytes]] = {
    RAW: lambda data, limit: data,
    ZLIB: lambda data, limit: zlib.decompressobj().decompress(data, limit),
    LZMA: lambda data, limit: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS).decompress(data, limit),
}
_ERRORS: tuple[type[Exception], ...] = (zlib.error, lzma.LZMAError, EOFError, ValueError)

if sys.version_info >= (3, 14):
    from compression import zstd

    NAMES["zstd"] = ZSTD
    _PACK[ZSTD] = lambda data: zstd.compress(data, 3)
    _UNPACK[ZSTD] = lambda data, limit: zstd.ZstdDecompressor().decompress(data, limit)
    _ERRORS += (zstd.ZstdError,)


class Damaged(Exception):
    """What was read from the archive is not what was written."""


class NotHere(Exception):
    """This Python lacks the codec: nothing is wrong with the archive."""


def pack(codec: int, data: bytes) -> tuple[int, bytes]:
    """`data` compressed, and the codec that was used: `RAW` if it does not get smaller."""
    if codec != RAW:
        packed = _PACK[codec](data)
        if len(packed) < len(data):
            return codec, packed
    return RAW, data


def unpack(codec: int, data: bytes, size: int) -> bytes:
    """What `pack` was given, `size` bytes of it. Raises Damaged and NotHere."""
    if codec == ZSTD and codec not in _UNPACK:
        raise NotHere("the archive is compressed by zstd, which needs Python 3.14 or newer")
    if codec not in _UNPACK:
        raise Damaged(f"codec {codec}, which nobody knows")
    try:
        found = _UNPACK[codec](data, size + 1)  # one byte more than there should be, to see whether there is more
    except _ERRORS as error:
        raise Damaged(str(error)) from None
    if len(found) != size:
        raise Damaged(f"unpacks to {len(found)} bytes instead of {size}")
    return found
