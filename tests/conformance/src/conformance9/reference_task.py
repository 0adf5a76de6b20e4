"""The reference for the task layer: everything under one lock, one thread for each run that is under way.

It is meant to be obviously right, not fast, and claims what can be had in a few lines. Every schedule draws a number;
who waits, waits until nothing with a smaller number is left.
"""

from __future__ import annotations

import contextvars
import itertools
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["ReferenceTasks"]

LOCK = threading.RLock()
CHANGED = threading.Condition(LOCK)
NUMBERS = itertools.count()


class Misuse(Exception):
    """The caller did what is forbidden."""


class Closed(Misuse):
    """The queue is closed."""


class GaveUp(Exception):
    """The time limit ran out."""


def wait_for(condition: Callable[[], object], timeout: float | None) -> None:
    """Wait, lock held, or give up."""
    if not CHANGED.wait_for(condition, timeout):
        raise GaveUp("the time limit ran out")


def report(error: BaseException) -> None:
    """As an uncaught exception of the current thread."""
    threading.excepthook(
        threading.ExceptHookArgs((type(error), error, error.__traceback__, threading.current_thread()))
    )


class Alarm:
    """Calls back at a time; a thread that is there while something is armed."""

    def __init__(self) -> None:
        self.armed: dict[Any, float] = {}
        self.wake, self.alive, self.next = threading.Condition(LOCK), False, 0.0

    def arm(self, thing: Any, due: float) -> None:
        """Call ``thing.fire()`` at `due`, lock held."""
        self.armed[thing] = due
        if not self.alive:
            self.alive = True
            threading.Thread(target=self._run, daemon=True).start()
        elif due < self.next:
            self.wake.notify()

    def disarm(self, thing: Any) -> bool:
        """Do not; False if it was not armed."""
        found = self.armed.pop(thing, None) is not None
        if not self.armed:
            self.wake.notify()
        return found

    def _run(self) -> None:
        with LOCK:
            while self.armed:
                now = time.monotonic()
                for thing in sorted((t for t, due in self.armed.items() if due <= now), key=self.armed.__getitem__):
                    del self.armed[thing]
                    thing.fire()
                self.next = min(self.armed.values(), default=0.0)
                if self.armed:
                    self.wake.wait(max(0.0, self.next - time.monotonic()))
            self.alive = False


ALARM = Alarm()


class Task:
    """A task."""

    def __init__(self, fn: Callable[[Any], object], context: contextvars.Context | None = None) -> None:
        self.fn = fn if context is None else lambda task: context.run(fn, task)
        self.queue: Any = None
        self.number = self.runs = self.cancelling = self.runner = 0
        self.pending = self.dead = False

    @property
    def running(self) -> bool:
        """A thread runs it."""
        return self.runner != 0

    def put_on(self, queue: Queue, add: Callable[[], object]) -> bool:
        """Become pending on the queue, by `add`, if allowed; whether it was not before."""
        with LOCK:
            if self.dead:
                raise Misuse("destroyed")
            if queue.closed:
                raise Closed(queue.name)
            if (self.pending or self.running) and self.queue is not queue:
                raise Misuse("on another queue")
            if self.pending or self.cancelling:
                return False
            self.pending, self.queue = True, queue
            add()
            return True

    def done(self) -> None:
        """The run is over."""
        with LOCK:
            if self.runner != threading.get_ident():
                raise Misuse("not running here")
            self.runner = 0
            self.queue.busy.pop(self)
            self.queue.start_threads()
            CHANGED.notify_all()

    def withdraw(self) -> bool:
        """Not pending any more; whether it was."""
        if self.pending:
            self.pending = False
            if not ALARM.disarm(self):
                self.queue.items.remove(self)
            CHANGED.notify_all()
            return True
        return False

    def cancel_async(self) -> bool:
        """TK-6."""
        with LOCK:
            self.withdraw()
            return not self.running

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """TK-6."""
        with LOCK:
            self.withdraw()
            if not self.running or self.runner == threading.get_ident():
                return not self.running
            self.cancelling += 1
        if interlock is not None:
            interlock.release()
        try:
            with LOCK:
                wait_for(lambda: not self.running, timeout)
                self.withdraw()
                return False
        finally:
            if interlock is not None:
                interlock.acquire()
            with LOCK:
                self.cancelling -= 1

    def destroy(self) -> None:
        """TK-10."""
        with LOCK:
            if self.dead or self.pending or self.running:
                raise Misuse("destroyed, pending or running")
            self.dead = True


