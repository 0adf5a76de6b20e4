"""The ledger: who hashed what, entered by one task (task9).

Workers on all CPUs drop their results into a deque and schedule the booking task, a moment from now: the first
result arms it, and the thousands that follow within that moment coalesce with it (TK-2, TK-11), so the accounting
costs each file one append and one failed test-and-set.

Locking: none. The totals belong to the tasks of the ledger's queue, which run one at a time and in order (TK-5): the
booking task, and the display, which therefore never sees half an entry. The main thread reads them after `settle`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oslook import Look

import task9

DELAY = 0.05
"""Seconds between a result and its entry, at most; short enough for the eye."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one file. Either `digest` or `trouble` is set, or neither: then it was no regular file."""

    path: str
    cpu: int | None
    """The CPU whose queue the file went through; None if it never got that far."""
    size: int = 0
    seconds: float = 0.0
    digest: str | None = None
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a worker hands in at once."""

    results: tuple[Result, ...]
    look: Look | None = None
    """Where the operating system saw the worker."""


@dataclass(slots=True)
class Account:
    """The totals of one CPU."""

    files: int = 0
    size: int = 0
    seconds: float = 0.0
    processors: Counter[str] = field(default_factory=Counter)
    """On which CPU the thread was when it was looked at, and how often."""
    allowed: set[str] = field(default_factory=set)

    def add(self, result: Result) -> None:
        """Enter one result."""
        self.files += result.digest is not None
        self.size += result.size
        self.seconds += result.seconds

    def see(self, look: Look) -> None:
        """Enter where a thread was."""
        self.processors[look.processor] += 1
        self.allowed.add(look.allowed)


class Ledger:
    """All accounts, the digests, and what went wrong.

    Args:
        cpus: who has an account.
        complain: called with each result that has `trouble`, on the ledger's queue.
    """

    def __init__(self, cpus: Sequence[int], complain: Callable[[Result], object]) -> None:
        self.queue = task9.TaskQueue("ledger")
        # These are the queue's tasks' own, see the head of the module.
        self.accounts = {cpu: Account() for cpu in cpus}
        self.digests: dict[str, str] = {}
        self.failed: set[str] = set()
        self.skipped = 0
        self._complain = complain
        self._incoming: deque[Batch] = deque()  # appended by anybody, popped by the booking task
        self._booking = task9.DelayedTask(self._book)

    def post(self, *results: Result, look: Look | None = None) -> None:
        """Hand in results. Any thread; never blocks."""
        self._incoming.append(Batch(results, look))
        self._booking.schedule(DELAY, queue=self.queue)

    def settle(self) -> None:
        """Return once everything posted so far is entered. From outside the queue's tasks."""
        self._booking.reschedule(0.0, queue=self.queue)
        self.queue.drain()

    def close(self) -> None:
        """End the queue."""
        self.queue.close()

    @property
    def files(self) -> int:
        """Number of files with a digest."""
        return len(self.digests)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(account.size for account in self.accounts.values())

    def _book(self, task: task9.DelayedTask) -> None:
        while self._incoming:
            batch = self._incoming.popleft()
            for result in batch.results:
                self._enter(result)
            if batch.look is not None and (cpu := batch.results[0].cpu) is not None:
                self.accounts[cpu].see(batch.look)

    def _enter(self, result: Result) -> None:
        if result.cpu is not None:
            self.accounts[result.cpu].add(result)
        if result.trouble is not None:
            self.failed.add(result.path)
            self._complain(result)
        elif result.digest is not None:
            self.digests[result.path] = result.digest
        else:
            self.skipped += 1
