"""The last put of a pool (TP-9)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conformance9.suite.crew import PRI, Crew, finish
from conformance9.suite.kit import Lingering
from conformance9.suite.tools import Log, holds, need, refuses, timing, wait_asleep, wait_until, within

kinds = pytest.mark.parametrize("kind", ["unbound", "percpu"])
pytestmark = pytest.mark.clause("TP-9")


def take(crew: Crew, kind: str) -> tuple[Any, Any]:
    """A reference of that kind and the pool to schedule on."""
    if kind == "percpu":
        need(crew.adapter, "percpu")
        percpu = crew.adapter.percpu_get(PRI)
        return percpu, percpu.ref()
    pool = crew.adapter.get(PRI)
    return pool, pool


@pytest.mark.capability("put waits")
@kinds
def test_put_waits_for_a_blocked_job(crew: Crew, kind: str) -> None:
    """TP-9: while a job is blocked the last put does not return; when it returns the job is over."""
    reference, pool = take(crew, kind)
    gate, _ = crew.blocked("TP-9", pool)
    thread = crew.stage.thread(reference.put)
    thread.join(timing.moment)
    holds("TP-9", thread.is_alive(), "the last put returned while a job of the pool was running")
    gate.go.set()
    thread.join(timing.limit)
    holds("TP-9", not thread.is_alive(), "the last put hangs though every job is over")


@pytest.mark.capability("put waits")
def test_put_waits_for_a_function_that_has_called_done(crew: Crew) -> None:
    """TP-9: every worker has left: one whose function has called done() and goes on has not."""
    pool = crew.adapter.get(PRI)
    gate = crew.stage.gate()

    def fn(job: Any) -> None:
        finish(job)
        gate()

    crew.schedule(pool, crew.adapter.job(fn))
    holds("TP-9", gate.entered(), "the job was not run")
    thread = crew.stage.thread(pool.put)
    thread.join(timing.moment)
    holds("TP-9", thread.is_alive(), "the last put returned while a function of the pool was running, after done()")
    gate.go.set()
    thread.join(timing.limit)
    holds("TP-9", not thread.is_alive(), "the last put hangs though every function has returned")


@pytest.mark.capability("put waits")
@kinds
def test_what_was_scheduled_before_the_put_has_run_after_it(crew: Crew, kind: str, thorough: bool) -> None:
    """TP-9: no job of a burst is missing when put returns, in many generations of the pool."""
    for number in range(300 if thorough else 30):
        reference, pool = take(crew, kind)
        log = Log()
        burst = 1 + number % 20
        for job in [crew.job(lambda job, log=log: log.add(1)) for _ in range(burst)]:
            crew.schedule(pool, job)
        within("TP-9", "the last put", reference.put)
        ran = len(log.entries)
        holds("TP-9", ran == burst, f"generation {number}: {ran} of {burst} jobs had run when put returned")


@pytest.mark.capability("put waits")
@kinds
def test_put_waits_for_a_thread_that_is_leaving(crew: Crew, kind: str) -> None:
    """TP-9: a job left something on its thread whose end takes a moment: put returns when the thread is through."""
    for _ in range(3):
        reference, pool = take(crew, kind)
        local, lingering = threading.local(), Lingering()

        class Last:
            def __del__(self, lingering: Lingering = lingering) -> None:
                lingering()

        def leave(local: Any = local, last: type[Last] = Last) -> None:
            local.last = last()

        crew.run("TP-9", pool, leave)
        within("TP-9", "the last put", reference.put)
        holds("TP-9", lingering.ended, "the last put returned while a worker's thread was there")


@pytest.mark.capability("put waits", "idle out")
@kinds
def test_put_leaves_no_thread_behind(crew: Crew, kind: str) -> None:
    """TP-9: workers that were idle, with a long idle time, and the helper are gone after the last put."""
    crew.adapter.set_idle(600)
    reference, pool = take(crew, kind)
    waiting = crew.threads("TP-9", pool, 3)
    for _, gate in waiting:
        gate.go.set()
    wait_asleep([tid for tid, _ in waiting])
    within("TP-9", "the last put", reference.put)
    gone = wait_until(lambda: not crew.fresh())
    holds("TP-9", gone, f"put left {len(crew.fresh())} threads that will stay for the idle time")


@pytest.mark.capability("put waits", "shared")
@kinds
def test_a_put_that_is_not_the_last_waits_for_nothing(crew: Crew, kind: str) -> None:
    """TP-9: with another reference held, put returns beside a blocked job."""
    first, pool = take(crew, kind)
    second, _ = take(crew, kind)
    gate, _ = crew.blocked("TP-9", pool)
    within("TP-9", "a put that is not the last", second.put)
    gate.go.set()
    within("TP-9", "the last put", first.put)


@pytest.mark.capability("shared")
@kinds
def test_one_put_too_many_is_an_error(crew: Crew, kind: str) -> None:
    """TP-9: a clear error, each time, and the next generation is not touched by it."""
    reference, pool = take(crew, kind)
    crew.run("TP-9", pool, lambda: None)
    within("TP-9", "the last put", reference.put)
    for _ in range(3):
        within(
            "TP-9",
            "one put too many",
            lambda: refuses("TP-9", "one put too many", crew.adapter.usage_error, reference.put),
        )
    fresh, pool = take(crew, kind)
    crew.run("TP-9", pool, lambda: None)
    within("TP-9", "the last put", fresh.put)


@pytest.mark.capability("shared", "percpu")
def test_a_member_of_a_percpu_set_can_not_be_put(crew: Crew) -> None:
    """TP-9: the set is what has references."""
    percpu = crew.percpu()
    for member in (percpu.ref(), percpu.ref_remote(crew.adapter.cpus()[0])):
        refuses("TP-9", "put() of a member of a per-CPU set", crew.adapter.usage_error, member.put)
    crew.run("TP-9", percpu.ref(), lambda: None)


@pytest.mark.capability("shared", "put waits")
@kinds
def test_the_last_put_from_one_of_the_pool_s_own_jobs_is_an_error(crew: Crew, kind: str) -> None:
    """TP-9: it would wait for itself; refused, and the reference is still there and works."""
    reference, pool = take(crew, kind)
    tried = threading.Event()

    def body(job: Any) -> None:
        try:
            refuses("TP-9", "the last put from inside", crew.adapter.usage_error, reference.put)
        finally:
            tried.set()

    crew.schedule(pool, crew.job(body))
    holds("TP-9", tried.wait(timing.limit), "the last put from one of the pool's own jobs hangs")
    if not crew.failures:
        crew.run("TP-9", pool, lambda: None)
        within("TP-9", "the last put", reference.put)


@pytest.mark.capability("shared", "put waits")
def test_a_put_from_inside_that_is_not_the_last_is_fine(crew: Crew) -> None:
    """TP-9: a job may give back a reference as long as another one is held."""
    pool, second = crew.pool(), crew.adapter.get(PRI)
    crew.run("TP-9", pool, second.put)


@pytest.mark.capability("put waits", "timeouts")
def test_a_put_with_a_time_limit_ends_in_time(crew: Crew) -> None:
    """TP-9: beside a blocked job the limit ends the wait with the time-out error; the job is not harmed."""
    pool = crew.adapter.get(PRI)
    gate, _ = crew.blocked("TP-9", pool)
    within(
        "TP-9",
        "put(timeout)",
        lambda: refuses("TP-9", "put(timeout)", crew.adapter.timeout_error, lambda: pool.put(timing.moment)),
    )
    gate.go.set()
    holds("TP-9", gate.ended.wait(timing.limit), "the job was harmed by a put that ran out of time")
    holds("TP-9", wait_until(lambda: not crew.fresh()), "the pool did not go when its job was over")


@pytest.mark.capability("put waits", "shared")
def test_a_job_that_schedules_another_while_put_waits(crew: Crew) -> None:
    """TP-9: put waits for what its jobs schedule meanwhile, too."""
    for _ in range(20):
        pool = crew.adapter.get(PRI)
        log = Log()
        chain = [crew.job(lambda job, log=log: log.add(1))]
        for _ in range(5):
            follower = chain[-1]

            def body(job: Any, follower: Any = follower, pool: Any = pool) -> None:
                crew.schedule(pool, follower)

            chain.append(crew.job(body))
        crew.schedule(pool, chain[-1])
        within("TP-9", "the last put", pool.put)
        holds("TP-9", len(log.entries) == 1, "put returned before the last job of a chain")
