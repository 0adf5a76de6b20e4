"""Our map of priorities, and what the snapshot says of refusals (TP-10); the rest is tested by `conformance9`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the OS's view of threads is read from Linux's calls")
ROOT = os.geteuid() == 0


def name_of(tid: int) -> str:
    """What the OS calls a thread of this process."""
    with open(f"/proc/self/task/{tid}/comm") as file:
        return file.read().strip()


def state() -> tuple[object, ...]:
    """What the OS says of the calling thread."""
    name = name_of(threading.get_native_id())
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return os.sched_getaffinity(0), nice, os.sched_getscheduler(0), signal.pthread_sigmask(signal.SIG_BLOCK, []), name


@pytest.mark.skipif(not ROOT, reason="only root may take priorities that this machine refuses to others")
@pytest.mark.parametrize(
    ("pri", "policy", "value"),
    [(0, "other", 19), (63, "other", 0), (127, "other", -20), (128, "rr", 1), (223, "rr", 96)],
)
def test_tp10_the_os_holds_the_mapped_priority(
    on_pool: Callable[..., object], pri: int, policy: str, value: int
) -> None:
    """TP-10: nice below 128, SCHED_RR from there on, as the OS tells."""

    def ask() -> tuple[int, int]:
        tid = threading.get_native_id()
        if os.sched_getscheduler(tid) == os.SCHED_RR:
            return os.SCHED_RR, os.sched_getparam(tid).sched_priority
        return os.sched_getscheduler(tid), os.getpriority(os.PRIO_PROCESS, tid)

    with threadpool9.get(pri) as pool:
        assert on_pool(pool, ask) == (os.SCHED_RR if policy == "rr" else os.SCHED_OTHER, value)


def test_tp10_a_refused_priority_is_told_once_and_never_fatal() -> None:
    """TP-10: without privilege the job runs all the same, one warning says so, the snapshot shows it; strict raises."""
    program = textwrap.dedent(
        """
        import ctypes, os, resource, threading, warnings
        import threadpool9
        if os.geteuid() == 0:
            os.setuid(65534)  # after the imports: the interpreter may be installed where only root can read
        caught = []
        warnings.showwarning = lambda message, *rest, **more: caught.append(str(message))
        with threadpool9.get(200) as pool:
            for _ in range(3):
                over = threading.Event()
                def fn(job):
                    with job.interlock: job.done()
                    over.set()
                pool.post(threadpool9.Job(fn))
                assert over.wait(10)
            record, = [r for r in threadpool9.snapshot().pools if r.pri == 200]
            assert "SCHED_RR" in record.refused, record
        assert len(caught) == 1 and "refused" in caught[0], caught
        threadpool9.tunables.strict_priorities = True
        try:
            threadpool9.get(201)
        except threadpool9.PriorityRefused as error:
            print("refused:", error)
        assert not [r for r in threadpool9.snapshot().pools if r.pri == 201]
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=patience(60),
        env={**os.environ, "THREADPOOL9_PLUGINS": "none"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("refused:")


def test_tp13_a_busy_worker_is_put_right_as_soon_as_it_is_idle() -> None:
    """TP-13: a worker that has gone idle again and again within a moment looks at its thread all the same."""
    numbers: list[int] = []

    def spoil(job: threadpool9.Job) -> None:
        numbers.append(threading.get_native_id())
        with open(f"/proc/self/task/{numbers[-1]}/comm", "w") as file:
            file.write("spoilt")
        with job.interlock:
            job.done()

    with threadpool9.get() as pool:
        job = threadpool9.Job(spoil)
        for _ in range(200):
            pool.post(job)
            job.wait(patience(10.0))
        assert wait_until(lambda: name_of(numbers[-1]) == pool.thread_name, patience(10.0))
