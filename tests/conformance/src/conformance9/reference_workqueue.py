"""The reference for the workqueue layer: everything under one lock, one thread for each call that is under way.

It is meant to be obviously right, not fast, and claims what can be had in a few lines. Every enqueue draws a number;
who waits, waits until nothing with a smaller number is left.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from conformance9.reference_task import ALARM, CHANGED, LOCK, NUMBERS, GaveUp, Misuse, report, wait_for

__all__ = ["ReferenceWorkQueues"]

GIANT = threading.RLock()
BOUNDS = [2.0**power for power in range(-20, 12)]  # of the histogram, in seconds


class Pending(Misuse):
    """The work is pending."""


class Full(Exception):
    """There is no room."""


class Work:
    """A work; `queue` is where it is pending, if it is."""

    def __init__(self, payload: Any = None) -> None:
        self.payload, self.queue = payload, None  # type: tuple[Any, WorkQueue | None]
        self.number = self.disabled = 0
        self.since = 0.0

    @property
    def pending(self) -> bool:
        """Enqueued or armed."""
        return self.queue is not None

    def fire(self) -> None:
        """The time has come."""
        assert self.queue is not None
        self.queue.add(self)


class Stats:
    """Counters."""

    def __init__(self) -> None:
        self.enqueued = self.started = self.completed = self.cancelled = self.errors = self.pending = self.running = 0
        self.run_seconds, self.wait_histogram = 0.0, [0] * len(BOUNDS)


class WorkQueue:
    """What waits, in order, and what is in the function."""

    def __init__(self, name: str, func: Callable[[Any, Any], object], arg: Any, options: dict[str, Any]) -> None:
        self.name, self.func, self.arg = name, func, arg
        self.giant, self.limit, self.on_error = options["giant"], options["max_pending"], options["on_error"]
        self.places = options["max_active"]
        self.items: list[Work] = []
        self.calls: dict[int, tuple[Work, int]] = {}  # by thread: the work and its number
        self.draining, self.destroyed, self.frozen, self.counters = 0, False, False, Stats()

    def _admit(self, work: Work) -> bool:
        if not isinstance(work, Work):
            raise TypeError("not a work")
        if self.destroyed or (self.draining and threading.get_ident() not in self.calls):
            raise Misuse("destroyed or draining")
        if work.pending:
            raise Pending(work.payload)
        return not work.disabled

    def enqueue(self, work: Work, cpu: int | None = None, block: bool = True, timeout: float | None = None) -> bool:
        """WQ-3, WQ-9."""
        if cpu is not None:
            raise Misuse("not a per-CPU queue")
        with LOCK:
            if not self._admit(work):
                return False
            if self.limit is not None:
                try:
                    wait_for(lambda: len(self.items) < self.limit, timeout if block else 0)
                except GaveUp:
                    raise Full(self.name) from None
                if not self._admit(work):
                    return False
            self.counters.enqueued += 1
            self.add(work)
            return True

    def add(self, work: Work) -> None:
        """To the end."""
        work.queue, work.number, work.since = self, next(NUMBERS), time.monotonic()
        self.items.append(work)
        self._start_threads()

    def _start_threads(self) -> None:
        for _ in range(0 if self.frozen else min(self.places, len(self.items))):
            self.places -= 1
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        me, counters = threading.get_ident(), self.counters
        while True:
            with LOCK:
                if self.frozen or not self.items:
                    self.places += 1
                    return
                work = self.items.pop(0)
                work.queue, self.calls[me] = None, (work, work.number)
                start = time.monotonic()
                counters.started += 1
                counters.wait_histogram[next(n for n, bound in enumerate(BOUNDS) if start - work.since < bound)] += 1
                CHANGED.notify_all()
            self._call(work)
            with LOCK:
                counters.completed += 1
                counters.run_seconds += time.monotonic() - start
                del self.calls[me]
                CHANGED.notify_all()

    def _call(self, work: Work) -> None:
        try:
            if self.giant:
                with GIANT:
                    self.func(work, self.arg)
            else:
                self.func(work, self.arg)
        except BaseException as error:
            with LOCK:
                self.counters.errors += 1
            error.add_note(f"in queue {self.name}, work {work.payload}")
            try:
                (self.on_error or (lambda error, work: report(error)))(error, work)
            except BaseException as another:
                report(another)

    def enqueue_delayed(self, work: Work, seconds: float, jitter: float = 0.0, cpu: int | None = None) -> bool:
        """WQ-7."""
        if not (seconds >= 0 and jitter >= 0):
            raise ValueError("a delay is >= 0")
        with LOCK:
            if not self._admit(work):
                return False
            self.counters.enqueued += 1
            work.queue = self
            if seconds:
                ALARM.arm(work, time.monotonic() + seconds)
            else:
                self.add(work)
            return True

    def modify(self, work: Work, seconds: float) -> bool:
        """WQ-7."""
        with LOCK:
            if not seconds >= 0:
                raise ValueError("a delay is >= 0")
            moved = self._withdraw(work)
            self.counters.enqueued -= moved
            self.enqueue_delayed(work, seconds)
            return moved

    def _withdraw(self, work: Work) -> bool:
        if work.queue is not self:
            return False
        if not ALARM.disarm(work):
            self.items.remove(work)
        work.queue = None
        CHANGED.notify_all()
        return True

    def wait(self, work: Work, timeout: float | None = None) -> None:
        """WQ-4."""
        with LOCK:
            now = next(NUMBERS)
            if threading.get_ident() not in self.calls:
                armed = work in ALARM.armed and work.queue is self
                if armed:
                    wait_for(lambda: work not in ALARM.armed, timeout)
                    now = next(NUMBERS)
                wait_for(lambda: not any(w is work and n < now for w, n in self._left()), timeout)

    def _left(self) -> list[tuple[Work, int]]:
        return [*self.calls.values(), *((work, work.number) for work in self.items)]

    def cancel(self, work: Work, timeout: float | None = None) -> bool:
        """WQ-5."""
        with LOCK:
            withdrawn = self._withdraw(work)
            self.counters.cancelled += withdrawn
            running = any(w is work for w, _ in self.calls.values())
            if running and threading.get_ident() not in self.calls:
                work.disabled += 1
                try:
                    wait_for(lambda: not any(w is work for w, _ in self.calls.values()), timeout)
                finally:
                    work.disabled -= 1
            return withdrawn and not running

    def disable(self, work: Work, timeout: float | None = None) -> bool:
        """WQ-10."""
        with LOCK:
            work.disabled += 1
            return self.cancel(work, timeout)

    def enable(self, work: Work) -> bool:
        """WQ-10."""
        with LOCK:
            if not work.disabled:
                raise Misuse("not disabled")
            work.disabled -= 1
            return not work.disabled

    def _not_from_inside(self) -> None:
        if threading.get_ident() in self.calls or self.destroyed:
            raise Misuse("from the queue's own function, or destroyed")

    def flush(self, timeout: float | None = None) -> None:
        """WQ-6."""
        with LOCK:
            self._not_from_inside()
            now = next(NUMBERS)
            wait_for(lambda: all(number > now for _, number in self._left()), timeout)

    def drain(self, timeout: float | None = None) -> None:
        """WQ-6."""
        with LOCK:
            self._not_from_inside()
            self.draining += 1
            try:
                wait_for(lambda: not self._left(), timeout)
            finally:
                self.draining -= 1

    def destroy(self) -> tuple[Any, ...]:
        """WQ-6, WQ-7."""
        with LOCK:
            self._not_from_inside()
            if self.items:
                raise Misuse("works are pending")
            self.destroyed = True
            armed = tuple(work for work in ALARM.armed if isinstance(work, Work) and work.queue is self)
            for work in armed:
                self._withdraw(work)
            wait_for(lambda: not self.calls, None)
            return armed

    def freeze(self) -> None:
        """WQ-10."""
        with LOCK:
            self.frozen = True

    def thaw(self) -> None:
        """WQ-10."""
        with LOCK:
            self.frozen = False
            self._start_threads()

    def stats(self) -> Stats:
        """WQ-12."""
        with LOCK:
            copy = Stats()
            vars(copy).update(vars(self.counters), wait_histogram=list(self.counters.wait_histogram))
            armed = sum(isinstance(work, Work) and work.queue is self for work in ALARM.armed)
            copy.pending, copy.running = len(self.items) + armed, len(self.calls)
            return copy


class ReferenceWorkQueues:
    """The adapter."""

    implementation = "reference model"
    capabilities = frozenset(
        {"local", "max_active", "delayed", "max_pending", "freeze", "on_error", "stats", "giant", "timeouts"}
    )
    usage_error, pending_error, full_error, timeout_error = Misuse, Pending, Full, GaveUp
    work = Work
    softnet = None

    def queue(
        self,
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any = None,
        *,
        pri: int | None = None,
        percpu: bool = False,
        giant: bool = False,
        max_active: int = 1,
        max_pending: int | None = None,
        on_error: Callable[[BaseException, Any], object] | None = None,
    ) -> WorkQueue:
        """WQ-1."""
        options = {"giant": giant, "max_active": max_active, "max_pending": max_pending, "on_error": on_error}
        return WorkQueue(name, func, arg, options)

    def wait_bounds(self) -> list[float]:
        """WQ-12."""
        return BOUNDS

    def cpus(self) -> tuple[int, ...]:
        """Not bound to any."""
        return tuple(range(os.cpu_count() or 1))

    def settle(self) -> None:
        """Threads leave by themselves."""
