"""The crew: a bounded work queue that hashes files on every CPU (workqueue9).

A WQ_PERCPU queue runs its works on threads bound to their CPU, one at a time on each (WQ-2), so what belongs to a CPU
(its buffer, its counters) needs no lock: the works of that CPU are its only writer.

A work is a handful of files, not one: waking a thread on another CPU takes as long as hashing a source file. How much
work is in a handful is not known before it is done, so a CPU that comes upon a large file gives what lies behind it to
one that has run dry.

Back-pressure: no more than `max_pending` works wait, then the walker waits too (WQ-9). A tree of ten million files is
walked as fast as it is hashed, and its list is never in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

import oslook
import tree
from ledger import Ledger, Result
from stopping import Stop

import threadpool9
import workqueue9

FILES = 64
"""Files in a work that the walker sends."""

PENDING_PER_CPU = 4
"""Works that may wait, for each CPU: enough to bridge the time until the walker runs again."""

_SLICE = 0.1  # seconds until a walker who waits looks whether it should stop
_GRACE = 0.4  # seconds that a stopped crew may take to notice


class Handful(workqueue9.Work):
    """Some files on their way through the queue of one CPU."""

    def __init__(self, paths: Sequence[str], cpu: int, shared: bool = False) -> None:
        super().__init__()
        self.paths = deque(paths)  # the walker's until it is enqueued, then the worker's
        self.cpu = cpu
        self.shared = shared  # it comes from another worker, not from the walker


class Bench:
    """What belongs to one CPU. Written by the works of that CPU, except for `sent`: by the walker."""

    def __init__(self) -> None:
        self.sent = 0  # files from the walker
        self.taken = 0  # files from other workers
        self.given = 0  # files to other workers
        self.done = 0
        self.current: str | None = None  # what is being hashed, for the display
        self.buffer = memoryview(bytearray(tree.BLOCK))

    @property
    def waiting(self) -> int:
        """Files that wait or are being hashed: a moment's truth."""
        return self.sent + self.taken - self.given - self.done


class Crew:
    """The work queue and what surrounds it.

    Args:
        cpus: those that work.
        ledger: who is told the results.
        stop: asked before each file and each block.
    """

    def __init__(self, cpus: tuple[int, ...], ledger: Ledger, stop: Stop) -> None:
        self.ledger = ledger
        self.stop = stop
        self.benches = {cpu: Bench() for cpu in cpus}
        self.queue = workqueue9.WorkQueue(
            "treehash",
            hash_files,
            arg=self,
            flags=workqueue9.WQ_PERCPU,
            max_pending=PENDING_PER_CPU * len(cpus),
        )
        self._paths: list[str] = []  # the walker's: what it has not sent yet

    def missing(self) -> int:
        """Files that were sent and never came back: none, unless there is a bug. After `finish`."""
        return sum(bench.waiting for bench in self.benches.values())

    def idlest(self) -> int:
        """The CPU with the fewest files to do. Any thread; a moment's truth."""
        return min(self.benches, key=lambda cpu: self.benches[cpu].waiting)

    def add(self, path: str) -> bool:
        """Have a file hashed; waits while the queue is full; False if told to stop. For the walker's thread."""
        self._paths.append(path)
        return self._send() if len(self._paths) >= FILES else not self.stop()

    def _send(self) -> bool:
        while not self.stop():
            cpu = self.idlest()
            try:
                self.queue.enqueue(Handful(self._paths, cpu), cpu=cpu, timeout=_SLICE)
            except workqueue9.Full:
                continue
            self.benches[cpu].sent += len(self._paths)
            self._paths.clear()
            return True
        return False

    def share(self, work: Handful) -> None:
        """Give half of what is left of `work` to a CPU that has nothing to do, if there is one. For the worker."""
        count = (len(work.paths) + 1) // 2
        cpu = self.idlest()
        if not count or self.benches[cpu].waiting:
            return
        half = Handful([work.paths.pop() for _ in range(count)], cpu, shared=True)
        try:
            self.queue.enqueue(half, cpu=cpu, block=False)
        except workqueue9.Full:
            work.paths.extend(half.paths)
        else:
            self.benches[work.cpu].given += count

    def finish(self) -> None:
        """Send the rest and wait until all is hashed, or we are told to stop. For the walker's thread."""
        if self._paths:
            self._send()
        while not self.stop():
            try:
                # Unlike flush() it also waits for what a work enqueues, see `share`.
                return self.queue.drain(timeout=_SLICE)
            except threadpool9.WaitTimeout:
                continue

    def close(self) -> None:
        """End the queue; after a request to stop don't wait for a file system that doesn't answer."""
        try:
            self.queue.drain(timeout=_GRACE if self.stop() else None)
        except threadpool9.WaitTimeout:
            threadpool9.tunables.exit_policy = "abandon"
        else:
            self.queue.destroy()


def hash_files(work: Handful, crew: Crew) -> None:
    """The function of the queue: hash a handful of files and post what came of them."""
    bench = crew.benches[work.cpu]
    bench.taken += len(work.paths) * work.shared
    results: list[Result] = []

    def between_blocks() -> bool:
        # This file takes its time: nobody should have to wait for those before and behind it.
        post(results, crew.ledger)
        crew.share(work)
        return crew.stop()

    try:
        while work.paths and not crew.stop():
            path = bench.current = work.paths.popleft()
            results.append(hash_file(path, work.cpu, bench.buffer, between_blocks))
            bench.done += 1
    except tree.Stopped:
        pass
    finally:
        bench.current = None
        post(results, crew.ledger)


def post(results: list[Result], ledger: Ledger) -> None:
    """Hand in what there is, and where we were seen."""
    if results:
        ledger.post(*results, look=oslook.look())
        results.clear()


def hash_file(path: str, cpu: int, buffer: memoryview, stopped: Callable[[], bool]) -> Result:
    """Hash one file; what goes wrong with it is part of the result."""
    begun = perf_counter()
    try:
        digest, size = tree.digest(path, buffer, stopped)
    except OSError as error:
        return Result(path, cpu, trouble=error.strerror or str(error))
    except tree.NotRegular:
        return Result(path, cpu)
    return Result(path, cpu, size, perf_counter() - begun, digest)
