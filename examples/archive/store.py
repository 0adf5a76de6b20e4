"""The archive as a directory: the block file and the index files.

    ARCHIVE/blocks                     see records.py
    ARCHIVE/index/000001.json.gz ...   see index.py

Opened to write it is locked; opened to read it may be packed into meanwhile: the reader sees the last checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import index
from codec import Damaged
from records import HEAD, BlockFile

_OURS = {"blocks", "index"}


class NotAnArchive(Exception):
    """The directory holds something else, or is not there."""


class Archive:
    """An archive that is open.

    Args:
        path: the directory; made with `write`, if it is missing or empty.
        write: to pack into it.
    """

    def __init__(self, path: Path, write: bool = False) -> None:
        self.path = path
        self.indexes = path / "index"
        if write:
            os.makedirs(path, exist_ok=True)
        try:
            names = set(os.listdir(path))
        except OSError as error:
            raise NotAnArchive(f"{path}: {error.strerror}") from None
        # A pack that was killed in its first moment leaves less than all of it.
        if strangers := {name for name in names - _OURS if not name.startswith("blocks.")}:
            raise NotAnArchive(f"{path} is not an archive: it holds {min(strangers)!r}")
        if write:
            os.makedirs(self.indexes, exist_ok=True)
        elif not names:
            raise NotAnArchive(f"{path} is empty")
        self.damage: list[str] = []
        self.latest: index.Snapshot | None = None
        self.latest = next(self.newest_first(), None)
        committed = len(HEAD) if self.latest is None else self.latest.blocks
        self.blocks: BlockFile | None = None
        if write or "blocks" in names:
            self.blocks = BlockFile(path / "blocks", committed, write)
        elif self.latest is not None:
            self.damage.append("the block file is missing")
        if write:
            for name in os.listdir(self.indexes):  # of a pack that was killed; now the lock is ours
                if name.endswith(".tmp"):
                    os.unlink(self.indexes / name)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *args: object) -> None:
        if self.blocks is not None:
            self.blocks.close()

    def newest_first(self) -> Iterator[index.Snapshot]:
        """The snapshots, read one by one; those that can't be read are put into `damage`.

        Once `latest` is known it begins with that: the block file was read after it, so it has all blocks.
        """
        latest = self.latest
        if latest is not None:
            yield latest
        for number in reversed(index.numbers(self.indexes)):
            if latest is not None and number >= latest.number:
                continue
            try:
                yield index.load(self.indexes, number)
            except FileNotFoundError:  # an interrupted one, which a pack that reached its end has replaced just now
                continue
            except Damaged as error:
                if str(error) not in self.damage:
                    self.damage.append(str(error))

    def choose(self, number: int | None) -> index.Snapshot:
        """The snapshot of that number, by default the latest. Raises Damaged and NotAnArchive."""
        latest = self.latest
        if number is None and latest is None:
            raise NotAnArchive(f"{self.path} has no snapshot yet")
        if latest is not None and number in (None, latest.number):
            return latest
        if number not in index.numbers(self.indexes):
            raise NotAnArchive(f"{self.path} has no snapshot {number}")
        return index.load(self.indexes, number)

    def known(self, source: str) -> dict[str, index.Entry]:
        """What earlier packs of `source` found: those since the last complete one, the newer entry first."""
        entries: dict[str, index.Entry] = {}
        for snapshot in self.newest_first():
            if snapshot.source == source:
                entries = {**snapshot.entries, **entries}
                if snapshot.complete:
                    break
        return entries

    def next_number(self) -> int:
        """The number of the snapshot that comes next."""
        return max(index.numbers(self.indexes), default=0) + 1

    def drop_unfinished(self, before: int, source: str) -> None:
        """Remove the index files of interrupted packs of `source`: the complete snapshot `before` has it all."""
        for snapshot in self.newest_first():
            if snapshot.number < before and snapshot.source == source and not snapshot.complete:
                os.unlink(self.indexes / f"{snapshot.number:06}.json.gz")
            elif snapshot.number < before and snapshot.complete:
                break
