"""The block file: all data of an archive, append-only, able to tell its own content.

    blocks   = HEAD record*
    record   = header payload
    header   = magic, codec, length, stored length, SHA-256 of the content, CRC-32 of the header so far
    payload  = the content, compressed by the codec

A block is found by its digest, so equal blocks are stored once. There is no table of blocks: opening the file reads the
headers one after the other. Between two readable records there may be a gap, where the disk damaged something; reading
goes on behind it.

Who writes: one thread at a time (the writer queue of a pack), in one process at a time (a lock on the file). `places`
may be read by any thread meanwhile: a block is entered only after it was written.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import codec
from codec import Damaged

BLOCK = 256 << 10
"""The length of a block; the last one of a file is shorter."""

HEAD = b"section9 archive, block file, format 1\n"
_MAGIC = b"blk\x01"
_FIELDS = struct.Struct(">4sB3xII32s")
_CRC = struct.Struct(">I")
HEADER = _FIELDS.size + _CRC.size
_CHUNK = 1 << 20  # bytes read at a time while looking for a record behind damage


class Place(NamedTuple):
    """Where a block is."""

    offset: int
    """Of the payload."""
    stored: int
    size: int
    codec: int


class Record(NamedTuple):
    """A block of which the header is intact."""

    digest: bytes
    place: Place

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.place.offset + self.place.stored


class Gap(NamedTuple):
    """Bytes that are no record."""

    offset: int
    size: int


class NewBlock(NamedTuple):
    """A block that is to be appended."""

    digest: bytes
    size: int
    codec: int
    payload: bytes


def _header(block: NewBlock) -> bytes:
    fields = _FIELDS.pack(_MAGIC, block.codec, block.size, len(block.payload), block.digest)
    return fields + _CRC.pack(zlib.crc32(fields))


def _parse(header: bytes, offset: int, end: int) -> Record | None:
    """The record whose header this is, at `offset`; None if it is not one, or does not end before `end`."""
    if len(header) != HEADER or _CRC.unpack_from(header, _FIELDS.size)[0] != zlib.crc32(header[: _FIELDS.size]):
        return None
    magic, kind, size, stored, digest = _FIELDS.unpack_from(header)
    record = Record(digest, Place(offset + HEADER, stored, size, kind))
    return record if magic == _MAGIC and 0 < size <= BLOCK and stored <= size and record.end <= end else None


def scan(descriptor: int, begin: int, end: int) -> Iterator[Record | Gap]:
    """The records between `begin` and `end`, and the gaps between them. Payloads are not read."""
    while begin < end:
        record = _parse(os.pread(descriptor, HEADER, begin), begin, end)
        if record is not None:
            yield record
            begin = record.end
        else:
            following = _next_record(descriptor, begin + 1, end)
            yield Gap(begin, following - begin)
            begin = following


def _next_record(descriptor: int, begin: int, end: int) -> int:
    """Where the next intact header is; `end` if there is none."""
    while begin < end:
        chunk = os.pread(descriptor, min(_CHUNK, end - begin), begin)
        if not chunk:
            break
        found = chunk.find(_MAGIC)
        while found >= 0:
            offset = begin + found
            if _parse(os.pread(descriptor, HEADER, offset), offset, end) is not None:
                return offset
            found = chunk.find(_MAGIC, found + 1)
        begin += max(1, len(chunk) - len(_MAGIC) + 1)
    return end


class Busy(Exception):
    """Another process is packing into this archive."""


class BlockFile:
    """The file, opened to read, or to append with `write`.

    Args:
        path: of the file; made if it is missing and `write` is set.
        committed: how long it was at the last checkpoint. What is behind that was never confirmed by the disk, so it
            counts only as far as every record of it is found good, content included.
        write: to append. Takes the lock: raises Busy.
    """

    def __init__(self, path: Path, committed: int, write: bool = False) -> None:
        if write and not path.exists():
            _create(path)
        self.path = path
        self.descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
        try:
            if write:
                _lock(self.descriptor, path)
            if os.pread(self.descriptor, len(HEAD), 0) != HEAD:
                raise Damaged(f"{path} does not begin as a block file does")
            self.size = os.fstat(self.descriptor).st_size
            self.committed = committed
            self.places: dict[bytes, Place] = {}
            self.records: list[Record] = []
            self.gaps: list[Gap] = []
            self.end = self._read_headers()
            if write:
                os.ftruncate(self.descriptor, self.end)
        except BaseException:
            os.close(self.descriptor)
            raise

    def _read_headers(self) -> int:
        end = len(HEAD)
        for found in scan(self.descriptor, end, min(self.committed, self.size)):
            if isinstance(found, Gap):
                self.gaps.append(found)
                end = found.offset + found.size
            else:
                self._enter(found)
                end = found.end
        for found in scan(self.descriptor, end, self.size):
            if isinstance(found, Gap):
                break
            try:
                self.read_place(found.digest, found.place)
            except Damaged:
                break
            self._enter(found)
            end = found.end
        return end

    def _enter(self, record: Record) -> None:
        self.records.append(record)
        self.places[record.digest] = record.place

    def append(self, blocks: Sequence[NewBlock]) -> int:
        """Write those that are not there yet; how many bytes that took. For the one writer. Raises OSError."""
        parts: list[bytes] = []
        records: list[Record] = []
        end = self.end
        new = set[bytes]()
        for block in blocks:
            if block.digest in self.places or block.digest in new:
                continue
            new.add(block.digest)
            record = Record(block.digest, Place(end + HEADER, len(block.payload), block.size, block.codec))
            parts += (_header(block), block.payload)
            records.append(record)
            end = record.end
        # Always at `end`: what a write that failed half way has left there is overwritten by the next.
        offset = self.end
        data = memoryview(b"".join(parts))
        while data:
            count = os.pwrite(self.descriptor, data, offset)
            if not count:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            offset += count
            data = data[count:]
        for record in records:
            self.places[record.digest] = record.place
        written, self.end = end - self.end, end
        return written

    def read_place(self, digest: bytes, place: Place) -> bytes:
        """The content of one block, checked. Any thread. Raises Damaged and OSError."""
        payload = os.pread(self.descriptor, place.stored, place.offset)
        if len(payload) != place.stored:
            raise Damaged("cut off")
        data = codec.unpack(place.codec, payload, place.size)
        if hashlib.sha256(data).digest() != digest:
            raise Damaged("the content has another SHA-256 than the header says")
        return data

    def read(self, digest: bytes) -> bytes:
        """The block with that digest, checked. Any thread. Raises Damaged and OSError."""
        place = self.places.get(digest)
        if place is None:
            raise Damaged(f"block {digest.hex()[:16]} is missing")
        return self.read_place(digest, place)

    def sync(self) -> None:
        """Return once the disk has confirmed everything that was appended before."""
        getattr(os, "fdatasync", os.fsync)(self.descriptor)

    def close(self) -> None:
        """Close the file; gives the lock back."""
        os.close(self.descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Busy(f"{path.parent} is being packed into by another process") from None


def _create(path: Path) -> None:
    """Make an empty block file, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(unfinished, "wb") as file:
        file.write(HEAD)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(unfinished, path)  # unlike a rename this never replaces the file of somebody who was faster
    except FileExistsError:
        pass
    finally:
        os.unlink(unfinished)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Return once the disk has confirmed the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
