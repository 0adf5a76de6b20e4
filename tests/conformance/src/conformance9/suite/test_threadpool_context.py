"""Scheduling from any context, with and without the interlock (TP-20, TP-25, TP-28)."""

from __future__ import annotations

import contextlib
import functools
import gc
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from conformance9.suite.crew import Crew, finish
from conformance9.suite.tools import (
    STEP,
    Log,
    holds,
    interrupted_at,
    interrupted_everywhere,
    jitter,
    timing,
    wait_asleep,
    wait_until,
    want_steps,
    within,
)

# --- TP-28


@pytest.mark.clause("TP-28")
@pytest.mark.capability("post")
def test_post_needs_no_interlock_and_never_waits_for_it(crew: Crew) -> None:
    """TP-28: while another thread holds the interlock, post returns, and the job begins."""
    pool = crew.pool()
    hold = crew.stage.gate()
    log = Log()
    lock = threading.RLock()

    def fn(job: Any) -> None:
        log.add(1)
        finish(job)

    job = crew.adapter.job(fn, lock)

    def holder() -> None:
        with lock:
            hold()

    crew.stage.thread(holder)
    assert hold.entered()
    said = within("TP-28", "post() while the interlock is held", lambda: pool.post(job))
    holds("TP-28", said, f"post() of an idle job returned {said!r}")
    holds("TP-28", log.reached(1), "the posted job was not run")
    hold.go.set()
    holds("TP-28", wait_until(lambda: pool.post(job)), "after its run the job can't be posted again")
    holds("TP-28", log.reached(2), "posted again, it was not run")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("post", "coalesce")
def test_a_post_before_the_run_begins_is_part_of_it(crew: Crew) -> None:
    """TP-28: ten posts of one job while its interlock is held: one run at a time, and one at least after each."""
    pool = crew.pool()
    inside = most = runs = 0
    lock = threading.RLock()

    def fn(job: Any) -> None:
        nonlocal inside, most, runs
        with lock:
            inside += 1
            runs += 1
            most = max(most, inside)
            inside -= 1
            job.done()

    job = crew.adapter.job(fn, lock)
    for _ in range(100):
        before = runs
        for _ in range(10):
            pool.post(job)
        holds("TP-28", wait_until(lambda before=before: runs > before), "ten posts, no run")
    holds("TP-28", most == 1, "two runs at once")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("post", "coalesce")
