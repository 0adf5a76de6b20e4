"""The number that our design promises; what can be seen from outside is tested by `conformance9`."""

from __future__ import annotations

import os
import threading
import time

import pytest
from pace import patience

import threadpool9
from threadpool9 import Job

LIMIT = patience(30.0)


@pytest.mark.xdist_group("threads")
def test_tp6_a_thousand_blocked_jobs_and_one_more() -> None:
    """TP-6, TP-4: 1000 blocked jobs run at once; number 1001 starts; all threads leave after the idle time."""
    threadpool9.tunables.idle_ms = 200
    go, last = threading.Event(), threading.Event()
    entered = threading.Semaphore(0)

    def blocked(job: Job) -> None:
        entered.release()
        go.wait(2 * LIMIT)
        with job.interlock:
            job.done()

    def one_more(job: Job) -> None:
        with job.interlock:
            job.done()
        last.set()

    with threadpool9.get() as pool:
        for _ in range(1000):
            pool.post(Job(blocked))
        for _ in range(1000):
            assert entered.acquire(timeout=LIMIT)
        pool.post(Job(one_more))
        assert last.wait(LIMIT), "job 1001 did not start"
        go.set()
        deadline = time.monotonic() + LIMIT
        while threadpool9.snapshot().workers or threadpool9.snapshot().starter:
            assert time.monotonic() < deadline, "workers do not leave"
        names = [name for name in our_comms() if name.startswith("pool")]
    assert names == [] or time.monotonic() < deadline


def our_comms() -> list[str]:
    """OS names of this process's threads."""
    names = []
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            continue
    return names