class DelayedTask(Task):
    """A task with a timer."""

    timed_out = False

    def schedule(self, seconds: float, jitter: float = 0.0, queue: Any = None) -> bool:
        """TK-11."""
        if not (seconds >= 0 and jitter >= 0 and math.isfinite(seconds + jitter)):
            raise ValueError("a delay is >= 0")
        due = time.monotonic() + seconds
        return self.put_on(queue, lambda: self._arm(due) if seconds else queue.add(self))

    def reschedule(self, seconds: float, jitter: float = 0.0, queue: Any = None) -> bool:
        """TK-11."""
        with LOCK:
            if not (seconds >= 0 and jitter >= 0):
                raise ValueError("a delay is >= 0")
            was = self.withdraw()
            self.schedule(seconds, jitter, queue or self.queue)
            return was

    def _arm(self, due: float) -> None:
        self.timed_out = False
        ALARM.arm(self, due)

    def fire(self) -> None:
        """The time has come."""
        self.timed_out = True
        self.queue.add(self)


class PeriodicTask(DelayedTask):
    """TK-13."""

    def __init__(self, fn: Callable[[Any], object], period: float) -> None:
        if not period > 0:
            raise ValueError("a period is > 0")
        super().__init__(self._tick)
        self.function, self.period, self.missed, self.due = fn, period, 0, 0.0

    def start(self, first: float | None = None, queue: Any = None) -> bool:
        """The first run in `first` seconds."""
        due = time.monotonic() + (self.period if first is None else first)
        return self.put_on(queue, lambda: self._arm_for(due))

    def _arm_for(self, due: float) -> None:
        self.due = due
        self._arm(due)

    def _tick(self, task: Any) -> None:
        self.missed = int((time.monotonic() - self.due) / self.period)
        due = self.due + (1 + self.missed) * self.period
        if not self.queue.closed:
            self.put_on(self.queue, lambda: self._arm_for(due))
        self.function(self)


class Queue:
    """A private queue: what waits, in order, and what runs."""

    def __init__(self, name: str, concurrency: int) -> None:
        self.name, self.concurrency = name, concurrency
        self.items: list[Task] = []
        self.busy: dict[Task, int] = {}  # the numbers of the runs that are under way
        self.threads: set[int] = set()
        self.closed, self.places = False, concurrency

    def schedule(self, task: Task) -> bool:
        """TK-1."""
        return task.put_on(self, lambda: self.add(task))

    def schedule_delayed(self, task: DelayedTask, seconds: float, jitter: float = 0.0) -> bool:
        """TK-11."""
        return task.schedule(seconds, jitter, self)

    def add(self, task: Task) -> None:
        """To the end."""
        task.number = next(NUMBERS)
        self.items.append(task)
        self.start_threads()

    def start_threads(self) -> None:
        """One for each task that may run now, as long as there are places."""
        for _ in range(min(self.places, sum(not task.running for task in self.items))):
            self.places -= 1
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            with LOCK:
                task = next((task for task in self.items if not task.running), None)
                if task is None:
                    self.places += 1
                    return
                self.items.remove(task)
                task.pending, task.runner, self.busy[task] = False, me, task.number
                self.threads.add(me)
            try:
                task.fn(task)
            except BaseException as error:
                report(error)
            with LOCK:
                self.threads.discard(me)
                if task.runner == me:
                    task.done()

    def drain(self, timeout: float | None = None) -> None:
        """TK-7."""
        with LOCK:
            if threading.get_ident() in self.threads:
                raise Misuse("a task can't wait for its own queue")
            now = next(NUMBERS)
            wait_for(
                lambda: all(n > now for n in [*self.busy.values(), *(task.number for task in self.items)]), timeout
            )

    def close(self, timeout: float | None = None) -> tuple[Any, ...]:
        """TK-16."""
        with LOCK:
            if threading.get_ident() in self.threads:
                raise Misuse("a task can't close its own queue")
            self.closed = True
            armed = tuple(task for task in ALARM.armed if task.queue is self)
            for task in armed:
                task.withdraw()
            self.drain(timeout)
            return armed


class ReferenceTasks:
    """The adapter."""

    implementation = "reference model"
    capabilities = frozenset({"concurrency", "delayed", "periodic", "context", "timeouts"})
    usage_error, closed_error, timeout_error = Misuse, Closed, GaveUp
    task, delayed, periodic = Task, DelayedTask, PeriodicTask

    def queue(self, name: str, percpu: bool = False, concurrency: int = 1) -> Queue:
        """TK-5."""
        return Queue(name, concurrency)

    def cpus(self) -> tuple[int, ...]:
        """Not bound to any."""
        return tuple(range(os.cpu_count() or 1))

    def settle(self) -> None:
        """Threads leave by themselves."""
