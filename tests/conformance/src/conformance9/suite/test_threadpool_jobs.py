"""A job's runs: once at a time, ended by done(), nothing lost (TP-20 to TP-24, TP-27, TP-30)."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections import deque
from typing import Any

import pytest

from conformance9.suite.crew import PRI, Crew, finish
from conformance9.suite.kit import verdict
from conformance9.suite.tools import Log, holds, jitter, refuses, reported, timing, wait_asleep, wait_until, within

#: Kinds of interlock that can tell whether they are held.
LOCKS = (threading.RLock, threading.Lock, threading.Condition)


# --- TP-20


@pytest.mark.clause("TP-20")
@pytest.mark.capability("interlock checks")
@pytest.mark.parametrize("make", LOCKS, ids=lambda make: make.__name__)
def test_schedule_without_the_interlock_is_refused(crew: Crew, make: Any) -> None:
    """TP-20: an error, and the job is as it was: it does not run, and can be scheduled."""
    pool = crew.pool()
    log = Log()
    job = crew.job(log.add, make())
    refuses("TP-20", "schedule() without the interlock", crew.adapter.usage_error, lambda: pool.schedule(job))
    holds("TP-20", not log.reached(1, timing.moment), "a refused schedule ran the job")
    holds("TP-20", crew.schedule(pool, job), "after a refused schedule the job counts as scheduled")
    holds("TP-20", log.reached(1), "after a refused schedule the next one does not run the job")


@pytest.mark.clause("TP-20")
@pytest.mark.capability("interlock checks")
def test_an_interlock_that_another_thread_holds_does_not_count(crew: Crew) -> None:
    """TP-20: an RLock knows its owner."""
    pool = crew.pool()
    gate = crew.stage.gate()
    job = crew.job()

    def hold() -> None:
        with job.interlock:
            gate()

    crew.stage.thread(hold)
    assert gate.entered()
    refuses("TP-20", "schedule() under another's lock", crew.adapter.usage_error, lambda: pool.schedule(job))


@pytest.mark.clause("TP-20")
@pytest.mark.parametrize("make", [*LOCKS, threading.Semaphore], ids=lambda make: make.__name__)
def test_any_lock_can_be_the_interlock(crew: Crew, make: Any) -> None:
    """TP-20: with a lock of any kind a job is scheduled, runs and finishes under it."""
    pool = crew.pool()
    log = Log()
    job = crew.job(log.add, make())
    for number in range(1, 20):
        crew.again(pool, job)
        holds("TP-20", log.reached(number), f"with a {make.__name__} as interlock the job does not run")
        with job.interlock:
            pass


# --- TP-21


@pytest.mark.clause("TP-21")
@pytest.mark.capability("coalesce")
def test_scheduling_a_queued_job_does_nothing(crew: Crew, thorough: bool) -> None:
    """TP-21: of ten schedules under one hold of the interlock the first counts, and the job runs once."""
    pool = crew.pool()
    for number in range(2_000 if thorough else 200):
        log = Log()
        job = crew.job(log.add)
        with job.interlock:
            said = [bool(pool.schedule(job)) for _ in range(10)]
        holds("TP-21", said == [True] + 9 * [False], f"ten schedules in a row returned {said}")
        holds("TP-21", log.reached(1), "the job was not run")
        if number % 20 == 0:
            holds("TP-21", not log.reached(2, timing.moment / 2), "scheduled ten times before it ran, it ran twice")
        ran = len(log.entries)
        holds("TP-21", ran == 1, f"scheduled ten times before it could finish, it ran {ran} times")


@pytest.mark.clause("TP-21")
@pytest.mark.capability("coalesce")
def test_scheduling_a_running_job_does_nothing(crew: Crew) -> None:
    """TP-21: until done() no second run begins, at once or afterwards."""
    pool = crew.pool()
    gate, job = crew.blocked("TP-21", pool)
    said = [bool(crew.schedule(pool, job)) for _ in range(10)]
    holds("TP-21", not any(said), f"schedules of a running job returned {said}")
    holds("TP-21", not wait_until(lambda: gate.runs > 1, timing.moment), "a second run began while the first ran")
    gate.go.set()
    assert gate.ended.wait(timing.limit)
    holds("TP-21", not wait_until(lambda: gate.runs > 1, timing.moment), "scheduled while it ran, it ran again")
    holds("TP-21", wait_until(lambda: crew.schedule(pool, job)), "after done() the job can't be scheduled")
    holds("TP-21", wait_until(lambda: gate.runs == 2), "scheduled after done(), it did not run")


@pytest.mark.clause("TP-21")
@pytest.mark.capability("coalesce")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_as_many_runs_as_schedules_that_said_yes(crew: Crew, seed: int, thorough: bool, steps_aside: bool) -> None:
    """TP-21: four threads schedule one job in a loop: never two runs at once, a run for every True, none else."""
    pool = crew.pool()
    lock = threading.RLock()
    inside, most, runs = 0, 0, 0

    def fn(job: Any) -> None:
        nonlocal inside, most, runs
        with lock:
            inside += 1
            runs += 1
            most = max(most, inside)
        with lock:
            inside -= 1
            job.done()

    job = crew.adapter.job(fn, lock)
    rounds = (20_000 if thorough else 1_500) // (6 if steps_aside else 1)

    def loop() -> int:
        return sum(bool(crew.schedule(pool, job)) for _ in range(rounds))

    with jitter(seed) if steps_aside else contextlib.nullcontext():
        threads = [crew.stage.thread(loop) for _ in range(4)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-21", not thread.is_alive(), "schedule() in a loop hangs")
    said = sum(int(str(thread.result)) for thread in threads)
    holds("TP-21", wait_until(lambda: runs >= said), f"{said} schedules returned True, but there were {runs} runs")
    wait_until(lambda: runs > said, timing.moment)
    holds("TP-21", runs == said, f"{said} schedules returned True, but there were {runs} runs")
    holds("TP-21", most == 1, f"{most} runs of one job at the same time")


@pytest.mark.clause("TP-21", "TP-23")
@pytest.mark.capability("coalesce")
def test_a_job_schedules_itself_before_and_after_done(crew: Crew) -> None:
    """TP-21: before done() that does nothing; TP-23: after it, in the same hold of the lock, it is one more run."""
    pool = crew.pool()
    said: list[bool] = []
    log = Log()

    def fn(job: Any) -> None:
        with job.interlock:
            runs = len(log.entries)
            log.add(1)  # before done(), after which the next run may be under way
            if runs < 20:
                said.append(bool(pool.schedule(job)))
                job.done()
                said.append(bool(pool.schedule(job)))
            else:
                job.done()

    crew.schedule(pool, crew.adapter.job(fn))
    holds("TP-23", log.reached(21), f"a job that schedules itself after done() stopped after {len(log.entries)} runs")
    holds("TP-21", not any(said[0::2]), "a job that scheduled itself before done() was told True")
    holds("TP-23", all(said[1::2]), "a job that scheduled itself after done() was told False")
    holds("TP-21", not log.reached(22, timing.moment), "more runs than schedules")


# --- TP-22


@pytest.mark.clause("TP-22")
@pytest.mark.capability("coalesce")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_producers_and_a_consumer_lose_no_item(crew: Crew, seed: int, thorough: bool, steps_aside: bool) -> None:
    """TP-22: produce and schedule under the lock against consume until empty and done() under the lock."""
    pool = crew.pool()
    lock = threading.RLock()
    items: deque[int] = deque()
    seen: list[int] = []

    def consume(job: Any) -> None:
        while True:
            with lock:
                if not items:
                    job.done()
                    return
                item = items.popleft()
            seen.append(item)

    job = crew.adapter.job(consume, lock)
    each = (20_000 if thorough else 2_000) // (8 if steps_aside else 1)

    def produce(first: int) -> None:
        for number in range(first, first + each):
            with lock:
                items.append(number)
                pool.schedule(job)

    with jitter(seed) if steps_aside else contextlib.nullcontext():
        threads = [crew.stage.thread(lambda first=first: produce(first)) for first in range(0, 4 * each, each)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-22", not thread.is_alive(), "a producer hangs")
    total = 4 * each
    holds("TP-22", wait_until(lambda: len(seen) >= total), f"of {total} items {total - len(seen)} were lost")
    holds("TP-22", sorted(seen) == list(range(total)), "an item was consumed twice")


@pytest.mark.clause("TP-22")
@pytest.mark.capability("coalesce")
def test_an_item_for_each_run_is_never_lost(crew: Crew, thorough: bool) -> None:
    """TP-22: items that come one at a time, each just when the consumer is about to finish."""
    pool = crew.pool()
    condition = threading.Condition()
    items = seen = 0

    def consume(job: Any) -> None:
        nonlocal items, seen
        while True:
            with condition:
                if not items:
                    job.done()
                    return
                items -= 1
                seen += 1
                condition.notify_all()

    job = crew.adapter.job(consume, condition)
    number = 0

    def more() -> bool:
        return seen > number

    for number in range(20_000 if thorough else 2_000):  # `more` reads it
        with condition:
            items += 1
            pool.schedule(job)
            arrived = condition.wait_for(more, timing.limit)
        holds("TP-22", arrived, f"item {number} was lost")


# --- TP-23


@pytest.mark.clause("TP-23")
@pytest.mark.capability("errors")
def test_done_is_for_the_job_s_own_function(crew: Crew) -> None:
    """TP-23: done() of an idle job, or by another thread than the job's, is an error that changes nothing."""
    pool = crew.pool()
    idle = crew.job()

    def done(job: Any) -> None:
        with job.interlock:
            job.done()

    refuses("TP-23", "done() of an idle job", crew.adapter.usage_error, lambda: done(idle))
    gate, job = crew.blocked("TP-23", pool)
    refuses("TP-23", "done() by a stranger", crew.adapter.usage_error, lambda: done(job))
    holds("TP-23", not crew.schedule(pool, job), "done() by a stranger ended the run")
    gate.go.set()
    holds("TP-23", wait_until(lambda: crew.schedule(pool, job)), "after a refused done() the job never ends")


