"""NetBSD's own tests of threadpool(9), and those of its neighbours that fit, with their parameters."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from conformance9.suite.crew import Crew, finish
from conformance9.suite.tools import Log, holds, need, timing, wait_until, within

PRI_NONE, PRI_KERNEL_RT = -1, 192
GOAL = 12345
LIMIT = 2.0  # seconds that upstream allows each wait


@pytest.mark.clause("TP-1")
@pytest.mark.capability("shared")
@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_lifecycle(crew: Crew, kind: str) -> None:
    """TP-1: upstream's lifecycle tests: PRI_NONE twice gives the same object, PRI_KERNEL_RT another; all are put."""
    if kind == "percpu":
        need(crew.adapter, "percpu")
    get = crew.adapter.percpu_get if kind == "percpu" else crew.adapter.get
    first, second, third = get(PRI_NONE), get(PRI_NONE), get(PRI_KERNEL_RT)
    holds("TP-1", first == second, "two references to the pool of PRI_NONE differ")
    holds("TP-1", first != third, "the pools of PRI_NONE and PRI_KERNEL_RT are the same")
    for reference in (first, second, third):
        within("TP-9", "put()", reference.put)


@pytest.mark.clause("TP-21", "TP-22")
@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_schedule_until_12345(crew: Crew, kind: str) -> None:
    """TP-21, TP-22: upstream's schedule tests: each schedule of an idle job is a run, no wait is longer than 2 s."""
    if kind == "percpu":
        need(crew.adapter, "percpu")
        pool = crew.percpu(PRI_NONE).ref()
    else:
        pool = crew.pool(PRI_NONE)
    condition = threading.Condition()
    count = 0

    def fn(job: Any) -> None:
        nonlocal count
        with condition:
            count += 1
            condition.notify_all()
            job.done()

    job = crew.adapter.job(fn, condition)
    seen = 0

    def more() -> bool:
        return count > seen

    with condition:
        while count < GOAL:
            seen = count
            pool.schedule(job)
            in_time = condition.wait_for(more, LIMIT * max(1, timing.scale))
            holds("TP-22", in_time, f"schedule number {seen + 1} of {GOAL} was not run within {LIMIT:g} s")
            holds("TP-21", count == seen + 1, f"schedule number {seen + 1} led to {count - seen} runs")


@pytest.mark.clause("TP-25", "TP-26")
@pytest.mark.capability("cancel", "cancel waits")
def test_cancel_of_a_running_job(crew: Crew) -> None:
    """TP-25, TP-26: upstream's cancel test: async says False; cancel releases the interlock and waits for done()."""
    pool = crew.pool(PRI_NONE)
    condition = threading.Condition()
    value = 0

    def fn(job: Any) -> None:
        nonlocal value
        with condition:
            value = 1
            condition.notify_all()
            condition.wait_for(lambda: value == GOAL - 1, timing.limit)
            value = GOAL
            job.done()

    job = crew.adapter.job(fn, condition)

    def body() -> None:
        nonlocal value
        with condition:
            pool.schedule(job)
            holds("TP-25", condition.wait_for(lambda: value == 1, timing.limit), "the job was not run")
            holds("TP-25", pool.cancel_async(job) is False, "cancel_async() of a running job was not False")
            value = GOAL - 1
            condition.notify_all()
            said = pool.cancel(job)
            holds("TP-26", said is False, f"cancel() that waited returned {said!r}")
            holds("TP-26", value == GOAL, f"cancel() returned before done(): the value is {value}")
            holds("TP-26", pool.cancel(job) is True, "cancel() of the finished job was not True")

    within("TP-26", "cancel() of a job that needs the interlock", body)


@pytest.mark.clause("TP-25", "TP-26")
@pytest.mark.capability("cancel", "cancel waits")
def test_cancel_thrash_ten_thousand_times(crew: Crew) -> None:
    """TP-25, TP-26: upstream's cancelthrash: 12344 (never entered) or 12345 (finished), nothing in between."""
    pool = crew.pool(PRI_NONE)
    lock = threading.RLock()
    value = runs = 0

    def fn(job: Any) -> None:
        nonlocal value, runs
        runs += 1
        with lock:
            value = GOAL
            job.done()

    job = crew.adapter.job(fn, lock)

    def body() -> None:
        nonlocal value
        for number in range(10_000):
            before = runs
            with lock:
                value = GOAL - 1
                said = pool.schedule(job)
                holds("TP-26", said is not False, f"round {number}: after a cancel the job can't be scheduled")
            if number % 3 == 0:
                time.sleep(0)  # upstream yields here: either outcome is right
            with lock:
                said = pool.cancel(job)
                holds("TP-26", value in (GOAL - 1, GOAL), f"round {number}: the value is {value}")
                if value == GOAL - 1:
                    holds("TP-25", said is True, f"round {number}: never entered, but cancel() returned {said!r}")
                    holds("TP-25", runs == before, f"round {number}: entered before cancel() returned True")
                else:
                    holds("TP-25", runs == before + 1, f"round {number}: one schedule, {runs - before} runs")
                value = 0

    within("TP-26", "cancel thrash", body, 6 * timing.limit)
    wait_until(lambda: value != 0, timing.moment)
    holds("TP-25", value == 0, "a cancelled job ran after the last cancel")


