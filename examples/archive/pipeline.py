"""The pipeline: files go in, blocks are hashed and compressed on all CPUs, one writer stores them (workqueue9).

    caller          "squeeze", max_active=CPUs, max_pending                  "write", one at a time
    add(file) ═══>  _squeeze: read, hash, compress  ──> ready, some at once ═══> _store: append, settle files

A parcel is what travels: up to 256 KiB, one block of a large file or several small files, because waking a thread
takes as long as hashing a source file. For the same reason the writer is only called for `BATCH` parcels: each time it
wakes up it takes a CPU, and the GIL, from a thread that compresses. It stores whatever is ready then.

Back-pressure: at most `max_pending` parcels wait for a CPU, then the caller waits (WQ-9). A squeezer that makes a
parcel ready while the writer is behind enqueues another call of it, and waits likewise once there are `max_pending`.
So memory is bounded, however large the tree and slow the disk. A parcel holds names until a CPU takes it up.

Locking: none. What a parcel holds belongs to who has the parcel; `ready` is a deque, appended to by any thread and
emptied by the writer; the block file's end and all counters of `Totals` belong to the writer, whose works run one at a
time (WQ-1). The display reads the counters as they are.
"""

from __future__ import annotations

import hashlib
import stat
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from time import perf_counter

import codec
import crew
from index import Entry
from records import BLOCK, BlockFile, NewBlock
from stopping import Stop
from tree import Changed, Found, is_young, read_piece, reason, stamp_of

import threadpool9
import workqueue9

PIECES = 64
"""Pieces in a parcel at most: with very small files opening them is the work."""

BATCH = 8
"""Parcels that are ready before the writer is called."""

_GRACE = 0.5  # seconds that works under way may take to notice a stop