@pytest.mark.clause("TP-23")
@pytest.mark.capability("errors")
def test_done_twice_and_done_without_the_interlock(crew: Crew) -> None:
    """TP-23: both are errors; after a done() without the lock the run still goes on."""
    pool = crew.pool()
    log = Log()

    def fn(job: Any) -> None:
        try:
            refuses("TP-23", "done() without the interlock", crew.adapter.usage_error, job.done)
            with job.interlock:
                holds("TP-23", not pool.schedule(job), "a refused done() ended the run")
                job.done()
                refuses("TP-23", "done() a second time", crew.adapter.usage_error, job.done)
        except BaseException as error:
            crew.failures.append(error)
        log.add(1)

    job = crew.adapter.job(fn)
    for number in range(1, 4):
        with job.interlock:
            holds("TP-23", pool.schedule(job), "the job can't be scheduled again")
        holds("TP-23", log.reached(number), "the job was not run")


@pytest.mark.clause("TP-23")
@pytest.mark.capability("coalesce")
def test_a_job_whose_function_goes_on_after_done_is_free(crew: Crew) -> None:
    """TP-23: it runs again on another thread though the first call has not returned."""
    pool = crew.pool()
    log = Log()
    gate = crew.stage.gate()

    def fn(job: Any) -> None:
        finish(job)
        log.add(threading.get_ident())
        if len(log.entries) == 1:
            gate()

    job = crew.adapter.job(fn)
    crew.schedule(pool, job)
    holds("TP-23", gate.entered(), "the job was not run")
    holds("TP-23", crew.schedule(pool, job), "after done() a schedule returned False, the function still running")
    holds("TP-23", log.reached(2), "after done() the job does not run before its function has returned")
    holds("TP-23", log.entries[0] != log.entries[1], "two calls at once on one thread")


