"""Packing a directory: walk, pipeline, books, watch.

    main thread        CPUs              writer             index queue            pool
    walk ══════════>   squeeze ════════> store ══════════>  enter                  census: how much there is
                       bounded           one at a time      checkpoint, periodic   watch: who changes the source

The order that makes a crash harmless: a block is written before the entry that needs it is posted, and synced before
an index that has the entry is written. A pack that was stopped, by a signal or by the power supply, left a snapshot of
what it had; the next one takes over every entry whose file is as it was, and every block.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Collection
from functools import partial
from time import perf_counter
from typing import Any

import codec
import index
from books import PERIOD, Books
from far import FarPipeline
from index import Entry
from pipeline import File, Pipeline
from stopping import Stop
from store import Archive
from tree import Found, reason, walk
from watch import Watch

import task9

SPECIAL = "a FIFO, socket or device"
CHANGING = "changed while it was read"


class Pack:
    """One run of ``archive pack``, as far as it is done.

    Args:
        source: the directory.
        archive: open to write.
        stop: looked at everywhere.
        kind: the codec.
        cluster: a back end that compresses, see `far`; None to do that here.
        exclude: names that are left out.
        checkpoint: seconds between two checkpoints.
    """

    def __init__(
        self,
        source: str,
        archive: Archive,
        stop: Stop,
        kind: int = codec.ZLIB,
        exclude: Collection[str] = (),
        checkpoint: float = PERIOD,
        cluster: Any = None,
    ) -> None:
        assert archive.blocks is not None
        self.source = os.path.abspath(source)
        self.archive = archive
        self.stop = stop
        self.exclude = frozenset(exclude)
        self.period = checkpoint
        self.snapshot = index.Snapshot(archive.next_number(), self.source, index.now())
        self.known = archive.known(self.source)
        self.books = Books(archive, self.snapshot, stop.fail)
        make = Pipeline if cluster is None else partial(FarPipeline, cluster=cluster)
        self.pipeline = make(archive.blocks, kind, stop, self._settled)
        self.watch = Watch(stop)
        self.total: int | None = None  # the census', once it is over: bytes in all files
        self.begun = perf_counter()
        self.seconds = 0.0
        self.unchanged = 0
        self.dangling: list[str] = []
        self.changing: list[str] = []  # the writer's
        self._over = False
        self._passed = 0  # the main thread's: bytes in files that are as they were
        self._again: list[str] = []  # the writer's until the pipeline has drained

    @property
    def bytes_done(self) -> int:
        """Bytes that are packed, or need not be."""
        return self.pipeline.totals.read + self._passed

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """What the snapshot lacks, and why."""
        return self.snapshot.left_out

    def reasons(self) -> Counter[str]:
        """How many paths were left out for which reason."""
        return Counter(why for _, why in list(self.left_out))

    def run(self) -> None:
        """Pack, until done or asked to stop; then the snapshot is written. Raises what failed."""
        census = task9.TaskQueue("census")
        looking = task9.PeriodicTask(lambda task: self.watch.look(), 0.5)
        try:
            census.schedule(task9.Task(self._census))
            looking.start(first=0.0)  # on the system queue, which is for what is over at once
            self.books.start(self.period)
            self._walk()
            self.pipeline.finish()
            looking.cancel()
            self._read_again()
        finally:
            self._over = True
            looking.cancel()
            self.watch.close()
            census.close()
            self.pipeline.close()
            try:
                self._finish()
            finally:
                self.books.close()

    def _finish(self) -> None:
        """The last checkpoint. After an error there is none: that of before holds."""
        if self.stop.error is not None:
            raise self.stop.error
        complete = not self.stop()
        self.books.finish(complete)
        if complete:
            self.archive.drop_unfinished(self.snapshot.number, self.source)
        self.seconds = perf_counter() - self.begun

    def _walk(self) -> None:
        here = self.archive.path.stat()
        for found in walk(self.source, self._failed, self.exclude, (here.st_dev, here.st_ino)):
            if self.stop() or not self._take(found):
                return

    def _take(self, found: Found) -> bool:
        """Whatever `found` is, see to it; False if asked to stop."""
        mode, mtime = stat.S_IMODE(found.status.st_mode), found.status.st_mtime_ns
        if stat.S_ISREG(found.status.st_mode):
            return self._take_file(File(found))
        if stat.S_ISDIR(found.status.st_mode):
            self.books.post(Entry(found.path, "dir", mode, mtime))
        elif stat.S_ISLNK(found.status.st_mode):
            try:
                target = os.readlink(found.full)
            except OSError as error:
                self._failed(found.full, error)
                return True
            if not os.path.exists(found.full):
                self.dangling.append(found.full)
            self.books.post(Entry(found.path, "link", mode, mtime, target=target))
        else:
            self.books.leave_out(found.full, SPECIAL)
        return True

    def _take_file(self, file: File) -> bool:
        known = self.known.get(file.found.path)
        if known is not None and known.stamp == file.stamp and self._has_all(known):
            self.unchanged += 1
            self._passed += known.size
            self.books.post(file_entry(known, file))
            self.watch.add(file.found.path, file.found.full, file.stamp)
            return True
        if file.left:
            return self.pipeline.add(file)
        self.books.post(file.entry())
        return True

    def _has_all(self, entry: Entry) -> bool:
        places = self.pipeline.blocks.places
        return all(digest in places for digest in entry.digests)

    def _settled(self, file: File) -> None:
        """The writer is through with a file."""
        found = file.found
        if file.trouble is not None:
            self.books.leave_out(found.full, file.trouble)
        elif file.changed and not file.last_try:
            self._again.append(found.path)
        else:
            if file.changed:
                self.changing.append(found.full)
            self.books.post(file.entry())
            self.watch.add(found.path, found.full, file.stamp)

    def _failed(self, full: str, error: OSError) -> None:
        self.books.leave_out(full, reason(error))

    def _read_again(self) -> None:
        """What has changed since it was packed, or while: once more, and that counts, whatever comes after."""
        again = sorted({*self._again, *self.watch.finish()})
        for path in again:
            full = os.path.join(self.source, path)
            try:
                found = Found(path, full, os.lstat(full))
            except OSError as error:
                if path in self._again:
                    self._failed(full, error)  # else what was packed before is the last there was
                continue
            if self.stop() or not stat.S_ISREG(found.status.st_mode):
                continue
            file = File(found, last_try=True)
            if file.left:
                self.pipeline.add(file)
            else:
                self.books.post(file.entry())
        if again:
            self.pipeline.finish()

    def _census(self, task: task9.Task) -> None:
        """How much there is, for the time that is left: a look at everything, no more."""
        total = 0
        here = self.archive.path.stat()
        for found in walk(self.source, lambda full, error: None, self.exclude, (here.st_dev, here.st_ino)):
            if self.stop() or self._over:
                return
            if stat.S_ISREG(found.status.st_mode):
                total += found.status.st_size
        self.total = total


def file_entry(known: Entry, file: File) -> Entry:
    """The entry of an unchanged file: the blocks are those of before, the mode is today's."""
    mode = stat.S_IMODE(file.found.status.st_mode)
    return Entry(known.path, "file", mode, known.mtime_ns, known.size, known.digests, stamp=file.stamp)
