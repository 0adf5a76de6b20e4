"""What the tests of this layer share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until
from threadpool9 import Job, Pool

LIMIT = patience(10.0)


@pytest.fixture(autouse=True)
def quiet_process() -> Iterator[None]:
    """Each test starts and ends without threads of ours, and with the tunables it found."""
    # One that is busy with the end of the last test's job is not idle yet: so again, until none is left.
    wait_until(lambda: threadpool9.retire_idle() == 0 and not our_threads(), LIMIT)
    before = {name: getattr(threadpool9.tunables, name) for name in ("idle_ms", "job_names", "strict_priorities")}
    yield
    for name, value in before.items():
        setattr(threadpool9.tunables, name, value)
    threadpool9.retire_idle()


def run_on(pool: Pool, body: Callable[[], object]) -> object:
    """Run `body` as a job of `pool` and return what it returns."""
    result: list[object] = []
    over = threading.Event()

    def fn(job: Job) -> None:
        try:
            result.append(body())
        finally:
            with job.interlock:
                job.done()
            over.set()

    assert pool.post(Job(fn))
    assert over.wait(LIMIT), "the job did not run"
    assert result, "the job's body raised"
    return result[0]


@pytest.fixture
def on_pool() -> Callable[[Pool, Callable[[], object]], object]:
    """`run_on` as a fixture, so that test modules need not import this file."""
    return run_on


def our_threads() -> list[str]:
    """OS names of this process's threads that are ours."""
    names = []
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            continue  # gone between the two calls
    return [name for name in names if name.startswith("pool")]