@pytest.mark.clause("TP-23", "TP-27")
@pytest.mark.capability("coalesce", "errors")
def test_a_job_whose_function_goes_on_after_done_may_be_destroyed(crew: Crew) -> None:
    """TP-23: destroy by the function itself and by another thread, while the call goes on, harms nobody."""
    pool = crew.pool()
    for by_itself in (True, False):
        gate = crew.stage.gate()

        def fn(job: Any, gate: Any = gate, by_itself: bool = by_itself) -> None:
            finish(job)
            if by_itself:
                job.destroy()
            gate()

        job = crew.adapter.job(fn)
        with reported() as log:
            crew.schedule(pool, job)
            holds("TP-23", gate.entered(), "the job was not run, or destroy() after done() failed")
            if not by_itself:
                job.destroy()
            gate.go.set()
            crew.run("TP-23", pool, lambda: None)
        holds("TP-23", not log.entries, f"destroy() after done() led to {log.entries!r}")


@pytest.mark.clause("TP-23")
@pytest.mark.capability("coalesce")
def test_a_finished_job_is_kept_by_nobody(crew: Crew) -> None:
    """TP-23: dropped after done(), it is freed, though the worker that ran it lives on."""
    pool = crew.pool()
    refs = []
    for _ in range(3):
        log = Log()

        def fn(job: Any, log: Log = log) -> None:
            finish(job)
            log.add(threading.get_native_id())

        job = crew.adapter.job(fn)
        refs.append(weakref.ref(fn))
        crew.schedule(pool, job)
        assert log.reached(1)
        wait_asleep(log.entries)
        del job, fn, log
    freed = wait_until(lambda: gc.collect() >= 0 and not any(ref() for ref in refs[:-1]), 2)
    holds("TP-23", freed, "the functions of jobs that are over and dropped are still referred to")