class File:
    """A file on its way; the writer's, once all its pieces are on theirs."""

    def __init__(self, found: Found, last_try: bool = False) -> None:
        self.found = found
        self.stamp = stamp_of(found.status)
        self.last_try = last_try
        self.digests: list[bytes] = [b""] * -(-found.status.st_size // BLOCK)
        self.left = len(self.digests)
        self.size = 0
        self.changed = False
        self.trouble: str | None = None

    def entry(self) -> Entry:
        """What the index says of it."""
        status = self.found.status
        stamp = None if self.changed or is_young(self.stamp) else self.stamp
        digests = tuple(filter(None, self.digests))  # one is missing if the file became shorter
        mode = stat.S_IMODE(status.st_mode)
        return Entry(self.found.path, "file", mode, status.st_mtime_ns, self.size, digests, stamp=stamp)


class Piece:
    """One block of a file."""

    __slots__ = ("block", "digest", "file", "length", "number", "size")

    def __init__(self, file: File, number: int, length: int) -> None:
        self.file = file
        self.number = number
        self.length = length
        self.size = 0  # what was read
        self.digest = b""
        self.block: NewBlock | None = None  # None if it is in the archive already

    def squeeze(self, kind: int, known: Container[bytes]) -> None:
        """Read, hash, and unless it is known compress. What goes wrong is noted on the file."""
        file = self.file
        try:
            data, same = read_piece(file.found.full, self.number * BLOCK, self.length, file.stamp)
        except OSError as error:
            file.trouble = reason(error)
            return
        except Changed:
            file.trouble = "no regular file any more"
            return
        if not same:
            file.changed = True
        if data and (same or file.last_try):
            self.size = len(data)
            self.digest = hashlib.sha256(data).digest()
            if self.digest not in known:
                self.block = NewBlock(self.digest, len(data), *codec.pack(kind, data))


class Parcel(workqueue9.Work):
    """Some pieces on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[Piece] = []
        self.length = 0
        self.cpu = 0  # where it was squeezed
        self.seconds = 0.0  # and how long that took

    def squeeze(self, kind: int, known: Container[bytes], stop: Stop) -> bool:
        """Do all pieces; False if asked to stop before the last one."""
        begun = perf_counter()
        for piece in self.pieces:
            if stop():
                return False
            if piece.file.trouble is None:
                piece.squeeze(kind, known)
        self.seconds = perf_counter() - begun
        self.cpu = threadpool9.current_cpu()
        return True


def cut(file: File) -> Iterator[Piece]:
    """The pieces of a file."""
    size = file.found.status.st_size
    for number in range(len(file.digests)):
        yield Piece(file, number, min(BLOCK, size - number * BLOCK))


class Cutter:
    """Fills parcels."""

    def __init__(self) -> None:
        self._parcel = Parcel()

    def add(self, file: File) -> Iterator[Parcel]:
        """Cut a file; yields the parcels that are full."""
        for piece in cut(file):
            if self._parcel.pieces and self._parcel.length + piece.length > BLOCK:
                yield from self.rest()
            self._parcel.pieces.append(piece)
            self._parcel.length += piece.length
            if len(self._parcel.pieces) >= PIECES or self._parcel.length >= BLOCK:
                yield from self.rest()

    def rest(self) -> Iterator[Parcel]:
        """The parcel that is not full, if there is one."""
        if self._parcel.pieces:
            parcel, self._parcel = self._parcel, Parcel()
            yield parcel


class Totals:
    """What was done. Written by the writer only."""

    def __init__(self) -> None:
        self.read = 0  # bytes read from files
        self.new = 0  # of these, bytes in blocks that were not known
        self.written = 0  # what they take in the block file
        self.blocks = 0
        self.known = 0  # blocks that were in the archive already
        self.parcels: Counter[int] = Counter()  # by CPU
        self.bytes: Counter[int] = Counter()
        self.seconds: Counter[int] = Counter()

    def enter(self, parcel: Parcel) -> None:
        """Add up where a parcel was squeezed."""
        self.parcels[parcel.cpu] += 1
        self.bytes[parcel.cpu] += sum(piece.size for piece in parcel.pieces)
        self.seconds[parcel.cpu] += parcel.seconds  # type: ignore[assignment]  # a Counter adds floats as well


def store(parcels: Sequence[Parcel], blocks: BlockFile, totals: Totals, settled: Callable[[File], object]) -> None:
    """Append what is new in some parcels, then settle the files that have all their blocks. For the one writer."""
    pieces = [piece for parcel in parcels for piece in parcel.pieces]
    totals.written += blocks.append([piece.block for piece in pieces if piece.block is not None])
    for parcel in parcels:
        totals.enter(parcel)
    for piece in pieces:
        file = piece.file
        if piece.digest:
            file.digests[piece.number] = piece.digest
            file.size += piece.size
            totals.read += piece.size
            totals.blocks += 1
            totals.known += piece.block is None
            totals.new += piece.size * (piece.block is not None)
        file.left -= 1
        if not file.left:
            settled(file)


class Pipeline:
    """The two queues.

    Args:
        blocks: where the writer appends.
        kind: the codec.
        stop: looked at before each block; what fails is noted there.
        settled: called by the writer with each file that is through.
    """

    def __init__(self, blocks: BlockFile, kind: int, stop: Stop, settled: Callable[[File], object]) -> None:
        self.blocks = blocks
        self.kind = kind
        self.stop = stop
        self.settled = settled
        self.totals = Totals()
        self.cutter = Cutter()
        self.squeezers = crew.bounded("squeeze", _squeeze, self, stop)
        pending = crew.LOADED_PER_CPU * len(threadpool9.allowed_cpus())
        self.writer = workqueue9.WorkQueue("write", _store, arg=self, max_pending=pending, on_error=stop.fail)
        self.ready: deque[Parcel] = deque()
        self.stages: tuple[workqueue9.WorkQueue, ...] = (self.squeezers,)  # what comes before the writer

    def pass_on(self, parcel: Parcel) -> None:
        """A parcel is squeezed: on with it. A thread of the pool; waits while the writer is behind."""
        self.ready.append(parcel)
        if len(self.ready) >= BATCH:
            self.writer.enqueue(workqueue9.Work())

    def add(self, file: File) -> bool:
        """Have a file packed that has content; waits while the queue is full. False if asked to stop."""
        return all(crew.send(self.squeezers, parcel, self.stop) for parcel in self.cutter.add(file))

    def finish(self) -> None:
        """Return once everything that was added is stored, or we are to stop."""
        for parcel in self.cutter.rest():
            crew.send(self.squeezers, parcel, self.stop)
        for queue in self.stages:
            crew.drain(queue, self.stop)
        crew.send(self.writer, workqueue9.Work(), self.stop)  # what is left is less than a batch
        crew.drain(self.writer, self.stop)

    def close(self) -> None:
        """End the queues; after a request to stop don't wait for a file system that does not answer."""
        for queue in self.stages:
            self._end(queue)
        with suppress(workqueue9.Full):  # then works that wait see to what is ready
            self.writer.enqueue(workqueue9.Work(), timeout=0)
        self._end(self.writer)

    def _end(self, queue: workqueue9.WorkQueue) -> None:
        try:
            queue.drain(timeout=_GRACE if self.stop() else None)
        except threadpool9.WaitTimeout:
            threadpool9.tunables.exit_policy = "abandon"
        else:
            queue.destroy()


def _squeeze(parcel: Parcel, pipeline: Pipeline) -> None:
    """The function of the first queue."""
    if parcel.squeeze(pipeline.kind, pipeline.blocks.places, pipeline.stop):
        pipeline.pass_on(parcel)


def _store(work: workqueue9.Work, pipeline: Pipeline) -> None:
    """The function of the second queue: whatever is ready."""
    parcels = [pipeline.ready.popleft() for _ in range(len(pipeline.ready))]  # nobody else takes any
    if pipeline.stop.error is None:
        store(parcels, pipeline.blocks, pipeline.totals, pipeline.settled)
