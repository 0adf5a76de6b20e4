"""The books of a pack: what goes into the index, and when it is written (task9).

Whoever has an entry appends it and schedules the entering task. A thousand schedules before it starts are one run
(TK-2), so the accounting costs each file one append and one test. A periodic task on the same queue writes the
checkpoint (TK-13).

Locking: none. The tasks of one queue run one at a time and in order (TK-5), so the entries need no lock, and a
checkpoint never sees half of what belongs together: all entries that it writes were complete when it looked how long
the block file is, so the blocks that they need lie within that length.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from time import monotonic, perf_counter

import index
from index import Entry
from store import Archive

import task9

PERIOD = 5.0
"""Seconds between checkpoints; what a crash costs at most, in time."""

_SHARE = 10
"""A checkpoint may take one part in so many of the time: where it takes long it comes less often."""


class Books:
    """The entries of the snapshot that is being made.

    Args:
        archive: open to write.
        snapshot: without entries; gets them.
        failed: called with the exception if the index can't be written.
    """

    def __init__(self, archive: Archive, snapshot: index.Snapshot, failed: Callable[[BaseException], object]) -> None:
        self.archive = archive
        self.snapshot = snapshot
        self.failed = failed
        self.queue = task9.TaskQueue("index")
        # The queue's tasks' own, see the head of the module.
        self.lines: dict[str, bytes] = {}
        self.files = 0
        self.kinds: Counter[str] = Counter()
        self.checkpoints = 0
        self.written_at = monotonic()
        self._not_before = 0.0
        self._incoming: deque[Entry] = deque()  # appended by anybody, popped by the entering task
        self._entering = task9.Task(self._enter)
        self._checkpoint = task9.PeriodicTask(self._write_checkpoint, PERIOD)

    def start(self, period: float) -> None:
        """Begin with the checkpoints."""
        self._checkpoint = task9.PeriodicTask(self._write_checkpoint, period)
        self._checkpoint.start(queue=self.queue)

    def post(self, entry: Entry) -> None:
        """Hand in an entry, all of whose blocks are written; it replaces one of the same path. Any thread."""
        self._incoming.append(entry)
        self.queue.schedule(self._entering)

    def leave_out(self, path: str, why: str) -> None:
        """Note what the snapshot lacks. Any thread: one append."""
        self.snapshot.left_out.append((path, why))

    def settle(self) -> None:
        """Return once everything that was posted is entered. Not from the queue's tasks."""
        self.queue.drain()

    def finish(self, complete: bool) -> None:
        """Write the index for the last time. Raises OSError."""
        self._checkpoint.cancel()
        self.settle()
        self._enter(self._entering)  # nothing else runs any more; it finds nothing, unless a schedule failed
        self.snapshot.complete = complete
        self._write()

    def close(self) -> None:
        """End the queue."""
        self._checkpoint.cancel()
        self.queue.close()

    def _enter(self, task: task9.Task) -> None:
        while self._incoming:
            entry = self._incoming.popleft()
            if entry.path not in self.lines:
                self.kinds[entry.kind] += 1
            self.lines[entry.path] = entry.line()

    def _write_checkpoint(self, task: task9.PeriodicTask) -> None:
        begun = perf_counter()
        if begun < self._not_before:
            return
        try:
            self._write()
        except OSError as error:
            task.cancel()
            self.failed(error)
        self._not_before = begun + (perf_counter() - begun) * _SHARE

    def _write(self) -> None:
        """Entries first, then the length of the block file, then the disk's word for it, then the index."""
        blocks = self.archive.blocks
        assert blocks is not None
        lines = list(self.lines.values())
        self.snapshot.blocks = blocks.end
        blocks.sync()
        index.save(self.archive.indexes, self.snapshot, lines)
        self.checkpoints += 1
        self.written_at = monotonic()