# --- TP-24, TP-30


class Odd(BaseException):
    """Not an Exception."""


ENDINGS: dict[str, BaseException | None] = {
    "returns": None,
    "raises": ValueError("on purpose"),
    "raises-odd": Odd("on purpose"),
}


def end(ending: str) -> None:
    """Return, or raise."""
    error = ENDINGS[ending]
    if error is not None:
        raise error


@pytest.mark.clause("TP-24")
@pytest.mark.capability("reports", "coalesce")
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_function_that_ends_without_done(crew: Crew, ending: str) -> None:
    """TP-24: it is reported, counts as done, and the worker goes on to the next job."""
    pool = crew.pool()
    ran = Log()

    def fn(job: Any) -> None:
        ran.add(threading.get_native_id())
        end(ending)

    job = crew.adapter.job(fn, None, "forgetful")
    with reported() as log:
        for number in range(1, 6):
            holds("TP-24", wait_until(lambda: crew.schedule(pool, job)), "the job does not count as done")
            holds("TP-24", log.reached(number), f"a function that {ending} without done() was not reported")
            holds("TP-24", ran.reached(number), "the job was not run again")
        wait_until(lambda: len(log.entries) > 5, timing.moment)
    holds("TP-24", len(log.entries) == 5, f"5 runs without done() led to {len(log.entries)} reports")
    crew.run("TP-24", pool, lambda: None)


@pytest.mark.clause("TP-24")
@pytest.mark.capability("reports", "idle out")
def test_the_worker_lives_on_after_an_exception(crew: Crew) -> None:
    """TP-24: the next job runs on the same thread."""
    crew.adapter.set_idle(600)
    pool = crew.pool()
    ran = Log()

    def fn(job: Any) -> None:
        ran.add(threading.get_native_id())
        raise Odd("on purpose")

    with reported() as log:
        crew.schedule(pool, crew.adapter.job(fn))
        assert ran.reached(1)
        holds("TP-24", log.reached(1), "the exception was not reported")
        wait_asleep(ran.entries)
        used = crew.run("TP-24", pool, threading.get_native_id)
    holds("TP-24", used == ran.entries[0], "the worker died of the exception of its job")


@pytest.mark.clause("TP-24")
@pytest.mark.capability("reports", "cancel waits")
@pytest.mark.parametrize("ending", list(ENDINGS))
def test_who_waits_for_a_job_that_forgets_done_is_released(crew: Crew, ending: str) -> None:
    """TP-24: cancel() of a running job returns when the function ends without done()."""
    pool = crew.pool()
    gate = crew.stage.gate()

    def fn(job: Any) -> None:
        gate()
        end(ending)

    job = crew.adapter.job(fn)

    def cancel() -> object:
        with job.interlock:
            return pool.cancel(job)

    with reported() as log:
        crew.schedule(pool, job)
        assert gate.entered()
        thread = crew.stage.thread(cancel)
        thread.join(timing.moment)
        gate.go.set()
        thread.join(timing.limit)
        holds("TP-24", not thread.is_alive(), f"cancel() hangs on a job that {ending} without done()")
        log.reached(1)
    holds("TP-24", thread.result is False, f"cancel() that waited returned {thread.result!r}")


