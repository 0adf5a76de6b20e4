"""Pools and their references (TP-1, TP-2, TP-3)."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import PRI, Crew
from conformance9.suite.threadpool_programs import outcome
from conformance9.suite.tools import (
    Log,
    holds,
    jitter,
    need,
    refuses,
    timing,
    wait_asleep,
    wait_until,
    within,
)

EDGES = (-1, 0, 63, 64, 95, 96, 127, 128, 191, 192, 223)
BAD = (-2, 224, 10**9, True, 3.0, "high", None)

kinds = pytest.mark.parametrize("kind", ["unbound", "percpu"])


def getter_of(adapter: Any, kind: str) -> Any:
    """The function that gives references of that kind."""
    if kind == "percpu":
        need(adapter, "percpu")
        return adapter.percpu_get
    return adapter.get


def put(reference: Any) -> None:
    """Give a reference back; a hang is a broken TP-9."""
    within("TP-9", "put()", reference.put)


# --- the core, which every implementation has


@pytest.mark.clause("TP-3")
def test_a_scheduled_job_runs_on_a_thread_of_its_own(crew: Crew) -> None:
    """TP-3: schedule returns at once, the function runs elsewhere, and is given its job."""
    pool = crew.pool()
    gate = crew.stage.gate()
    seen: list[object] = []

    def body(job: Any) -> None:
        seen.extend((job, threading.get_ident()))
        gate()

    job = crew.job(body)
    within("TP-3", "schedule()", lambda: crew.schedule(pool, job))
    holds("TP-3", gate.entered(), f"a scheduled job was not run within {timing.limit:g} s")
    holds("TP-3", seen[0] is job, f"the function was called with {seen[0]!r}, not with its job")
    holds("TP-3", seen[1] != threading.get_ident(), "the job ran on the thread that scheduled it")


@pytest.mark.clause("TP-3")
def test_each_of_many_jobs_runs_once(crew: Crew) -> None:
    """TP-3: of 2000 jobs, scheduled in two bursts at once, each runs exactly once."""
    pool = crew.pool()
    log = Log()
    jobs = [crew.job(lambda job, number=number: log.add(number)) for number in range(2000)]
    for half in (jobs[:1000], jobs[1000:]):
        crew.stage.thread(lambda half=half: [crew.schedule(pool, job) for job in half])
    holds("TP-3", log.reached(2000), f"of 2000 jobs {2000 - len(log.entries)} did not run")
    holds("TP-3", sorted(log.entries) == list(range(2000)), "some job ran more than once")


@pytest.mark.clause("TP-3")
def test_a_schedule_that_meets_an_idling_worker_is_not_lost(crew: Crew, thorough: bool) -> None:
    """TP-3: a job that is scheduled at the very moment when the worker runs out of work runs all the same."""
    pool = crew.pool()
    ran = threading.Semaphore(0)
    jobs = [crew.job(lambda job: ran.release()) for _ in range(2)]
    for number in range(30_000 if thorough else 3_000):
        crew.again(pool, jobs[number % 2])
        # The next schedule follows at once: the worker is between done() and its sleep.
        holds("TP-3", ran.acquire(timeout=timing.limit), f"schedule number {number} was lost")


@pytest.mark.clause("TP-3")
def test_no_wake_up_is_lost_between_any_two_bytecodes(crew: Crew, seed: int, thorough: bool) -> None:
    """TP-3: as above, with threads that step aside at random between two bytecodes, and new workers each time."""
    ran = threading.Semaphore(0)
    with jitter(seed):
        for _ in range(200 if thorough else 20):
            pool = crew.adapter.get(PRI)
            jobs = [crew.job(lambda job: ran.release()) for _ in range(3)]

            def body(jobs: list[Any] = jobs, pool: Any = pool) -> None:
                for number in range(60):
                    crew.again(pool, jobs[number % 3])
                    holds("TP-3", ran.acquire(timeout=timing.limit), f"schedule number {number} was lost")

            within("TP-3", "a schedule", body, 3 * timing.limit)
            put(pool)


@pytest.mark.clause("TP-3")
@pytest.mark.capability("lazy")
@kinds
def test_a_fresh_pool_has_no_worker(crew: Crew, kind: str) -> None:
    """TP-3: get() starts no thread that stays."""
    getter_of(crew.adapter, kind)
    (crew.percpu if kind == "percpu" else crew.pool)()
    holds("TP-3", wait_until(lambda: not crew.fresh(), timing.moment), f"get() started {len(crew.fresh())} threads")


@pytest.mark.clause("TP-3")
@pytest.mark.capability("lazy")
def test_no_thread_before_the_first_job_of_the_process(adapter: Any, implementation: Implementation) -> None:
    """TP-3: nor does import, or what is made beside the pool, start any; seen in a process that has run no job yet."""
    by_import, by_adapter = implementation.started_by_import, implementation.started_by_adapter
    holds("TP-3", by_import <= 0, f"importing the adapter started {by_import} threads")
    holds("TP-3", by_adapter == 0, f"making the adapter started {by_adapter} threads")
    lines = outcome("TP-3", implementation, "first_pools")
    holds("TP-3", lines == ["threads 0"], f"before the first job, in a fresh process: {lines}")


@pytest.mark.clause("TP-3")
@pytest.mark.capability("idle out")
def test_a_job_that_finds_an_idle_worker_starts_no_other(crew: Crew) -> None:
    """TP-3: while one worker is idle, scheduling one job uses it, and no thread is added."""
    crew.adapter.set_idle(600)
    pool = crew.pool()
    tid = crew.run("TP-3", pool, threading.get_native_id)
    for _ in range(10):
        wait_asleep([tid])
        threads = crew.fresh()
        used = crew.run("TP-3", pool, threading.get_native_id)
        holds("TP-3", used == tid, f"worker {tid} was idle, but the job ran on {used}")
        extra = crew.fresh() - threads
        holds("TP-3", not extra, f"worker {tid} was idle and took the job, but {len(extra)} more threads were started")


# --- references


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared")
@kinds
def test_the_same_pool_while_anybody_holds_a_reference(crew: Crew, kind: str) -> None:
    """TP-1: get() twice gives one pool, another priority another; after one put of two it is still the same."""
    get = getter_of(crew.adapter, kind)
    first, second, other = get(PRI), get(PRI), get(PRI - 1)
    holds("TP-1", first == second, f"two gets of priority {PRI} gave {first!r} and {second!r}")
    holds("TP-1", first != other, f"priorities {PRI} and {PRI - 1} gave the same pool")
    put(second)
    third = get(PRI)
    holds("TP-1", third == first, "after one put of two a get gave another pool")
    for reference in (first, third, other):
        put(reference)


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared", "percpu")
def test_unbound_and_percpu_are_counted_apart(crew: Crew) -> None:
    """TP-1: the two kinds of one priority are different pools with references of their own."""
    unbound, percpu = crew.adapter.get(PRI), crew.adapter.percpu_get(PRI)
    holds("TP-1", percpu.ref() != unbound, "the per-CPU pool is the unbound pool")
    put(unbound)
    crew.run("TP-1", percpu.ref(), lambda: None)
    put(percpu)
    refuses("TP-9", "one put() too many", crew.adapter.usage_error, unbound.put)


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared")
@kinds
def test_a_pool_works_until_its_last_put_and_a_later_get_makes_a_fresh_one(crew: Crew, kind: str) -> None:
    """TP-1: ten generations of one priority, each used before and after a put that is not the last."""
    get = getter_of(crew.adapter, kind)
    for _ in range(10):
        first, second = get(PRI), get(PRI)
        pool = first.ref() if kind == "percpu" else first
        crew.run("TP-1", pool, lambda: None)
        put(second)
        crew.run("TP-1", pool, lambda: None)
        put(first)
        refuses("TP-1", "put() of a pool that is gone", crew.adapter.usage_error, first.put)


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared", "put waits")
@kinds
def test_threads_that_race_for_the_first_get_agree(crew: Crew, kind: str, seed: int, thorough: bool) -> None:
    """TP-1: eight threads, one pool, as many references as gets, no thread left over."""
    get = getter_of(crew.adapter, kind)
    threads = 8
    with jitter(seed, 0.05):
        for number in range(200 if thorough else 15):
            barrier = threading.Barrier(threads)
            log = Log()

            def race(barrier: threading.Barrier = barrier, log: Log = log) -> None:
                barrier.wait(timing.limit)
                log.add(get(PRI))

            for _ in range(threads):
                crew.stage.thread(race)
            holds("TP-1", log.reached(threads), "a racing get() hangs")
            pools = log.entries
            holds("TP-1", all(pool == pools[0] for pool in pools), f"race {number}: two pools of one priority")
            again = get(PRI)
            holds("TP-1", again == pools[0], f"race {number}: the pool of the race is not the registered one")
            pool = again.ref() if kind == "percpu" else again
            crew.run("TP-1", pool, lambda: None)
            for reference in (*pools, again):
                put(reference)
            refuses("TP-1", "one put() more than gets", crew.adapter.usage_error, again.put)
    left = wait_until(lambda: not crew.fresh())
    holds("TP-1", left, f"the races left {len(crew.fresh())} threads behind")


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared", "put waits")
def test_gets_and_puts_that_race_lose_no_job(crew: Crew, seed: int, thorough: bool) -> None:
    """TP-1: threads that get, schedule and put in a loop: every job runs, on a pool that is alive."""
    ran = Log()
    errors: list[BaseException] = []
    rounds = 100 if thorough else 12

    def loop() -> None:
        try:
            for _ in range(rounds):
                pool = crew.adapter.get(PRI)
                crew.schedule(pool, crew.job(lambda job: ran.add(1)))
                pool.put()
        except BaseException as error:
            errors.append(error)

    with jitter(seed):
        threads = [crew.stage.thread(loop) for _ in range(4)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-1", not thread.is_alive(), "get, schedule, put in a loop hangs")
    holds("TP-1", not errors, f"get, schedule, put in a loop raised {errors[:1]!r}")
    holds("TP-1", ran.reached(4 * rounds), f"of {4 * rounds} jobs {len(ran.entries)} ran")


# --- priorities


@pytest.mark.clause("TP-2")
@pytest.mark.capability("shared")
@kinds
@pytest.mark.parametrize("pri", EDGES)
def test_the_edges_of_every_band_are_priorities(crew: Crew, kind: str, pri: int) -> None:
    """TP-2: a pool of that priority can be had, and given back."""
    put(getter_of(crew.adapter, kind)(pri))


@pytest.mark.clause("TP-2")
@pytest.mark.capability("shared")
@kinds
@pytest.mark.parametrize("pri", BAD, ids=repr)
def test_anything_else_is_an_error_that_names_the_range(crew: Crew, kind: str, pri: object) -> None:
    """TP-2: ValueError or TypeError, with -1 (or PRI_NONE) and 223 in its text."""
    get = getter_of(crew.adapter, kind)
    try:
        got = get(pri)
    except (ValueError, TypeError) as error:
        text = str(error)
        holds("TP-2", "223" in text, f"get({pri!r}) raised {error!r}, which does not name the range")
        return
    except Exception as error:
        holds("TP-2", False, f"get({pri!r}) raised {error!r}, which is neither a ValueError nor a TypeError")
    holds("TP-2", False, f"get({pri!r}) gave {got!r}")


@pytest.mark.clause("TP-2", "TP-3")
@pytest.mark.capability("shared", "lazy")
def test_all_225_unbound_pools_at_once(crew: Crew) -> None:
    """TP-2: every priority from -1 to 223 has a pool of its own, and all of them together no thread."""
    pools = [crew.adapter.get(pri) for pri in range(-1, 224)]
    holds("TP-2", all(a != b for a, b in itertools.pairwise(pools)), "two priorities share a pool")
    holds("TP-3", wait_until(lambda: not crew.fresh(), timing.moment), f"225 pools have {len(crew.fresh())} threads")
    job = crew.job()
    crew.schedule(pools[PRI + 1], job)
    for pool in pools:
        put(pool)
