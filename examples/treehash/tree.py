"""The tree on the disk: which files there are, and the digest of one.

What it is: the part of treehash without any threads. The parallel and the sequential pass both use it, so that
they differ in nothing but how the work is spread.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator

BLOCK = 1 << 20
"""Bytes read at a time: the longest that a request to stop goes unnoticed while a file is hashed."""

# Without O_NONBLOCK the open of a FIFO that took a file's place since we listed it would wait for a writer.
_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class NotRegular(Exception):
    """The path leads to a directory, FIFO, socket or device: nothing that has a digest."""


class Stopped(Exception):
    """The caller asked to stop before the digest was complete."""


def walk(
    root: str, failed: Callable[[str, OSError], object], skipped: Callable[[str], object] = lambda path: None
) -> Iterator[os.DirEntry[str]]:
    """The files below `root`, each directory's in order of name.

    A symbolic link counts as what it leads to, except that links to directories are not followed. One that leads
    nowhere is yielded: opening it will say so. `failed` is told of a directory that can't be read, `skipped` of what
    is neither file nor directory; devices and FIFOs are never opened, as merely opening some has effects.
    """
    pending = [root]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            failed(directory, error)
            continue
        below = []
        for entry in entries:
            try:
                if entry.is_file():
                    yield entry
                elif entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    yield entry
                else:
                    skipped(entry.path)
            except OSError as error:  # a loop of links, or no right to look
                failed(entry.path, error)
        pending.extend(reversed(below))


def digest(path: str, buffer: memoryview, stopped: Callable[[], bool]) -> tuple[str, int]:
    """SHA-256 of the file at `path` in hexadecimal, and the number of bytes.

    Args:
        path: what to open.
        buffer: scratch memory to read into; the caller's, so that one serves thousands of files.
        stopped: asked after each block but the last.

    Raises OSError as open and read do, NotRegular, and Stopped.
    """
    descriptor = os.open(path, _OPEN)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(path)
        state = hashlib.sha256()
        size = 0
        while True:
            count = os.readv(descriptor, [buffer])
            state.update(buffer[:count])  # gives up the GIL for all but tiny blocks
            size += count
            # Most files fit the buffer: the size tells that this was all, without one more read to hear it.
            if not count or size == status.st_size:
                return state.hexdigest(), size
            if stopped():
                raise Stopped(path)
    finally:
        os.close(descriptor)


def checksum_line(path: str, hexdigest: str) -> bytes:
    """One line as sha256sum writes it, so that ``sha256sum -c`` can check it.

    A name with a backslash or a line break in it is escaped, which a backslash at the start of the line tells.
    """
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == path else "\\"
    return os.fsencode(f"{mark}{hexdigest}  {escaped}\n")


def printable(path: str) -> str:
    """`path` for people: bytes that are no text and control characters are shown as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
