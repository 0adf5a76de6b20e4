"""What a pool has counted, and what its workers report of the OS (TP-8, TP-10, TP-34).

Rules. A: atomic operations, any context. T: written by the starter.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from . import _atomic, _hooks, _seam
from ._probes import probes
from ._waiting import Waiters

if TYPE_CHECKING:
    from ._job import Job
    from ._worker import Worker


class PoolStats:
    """The half of a pool that is looked at; `Pool` is the other one."""

    cpu: int | None
    _jobs: _seam.deque[list[Job]]
    _workers: dict[Worker, None]
    _workers_gone: Waiters

    def __init__(self) -> None:
        self._cancelled = _atomic.Tally()  # A
        self._left: list[tuple[int, int, Worker | None]] = [(0, 0, None)]  # T: see `counts`
        self._reported = 0  # written by who takes a snapshot: high-water mark of `scheduled`, as no counter may go back
        self._reported_completed = 0  # likewise: what is in flight is read after what has started
        self._refused: str | None = None  # A: what the OS refused, reported once
        #: A: exactly one of the two lists holds an object. A change of state makes a new one and moves it to the other
        #: list, so that a worker can report only a change from the state that it saw.
        self._bound, self._unbound = [object()], list[object]()
        self._start_failures = 0  # T
        self._threads_started = 0  # T
        self._threads_left = 0  # T

    # --- counting: each number is summed up here, and nowhere else (TP-34)

    def counts(self) -> list[int]:
        """The numbers of `Counters`, in their order. Any context; exact when nothing is going on."""
        while True:
            left = self._left[0]
            workers = [worker for worker in list(self._workers) if worker is not left[2]]
            if left is self._left[0]:  # nobody was seen off in between
                break
        started = left[0] + sum(worker.started for worker in workers)
        errors = left[1] + sum(worker.errors for worker in workers)
        # Of a worker one job at most is in flight, so what is completed needs no counter of its own.
        in_flight = sum(worker.job is not None for worker in workers)
        cancelled = self._cancelled.value()
        queued = sum(1 for ticket in _atomic.contents(self._jobs) if ticket)
        # Each schedule ends as a start or a cancel or is queued: counting it where it happens would cost the hot
        # path. What a worker has just taken is in neither for a moment, and a counter must not go back.
        self._reported = max(self._reported, started + cancelled + queued)
        threads = [self._threads_started, self._threads_left, self._start_failures]
        self._reported_completed = max(self._reported_completed, started - in_flight)
        return [self._reported, started, self._reported_completed, cancelled, errors, *threads]

    def _see_off(self, worker: Worker) -> None:
        """`worker` has left: add what it has counted, and forget it. The starter, or the thread that exits."""
        started, errors, _ = self._left[0]
        # One store for the totals: a reader sees the worker in them, or in the table, never in both.
        self._left[0] = (started + worker.started, errors + worker.errors, worker)
        self._threads_left += not worker.inline
        self._workers.pop(worker, None)
        self._workers_gone.wake_all()

    def _forget_workers(self, mine: Container[Worker]) -> None:
        """In a fork child: what the others had begun is over, or lost with them and as if it had never begun."""
        started, errors, _ = self._left[0]
        for worker in self._workers:
            if worker not in mine:
                started += worker.started - (worker.job is not None)
                errors += worker.errors
        self._left[0] = (started, errors, None)
        self._reported = self._reported_completed = 0

    # --- what workers report

    def _note_refusal(self, refused: str) -> None:
        if self._refused is None:
            self._refused = f"{self!r}: {refused}"
            _hooks.tell(self._refused)

    def _note_unbound(self, seen: list[object], error: OSError) -> None:
        """The CPU was gone, some time after `_bound` was `seen`."""
        try:
            self._bound.remove(seen[0])
        except (IndexError, ValueError):
            return  # reported already, by another worker; it may even be back by now
        self._unbound.append(object())
        if (probe := probes.bind__lost) is not None:
            probe(self, self.cpu)
        why = error.strerror or error
        _hooks.tell(f"{self!r}: the CPU can't be used any more ({why}); its jobs run on those that remain")

    def _note_bound(self, seen: list[object]) -> None:
        """The CPU was there, some time after `_unbound` was `seen`."""
        try:
            self._unbound.remove(seen[0])
        except (IndexError, ValueError):
            return
        self._bound.append(object())
        if (probe := probes.bind__restored) is not None:
            probe(self, self.cpu)
