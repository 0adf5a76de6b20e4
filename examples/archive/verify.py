"""Verifying an archive: every block is read, unpacked and hashed, then every file of every snapshot is accounted for.

Blocks are checked on all CPUs, on a bounded queue; the order does not matter, so there is no writer.

What lies behind the last checkpoint is no damage: a pack was interrupted there, or is under way. Of that, blocks that
are whole are of use to the next pack, and the rest it overwrites.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import crew
from codec import Damaged
from index import Snapshot
from records import HEAD, BlockFile, Record
from stopping import Stop
from store import Archive

import workqueue9

RECORDS = 64
"""Records in a batch at most."""

BYTES = 1 << 20
"""Bytes in a batch, unless one record has more."""


@dataclass(slots=True)
class Verdict:
    """What was found."""

    damage: list[str] = field(default_factory=list)
    """What is wrong with the archive, in words."""
    damaged_files: list[tuple[int, str]] = field(default_factory=list)
    """Snapshot number and path of files that can't be restored whole."""
    blocks: int = 0
    snapshots: int = 0
    unfinished: int = 0
    """Snapshots of packs that were interrupted."""
    files: int = 0
    tail: int = 0
    """Bytes behind the last checkpoint that are of use to no one."""


class Batch(workqueue9.Work):
    """Some records to check."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__()
        self.records = records


class Verify:
    """One run of ``archive verify``, as far as it is done."""

    def __init__(self, archive: Archive, stop: Stop) -> None:
        self.archive = archive
        self.stop = stop
        self.total = sum(record.place.size for record in archive.blocks.records) if archive.blocks else 0
        self.bad: deque[tuple[Record, str]] = deque()  # appended by the works
        self.done = crew.Tally()  # bytes of content that were checked

    def run(self) -> Verdict:
        """Check everything; incomplete if asked to stop meanwhile."""
        verdict = Verdict()
        blocks = self.archive.blocks
        good: set[bytes] = set()
        if blocks is not None:
            self._check_blocks(blocks)
            spoilt = {record.place.offset for record, _ in self.bad}
            good = {record.digest for record in blocks.records if record.place.offset not in spoilt}
            verdict.blocks = len(blocks.records)
            verdict.tail = blocks.size - max(blocks.end, min(blocks.committed, blocks.size))
            for gap in blocks.gaps:
                verdict.damage.append(f"{gap.size:,} bytes at {gap.offset:,} of the block file are no records")
            if blocks.size < blocks.committed:
                missing = blocks.committed - blocks.size
                verdict.damage.append(f"the block file lacks its last {missing:,} bytes")
            for record, why in self.bad:
                verdict.damage.append(f"block {record.digest.hex()[:16]} at {record.place.offset:,}: {why}")
        if not self.stop():
            for snapshot in self.archive.newest_first():
                self._check_files(snapshot, good, verdict)
        verdict.damage += self.archive.damage
        return verdict

    def _check_blocks(self, blocks: BlockFile) -> None:
        crew.for_each("verify", batches(blocks.records), self._check, blocks, self.stop)

    def _check(self, batch: Batch, blocks: BlockFile) -> None:
        """The function of the queue."""
        for record in batch.records:
            if self.stop():
                return
            try:
                blocks.read_place(record.digest, record.place)
            except Damaged as error:
                self.bad.append((record, str(error)))
        self.done.add(sum(record.place.size for record in batch.records))

    def _check_files(self, snapshot: Snapshot, good: set[bytes], verdict: Verdict) -> None:
        places = {} if self.archive.blocks is None else self.archive.blocks.places
        verdict.snapshots += 1
        verdict.unfinished += not snapshot.complete
        for entry in snapshot.files():
            verdict.files += 1
            if not good.issuperset(entry.digests):
                verdict.damaged_files.append((snapshot.number, entry.path))
            elif sum(places[digest].size for digest in entry.digests) != entry.size:
                verdict.damage.append(
                    f"snapshot {snapshot.number} says {entry.path!r} has another size than its blocks"
                )
                verdict.damaged_files.append((snapshot.number, entry.path))


def batches(records: list[Record]) -> Iterator[Batch]:
    """The records in handfuls, in the order in which they lie in the file."""
    some: list[Record] = []
    size = 0
    for record in records:
        some.append(record)
        size += record.place.size
        if size >= BYTES or len(some) >= RECORDS:
            yield Batch(some)
            some, size = [], 0
    if some:
        yield Batch(some)


def is_empty(archive: Archive) -> bool:
    """True if nothing was ever packed into it."""
    return archive.latest is None and (archive.blocks is None or archive.blocks.end == len(HEAD))
