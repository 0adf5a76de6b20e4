"""Waiting without withdrawing: for one job, for all of a pool (TP-26, TP-9); and long queues (TP-25)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from conformance9.suite.crew import Crew
from conformance9.suite.tools import Log, holds, refuses, timing, within


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """With a GIL no other thread runs meanwhile unless the caller waits: what is scheduled in here piles up."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(timing.limit)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
def test_what_was_withdrawn_from_a_long_queue_never_runs(crew: Crew) -> None:
    """TP-25: of 400 jobs at once every second one is withdrawn; each of the others runs once."""
    pool = crew.pool()
    for _ in range(3):
        log = Log()
        jobs = [crew.job(lambda job, number=number, log=log: log.add(number)) for number in range(400)]
        withdrawn = set()
        with undisturbed():
            for job in jobs:
                crew.schedule(pool, job)
            for number in range(0, 400, 2):
                with jobs[number].interlock:
                    if pool.cancel_async(jobs[number]) and number not in log.entries:
                        withdrawn.add(number)
        due = 400 - len(withdrawn)
        holds("TP-25", log.reached(due), f"of {due} jobs that were not withdrawn {len(log.entries)} ran")
        again = [jobs[number] for number in sorted(withdrawn)[:5]]
        for job in again:
            holds("TP-25", crew.schedule(pool, job), "after a cancel that said True a schedule returned False")
        due += len(again)
        holds("TP-25", log.reached(due), "a job that was withdrawn and scheduled again did not run")
        log.reached(due + 1, timing.moment / 2)
        holds("TP-25", len(log.entries) == due, f"{due} runs were due, there were {len(log.entries)}")


# --- one job


@pytest.mark.clause("TP-26")
@pytest.mark.capability("waits")
def test_wait_withdraws_nothing(crew: Crew) -> None:
    """TP-26: whoever waits for a job that was just scheduled finds that it has run."""
    pool = crew.pool()
    for number in range(100):
        log = Log()
        job = crew.job(log.add)
        with undisturbed():
            crew.schedule(pool, job)
            job.wait(timing.limit)
        holds("TP-26", len(log.entries) == 1, f"round {number}: after wait() it had run {len(log.entries)} times")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("waits", "timeouts")
def test_wait_is_over_at_done_and_not_before(crew: Crew) -> None:
    """TP-26: with a time limit an error while the job runs; the job goes on; several may wait."""
    pool = crew.pool()
    gate, job = crew.blocked("TP-26", pool)
    refuses("TP-26", "wait() for a running job, with a time limit", crew.adapter.timeout_error, lambda: job.wait(0.01))

    def wait() -> bool:
        job.wait()
        return gate.ended.is_set()

    threads = [crew.stage.thread(wait) for _ in range(2)]
    threads[0].join(timing.moment)
    holds("TP-26", threads[0].is_alive(), f"wait() for a running job is over; it raised {threads[0].failure!r}")
    gate.go.set()
    for thread in threads:
        thread.join(timing.limit)
        holds("TP-26", not thread.is_alive(), "wait() hangs though the job has called done()")
        holds("TP-26", thread.result is True, f"wait() raised {thread.failure!r}, or was over before done()")
    within("TP-26", "wait() for an idle job", job.wait)


@pytest.mark.clause("TP-27")
@pytest.mark.capability("waits", "errors")
def test_a_job_can_not_wait_for_itself(crew: Crew) -> None:
    """TP-27: an error, not a hang."""
    pool = crew.pool()
    said: list[Any] = []

    def body(job: Any) -> None:
        try:
            said.append(job.wait(timing.moment))
        except crew.adapter.usage_error:
            said.append("refused")

    job = crew.job(body)
    crew.schedule(pool, job)
    within("TP-27", "wait()", job.wait)
    holds("TP-27", said == ["refused"], f"wait() by the job itself: {said}")


# --- all of a pool


@pytest.mark.clause("TP-9")
@pytest.mark.capability("waits", "timeouts")
def test_drain_waits_for_what_runs(crew: Crew) -> None:
    """TP-9: a job that is in its function when the pool is drained."""
    pool = crew.pool()
    gate, _ = crew.blocked("TP-9", pool)
    refuses("TP-9", "drain() beside a running job, with a limit", crew.adapter.timeout_error, lambda: pool.drain(0.01))

    def drain() -> bool:
        pool.drain()
        return gate.ended.is_set()

    thread = crew.stage.thread(drain)
    thread.join(timing.moment)
    holds("TP-9", thread.is_alive(), "drain() returns while a job runs")
    gate.go.set()
    thread.join(timing.limit)
    holds("TP-9", not thread.is_alive(), "drain() hangs")
    holds("TP-9", thread.result is True, f"drain() raised {thread.failure!r}, or was over before the job")


@pytest.mark.clause("TP-9")
@pytest.mark.capability("waits")
def test_drain_waits_for_what_is_queued_and_the_pool_goes_on(crew: Crew) -> None:
    """TP-9: a burst has run when drain() returns; another reference is not disturbed."""
    pool, other = crew.pool(), crew.pool()
    for _ in range(20):
        log = Log()
        with undisturbed():
            for _ in range(100):
                crew.schedule(pool, crew.job(log.add))
            pool.drain(timing.limit)
        holds("TP-9", len(log.entries) == 100, f"of 100 jobs {len(log.entries)} had run when drain() returned")
    crew.run("TP-9", other, lambda: None)


@pytest.mark.clause("TP-9")
@pytest.mark.capability("waits")
def test_drain_by_one_of_the_pool_s_own_jobs_is_an_error(crew: Crew) -> None:
    """TP-9: it would wait for itself."""
    pool = crew.pool()
    refuses(
        "TP-9",
        "drain() by one of the pool's own jobs",
        crew.adapter.usage_error,
        lambda: crew.run("TP-9", pool, lambda: pool.drain(timing.moment)),
    )
