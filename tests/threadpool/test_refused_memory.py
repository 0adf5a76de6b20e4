"""One refused allocation where a worker makes a unit idle (TP-36), which takes a new ticket."""

from __future__ import annotations

from typing import Any

import pytest
from pace import patience

import threadpool9
from task9 import Task, TaskQueue, _executor
from threadpool9 import Job
from threadpool9.lowlevel import blank_ticket, insist
from workqueue9 import Work, WorkQueue

LIMIT = patience(10.0)


class Refusing:
    """In place of a ticket's slot: refuses memory once, for the ticket that replaces the first.

    That is where the short way makes it; where somebody listens, a function does.
    """

    def __init__(self, slot: Any) -> None:
        self.slot, self.sets = slot, 0

    def __get__(self, unit: Any, cls: Any) -> Any:
        return self if unit is None else self.slot.__get__(unit, cls)

    def __set__(self, unit: Any, ticket: Any) -> None:
        self.sets += 1
        if self.sets == 2:
            raise MemoryError
        self.slot.__set__(unit, ticket)


def test_what_can_not_be_made_at_once_is_made_later() -> None:
    """As often as it takes."""
    left = [None] * 3

    def make() -> str:
        if left:
            left.pop()
            raise MemoryError
        return "made"

    assert insist(make) == "made"
    assert not left


def test_a_job_is_idle_after_its_done() -> None:
    """And runs again."""
    slot = Refusing(Job._ticket)  # type: ignore[misc]  # a slot's descriptor, as the class has it

    class Refused(Job):
        _ticket = slot

    runs: list[Job] = []

    def fn(job: Job) -> None:
        runs.append(job)
        with job.interlock:
            job.done()

    job = Refused(fn)
    with threadpool9.get() as pool:
        for _ in range(2):
            assert pool.post(job)
            job.wait(LIMIT)
    assert len(runs) == 2
    assert slot.sets == 4, "nothing was refused"


@pytest.mark.alone
def test_a_task_runs_and_runs_again() -> None:
    """On its queue."""
    slot = Refusing(Task.item_ticket)

    class Refused(Task):
        item_ticket = slot

    runs: list[Any] = []
    task = Refused(runs.append)
    with TaskQueue("q") as queue:
        for _ in range(2):
            assert queue.schedule(task)
            queue.drain(LIMIT)
    assert len(runs) == 2
    assert slot.sets == 4, "nothing was refused"


def test_a_task_that_is_looked_at_runs_and_runs_again(plugged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The long way round."""
    refusals = [None]

    def refused_once() -> list[Any]:
        if refusals:
            refusals.pop()
            raise MemoryError
        return blank_ticket()

    class Listener:
        @threadpool9.hookimpl
        def task9_entry(self, lane: object, task: object) -> None:
            """Listened to."""

    monkeypatch.setattr(_executor, "blank_ticket", refused_once)
    plugged(Listener())
    runs: list[Any] = []
    task = Task(runs.append)
    with TaskQueue("q") as queue:
        for _ in range(2):
            assert queue.schedule(task)
            queue.drain(LIMIT)
    assert len(runs) == 2
    assert not refusals, "nothing was refused"


@pytest.mark.alone
def test_a_work_runs_and_runs_again() -> None:
    """On its queue."""
    slot = Refusing(Work.item_ticket)

    class Refused(Work[Any]):
        item_ticket = slot

    runs: list[Any] = []
    work = Refused()
    with WorkQueue("w", lambda work, arg: runs.append(work)) as queue:
        for _ in range(2):
            assert queue.enqueue(work)
            queue.wait(work, LIMIT)
    assert len(runs) == 2
    assert slot.sets == 4, "nothing was refused"
