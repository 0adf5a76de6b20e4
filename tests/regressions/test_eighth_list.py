"""What stood under "known and open" in docs/regressions: each of these fails on the code before."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pace import patience
from struck import interrupt, struck

import threadpool9
from task9 import Task, TaskQueue
from threadpool9 import Job

LIMIT = patience(30.0)
PRI = 56  # nobody else's


# --- who has coalesced with a schedule that Ctrl-C breaks off


@pytest.mark.parametrize(
    "line",
    [
        "if item.barred and self.group.withdraw(item, ticket):  # publish, then look; who bars it does the same",
        "self.items.append(ticket)",
        "if self.idle and not self.promise:",
        "if self.group.halts:",
    ],
)
@pytest.mark.parametrize("busy", [False, True])
def test_tk1_a_schedule_that_has_coalesced_with_one_that_is_interrupted_is_not_lost(line: str, busy: bool) -> None:
    """It said that a run would come, and the other one took that back."""
    go, ran = threading.Event(), list[None]()
    said: list[bool] = []

    def handler() -> None:
        said.append(queue.schedule(task))
        interrupt()

    with TaskQueue("q") as queue:
        if busy:
            queue.call(go.wait, LIMIT)
        task = Task(lambda task: ran.append(None))
        with struck("put", handler, line=line), pytest.raises(KeyboardInterrupt):
            queue.schedule(task)
        go.set()
        queue.drain(LIMIT)
    assert (said, ran) == ([False], [None])


@pytest.mark.parametrize(
    "line",
    [
        "if probes.schedule__job is not None:",
        "self._jobs.append(ticket)",
        "if not (self._idle and self._wake_one(job)) and not self._request:",
        "if self._gate is not None or self._starter.absent:",
    ],
)
@pytest.mark.parametrize("way", ["post", "schedule"])
def test_tp21_a_schedule_that_has_coalesced_with_one_that_is_interrupted_is_not_lost(line: str, way: str) -> None:
    """The same for jobs."""
    ran, said = threading.Event(), list[bool]()

    def fn(job: Job) -> None:
        with job.interlock:
            job.done()
        ran.set()

    with threadpool9.get(PRI) as pool:
        job = Job(fn)
        schedule: Callable[[Job], bool] = getattr(pool, way)

        def handler() -> None:
            said.append(schedule(job))
            interrupt()

        with struck("_enqueue", handler, line=line), pytest.raises(KeyboardInterrupt), job.interlock:
            schedule(job)
        assert ran.wait(LIMIT)
        pool.drain(LIMIT)
    assert said == [False]
