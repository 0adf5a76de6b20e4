"""What the regression tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until
from threadpool9 import Job

LIMIT = patience(60.0)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Start and end without workers."""
    threadpool9.retire_idle()
    yield
    threadpool9.tunables.idle_ms = 30000
    threadpool9.retire_idle()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Poll for something that nobody announces."""

    def poll(condition: Callable[[], object]) -> None:
        assert wait_until(condition, LIMIT), "it does not happen"

    return poll


@pytest.fixture
def make_job() -> Callable[..., Job]:
    """A job that calls `body(job)`, then done()."""

    def make(body: Callable[[Job], object]) -> Job:
        def fn(job: Job) -> None:
            try:
                body(job)
            finally:
                with job.interlock:
                    job.done()

        return Job(fn)

    return make
