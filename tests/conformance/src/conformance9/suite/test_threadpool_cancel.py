"""Cancelling, with and without waiting (TP-25, TP-26)."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any

import pytest

from conformance9.suite.crew import Crew, finish
from conformance9.suite.tools import Log, holds, jitter, refuses, stepped, timing, wait_asleep, wait_until, within


class Counted:
    """An RLock that is nothing but a context manager, and counts how often its owner gave it up."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.given_up = 0

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.given_up += 1
        self.lock.release()


def held(lock: Any) -> bool:
    """Whether another thread finds the lock held."""
    got: list[bool] = []

    def attempt() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return not got[0]


def cancel(pool: Any, job: Any) -> Any:
    """Cancel and wait, interlock held."""
    with job.interlock:
        return pool.cancel(job)


def cancel_async(pool: Any, job: Any) -> Any:
    """Cancel, interlock held."""
    with job.interlock:
        return pool.cancel_async(job)


# --- TP-25


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
def test_cancel_async_of_an_idle_and_of_a_finished_job_is_true(crew: Crew) -> None:
    """TP-25: nothing is scheduled, so nothing will run."""
    pool = crew.pool()
    log = Log()
    job = crew.job(log.add)
    holds("TP-25", cancel_async(pool, job) is True, "cancel_async() of a job never scheduled was not True")
    crew.schedule(pool, job)
    assert log.reached(1)
    holds("TP-25", wait_until(lambda: cancel_async(pool, job) is True), "cancel_async() of a finished job is not True")
    crew.schedule(pool, job)
    holds("TP-25", log.reached(2), "after cancel_async() of an idle job a schedule does not run it")


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
def test_cancel_async_of_a_running_job_is_false_and_does_not_wait(crew: Crew) -> None:
    """TP-25: the function has been entered; it is not disturbed."""
    pool = crew.pool()
    gate, job = crew.blocked("TP-25", pool)
    for _ in range(3):
        said = within("TP-25", "cancel_async() of a running job", lambda: cancel_async(pool, job))
        holds("TP-25", said is False, f"cancel_async() of a running job returned {said!r}")
    holds("TP-25", not gate.ended.is_set(), "cancel_async() waited")