@pytest.mark.clause("TP-30")
@pytest.mark.capability("reports")
def test_exceptions_reach_the_excepthook(crew: Crew) -> None:
    """TP-30: each exception, with its traceback, before or after done(), gets to threading.excepthook once."""
    pool = crew.pool()
    seen: list[Any] = []
    count = Log()
    raised = [ValueError(number) for number in range(20)]

    def hook(args: Any) -> None:
        seen.append((args.exc_type, args.exc_value, args.exc_traceback))
        count.add(1)

    before = threading.excepthook
    threading.excepthook = hook
    try:
        for number, error in enumerate(raised):

            def fn(job: Any, number: int = number, error: Exception = error) -> None:
                if number % 2:
                    finish(job)
                raise error

            crew.schedule(pool, crew.adapter.job(fn))
        holds("TP-30", count.reached(20), f"of 20 exceptions {len(seen)} reached threading.excepthook")
        holds("TP-30", not count.reached(21, timing.moment), "an exception was reported twice")
    finally:
        threading.excepthook = before
    holds("TP-30", {value for _, value, _ in seen} == set(raised), "other exceptions were reported than raised")
    holds("TP-30", all(kind is ValueError for kind, _, _ in seen), "the wrong type was reported")
    holds("TP-30", all(trace is not None for _, _, trace in seen), "reports without a traceback")


# --- TP-27


@pytest.mark.clause("TP-27")
@pytest.mark.capability("errors", "shared", "cancel", "cancel waits")
def test_cancel_on_another_pool_is_refused(crew: Crew) -> None:
    """TP-27: of a running job; the run is not touched, and its own pool still can."""
    pool, other = crew.pool(), crew.pool(PRI - 1)
    gate, job = crew.blocked("TP-27", pool)
    with job.interlock:
        for call in (other.cancel_async, other.cancel):
            refuses("TP-27", "cancel on the wrong pool", crew.adapter.usage_error, lambda call=call: call(job))
        holds("TP-27", pool.cancel_async(job) is False, "a refused cancel changed the job")
    gate.go.set()
    holds("TP-27", gate.ended.wait(timing.limit), "a refused cancel changed the job")
    holds("TP-27", wait_until(lambda: crew.schedule(other, job)), "the job can't be scheduled on another pool later")


@pytest.mark.clause("TP-27")
@pytest.mark.capability("errors", "cancel waits")
def test_a_job_that_cancels_itself_before_done_is_told(crew: Crew) -> None:
    """TP-27: it would wait for itself: an error, not a hang."""
    pool = crew.pool()
    over = threading.Event()

    def body(job: Any) -> None:
        try:
            with job.interlock:
                refuses("TP-27", "cancel() of oneself", crew.adapter.usage_error, lambda: pool.cancel(job))
                holds("TP-27", not pool.schedule(job), "a refused self-cancel ended the run")
        finally:
            over.set()

    crew.schedule(pool, crew.job(body))
    holds("TP-27", over.wait(timing.limit), "a job that cancels itself before done() hangs")


@pytest.mark.clause("TP-27")
@pytest.mark.capability("errors")
def test_destroy_of_a_job_that_is_scheduled_or_running_is_refused(crew: Crew) -> None:
    """TP-27: it finishes as if nothing had been, and can be destroyed then."""
    pool = crew.pool()
    for _ in range(100):
        log = Log()
        job = crew.job(log.add)
        with job.interlock:
            pool.schedule(job)  # can't end before the lock is given up, whether it has begun or not
            refuses("TP-27", "destroy() of a scheduled job", crew.adapter.usage_error, job.destroy)
        holds("TP-27", log.reached(1), "a refused destroy() took the run away")
    gate, job = crew.blocked("TP-27", pool)
    refuses("TP-27", "destroy() of a running job", crew.adapter.usage_error, job.destroy)
    gate.go.set()

    def destroyed() -> bool:
        try:
            job.destroy()
        except crew.adapter.usage_error:
            return False
        return True

    holds("TP-27", wait_until(destroyed), "a job that is over can't be destroyed")


@pytest.mark.clause("TP-27")
@pytest.mark.capability("errors")
def test_a_destroyed_job_is_refused(crew: Crew) -> None:
    """TP-27: schedule is an error, and it never runs; a second destroy may be an error or do nothing."""
    pool = crew.pool()
    log = Log()
    job = crew.job(log.add)
    job.destroy()
    refuses("TP-27", "schedule() after destroy()", crew.adapter.usage_error, lambda: crew.schedule(pool, job))
    said = verdict(job.destroy, crew.adapter.usage_error)
    holds("TP-27", said in ("refused", "accepted"), f"a second destroy() raised {said}")
    holds("TP-27", not log.reached(1, timing.moment), "a destroyed job ran")
    if "post" in crew.adapter.capabilities:
        refuses("TP-27", "post() after destroy()", crew.adapter.usage_error, lambda: pool.post(job))
    within("TP-27", "a job after that", lambda: crew.run("TP-27", pool, lambda: None))
