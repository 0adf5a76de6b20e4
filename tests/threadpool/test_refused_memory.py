"""One refused allocation where a worker gives a token back (TP-36): a list that is empty has no room for an element."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from pace import patience

import threadpool9
from task9 import Task, TaskQueue
from threadpool9 import Job
from threadpool9.lowlevel import insist
from workqueue9 import Work, WorkQueue

LIMIT = patience(10.0)


class Refusing(list[None]):
    """A token for which memory is refused once, when it is given back."""

    refusals = 1

    def _refuse(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise MemoryError

    def append(self, element: None) -> None:
        """By an executor."""
        self._refuse()
        super().append(element)

    def __iadd__(self, other: Iterable[None]) -> Refusing:  # type: ignore[misc]  # of one kind only
        """By a job's done()."""
        self._refuse()
        super().extend(other)
        return self


@pytest.fixture
def token() -> Iterator[Refusing]:
    """It must have been refused in the end."""
    token = Refusing([None])
    yield token
    assert not token.refusals, "nothing was refused"


class Taken(list[None]):
    """A token that somebody takes the moment that it is given back."""

    given = 0

    def __iadd__(self, other: Iterable[None]) -> Taken:  # type: ignore[misc]  # of one kind only
        """By `insist`."""
        self.given += 1
        assert self.given == 1, "given back twice"
        return self


def test_a_token_that_is_taken_at_once_is_not_given_back_again() -> None:
    """There would be two of them."""
    token = Taken()
    insist(token)
    assert token.given == 1


def test_a_job_is_idle_after_its_done(token: Refusing) -> None:
    """And runs again."""
    runs: list[Job] = []

    def fn(job: Job) -> None:
        runs.append(job)
        with job.interlock:
            job.done()

    job = Job(fn)
    job._free = token
    with threadpool9.get() as pool:
        for _ in range(2):
            assert pool.post(job)
            job.wait(LIMIT)
    assert len(runs) == 2


@pytest.mark.parametrize("watched", [False, True])
def test_a_task_runs_and_runs_again(token: Refusing, watched: bool) -> None:
    """In the short way and in the long one, with a listener."""
    runs: list[Any] = []

    class Listener:
        @threadpool9.hookimpl
        def task9_entry(self, lane: object, task: object) -> None:
            """Listened to."""

    listener = Listener()
    if watched:
        threadpool9.register(listener)
    try:
        task = Task(runs.append)
        task.item_token = token
        with TaskQueue("q") as queue:
            for _ in range(2):
                assert queue.schedule(task)
                queue.drain(LIMIT)
    finally:
        if watched:
            threadpool9.unregister(listener)
    assert len(runs) == 2


def test_a_work_runs_and_runs_again(token: Refusing) -> None:
    """On its queue."""
    runs: list[Any] = []
    work: Work[Any] = Work()
    work.item_token = token
    with WorkQueue("w", lambda work, arg: runs.append(work)) as queue:
        for _ in range(2):
            assert queue.enqueue(work)
            queue.wait(work, LIMIT)
    assert len(runs) == 2
