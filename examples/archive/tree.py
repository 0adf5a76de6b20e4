"""The tree on the disk: what there is, and how a piece of a file is read. No threads here.

Symbolic links are kept as links and never followed. FIFOs, sockets and devices are not kept, and never opened: merely
opening some has effects.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from index import ROOT, Stamp

# Without O_NONBLOCK the open of a FIFO that took a file's place since we listed it would wait for a writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
VANISHED = "vanished"
_YOUNG = 2_000_000_000
"""Nanoseconds: some file systems count time in steps of two seconds, so a change within them may not show."""


class Found(NamedTuple):
    """Something in the tree."""

    path: str
    """Below the root."""
    full: str
    status: os.stat_result


class Changed(Exception):
    """The file is not what it was when it was listed."""


def stamp_of(status: os.stat_result) -> Stamp:
    """By what a change of a file is noticed."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def is_young(stamp: Stamp) -> bool:
    """True if a further change might leave the stamp as it is."""
    return time.time_ns() - max(stamp[1], stamp[2]) < _YOUNG


def reason(error: OSError) -> str:
    """Why something is left out, in a few words."""
    return VANISHED if isinstance(error, FileNotFoundError) else error.strerror or str(error)


def walk(
    root: str,
    failed: Callable[[str, OSError], object],
    exclude: Collection[str] = (),
    skip: tuple[int, int] | None = None,
) -> Iterator[Found]:
    """What is below `root`, and the root first; each directory's content in order of name, directories last.

    `failed` is called with what can't be looked at. Names in `exclude` are left out wherever they are, and so is the
    directory whose device and inode is `skip` (the archive itself, if it lies in the tree).
    """
    pending = [ROOT]
    while pending:
        path = pending.pop()
        full = root if path == ROOT else os.path.join(root, path)
        try:
            status = os.stat(full, follow_symlinks=path == ROOT)
            if (status.st_dev, status.st_ino) == skip:
                continue
            with os.scandir(full) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            failed(full, error)
            continue
        yield Found(path, full, status)
        below = []
        for entry in entries:
            if entry.name in exclude:
                continue
            inner = entry.name if path == ROOT else f"{path}/{entry.name}"
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(inner)
                else:
                    yield Found(inner, entry.path, entry.stat(follow_symlinks=False))
            except OSError as error:
                failed(entry.path, error)
        pending.extend(reversed(below))


def read_piece(full: str, offset: int, length: int, stamp: Stamp) -> tuple[bytes, bool]:
    """A piece of a file, and whether the file still is what `stamp` says.

    Raises OSError as open and read do, and Changed if it is no regular file any more.
    """
    descriptor = os.open(full, _OPEN)
    try:
        data = os.pread(descriptor, length, offset)
        status = os.fstat(descriptor)
    except IsADirectoryError:
        raise Changed(full) from None
    finally:
        os.close(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise Changed(full)
    return data, stamp_of(status) == stamp and len(data) == length


def printable(path: str) -> str:
    """`path` for people: bytes that are no text and control characters are shown as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
