"""The OS refuses threads (TP-12): by a real limit, and by injection at the seam."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pace import patience

import threadpool9
from task9 import DelayedTask, PeriodicTask, Task, TaskQueue
from task9._lane import Lane
from threadpool9 import Job, StartError, _seam
from workqueue9 import Work, WorkQueue

if TYPE_CHECKING:
    from conftest import Reports

LIMIT = patience(20.0)
NOBODY = 54321  # a user without a process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and users are those of Linux")

#: Runs as a user without privilege whose limit of threads is used up at will.
PRELUDE = r"""
import os, resource, sys, threading, time
import ctypes, traceback, encodings.idna, linecache, attrs, pluggy  # nothing can be imported as another user
import task9, threadpool9, workqueue9
from threadpool9 import Job, StartError
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
def no_more_threads():
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        threading.Thread(target=lambda: None).start()
    except RuntimeError:
        pass
    else:
        print("NO LIMIT HERE"); sys.exit(77)
def threads_again():
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
ran = []
go = threading.Event()
def fn(job):
    ran.append(job.name)
    if job.name == "blocked":
        go.wait(20)
    with job.interlock:
        job.done()
def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, (ran, threadpool9.snapshot())
        time.sleep(0.001)
pool = threadpool9.get()
"""


def run_limited(program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` after the prelude."""
    source = PRELUDE.replace("USER", str(NOBODY)) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=patience(90),
        env={**os.environ, "HOME": "/"},
    )
    if done.returncode == 77:
        pytest.skip("RLIMIT_NPROC does not limit threads here")
    return done


def test_tp12_a_real_limit_with_no_thread_of_ours() -> None:
    """TP-12: StartError, nothing was scheduled, and the job is as it was; afterwards all is well. For each layer."""
    done = run_limited(
        """
        no_more_threads()
        job = Job(fn, name="first")
        for _ in range(3):
            with job.interlock:
                try:
                    pool.schedule(job)
                except StartError as error:
                    assert "can't start new thread" in str(error), error
                else:
                    raise AssertionError("it was scheduled")
        assert threadpool9.snapshot().queued == ()
        queue = task9.TaskQueue("q")
        task = task9.Task(lambda task: ran.append("task"))
        wq = workqueue9.WorkQueue("wq", lambda work, arg: ran.append("work"))
        work = workqueue9.Work()
        for launch in (lambda: queue.schedule(task), lambda: wq.enqueue(work)):
            try:
                launch()
            except StartError:
                pass
            else:
                raise AssertionError("it was scheduled")
        assert not task.pending and not work.pending
        threads_again()
        with job.interlock:
            assert pool.schedule(job)
        assert queue.schedule(task) and wq.enqueue(work)
        until(lambda: sorted(ran) == ["first", "task", "work"])
        print("fine")
        """
    )
    assert done.stdout == "fine\n", done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_tp12_a_real_limit_with_workers_that_are_blocked() -> None:
    """TP-12: what waits stays queued, starts are tried again with back-off (no spinning), and nothing is lost."""
    done = run_limited(
        """
        blocked = Job(fn, name="blocked")
        pool.post(blocked)
        until(lambda: ran)
        no_more_threads()
        others = [Job(fn, name=f"job {number}") for number in range(5)]
        began = threadpool9.snapshot().counters.start_failures
        for job in others:
            with job.interlock:
                assert pool.schedule(job)
        until(lambda: threadpool9.snapshot().counters.start_failures - began >= 3)
        spent = time.process_time()
        at = time.monotonic()
        until(lambda: threadpool9.snapshot().counters.start_failures - began >= 6)
        took = time.monotonic() - at
        # 10, 20, 40 ... ms: three more refusals take a quarter of a second at least; a spin would take none.
        assert took > 0.15, took
        assert ran == ["blocked"] and len(threadpool9.snapshot().queued) == 5
        threads_again()
        until(lambda: len(ran) == 6)
        go.set()
        pool.put(20)
        print("fine")
        """
    )
    assert done.stdout == "fine\n", done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


