"""Threads that come on demand, wait, and leave (TP-4, TP-5, TP-6, TP-14)."""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from typing import Any

import pytest

from conformance9.suite.crew import PRI, Crew
from conformance9.suite.tools import Log, holds, jitter, stepped, timing, wait_asleep, wait_until, within

SHORT = 0.05


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
def test_an_idle_worker_leaves_after_the_idle_time(crew: Crew) -> None:
    """TP-4: threads that have nothing to do are gone a little after the idle time; the pool still works."""
    crew.adapter.set_idle(SHORT)
    pool = crew.pool()
    for _ in range(3):
        waiting = crew.threads("TP-4", pool, 4)
        for _, gate in waiting:
            gate.go.set()
        tids = {tid for tid, _ in waiting}
        left = wait_until(lambda tids=tids: not (tids & crew.fresh()))
        holds("TP-4", left, f"{len(tids & crew.fresh())} of 4 idle workers stay longer than {SHORT:g} s")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
def test_an_idle_worker_stays_for_the_idle_time(crew: Crew) -> None:
    """TP-4: with a long idle time a worker that has nothing to do is still there."""
    crew.adapter.set_idle(600)
    pool = crew.pool()
    tid = crew.run("TP-4", pool, threading.get_native_id)
    wait_asleep([tid])
    time.sleep(3 * timing.moment)
    holds("TP-4", tid in crew.fresh(), "an idle worker left long before its idle time")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_a_job_that_meets_the_end_of_the_idle_time_is_not_lost(
    crew: Crew, seed: int, thorough: bool, steps_aside: bool
) -> None:
    """TP-4: schedules that come when the worker's idle time ends: each runs, on that worker or on another."""
    idle = 0.002
    crew.adapter.set_idle(idle)
    pool = crew.pool()
    ran = threading.Semaphore(0)
    draw = random.Random(seed).random
    with jitter(seed, 0.3) if steps_aside else contextlib.nullcontext():
        jobs = [crew.job(lambda job: ran.release()) for _ in range(4)]

        def body() -> None:
            for number in range((5_000 if thorough else 400) // (2 if steps_aside else 1)):
                for job in jobs[: 1 + number % 4]:
                    crew.again(pool, job)
                for _ in jobs[: 1 + number % 4]:
                    in_time = ran.acquire(timeout=timing.limit)
                    holds("TP-4", in_time, f"schedule {number}, near the end of the idle time, was lost")
                time.sleep(idle * (0.6 + draw()))

        body()


@pytest.mark.clause("TP-3")
@pytest.mark.parametrize("steps_aside", [False, True], ids=["storm", "jitter"])
def test_a_job_that_meets_a_worker_on_its_way_out_is_not_lost(
    crew: Crew, seed: int, thorough: bool, steps_aside: bool
) -> None:
    """TP-3: schedules around the time when an idle worker leaves, whenever that is: seen first, then aimed at."""
    wait = 40.0 if thorough else 2.0
    if "idle out" in crew.adapter.capabilities:
        crew.adapter.set_idle(SHORT)
    pool = crew.pool()
    draw = random.Random(seed).random

    def leaves() -> float | None:
        tid = crew.run("TP-3", pool, threading.get_native_id)
        began = time.monotonic()
        return time.monotonic() - began if wait_until(lambda: tid not in crew.fresh(), wait) else None

    with jitter(seed, 0.3) if steps_aside else contextlib.nullcontext():
        times: list[float] = []
        while len(times) < 3:
            took = leaves()
            if took is None:
                pytest.skip(f"an idle worker stays for longer than {wait:g} s: it can't be met as it leaves")
            times.append(took)
        usual = sorted(times)[1]
        ran = threading.Semaphore(0)
        job = crew.job(lambda job: ran.release())
        deadline = time.monotonic() + max(30 * usual, 1.5)
        rounds = 0
        while time.monotonic() < deadline or rounds < 30:
            rounds += 1
            crew.again(pool, job)
            in_time = ran.acquire(timeout=timing.limit)
            holds("TP-3", in_time, f"schedule {rounds}, {usual:.3g} s after the one before, was lost")
            time.sleep(usual * (0.7 + 0.4 * draw()))


@pytest.mark.clause("TP-4")
@pytest.mark.capability("any context", "idle out")
def test_a_job_scheduled_at_any_step_of_a_worker_that_leaves_is_not_lost(crew: Crew) -> None:
    """TP-4: one schedule, no other after it, between any two bytecodes of a worker that goes idle, waits and leaves."""
    crew.adapter.set_idle(0.001)
    pool, log = crew.pool(), Log()
    with stepped() as steps:
        for number in range(1000):
            began = threading.Event()
            late = crew.job(log.add)  # a new one: that of the last step may still be on its way to done()

            def last(job: Any, number: int = number, began: threading.Event = began, late: Any = late) -> None:
                steps.arm(number, lambda: crew.schedule(pool, late), ident=threading.get_ident())
                began.set()

            crew.schedule(pool, crew.job(last))
            holds("TP-4", began.wait(timing.limit), "a scheduled job was not run")
            if not steps.was_met():
                steps.disarm()
                break  # it has left, after fewer bytecodes
            holds("TP-4", log.reached(number + 1), f"scheduled at step {number} of a worker that leaves, it was lost")
    holds("TP-4", not steps.errors, f"schedule on a worker raised {steps.errors[:1]}")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
def test_a_longer_idle_time_holds_for_waits_under_way(crew: Crew) -> None:
    """TP-4: a worker that is waiting when the time is lengthened stays longer than the old one."""
    old = 0.4 * timing.scale
    pool = crew.pool()
    for _ in range(20):
        crew.adapter.set_idle(old)
        began = time.monotonic()
        tid = crew.run("TP-4", pool, threading.get_native_id)
        wait_asleep([tid], old / 4)
        crew.adapter.set_idle(600)
        if time.monotonic() - began > old / 2 or tid not in crew.fresh():
            continue  # too slow a moment to say anything
        time.sleep(2 * old)
        holds("TP-4", tid in crew.fresh(), "the old, shorter idle time ended the wait")
        return
    pytest.skip("the machine is too loaded to change a time within 0.2 s")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
def test_a_shorter_idle_time_holds_within_one_old_period(crew: Crew) -> None:
    """TP-4: a worker that is waiting when the time is shortened leaves, at the end of the old one at the latest."""
    crew.adapter.set_idle(1)
    pool = crew.pool()
    tid = crew.run("TP-4", pool, threading.get_native_id)
    wait_asleep([tid], 0.5)
    crew.adapter.set_idle(SHORT)
    holds("TP-4", wait_until(lambda: tid not in crew.fresh()), "the shortened idle time is not effective")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out")
def test_a_shorter_idle_time_holds_for_a_worker_that_was_idle_before(crew: Crew) -> None:
    """TP-4: a worker that has waited under a long idle time, and runs and waits again under a short one, leaves."""
    pool = crew.pool()
    for _ in range(20):
        crew.adapter.set_idle(600)
        tid = crew.run("TP-4", pool, threading.get_native_id)
        wait_asleep([tid])
        crew.adapter.set_idle(SHORT)
        again = crew.run("TP-4", pool, threading.get_native_id)
        if again == tid:
            left = wait_until(lambda tid=tid: tid not in crew.fresh())
            holds("TP-4", left, f"an idle time of {SHORT:g} s is not effective for a worker that waited longer before")
            return
    pytest.skip("no worker was used twice in 20 attempts")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("idle out", "shared")
@pytest.mark.parametrize("seconds", [0, -1, 0.0005, math.nan])
def test_an_idle_time_below_one_millisecond_is_refused(crew: Crew, seconds: float) -> None:
    """TP-4: ValueError, and the old time stays."""
    crew.adapter.set_idle(600)
    try:
        crew.adapter.set_idle(seconds)
    except ValueError:
        pass
    else:
        holds("TP-4", False, f"an idle time of {seconds} s was accepted")
    pool = crew.pool()
    tid = crew.run("TP-4", pool, threading.get_native_id)
    wait_asleep([tid])
    holds("TP-4", tid in crew.fresh(), "a refused idle time was set all the same")


@pytest.mark.clause("TP-4")
@pytest.mark.capability("lifo")
def test_of_idle_workers_the_last_one_is_used_first(crew: Crew) -> None:
    """TP-4: three workers go idle one after the other; the next jobs run on the last, ten times."""
    if "idle out" in crew.adapter.capabilities:
        crew.adapter.set_idle(600)
    pool = crew.pool()
    for number in range(10):
        waiting = crew.threads("TP-4", pool, 3)
        # In another order each time than they have started.
        shift = number % 3
        order = waiting[shift:] + waiting[:shift]
        for tid, gate in order:
            gate.go.set()
            wait_asleep([tid])
        for _ in range(2):
            used = crew.run("TP-4", pool, threading.get_native_id)
            idle = [tid for tid, _ in order]
            place = f"number {idle.index(used) + 1} of 3" if used in idle else "a new one"
            holds("TP-4", used == idle[-1], f"the worker used was {place} in the order in which they went idle")
            wait_asleep([used])


@pytest.mark.clause("TP-4")
@pytest.mark.capability("lifo", "idle out")
def test_a_light_load_lets_the_surplus_leave(crew: Crew) -> None:
    """TP-4: after a burst of six, one job now and then keeps one worker, not six."""
    idle = 0.25 * timing.scale
    crew.adapter.set_idle(idle)
    pool = crew.pool()
    waiting = crew.threads("TP-4", pool, 6)
    for _, gate in waiting:
        gate.go.set()
    tids = {tid for tid, _ in waiting}
    deadline = time.monotonic() + timing.limit
    while len(tids & crew.fresh()) > 1 and time.monotonic() < deadline:
        crew.run("TP-4", pool, lambda: None)
        time.sleep(idle / 10)
    held = len(tids & crew.fresh())
    holds("TP-4", held <= 1, f"one job every {idle / 10:g} s keeps {held} workers from their idle time of {idle:g} s")


@pytest.mark.clause("TP-5")
@pytest.mark.capability("idle out")
def test_after_the_idle_time_no_thread_is_left(crew: Crew) -> None:
    """TP-5: neither worker nor helper, though references are held; and it all comes back on demand."""
    crew.adapter.set_idle(SHORT)
    pools = [crew.pool(PRI)]
    if "shared" in crew.adapter.capabilities:
        pools += [crew.pool(PRI - 1), crew.pool(-1)]
    if "percpu" in crew.adapter.capabilities:
        percpu = crew.percpu()
        pools += [percpu.ref_remote(cpu) for cpu in crew.adapter.cpus()]
    for _ in range(3):
        for pool in pools:
            crew.run("TP-5", pool, lambda: None)
        none = wait_until(lambda: not crew.fresh())
        holds("TP-5", none, f"{len(crew.fresh())} threads are left long after the idle time of {SHORT:g} s")


@pytest.mark.clause("TP-6", "TP-3")
@pytest.mark.capability("unlimited")
def test_blocked_jobs_do_not_keep_the_next_one_from_running(crew: Crew, thorough: bool) -> None:
    """TP-6: each of 300 jobs that block (1100 if thorough) runs, and one more; TP-3: there is no cap."""
    pool = crew.pool()
    crew.threads("TP-6", pool, 1100 if thorough else 300)
    crew.run("TP-6", pool, lambda: None)


@pytest.mark.clause("TP-6")
@pytest.mark.capability("unlimited")
def test_a_burst_of_jobs_that_block_runs_all_at_once(crew: Crew) -> None:
    """TP-6: sixty jobs, scheduled in one go, that all wait for each other."""
    pool = crew.pool()
    barrier = threading.Barrier(61)
    for job in [crew.job(lambda job: barrier.wait(timing.limit)) for _ in range(60)]:
        crew.schedule(pool, job)
    try:
        barrier.wait(timing.limit)
    except threading.BrokenBarrierError:
        crew.failures.clear()
        holds("TP-6", False, "of sixty jobs that wait for each other some did not start")


@pytest.mark.clause("TP-6")
@pytest.mark.capability("unlimited")
def test_a_job_may_wait_for_a_job_that_it_schedules(crew: Crew) -> None:
    """TP-6: forty deep, each waits for the next on the same pool; a pool with a limit deadlocks here."""
    pool = crew.pool()

    def descend(depth: int) -> int:
        return 0 if depth == 0 else 1 + crew.run("TP-6", pool, lambda: descend(depth - 1))

    holds("TP-6", within("TP-6", "a job that waits for a job", lambda: descend(40)) == 40, "wrong depth")


@pytest.mark.clause("TP-6")
@pytest.mark.capability("unlimited")
def test_new_and_reused_workers_beside_blocked_ones(crew: Crew) -> None:
    """TP-6: one job more is blocked each round; ten short ones run beside them every time."""
    pool = crew.pool()
    ran = threading.Semaphore(0)
    jobs = [crew.job(lambda job: ran.release()) for _ in range(10)]
    for blocked in range(20):
        for job in jobs:
            crew.again(pool, job)
        for _ in jobs:
            holds("TP-6", ran.acquire(timeout=timing.limit), f"beside {blocked} blocked jobs a short one was not run")
        crew.blocked("TP-6", pool)


@pytest.mark.clause("TP-6")
@pytest.mark.capability("unlimited", "percpu")
def test_blocked_jobs_of_a_bound_pool(crew: Crew) -> None:
    """TP-6: bound pools have no limit either."""
    percpu = crew.percpu()
    for cpu in crew.adapter.cpus()[:4]:
        crew.threads("TP-6", percpu.ref_remote(cpu), 20)
    for cpu in crew.adapter.cpus()[:4]:
        crew.run("TP-6", percpu.ref_remote(cpu), lambda: None)


@pytest.mark.clause("TP-14")
@pytest.mark.capability("retire")
def test_retire_idle_sends_idle_workers_away_and_says_how_many(crew: Crew) -> None:
    """TP-14: three idle ones leave, one that is busy stays; a second call finds none."""
    if "idle out" in crew.adapter.capabilities:
        crew.adapter.set_idle(600)
    pool = crew.pool()
    busy, _ = crew.blocked("TP-14", pool)
    waiting = crew.threads("TP-14", pool, 3)
    for _, gate in waiting:
        gate.go.set()
    tids = {tid for tid, _ in waiting}
    wait_asleep(tids)
    left = within("TP-14", "retire_idle()", crew.adapter.settle)
    holds("TP-14", left == 3, f"three workers were idle, retire_idle() returned {left!r}")
    gone = wait_until(lambda: not (tids & crew.fresh()))
    holds("TP-14", gone, "idle workers are still there after retire_idle()")
    holds("TP-14", not busy.ended.is_set(), "retire_idle() waited for a job")
    left = crew.adapter.settle()
    holds("TP-14", left == 0, f"no worker was idle, retire_idle() returned {left!r}")
    busy.go.set()
    crew.run("TP-14", pool, lambda: None)


@pytest.mark.clause("TP-14")
@pytest.mark.capability("retire")
def test_retire_idle_beside_schedules_loses_no_job(crew: Crew, thorough: bool) -> None:
    """TP-14: idle workers are sent away in a loop while jobs are scheduled in another."""
    pool = crew.pool()
    stop = threading.Event()

    def retire() -> None:
        while not stop.is_set():
            crew.adapter.settle()

    crew.stage.thread(retire)
    ran = threading.Semaphore(0)
    job: Any = crew.job(lambda job: ran.release())
    try:
        for number in range(5_000 if thorough else 500):
            crew.again(pool, job)
            holds("TP-14", ran.acquire(timeout=timing.limit), f"schedule {number} was lost beside retire_idle()")
    finally:
        stop.set()
