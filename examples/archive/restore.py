"""Restoring a snapshot: into a directory of its own, and nowhere else.

What is safe about it, whoever made the archive and whoever is at work in the file system meanwhile:

* The destination is made, or is empty. Nothing that is there is ever opened or replaced (O_EXCL).
* A path leads downwards through directories that the index lists: that was checked when it was read.
* Each name is opened relative to the descriptor of its directory, and that one step by step from the root's,
  never through a symbolic link (O_NOFOLLOW).
* Symbolic links come last, so no restored link is on the way to anything that is restored.
* Set-uid and set-gid bits are not restored: the file would be of another owner.

Modes and times are set at the very end for directories, when nothing is created in them any more. Owners, hard links
(they become files of their own) and extended attributes are not in the archive.

Files are written on all CPUs: a bounded queue, a work for each handful of files.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import crew
from codec import Damaged
from index import ROOT, Entry, Snapshot
from records import BlockFile
from stopping import Stop

import workqueue9

FILES, BYTES = 64, 1 << 20
"""In a handful at most, unless one file has more."""

_HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
"""The disk takes no more: no use in going on with the next file."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Occupied(Exception):
    """The destination is there, and is no empty directory."""


class Handful(workqueue9.Work):
    """Some files of one directory."""

    def __init__(self, directory: str, entries: list[Entry]) -> None:
        super().__init__()
        self.directory = directory
        self.entries = entries


class Restore:
    """One run of ``archive restore``, as far as it is done."""

    def __init__(self, blocks: BlockFile | None, snapshot: Snapshot, destination: Path, stop: Stop) -> None:
        self.blocks = blocks
        self.snapshot = snapshot
        self.destination = destination
        self.stop = stop
        self.total = snapshot.size
        self.failed: deque[tuple[str, str]] = deque()  # appended by the works: path, and what is wrong
        self.done = crew.Tally()  # bytes that were written

    def run(self) -> None:
        """Restore, until done or asked to stop. Raises Occupied and OSError."""
        try:
            self.destination.mkdir(mode=0o700)
        except FileExistsError:
            if not self.destination.is_dir() or os.listdir(self.destination):
                raise Occupied(f"{self.destination} is there, and is no empty directory") from None
        root = os.open(self.destination, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            entries = self.snapshot.entries.values()
            directories = sorted((entry for entry in entries if entry.kind == "dir"), key=lambda entry: entry.path)
            for entry in directories:  # a parent sorts before what is in it
                if entry.path != ROOT:
                    self._try(self._directory, root, entry)
            crew.for_each("restore", handfuls(self.snapshot), self._write, root, self.stop)
            for entry in entries:
                if entry.kind == "link" and not self.stop():
                    self._try(self._link, root, entry)
            for entry in reversed(directories):
                if not self.stop():
                    self._try(self._finish_directory, root, entry)
        finally:
            os.close(root)

    def _write(self, handful: Handful, root: int) -> None:
        """The function of the queue."""
        try:
            at = open_beneath(root, handful.directory)
        except OSError as error:
            self.failed += ((entry.path, error.strerror or str(error)) for entry in handful.entries)
            return
        try:
            for entry in handful.entries:
                if self.stop():
                    return
                self._try(self._file, at, entry)
        finally:
            os.close(at)

    def _try(self, make: Callable[[int, Entry], None], at: int, entry: Entry) -> None:
        try:
            make(at, entry)
        except Damaged as error:
            self.failed.append((entry.path, str(error)))
        except OSError as error:
            if error.errno in _HOPELESS:
                raise
            self.failed.append((entry.path, error.strerror or str(error)))

    def _file(self, at: int, entry: Entry) -> None:
        """Write one file; it has its name only if it is whole."""
        name = base(entry.path)
        descriptor = os.open(name, _NEW, 0o600, dir_fd=at)
        try:
            try:
                for digest in entry.digests:
                    if self.stop():
                        raise Damaged("interrupted")
                    self._append(descriptor, digest)
                if os.lseek(descriptor, 0, os.SEEK_CUR) != entry.size:
                    raise Damaged("the blocks have another size than the index says")
                os.fchmod(descriptor, entry.mode & 0o777)
                os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
            finally:
                os.close(descriptor)
        except BaseException:
            os.unlink(name, dir_fd=at)
            raise

    def _append(self, descriptor: int, digest: bytes) -> None:
        if self.blocks is None:
            raise Damaged("the block file is missing")
        data = memoryview(self.blocks.read(digest))
        self.done.add(len(data))
        while data:
            data = data[os.write(descriptor, data) :]

    def _directory(self, root: int, entry: Entry) -> None:
        self._in(root, entry.path, lambda name, at: os.mkdir(name, 0o700, dir_fd=at))

    def _link(self, root: int, entry: Entry) -> None:
        def make(name: str, at: int) -> None:
            os.symlink(entry.target, name, dir_fd=at)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=at, follow_symlinks=False)

        self._in(root, entry.path, make)

    def _finish_directory(self, root: int, entry: Entry) -> None:
        descriptor = open_beneath(root, entry.path)
        try:
            os.fchmod(descriptor, entry.mode & (0o777 | stat.S_ISVTX))
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)

    def _in(self, root: int, path: str, make: Callable[[str, int], None]) -> None:
        """Call `make` with the last part of `path` and the descriptor of its directory."""
        at = open_beneath(root, parent(path))
        try:
            make(base(path), at)
        finally:
            os.close(at)


def parent(path: str) -> str:
    """The directory that `path` is in."""
    return path.rpartition("/")[0] or ROOT


def base(path: str) -> str:
    """The last part of `path`."""
    return path.rpartition("/")[2]


def open_beneath(root: int, path: str) -> int:
    """A descriptor of the directory `path` below `root`, reached without following any link."""
    at = os.dup(root)
    for part in () if path == ROOT else path.split("/"):
        try:
            below = os.open(part, _DIRECTORY, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def handfuls(snapshot: Snapshot) -> Iterator[Handful]:
    """The files by directory, some at a time."""
    directories: dict[str, list[Entry]] = {}
    for entry in snapshot.files():
        directories.setdefault(parent(entry.path), []).append(entry)
    for directory, entries in directories.items():
        some: list[Entry] = []
        for entry in entries:
            some.append(entry)
            if len(some) >= FILES or sum(entry.size for entry in some) >= BYTES:
                yield Handful(directory, some)
                some = []
        if some:
            yield Handful(directory, some)