@pytest.mark.clause("TP-25", "TP-23")
@pytest.mark.capability("cancel", "coalesce")
def test_cancel_async_after_done_is_true_though_the_function_goes_on(crew: Crew) -> None:
    """TP-25: after done() the job is not scheduled any more."""
    pool = crew.pool()
    gate = crew.stage.gate()

    def fn(job: Any) -> None:
        finish(job)
        gate()

    job = crew.adapter.job(fn)
    crew.schedule(pool, job)
    assert gate.entered()
    holds("TP-25", cancel_async(pool, job) is True, "cancel_async() after done() was not True")


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
@pytest.mark.parametrize("worker", ["warm", "cold", "busy"])
def test_true_means_never_and_false_means_entered(crew: Crew, worker: str, thorough: bool) -> None:
    """TP-25: in a storm of schedules and cancels each schedule is one run or one True, never both, never neither.

    With an idle worker to hand over to, with none, and beside blocked ones.
    """
    pool = crew.pool()
    lock = threading.RLock()
    runs = 0

    def fn(job: Any) -> None:
        nonlocal runs
        runs += 1
        with lock:
            job.done()

    job = crew.adapter.job(fn, lock)
    if worker == "busy":
        crew.threads("TP-25", pool, 2)
    for number in range(20_000 if thorough else (30 if worker == "cold" else 3_000)):
        if worker == "cold":
            crew.adapter.settle()
        before = runs
        with lock:
            pool.schedule(job)
        if number % 3 == 0:
            time.sleep(0)
        elif number % 7 == 0:
            time.sleep(2e-5 * (number % 10))
        with lock:
            said = pool.cancel_async(job)
        if said is not True:
            holds("TP-25", wait_until(lambda before=before: runs > before), "cancel_async() said False, but no run")
        holds("TP-25", wait_until(lambda: cancel_async(pool, job)), f"the job of round {number} never ends")
        ran = runs - before
        holds("TP-25", ran <= 1, f"one schedule led to {ran} runs")
    total = runs
    wait_until(lambda: runs > total, timing.moment)
    holds("TP-25", runs == total, "a job whose cancel said True ran later")


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
@pytest.mark.parametrize("worker", ["warm", "cold"])
def test_a_job_that_is_only_assigned_can_be_withdrawn(crew: Crew, worker: str) -> None:
    """TP-25: right after schedule() the worker, woken or new, has not entered the function: True, and it never runs.

    Between a worker's claim and the function's first line lie a few steps, in which False is right. A worker that is
    only on its way makes False the rule, since it takes far longer than the two calls, most of all with the GIL kept.
    """
    pool = crew.pool()
    runs = early = 0

    def fn(job: Any) -> None:
        nonlocal runs
        runs += 1
        finish(job)

    job = crew.adapter.job(fn)
    rounds = 20 if worker == "cold" else 100
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1.0)
    try:
        for _ in range(rounds):
            if worker == "cold":
                crew.adapter.settle()
            else:
                wait_asleep([crew.run("TP-25", pool, threading.get_native_id)], 0.2)
            with job.interlock:
                before = runs
                pool.schedule(job)
                early += pool.cancel_async(job) is False and runs == before
            holds("TP-25", wait_until(lambda: cancel_async(pool, job) is True), "the job never ends")
    finally:
        sys.setswitchinterval(interval)
    holds(
        "TP-25",
        early <= rounds / 4,
        f"in {early} of {rounds} rounds cancel_async() right after schedule() said False, but the job was not entered",
    )


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_what_was_withdrawn_never_runs(crew: Crew, seed: int, thorough: bool, steps_aside: bool) -> None:
    """TP-25: four threads with a job each: a run counts against its own schedule, also when rescheduled at once."""
    pool = crew.pool()
    rounds = (10_000 if thorough else 600) // (8 if steps_aside else 1)

    def storm(number: int) -> None:
        draw = random.Random(seed + number)
        lock = threading.RLock()
        runs = expected = 0

        def fn(job: Any) -> None:
            nonlocal runs
            runs += 1
            with lock:
                job.done()

        job = crew.adapter.job(fn, lock)
        for _ in range(rounds):
            with lock:
                if not pool.schedule(job):
                    continue
                expected += 1
                if draw.random() < 0.5:
                    continue
            if draw.random() < 0.3:
                time.sleep(0)
            with lock:
                before = runs
                if pool.cancel_async(job) and before < expected:
                    expected = before  # withdrawn: that run will never be
        holds("TP-25", wait_until(lambda: runs >= expected), f"{expected} runs were due, there were {runs}")
        wait_until(lambda: runs > expected, timing.moment)
        holds("TP-25", runs == expected, f"{expected} runs were due, there were {runs}: a withdrawn one ran")

    with jitter(seed) if steps_aside else contextlib.nullcontext():
        threads = [crew.stage.thread(lambda number=number: storm(number)) for number in range(4)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-25", not thread.is_alive(), "a storm of schedules and cancels hangs")
            if thread.failure is not None:
                raise thread.failure


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel", "coalesce")
def test_withdrawn_and_scheduled_again_it_runs_once(crew: Crew, thorough: bool) -> None:
    """TP-25: a slot that was withdrawn is dead: the next schedule is a new one, and one run."""
    pool = crew.pool()
    for number in range(3_000 if thorough else 300):
        if number % 10 == 0:
            crew.adapter.settle()
        log = Log()
        job = crew.job(log.add)
        with job.interlock:
            for _ in range(number % 5 + 1):
                pool.schedule(job)
                if not pool.cancel_async(job):
                    break  # entered already: this run is the one
            else:
                holds("TP-25", pool.schedule(job), "after a cancel that said True a schedule returned False")
        holds("TP-25", log.reached(1), "withdrawn and scheduled again, it did not run")
        holds("TP-25", wait_until(lambda job=job: cancel_async(pool, job)), "the job never ends")
        if number % 10 == 0:
            log.reached(2, timing.moment / 2)
        ran = len(log.entries)
        holds("TP-25", ran == 1, f"withdrawn and scheduled again, it ran {ran} times")


@pytest.mark.clause("TP-25")
@pytest.mark.capability("cancel")
def test_withdrawing_one_of_many_leaves_the_others(crew: Crew) -> None:
    """TP-25: every third job of a burst is withdrawn: it does not run; all the others do."""
    pool = crew.pool()
    for _ in range(10):
        log = Log()
        jobs = [crew.job(lambda job, number=number, log=log: log.add(number)) for number in range(60)]
        withdrawn = set()
        for number, job in enumerate(jobs):
            crew.schedule(pool, job)
            if number % 3 == 2:
                with jobs[number - 1].interlock:
                    if pool.cancel_async(jobs[number - 1]) and number - 1 not in log.entries:
                        withdrawn.add(number - 1)
        due = {number for number in range(60) if number not in withdrawn}
        # One that is over when it is cancelled gives True too, so what ran decides; nothing may run twice.
        holds("TP-25", log.reached(len(due)), f"of {len(due)} jobs that were not withdrawn {len(log.entries)} ran")
        log.reached(len(due) + 1, timing.moment / 5)
        holds("TP-25", len(set(log.entries)) == len(log.entries), "a job ran twice")
        holds("TP-25", due <= set(log.entries), "a job that was not withdrawn did not run")
        extra = set(log.entries) & withdrawn
        holds("TP-25", not extra, f"jobs {extra} ran though their cancel said True before they were entered")


@pytest.mark.clause("TP-25")
@pytest.mark.capability("any context", "cancel")
def test_withdrawn_at_any_step_of_the_worker(crew: Crew) -> None:
    """TP-25: cancel_async() between any two bytecodes of a worker that takes the job and runs it is exact."""
    pool = crew.pool()
    runs: list[int] = []
    job = crew.job(lambda job: runs.append(1))
    with stepped() as steps:
        crew.run("TP-25", pool, lambda: None)
        for number in range(600):
            runs.clear()
            said: list[tuple[Any, bool]] = []

            def withdraw(said: list[tuple[Any, bool]] = said) -> None:
                said.append((cancel_async(pool, job), not runs))

            with job.interlock:  # a worker on its way to sleep may meet it at once: then it waits for the schedule
                steps.arm(number, withdraw)
                pool.schedule(job)
            wait_until(lambda said=said: said or (runs and cancel_async(pool, job)))
            steps.disarm()
            if not said:
                break  # over before as many bytecodes
            result, before = said[0]
            if result is False and before:
                holds("TP-25", wait_until(lambda: runs), f"step {number}: cancel_async() said False, but it never ran")
            holds("TP-25", wait_until(lambda: cancel_async(pool, job)), f"step {number}: the job never ends")
            crew.run("TP-25", pool, lambda: None)  # whoever has something in hand has put it down
            due = not (result and before)
            holds("TP-25", len(runs) == due, f"step {number}: cancel_async() said {result}, and there were {runs} runs")
    holds("TP-25", not steps.errors, f"cancel_async() on a worker raised {steps.errors[:1]}")
    crew.adapter.settle()


# --- TP-26


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_cancel_of_an_idle_job_is_true_at_once(crew: Crew) -> None:
    """TP-26: never scheduled, or finished."""
    pool = crew.pool()
    log = Log()
    job = crew.job(log.add)
    holds("TP-26", within("TP-26", "cancel() of an idle job", lambda: cancel(pool, job)) is True, "was not True")
    crew.schedule(pool, job)
    assert log.reached(1)
    within("TP-26", "cancel() of a finished job", lambda: cancel(pool, job))
    said = within("TP-26", "cancel() of a finished job", lambda: cancel(pool, job))
    holds("TP-26", said is True, f"cancel() of a finished job returned {said!r}")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_cancel_returns_after_done_and_not_before(crew: Crew, thorough: bool) -> None:
    """TP-26: whatever a run does up to done() has been done when cancel() returns."""
    pool = crew.pool()
    never: list[dict[str, Any]] = []
    for number in range(500 if thorough else 60):
        state: dict[str, Any] = {"value": "idle", "entered": threading.Event()}

        def fn(job: Any, state: dict[str, Any] = state) -> None:
            state["value"] = "running"
            state["entered"].set()
            time.sleep(0.001)
            with job.interlock:
                state["value"] = "done"
                job.done()

        job = crew.adapter.job(fn)
        crew.schedule(pool, job)
        if number % 2:
            holds("TP-26", state["entered"].wait(timing.limit), "the job was not run")
        said = within("TP-26", "cancel()", lambda job=job: cancel(pool, job))
        value = state["value"]
        holds("TP-26", value != "running", f"cancel() returned {said!r} while the job was running")
        holds("TP-26", value == "done" or not number % 2, "entered, but not done when cancel() returned")
        if value == "idle":
            holds("TP-26", said is True, f"the job was not entered, but cancel() returned {said!r}")
            never.append(state)
    time.sleep(timing.moment)
    ran = sum(state["value"] != "idle" for state in never)
    holds("TP-26", not ran, f"{ran} jobs that cancel() had withdrawn ran afterwards")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_cancel_waits_as_long_as_it_takes_and_returns_false(crew: Crew) -> None:
    """TP-26: a running job: not back after a while; after done() back, with False."""
    pool = crew.pool()
    gate, job = crew.blocked("TP-26", pool)
    thread = crew.stage.thread(lambda: cancel(pool, job))
    thread.join(2 * timing.moment)
    holds("TP-26", thread.is_alive(), "cancel() returned while the job was running")
    gate.go.set()
    thread.join(timing.limit)
    holds("TP-26", not thread.is_alive(), "cancel() hangs though the job has called done()")
    holds("TP-26", thread.result is False, f"cancel() that had to wait returned {thread.result!r}")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits", "coalesce")
def test_cancel_waits_for_done_and_not_for_the_end_of_the_function(crew: Crew) -> None:
    """TP-26: a function that goes on after done() keeps nobody waiting."""
    pool = crew.pool()
    before, after = crew.stage.gate(), crew.stage.gate()

    def fn(job: Any) -> None:
        before()
        finish(job)
        after()

    job = crew.adapter.job(fn)
    crew.schedule(pool, job)
    assert before.entered()
    thread = crew.stage.thread(lambda: cancel(pool, job))
    thread.join(timing.moment)
    before.go.set()
    assert after.entered()
    thread.join(timing.limit)
    holds("TP-26", not thread.is_alive(), "cancel() waits for a function that has called done()")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
@pytest.mark.parametrize("make", [threading.RLock, threading.Condition, threading.Lock], ids=lambda make: make.__name__)
@pytest.mark.parametrize("depth", [1, 3])
def test_cancel_releases_the_interlock_while_it_waits(crew: Crew, make: Any, depth: int) -> None:
    """TP-26: a job that needs the lock to finish can; afterwards the lock is held, as deep as before."""
    if depth > 1 and make is threading.Lock:
        depth = 1  # cannot be held deeper
    pool = crew.pool()
    lock = make()
    gate = crew.stage.gate()
    job = crew.job(gate, lock)
    crew.schedule(pool, job)
    assert gate.entered()
    problems: list[str] = []

    def body() -> None:
        for _ in range(depth):
            lock.acquire()
        gate.go.set()
        pool.cancel(job)
        for number in range(depth):
            if not held(lock):
                problems.append(f"after cancel() the lock was held {number} deep instead of {depth}")
                return
            lock.release()
        if held(lock):
            problems.append(f"after cancel() the lock was held deeper than {depth}")

    within("TP-26", "cancel() of a job that needs the interlock to finish", body)
    holds("TP-26", not problems, problems[0] if problems else "")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_cancel_that_need_not_wait_keeps_the_interlock(crew: Crew) -> None:
    """TP-26: released only while waiting: of an idle or withdrawn job never; for a running one given back after."""
    pool = crew.pool()
    lock = Counted()
    job = crew.job(lambda job: None, lock)
    with lock:
        pool.cancel(job)
        holds("TP-26", lock.given_up == 0, "cancel() of an idle job gave the interlock up")
    lock.given_up = 0
    for _ in range(100):
        with lock:
            before = lock.given_up
            pool.schedule(job)
            if pool.cancel(job) is True:
                holds("TP-26", lock.given_up == before, "cancel() that withdrew the job gave the interlock up")
            holds("TP-26", held(lock.lock), "after cancel() the interlock is not held")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_many_may_wait_for_one_job(crew: Crew) -> None:
    """TP-26: eight cancellers of one running job all return, with False."""
    pool = crew.pool()
    for _ in range(5):
        gate, job = crew.blocked("TP-26", pool)
        threads = [crew.stage.thread(lambda job=job: cancel(pool, job)) for _ in range(8)]
        threads[0].join(timing.moment)
        gate.go.set()
        for thread in threads:
            thread.join(timing.limit)
            holds("TP-26", not thread.is_alive(), "one of eight cancellers hangs")
        # One who came to the lock only after the end finds the job idle.
        said = [thread.result for thread in threads]
        holds("TP-26", said[0] is False, f"the first of eight cancellers returned {said[0]!r}")


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits", "coalesce")
def test_a_job_that_schedules_itself_again_does_not_keep_the_canceller(crew: Crew) -> None:
    """TP-26: cancel waits for one done(); a job that is scheduled again at once, for ever, can't outrun it."""
    pool = crew.pool()
    stop = threading.Event()
    running = threading.Event()

    def fn(job: Any) -> None:
        running.set()
        with job.interlock:
            job.done()
            if not stop.is_set():
                pool.schedule(job)

    job = crew.adapter.job(fn)
    crew.schedule(pool, job)
    try:
        assert running.wait(timing.limit)
        for _ in range(200):
            within("TP-26", "cancel() of a job that schedules itself again", lambda: cancel(pool, job))
            if not running.is_set() or cancel_async(pool, job):
                crew.schedule(pool, job)
    finally:
        stop.set()


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits", "timeouts")
def test_cancel_with_a_time_limit(crew: Crew) -> None:
    """TP-26: the limit ends the wait with the time-out error, the lock held again; the job runs on."""
    pool = crew.pool()
    lock = threading.RLock()
    gate = crew.stage.gate()
    job = crew.job(gate, lock)
    crew.schedule(pool, job)
    assert gate.entered()

    def body() -> None:
        for limit in (0, timing.moment):
            with lock:
                refuses(
                    "TP-26", "cancel(timeout)", crew.adapter.timeout_error, lambda limit=limit: pool.cancel(job, limit)
                )
                holds("TP-26", held(lock), "after cancel() ran out of time the interlock is not held")
            holds("TP-26", not held(lock), "after cancel() ran out of time the interlock is held too deep")

    within("TP-26", "cancel() with a time limit", body)
    holds("TP-26", cancel_async(pool, job) is False, "cancel() that ran out of time ended the run")
    gate.go.set()
    within("TP-26", "cancel() with a long time limit", lambda: cancel(pool, job))


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
def test_an_interrupted_cancel_leaves_with_the_interlock_held(crew: Crew) -> None:
    """TP-26: an exception from a signal handler (as Ctrl-C) ends the wait; the lock is held as before."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signal handlers run on the main thread, which does not run the tests here")
    pool = crew.pool()
    lock = threading.RLock()
    gate = crew.stage.gate()
    job = crew.job(gate, lock)
    crew.schedule(pool, job)
    assert gate.entered()

    handled = threading.Event()

    class Interrupted(BaseException):
        pass

    def handler(number: int, frame: object) -> None:
        if not handled.is_set():
            handled.set()
            raise Interrupted

    main = threading.main_thread().ident
    assert main is not None

    def send() -> None:
        # The lock can be had here only while cancel() has given it up: it is waiting, or just about to. A signal
        # that comes in that moment is not seen by the interpreter before the wait is over, hence the loop.
        with lock:
            pass
        while not handled.wait(0.01) and not gate.ended.is_set():
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with lock:
            sender = crew.stage.thread(send)
            try:
                pool.cancel(job)
            except Interrupted:
                holds("TP-26", held(lock), "an interrupted cancel() left with the interlock given up")
            else:
                holds("TP-26", False, "cancel() of a running job returned")
        sender.join(timing.limit)
        holds("TP-26", not held(lock), "an interrupted cancel() left with the interlock held too deep")
    finally:
        signal.signal(signal.SIGUSR1, before)
    gate.go.set()
    within("TP-26", "cancel() after an interrupted one", lambda: cancel(pool, job))


@pytest.mark.clause("TP-26")
@pytest.mark.capability("cancel waits")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_after_cancel_the_job_is_not_running(crew: Crew, seed: int, thorough: bool, steps_aside: bool) -> None:
    """TP-26: four threads with a job each that schedule and cancel: never running after cancel(), never twice."""
    pool = crew.pool()
    rounds = (5_000 if thorough else 400) // (8 if steps_aside else 1)

    def storm(number: int) -> None:
        draw = random.Random(seed + number)
        lock = threading.RLock()
        inside = runs = schedules = 0

        def fn(job: Any) -> None:
            nonlocal inside, runs
            inside += 1
            runs += 1
            with lock:
                inside -= 1
                job.done()

        job = crew.adapter.job(fn, lock)
        for turn in range(rounds):
            with lock:
                pool.schedule(job)
                schedules += 1
            if draw.random() < 0.5:
                time.sleep(0 if draw.random() < 0.7 else 1e-4)
            with lock:
                said = pool.cancel(job)
                holds("TP-26", inside == 0, f"after cancel() in round {turn} the job was running")
                holds("TP-26", said is not False or runs <= schedules, "more runs than schedules")
                seen = runs
            if draw.random() < 0.2:
                time.sleep(0)
            holds("TP-26", runs == seen, f"after cancel() returned {said!r} in round {turn} the job ran")

    with jitter(seed) if steps_aside else contextlib.nullcontext():
        threads = [crew.stage.thread(lambda number=number: storm(number)) for number in range(4)]
        for thread in threads:
            thread.join(3 * timing.limit)
            holds("TP-26", not thread.is_alive(), "a storm of schedules and cancels hangs")
            if thread.failure is not None:
                raise thread.failure
