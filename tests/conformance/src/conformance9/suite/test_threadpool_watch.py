"""Seeing what goes on: the snapshot and the stall watchdog (TP-34, TP-35)."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import PRI, Crew, finish
from conformance9.suite.threadpool_programs import limits_memory, outcome
from conformance9.suite.tools import holds, reported, timing, wait_asleep, wait_until, within


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot")
def test_running_jobs_and_idle_workers_are_shown(crew: Crew) -> None:
    """TP-34: with the OS's thread ids, names, states and CPUs."""
    pool = crew.pool()
    gate = crew.stage.gate()
    crew.schedule(pool, crew.job(gate, None, "visible"))
    holds("TP-34", gate.entered(), "the job was not run")
    ((waiting, idle),) = crew.threads("TP-34", pool, 1)
    idle.go.set()
    wait_asleep([waiting])
    workers = {worker.tid: worker for worker in crew.adapter.snapshot().workers}
    holds("TP-34", set(workers) <= crew.fresh() | crew.before, "the snapshot shows threads that the OS does not have")
    running = [worker for worker in workers.values() if worker.job == "visible"]
    holds("TP-34", [worker.state for worker in running] == ["running"], f"the running job is shown as {running}")
    holds("TP-34", waiting in workers, "an idle worker is not shown")
    shown = workers[waiting]
    holds("TP-34", (shown.state, shown.job) == ("idle", None), f"the idle worker is shown as {shown}")
    holds("TP-34", shown.cpu is None, f"a worker that is bound to no CPU is shown on {shown.cpu}")
    if "percpu" in crew.adapter.capabilities:
        cpu = crew.adapter.cpus()[-1]
        ((tid, bound),) = crew.threads("TP-34", crew.percpu().ref_remote(cpu), 1)
        shown = {worker.tid: worker for worker in crew.adapter.snapshot().workers}[tid]
        holds("TP-34", shown.cpu == cpu, f"a worker that is bound to CPU {cpu} is shown on {shown.cpu}")
        bound.go.set()
    gate.go.set()


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot", "cancel", "reports")
def test_counters_add_up(crew: Crew) -> None:
    """TP-34: started - completed = in flight; schedules, withdrawals and errors are counted once each."""
    pool = crew.pool()

    def counted() -> dict[str, int]:
        counters = crew.adapter.snapshot().counters
        names = ("scheduled", "started", "completed", "cancelled", "errors")
        return {name: getattr(counters, name) for name in names}

    def difference(before: dict[str, int]) -> dict[str, int]:
        return {name: value - before[name] for name, value in counted().items()}

    def settled(before: dict[str, int], due: dict[str, int]) -> None:
        wait_until(lambda: difference(before) == due, 2)
        holds("TP-34", difference(before) == due, f"counted {difference(before)}, due {due}")

    base = counted()
    gates = [crew.blocked("TP-34", pool)[0] for _ in range(3)]
    settled(base, {"scheduled": 3, "started": 3, "completed": 0, "cancelled": 0, "errors": 0})
    for gate in gates:
        gate.go.set()
    settled(base, {"scheduled": 3, "started": 3, "completed": 3, "cancelled": 0, "errors": 0})
    crew.adapter.settle()
    settled(base, {"scheduled": 3, "started": 3, "completed": 3, "cancelled": 0, "errors": 0})

    base = counted()
    runs = 0

    def body(job: Any) -> None:
        nonlocal runs
        runs += 1

    job = crew.job(body)
    withdrawn = 0
    for _ in range(300):
        before = runs
        crew.schedule(pool, job)
        with job.interlock:
            said = pool.cancel_async(job)
        wait_until(lambda before=before, said=said: said or runs > before)

        def idle() -> Any:
            with job.interlock:
                return pool.cancel_async(job)

        wait_until(idle)
        withdrawn += runs == before
    settled(base, {"scheduled": 300, "started": runs, "completed": runs, "cancelled": withdrawn, "errors": 0})

    base = counted()

    def raises(job: Any) -> None:
        raise ValueError("on purpose")

    with reported() as log:
        for _ in range(5):
            crew.schedule(pool, crew.adapter.job(raises))
        log.reached(5)
        settled(base, {"scheduled": 5, "started": 5, "completed": 5, "cancelled": 0, "errors": 5})


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot", "put waits")
def test_what_was_counted_stays_counted_when_the_pool_goes(crew: Crew) -> None:
    """TP-34: the counters are the process's: three generations of a pool with three jobs each are nine jobs."""
    base = crew.adapter.snapshot().counters
    for number in range(1, 4):
        pool = crew.adapter.get(PRI)
        for _ in range(3):
            crew.run("TP-34", pool, lambda: None)
        within("TP-9", "the last put", pool.put)
        counters = crew.adapter.snapshot().counters
        seen = (counters.scheduled - base.scheduled, counters.started - base.started)
        due = (3 * number, 3 * number)
        holds("TP-34", seen == due, f"after {number} pools with 3 jobs each, scheduled and started are {seen}")


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot", "refusals")
@limits_memory
def test_jobs_that_wait_are_shown(crew: Crew, implementation: Implementation) -> None:
    """TP-34: by name and in order, while no thread can be had for them; not any more when they have run."""
    lines = outcome("TP-34", implementation, "queued_is_shown")
    holds("TP-34", lines == ["queued first second third", "queued"], f"with three jobs that wait it said {lines}")


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot")
def test_a_snapshot_does_not_change(crew: Crew) -> None:
    """TP-34: neither by what goes on, nor by who holds it."""
    pool = crew.pool()
    crew.blocked("TP-34", pool)
    snapshot = crew.adapter.snapshot()
    before = (snapshot.counters.started, len(snapshot.workers))
    crew.blocked("TP-34", pool)
    now = (snapshot.counters.started, len(snapshot.workers))
    holds("TP-34", now == before, f"a snapshot changed from {before} to {now}")
    changed = True
    try:
        snapshot.counters.started = 0
    except Exception:
        changed = False
    holds("TP-34", not changed, "a snapshot's counters can be assigned")


