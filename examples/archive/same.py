"""Is what was restored what was packed? Byte for byte, without the layers and without the archive's own checks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from index import Entry, Snapshot

_CHUNK = 1 << 20


def differences(snapshot: Snapshot, source: str, restored: Path) -> Iterator[tuple[str, str]]:
    """Each path whose restored content, kind, permissions or time are not the source's, and how they differ.

    What has changed in the source since it was packed says nothing, and is passed over.
    """
    for entry in snapshot.entries.values():
        try:
            before = os.lstat(os.path.join(source, entry.path))
        except FileNotFoundError:
            continue
        if entry.path != "." and not _is_as_packed(entry, before):
            continue
        try:
            difference = _difference(entry, os.path.join(source, entry.path), restored / entry.path, before)
        except OSError as error:
            difference = error.strerror or str(error)
        if difference is not None:
            yield entry.path, difference
    expected = set(snapshot.entries)
    for directory, directories, files in os.walk(restored):
        for name in (*directories, *files):
            path = os.path.relpath(os.path.join(directory, name), restored)
            if path not in expected:
                yield path, "is in no snapshot"


def _is_as_packed(entry: Entry, status: os.stat_result) -> bool:
    if entry.kind == "file":
        return (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns)
    return status.st_mtime_ns == entry.mtime_ns


def _difference(entry: Entry, source: str, restored: Path, before: os.stat_result) -> str | None:
    after = os.lstat(restored)
    if entry.path == "." and not stat.S_ISDIR(before.st_mode):
        before = os.stat(source)  # the one link that was followed
    if stat.S_IFMT(before.st_mode) != stat.S_IFMT(after.st_mode):
        return "is of another kind"
    if entry.kind == "link":
        return None if os.readlink(source) == os.readlink(restored) else "leads elsewhere"
    if (before.st_mode ^ after.st_mode) & 0o777:
        return f"has mode {after.st_mode & 0o777:o} instead of {before.st_mode & 0o777:o}"
    if after.st_mtime_ns != entry.mtime_ns:
        return "has another time"
    if entry.kind == "file" and not _same_bytes(source, restored):
        return "has other bytes"
    return None


def _same_bytes(one: str, other: Path) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while chunk := first.read(_CHUNK):
            if chunk != second.read(_CHUNK):
                return False
        return not second.read(1)
