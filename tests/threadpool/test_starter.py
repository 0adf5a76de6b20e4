"""The starter: refusals of the OS, retries, and its coming and going (TP-5, TP-12)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until
from threadpool9 import Job, StartError, _seam

LIMIT = patience(10.0)


def refuse(*args: object) -> Any:
    """A thread start that fails as the OS's refusal does."""
    raise RuntimeError("can't start new thread")


def test_tp12_schedule_raises_when_no_thread_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-12: with no thread of ours left, StartError, and the job is as it was: usable once threads can be had."""
    over = threading.Event()

    def fn(job: Job) -> None:
        with job.interlock:
            job.done()
        over.set()

    job = Job(fn)
    with threadpool9.get() as pool:
        with monkeypatch.context() as patch:
            patch.setattr(_seam, "start_new_thread", refuse)
            for _ in range(3):
                with job.interlock, pytest.raises(StartError, match="can't start new thread"):
                    pool.schedule(job)
            assert threadpool9.snapshot().queued == ()
            with job.interlock:
                assert pool.cancel_async(job)
        with job.interlock:
            assert pool.schedule(job)
        assert over.wait(LIMIT)


def test_tp12_a_refused_worker_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-12: the job stays queued, the start is retried with back-off, and the failures are counted."""
    refusals = 3
    real_start = threading.Thread.start

    def start(self: threading.Thread) -> None:
        nonlocal refusals
        if self.name.startswith("poolthread") and refusals:
            refusals -= 1
            raise RuntimeError("can't start new thread")
        real_start(self)

    monkeypatch.setattr(_seam.Thread, "start", start)
    over = threading.Event()

    def fn(job: Job) -> None:
        with job.interlock:
            job.done()
        over.set()

    with threadpool9.get() as pool:
        before = threadpool9.snapshot().counters.start_failures
        assert pool.post(Job(fn))
        assert over.wait(LIMIT)
        assert refusals == 0
        assert threadpool9.snapshot().counters.start_failures - before == 3


def test_tp6_a_job_behind_a_blocked_one_gets_a_worker_of_its_own(on_pool: Callable[..., object]) -> None:
    """TP-6: blocked jobs never keep another from running."""
    go = threading.Event()
    with threadpool9.get() as pool:
        for _ in range(5):

            def blocked(job: Job) -> None:
                go.wait(LIMIT)
                with job.interlock:
                    job.done()

            pool.post(Job(blocked))
        assert on_pool(pool, lambda: True)
        go.set()


def test_tp5_the_starter_leaves_with_the_last_worker(on_pool: Callable[..., object]) -> None:
    """TP-5: no worker, no starter."""
    with threadpool9.get() as pool:
        on_pool(pool, lambda: None)
        assert threadpool9.snapshot().starter is not None

        def gone() -> bool:
            threadpool9.retire_idle()  # not the first time if the worker was still on its way to being idle
            return threadpool9.snapshot().starter is None

        assert wait_until(gone), threadpool9.snapshot()


def test_tp14_who_was_sent_away_and_found_a_job_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-14: the job comes when the worker is claimed, before it wakes up: it stays, and runs on while we return."""
    pool = threadpool9.get(61)
    entered, go = threading.Event(), threading.Event()

    def fn(job: Job) -> None:
        entered.set()
        assert go.wait(LIMIT)
        with job.interlock:
            job.done()

    def finish(job: Job) -> None:
        with job.interlock:
            job.done()

    second = Job(fn)
    pool.post(Job(finish))
    assert wait_until(lambda: pool._idle)
    (worker,) = pool._workers
    wake = worker.wake

    def late() -> None:
        monkeypatch.setattr(_seam.Thread, "start", refuse)  # nobody else comes for the job
        pool.post(second)  # nobody is idle any more; the one that was claimed will find it
        wake()

    worker.wake = late
    try:
        told: list[int] = []
        thread = threading.Thread(target=lambda: told.append(threadpool9.retire_idle(None)), daemon=True)
        thread.start()
        assert entered.wait(LIMIT)
        thread.join(LIMIT)
        assert told == [0], "it waits for a worker that stays"
    finally:
        monkeypatch.undo()
        worker.wake = wake
        go.set()
        pool.put(LIMIT)