@pytest.mark.clause("TP-1", "TP-25")
@pytest.mark.capability("shared", "cancel")
def test_the_module_test_of_priority_5(crew: Crew) -> None:
    """TP-1, TP-25: the kernel module's test: get twice, run 1, run 2; cancel on every pool of the idle job is True."""
    over = threading.Event()
    value = 0

    def fn(job: Any) -> None:
        nonlocal value
        value += 1
        finish(job)
        over.set()

    job = crew.adapter.job(fn)
    pool, again = crew.pool(5), crew.adapter.get(5)
    holds("TP-1", pool == again, "two references to the pool of priority 5 differ")
    within("TP-9", "put()", again.put)
    for expected in (1, 2):
        over.clear()
        crew.schedule(pool, job)
        holds("TP-1", over.wait(timing.limit), "after one put of two the pool does not run jobs")
        holds("TP-1", value == expected, f"run number {expected} left {value}")
    for pri in range(-1, 224):
        reference = crew.adapter.get(pri)
        with job.interlock:
            said = reference.cancel_async(job)
        holds("TP-25", said is True, f"cancel_async() of an idle job on the pool of priority {pri} returned {said!r}")
        within("TP-9", "put()", reference.put)


# --- the neighbours'


@pytest.mark.clause("TP-22")
@pytest.mark.capability("coalesce")
def test_pingpong(crew: Crew, thorough: bool) -> None:
    """TP-22: Apple's pingpong: two jobs that schedule each other, 1,000,000 bounces if thorough, else 5,000."""
    pool = crew.pool()
    goal = 1_000_000 if thorough else 5_000
    bounces = 0
    over = threading.Event()
    players: list[Any] = []

    def bounce(number: int) -> Any:
        def fn(job: Any) -> None:
            nonlocal bounces
            bounces += 1
            last = bounces >= goal
            finish(job)
            if last:
                over.set()
            else:
                crew.schedule(pool, players[1 - number])

        return fn

    players += [crew.adapter.job(bounce(0)), crew.adapter.job(bounce(1))]
    crew.schedule(pool, players[0])
    over.wait(timing.limit * (30 if thorough else 1))
    holds("TP-22", bounces == goal, f"the ball was lost after {bounces} of {goal} bounces")


@pytest.mark.clause("TP-22")
@pytest.mark.capability("coalesce")
def test_starfish(crew: Crew) -> None:
    """TP-22: Apple's starfish: a centre sends 1000 jobs out and waits for all to come back, ten laps."""
    pool = crew.pool()
    back = Log()
    arms = [crew.job(lambda job, number=number: back.add(number)) for number in range(1000)]
    for lap in range(1, 11):
        for arm in arms:
            holds("TP-22", wait_until(lambda arm=arm: crew.schedule(pool, arm) is not False), "an arm never ends")
        returned = back.reached(1000 * lap)
        holds("TP-22", returned, f"lap {lap}: {1000 * lap - len(back.entries)} of 1000 jobs did not come back")


@pytest.mark.clause("TP-22")
@pytest.mark.capability("coalesce")
def test_cascade(crew: Crew, thorough: bool) -> None:
    """TP-22: Apple's cascade: 80 queues in a row, each passes 10,000 items on if thorough, else 100."""
    pool = crew.pool()
    items = 10_000 if thorough else 100
    stages = 80
    lock_of = [threading.RLock() for _ in range(stages)]
    waiting = [0] * stages
    arrived = Log()

    def passes_on(number: int) -> Any:
        def fn(job: Any) -> None:
            while True:
                with lock_of[number]:
                    if not waiting[number]:
                        job.done()
                        return
                    waiting[number] -= 1
                if number + 1 == stages:
                    arrived.add(1)
                else:
                    send(number + 1)

        return fn

    jobs = [crew.adapter.job(passes_on(number), lock_of[number]) for number in range(stages)]

    def send(number: int) -> None:
        with lock_of[number]:
            waiting[number] += 1
            pool.schedule(jobs[number])

    for _ in range(items):
        send(0)
    through = arrived.reached(items, timing.limit * (30 if thorough else 1))
    holds("TP-22", through, f"of {items} items {len(arrived.entries)} came through the cascade")


@pytest.mark.clause("TP-6")
@pytest.mark.capability("unlimited", "coalesce")
def test_32_blocked_serial_queues(crew: Crew) -> None:
    """TP-6: Apple's overcommit test: 32 serial queues that block all make progress, item by item."""
    pool = crew.pool()
    queues, laps = 32, 5
    log = Log()
    gates = [[crew.stage.gate() for _ in range(laps)] for _ in range(queues)]
    todo = [list(row) for row in gates]

    def serial(number: int) -> Any:
        def fn(job: Any) -> None:
            while True:
                with job.interlock:
                    if not todo[number]:
                        job.done()
                        return
                    gate = todo[number].pop(0)
                gate()
                log.add(number)

        return fn

    for number in range(queues):
        crew.schedule(pool, crew.adapter.job(serial(number)))
    for lap in range(laps):
        for number in range(queues):
            holds("TP-6", gates[number][lap].entered(), f"lap {lap}: queue {number} of 32 blocked ones does not run")
        for number in range(queues):
            gates[number][lap].go.set()
    holds("TP-6", log.reached(queues * laps), "not every item was run")