def test_a_post_to_a_job_that_is_about_to_finish_is_not_lost(crew: Crew) -> None:
    """TP-28: as if it took the interlock: it takes effect after the done() that holds it."""
    pool = crew.pool()
    lock = threading.RLock()
    items: deque[int] = deque()
    seen = Log()
    gate = crew.stage.gate()

    def consume(job: Any) -> None:
        while True:
            with lock:
                if not items:
                    if not gate.began.is_set():
                        gate()  # it has looked and found nothing; now comes an item
                    job.done()
                    return
                seen.add(items.popleft())

    job = crew.adapter.job(consume, lock)
    pool.post(job)
    holds("TP-28", gate.entered(), "the posted job was not run")
    items.append(1)
    within("TP-28", "post() to a running job", lambda: pool.post(job))
    gate.go.set()
    holds("TP-28", seen.reached(1), "an item posted while the job was about to finish was lost")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("post", "coalesce")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_posting_producers_lose_no_item(crew: Crew, seed: int, thorough: bool, steps_aside: bool) -> None:
    """TP-28: append and post without the lock against consume until empty and done() under the lock."""
    pool = crew.pool()
    lock = threading.RLock()
    items: deque[int] = deque()
    seen: list[int] = []

    def consume(job: Any) -> None:
        while True:
            with lock:
                try:
                    item = items.popleft()
                except IndexError:
                    job.done()
                    return
            seen.append(item)

    job = crew.adapter.job(consume, lock)
    each = (20_000 if thorough else 3_000) // (8 if steps_aside else 1)

    def produce(first: int) -> None:
        for number in range(first, first + each):
            items.append(number)
            pool.post(job)

    with jitter(seed) if steps_aside else contextlib.nullcontext():
        threads = [crew.stage.thread(lambda first=first: produce(first)) for first in range(0, 4 * each, each)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-28", not thread.is_alive(), "post() in a loop hangs")
    total = 4 * each
    holds("TP-28", wait_until(lambda: len(seen) >= total), f"of {total} items {total - len(seen)} were lost")
    holds("TP-28", sorted(seen) == list(range(total)), "an item was consumed twice")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("any context", "post", "coalesce")
def test_a_run_that_ends_at_any_step_of_a_post_loses_nothing(crew: Crew) -> None:
    """TP-28: done() between any two bytecodes of a post to the running job: there is one more run."""
    pool = crew.pool()
    for number in range(600):
        gate, runs, over = crew.stage.gate(), Log(), threading.Event()

        def fn(job: Any, gate: Any = gate, runs: Log = runs, over: threading.Event = over) -> None:
            runs.add(1)
            gate()
            finish(job)
            over.set()

        def end(gate: Any = gate, over: threading.Event = over) -> None:
            gate.go.set()
            over.wait(timing.limit)

        job = crew.adapter.job(fn)
        crew.schedule(pool, job)
        holds("TP-28", gate.entered(), "the job was not run")
        met = interrupted_at(number, lambda job=job: pool.post(job), end)
        end()
        holds("TP-28", runs.reached(2), f"the run ended at step {number} of a post, and there was no other run")
        if not met:
            return


@pytest.mark.clause("TP-26", "TP-28")
@pytest.mark.capability("post", "cancel", "cancel waits", "coalesce")
@pytest.mark.parametrize("how", ["cancel", "cancel_async"])
def test_a_cancel_withdraws_a_post_that_waits_for_done(crew: Crew, how: str) -> None:
    """TP-26: posted while it runs, then cancelled: after that run it does not run until somebody schedules it."""
    pool = crew.pool()
    gate, job = crew.blocked("TP-26", pool)
    pool.post(job)
    if how == "cancel":
        held = threading.Event()

        def cancel() -> Any:
            with job.interlock:
                held.set()
                return pool.cancel(job)

        thread = crew.stage.thread(cancel)
        held.wait(timing.limit)
        with job.interlock:
            pass  # it waits: only then does it let go of the interlock
    else:
        with job.interlock:
            holds("TP-25", pool.cancel_async(job) is False, "cancel_async() of a running job was not False")
    gate.go.set()
    if how == "cancel":
        thread.join(timing.limit)
        holds("TP-26", not thread.is_alive(), "cancel() does not return though the run is over")
    again = wait_until(lambda: gate.runs > 1, timing.moment)
    holds("TP-26", not again, f"posted while it ran and withdrawn by {how}(), it ran once more")


@pytest.mark.clause("TP-28", "TP-25")
@pytest.mark.capability("post", "cancel")
def test_a_posted_job_can_be_withdrawn(crew: Crew) -> None:
    """TP-25: cancel_async() of a posted job is exact, too."""
    pool = crew.pool()
    runs = 0

    def body(job: Any) -> None:
        nonlocal runs
        runs += 1

    job = crew.job(body)
    for _ in range(500):
        before = runs
        pool.post(job)
        with job.interlock:
            said = pool.cancel_async(job)
        if said is not True:
            holds("TP-25", wait_until(lambda before=before: runs > before), "cancel_async() said False, but no run")

        def idle() -> Any:
            with job.interlock:
                return pool.cancel_async(job)

        holds("TP-25", wait_until(idle), "the job never ends")
        holds("TP-25", runs - before <= 1, f"one post led to {runs - before} runs")


# --- any context: between any two bytecodes


def operations(crew: Crew, pool: Any) -> dict[str, Callable[[], object]]:
    """What may be called in any context, each for jobs of its own, and each for one job that all share."""
    shared, second = crew.job(), crew.job()

    def schedule(job: Any) -> None:
        with job.interlock:
            pool.schedule(job)

    def cancel(job: Any) -> None:
        with job.interlock:
            pool.cancel_async(job)

    return {
        "schedule": lambda: schedule(shared),
        "post": lambda: pool.post(shared),
        "cancel": lambda: cancel(shared),
        "schedule-other": lambda: schedule(second),
        "post-other": lambda: pool.post(second),
        "post-new": lambda: pool.post(crew.job()),
    }


@pytest.mark.capability("any context", "post", "cancel", "coalesce")
@pytest.mark.parametrize("interrupt", ["schedule", "post", "cancel", "schedule-other", "post-other", "post-new"])
@pytest.mark.parametrize(
    "operation",
    [
        pytest.param("schedule", marks=pytest.mark.clause("TP-20")),
        pytest.param("post", marks=pytest.mark.clause("TP-28")),
        pytest.param("cancel", marks=pytest.mark.clause("TP-25")),
    ],
)
def test_interrupted_between_any_two_bytecodes(crew: Crew, operation: str, interrupt: str) -> None:
    """TP-20, TP-25, TP-28: one operation, and another one on the same thread between any two bytecodes of it."""
    clause = {"schedule": "TP-20", "post": "TP-28", "cancel": "TP-25"}[operation]
    pool = crew.pool()
    calls = operations(crew, pool)
    crew.run(clause, pool, lambda: None)
    for _ in range(3):
        try:
            count = interrupted_everywhere(calls[operation], calls[interrupt])
        except AssertionError as error:
            holds(clause, False, f"{operation} interrupted by {interrupt}: {error}")
        holds(clause, count > 3, f"{operation} was interrupted {count} times only")
    # Whatever came of those, the pool and the jobs work.
    for job in (crew.job(), crew.job()):
        log = Log()
        fresh = crew.job(log.add)
        pool.post(fresh)
        holds(clause, log.reached(1), f"after {operation} interrupted by {interrupt} a posted job is not run")
        del job


@pytest.mark.clause("TP-28", "TP-20")
@pytest.mark.capability("any context", "post", "coalesce")
def test_each_schedule_that_interrupts_another_is_a_run(crew: Crew) -> None:
    """TP-28: a fresh job posted between any two bytecodes of a schedule: all of them run, each once."""
    pool = crew.pool()
    log = Log()
    posted = 0

    def interrupt() -> None:
        nonlocal posted
        number = posted
        posted += 1
        pool.post(crew.job(lambda job: log.add(number)))

    job = crew.job()

    def operation() -> None:
        with job.interlock:
            pool.schedule(job)

    for cold in (True, False, True):
        if cold:
            crew.adapter.settle()
        interrupted_everywhere(operation, interrupt)
    holds("TP-28", log.reached(posted), f"of {posted} jobs posted from an interrupted schedule {len(log.entries)} ran")
    holds("TP-28", sorted(log.entries) == list(range(posted)), "a job posted from an interrupted schedule ran twice")


@pytest.mark.clause("TP-23", "TP-28")
@pytest.mark.capability("any context", "post", "coalesce")
def test_done_interrupted_by_a_post_of_the_same_job(crew: Crew) -> None:
    """TP-28: between any two bytecodes of done(): the post is a run, now or after; none is lost."""
    pool = crew.pool()
    runs = Log()
    posts = 0
    problems: list[BaseException] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal posts
        want_steps(frame)
        if event == STEP and posts < 200:
            posts += 1
            try:
                pool.post(job)
            except BaseException as error:
                problems.append(error)
        return trace

    def fn(job: Any) -> None:
        runs.add(posts)
        with job.interlock:
            sys.settrace(trace)
            try:
                job.done()
            finally:
                sys.settrace(None)

    job = crew.adapter.job(fn)
    for _ in range(5):
        posts = 0
        number = len(runs.entries)
        pool.post(job)
        holds("TP-28", runs.reached(number + 2), "posts that interrupted done() led to no further run")
        runs.reached(number + 200, timing.moment)

    def idle() -> bool:
        seen = len(runs.entries)
        return not wait_until(lambda: len(runs.entries) > seen, timing.moment)

    holds("TP-28", wait_until(idle), "the job runs again and again though nobody posts it")
    holds("TP-28", not problems, f"a post that interrupted done() raised {problems[:1]!r}")
    before = len(runs.entries)
    pool.post(job)
    holds("TP-28", runs.reached(before + 1), "after that the job does not run any more")


# --- any context: signals, finalizers


@pytest.mark.clause("TP-28", "TP-20")
@pytest.mark.capability("any context", "post")
def test_posts_from_a_signal_handler(crew: Crew, thorough: bool) -> None:
    """TP-28: a handler that posts and schedules, beside a loop of the same on the thread that it interrupts."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signal handlers run on the main thread, which does not run the tests here")
    pool = crew.pool()
    ran = Log()
    mine, theirs, locked = crew.job(lambda job: ran.add("loop")), crew.job(lambda job: ran.add("handler")), crew.job()
    signals = 0

    def handler(number: int, frame: object) -> None:
        nonlocal signals
        signals += 1
        pool.post(theirs)
        with locked.interlock:
            pool.schedule(locked)

    before = signal.signal(signal.SIGALRM, handler)
    watchdog = threading.Event()

    def watch() -> None:
        # The main thread is the one that may hang, so another one has to say so.
        if not watchdog.wait(3 * timing.limit):
            crew.failures.append(AssertionError("TP-28: a post from a signal handler hangs"))
            gate.go.set()

    gate = crew.stage.gate()
    crew.stage.thread(watch)
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
    try:
        while signals < (20_000 if thorough else 800):
            pool.post(mine)
            with locked.interlock:
                pool.schedule(locked)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        watchdog.set()
    seen = ran.entries.count("handler")
    pool.post(theirs)
    later = wait_until(lambda: ran.entries.count("handler") > seen)
    holds("TP-28", later, "after posts from a signal handler the job does not run any more")
    log = Log()
    pool.post(crew.job(log.add))
    holds("TP-28", log.reached(1), "after posts from a signal handler a new job is not run")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("any context", "post")
def test_posts_from_finalizers(crew: Crew) -> None:
    """TP-28: __del__, a weakref callback and a gc callback post; all of these jobs run."""
    pool = crew.pool()
    log = Log()

    class Dropped:
        def __init__(self, name: str) -> None:
            self.name = name
            self.itself: Any = None

        def __del__(self) -> None:
            post(self.name)

    def post(name: str) -> None:
        pool.post(crew.job(lambda job: log.add(name)))

    for number in range(50):
        Dropped(f"del {number}")
        cycle = Dropped(f"cycle {number}")
        cycle.itself = cycle
        watched = Dropped(f"watched {number}")
        ref = weakref.ref(watched, functools.partial(lambda number, _: post(f"weakref {number}"), number))
        del watched, cycle, ref
    gc_posts = 0

    def callback(phase: str, info: object) -> None:
        nonlocal gc_posts
        gc_posts += 1
        post(f"gc {gc_posts}")

    gc.callbacks.append(callback)
    try:
        within("TP-28", "a post from a gc callback", gc.collect)
    finally:
        gc.callbacks.remove(callback)
    due = {f"{kind} {number}" for kind in ("del", "cycle", "watched", "weakref") for number in range(50)}
    due |= {f"gc {number}" for number in range(1, gc_posts + 1)}
    ran = wait_until(lambda: due <= set(log.entries))
    holds("TP-28", ran, f"of {len(due)} jobs posted by finalizers {len(due - set(log.entries))} did not run")


@pytest.mark.clause("TP-28")
@pytest.mark.capability("any context", "post", "idle out")
def test_the_first_post_of_all_may_come_from_a_handler(crew: Crew) -> None:
    """TP-28: with no thread of the implementation in the process, between any two bytecodes of ordinary code."""
    for _ in range(5):
        crew.adapter.settle()
        pool = crew.pool()
        log = Log()
        posted = 0

        def interrupt(pool: Any = pool, log: Log = log) -> None:
            nonlocal posted
            if posted < 3:
                posted += 1
                pool.post(crew.job(log.add))

        def ordinary() -> list[int]:
            return [number * number for number in range(100)]

        interrupted_everywhere(ordinary, interrupt)
        holds("TP-28", log.reached(posted), f"{posted} posts from an interrupted thread led to {len(log.entries)} runs")
        wait_asleep(crew.fresh())