@pytest.mark.clause("TP-34")
@pytest.mark.capability("snapshot")
def test_snapshots_beside_a_storm(crew: Crew, thorough: bool) -> None:
    """TP-34: taken in a loop while jobs come and go: none fails, completed is never more than started."""
    pool = crew.pool()
    jobs = [crew.job() for _ in range(3)]
    rounds = 3_000 if thorough else 300

    def storm() -> None:
        for number in range(rounds * 5):
            crew.schedule(pool, jobs[number % 3])

    thread = crew.stage.thread(storm)
    for _ in range(rounds):
        counters = crew.adapter.snapshot().counters
        holds("TP-34", counters.completed <= counters.started, f"{counters.completed} of {counters.started} completed")
    thread.join(timing.limit)


@pytest.mark.clause("TP-35")
@pytest.mark.capability("stall watchdog", "reports")
def test_a_job_over_its_limit_is_reported_once_with_its_stack(crew: Crew) -> None:
    """TP-35: to threading.excepthook, naming the function that it is in; one under the limit is not."""
    pool = crew.pool()

    def a_function_with_a_name_of_its_own(gate: Any) -> None:
        gate()

    with reported() as log:
        crew.adapter.set_stall(30)
        gate, _ = crew.blocked("TP-35", pool)
        holds("TP-35", not log.reached(1, timing.moment), "a job was reported long before its limit")
        gate.go.set()
        crew.adapter.set_stall(0.1)
        slow = crew.stage.gate()
        crew.schedule(pool, crew.job(lambda job: a_function_with_a_name_of_its_own(slow)))
        holds("TP-35", log.reached(1), "a job over its limit of 0.1 s was not reported")
        holds("TP-35", not log.reached(2, 0.5), "a job over its limit was reported twice")
        text = str(log.entries[0])
        stack = "a_function_with_a_name_of_its_own" in text
        holds("TP-35", stack, f"the report does not show where the job is: {text!r}")
        slow.go.set()
        crew.adapter.set_stall(0)
        again = crew.stage.gate()
        crew.schedule(pool, crew.job(again))
        again.entered()
        holds("TP-35", not log.reached(2, 0.3), "a job was reported though the watchdog is off")


@pytest.mark.clause("TP-35")
@pytest.mark.capability("stall watchdog", "reports", "coalesce")
def test_short_runs_that_follow_each_other_are_no_long_one(crew: Crew) -> None:
    """TP-35: a job that schedules itself, a hundredth of the limit each time, for several limits: no report."""
    limit, pool = 0.2, crew.pool()
    for _ in range(5):
        starts: list[float] = []
        over, never = threading.Event(), threading.Event()
        until = time.monotonic() + 3 * limit

        def fn(job: Any, starts: Any = starts, over: Any = over, never: Any = never, until: float = until) -> None:
            starts.append(time.monotonic())
            never.wait(limit / 100)
            finish(job)
            if starts[-1] < until:
                crew.schedule(pool, job)
            else:
                over.set()

        with reported() as log:
            crew.adapter.set_stall(limit)
            crew.schedule(pool, crew.adapter.job(fn))
            holds("TP-35", over.wait(timing.limit), "a job that schedules itself does not run")
            crew.adapter.set_stall(0)
        starts += [time.monotonic()] * 2
        # A run is over when the next but one begins. So where two steps are short, no run was long.
        longest = max(second - first for first, second in zip(starts, starts[2:], strict=False))
        if longest < limit:
            text = f"runs of less than {longest:.3g} s were reported, with a limit of {limit:g} s: {log.entries[:1]}"
            holds("TP-35", not log.entries, text)
            return
    pytest.skip("the machine is too loaded to run something short")
