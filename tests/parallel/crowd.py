"""What the tests of this directory share: the threads that run one test at once, and what they meet on."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import pytest
from pace import patience

import threadpool9
import workqueue9
from task9 import Task, TaskQueue
from threadpool9 import Pool
from workqueue9 import WorkQueue

LIMIT = patience(60.0)
PATIENCE = patience(90.0)  # of the others with one who waits so long
PRI = 63

numbers = itertools.count()

T = TypeVar("T")


class Team:
    """The threads that run one test at once. In a ``with`` statement, so that the others hear of a failure."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._box: list[Any] = []
        self._failure: BaseException | None = None

    def meet(self) -> int:
        """Wait for the others; each thread is told another number, from 0."""
        try:
            return self._barrier.wait()
        except threading.BrokenBarrierError:
            raise AssertionError(f"another thread failed, or did not come within {PATIENCE:g} s") from self._failure

    def share(self, make: Callable[[], T]) -> T:
        """What one of the threads makes, for all of them."""
        if self.meet() == 0:
            self._box = [make()]
        self.meet()
        found: T = self._box[0]
        return found

    def gather(self, value: T) -> list[T]:
        """What each of the threads has come to, in no order."""
        found: list[T] = self.share(list)
        found.append(value)
        self.meet()
        return found

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            self._failure = self._failure or exc
            self._barrier.abort()


class Watched:
    """A function that counts its runs, sees whether it runs beside itself, and notes how much was produced by then."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._inside = threading.Lock()
        self.produced = self.seen = self.runs = self.beside = 0

    def produce(self) -> None:
        """One more that a later run has to see."""
        with self.lock:
            self.produced += 1

    def __call__(self, *args: object) -> None:
        """One run."""
        alone = self._inside.acquire(False)
        with self.lock:
            self.runs += 1
            self.beside += not alone
            self.seen = self.produced
        if alone:
            self._inside.release()


def the_pool(team: Team) -> Pool:
    """A reference to the pool of all: nobody goes on, and puts the last one, before all have theirs."""
    pool = threadpool9.get(PRI)
    team.meet()
    return pool


def private(kind: str) -> TaskQueue:
    """A private queue of a kind."""
    return TaskQueue(kind, percpu=kind == "percpu", concurrency=3 if kind == "concurrency" else 1)


def works(kind: str, function: Callable[[Any, Any], object], **options: Any) -> WorkQueue:
    """A work queue of a kind."""
    flags = workqueue9.WQ_PERCPU if kind == "percpu" else 0
    return WorkQueue(kind, function, flags=flags, max_active=3 if kind == "concurrency" else 1, **options)


def settle(queue: TaskQueue, *tasks: Task) -> None:
    """Wait until what the timer has fired has run: it may be on its way to `queue`, where a drain would not see it."""
    end = time.monotonic() + LIMIT
    while any(task.pending or task.running for task in tasks):
        queue.drain(LIMIT)
        assert time.monotonic() < end, "a delayed task that is due does not run"


kinds = pytest.mark.parametrize("kind", ["serial", "percpu", "concurrency"])