class Refusing:
    """Both seams through which threads come, refused as the plan says: True refuses."""

    def __init__(self, patch: pytest.MonkeyPatch, plan: Callable[[int], BaseException | None]) -> None:
        self.asked = 0
        self.refused = 0
        real_boot, real_start = _seam.start_new_thread, threading.Thread.start

        def ask() -> None:
            self.asked += 1
            error = plan(self.asked)
            if error is not None:
                self.refused += 1
                raise error

        def boot(*arguments: Any) -> int:
            ask()
            return real_boot(*arguments)

        def start(thread: Any) -> None:
            ask()
            real_start(thread)

        patch.setattr(_seam, "start_new_thread", boot)
        patch.setattr(_seam.Thread, "start", start)


ERRORS: list[Callable[[], BaseException]] = [lambda: RuntimeError("can't start new thread"), MemoryError]


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    """Undone before the pools are."""
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.mark.parametrize("error", ERRORS, ids=["EAGAIN", "memory"])
@pytest.mark.parametrize("period", [1, 2, 3])
def test_tp12_every_layer_keeps_its_units_when_starts_are_refused(
    patch: pytest.MonkeyPatch, error: Callable[[], BaseException], period: int
) -> None:
    """TP-12: refuse every start but each `period`-th; every launch says StartError, or it runs exactly once."""
    refusing = Refusing(patch, lambda number: error() if number % (period + 1) else None)
    runs: list[object] = []

    def job_fn(job: Job) -> None:
        runs.append(job)
        with job.interlock:
            job.done()

    expected: list[object] = []
    queue = TaskQueue("refused", concurrency=2)
    wq = WorkQueue("refused", lambda work, arg: runs.append(work))
    pool = threadpool9.get()
    rounds = 0
    while rounds < 4:
        rounds += 1
        job, task, work = Job(job_fn), Task(runs.append), Work()
        late = DelayedTask(runs.append)
        launches: list[tuple[object, Callable[[], bool]]] = [
            (job, lambda job=job: pool.post(job)),  # type: ignore[misc]
            (task, lambda task=task: queue.schedule(task)),  # type: ignore[misc]
            (work, lambda work=work: wq.enqueue(work)),  # type: ignore[misc]
            (late, lambda late=late: late.schedule(0.001, queue=queue)),  # type: ignore[misc]
        ]
        for unit, launch in launches:
            # A worker that is not idle yet when it is to be retired would take the next launch as well.
            end = _seam.monotonic() + LIMIT
            while any(record.workers for record in threadpool9.snapshot().pools):
                assert _seam.monotonic() < end, f"the workers do not leave: {threadpool9.snapshot()}"
                threadpool9.retire_idle()
                _seam.doze(0.0005)
            while True:  # as a caller would: again when it is told that it did not work
                try:
                    assert launch() is True
                except StartError:
                    continue
                break
            expected.append(unit)
    end = _seam.monotonic() + LIMIT
    while len(runs) < len(expected) and _seam.monotonic() < end:
        _seam.doze(0.001)
    assert refusing.refused
    patch.undo()
    queue.close(LIMIT)
    wq.drain(LIMIT)
    wq.destroy(LIMIT)
    pool.put(LIMIT)
    assert sorted(map(id, runs)) == sorted(map(id, expected))


def test_tk13_a_run_that_no_thread_can_be_had_for_does_not_end_the_period(
    monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """TP-12: that run is lost, which is reported; the next period comes."""
    put_ticket = Lane.put_ticket
    over = threading.Event()

    def refuse_once(lane: Lane, ticket: list[Any]) -> None:
        if isinstance(ticket[0], PeriodicTask) and not reports:
            raise StartError("no thread could be started")
        put_ticket(lane, ticket)

    monkeypatch.setattr(Lane, "put_ticket", refuse_once)
    task = PeriodicTask(lambda task: over.set(), 0.01)
    with TaskQueue("periodic") as queue:
        assert task.start(queue=queue)
        assert over.wait(LIMIT), "it stopped"
        task.cancel(timeout=LIMIT)
    assert reports.types() == ["StartError"]
