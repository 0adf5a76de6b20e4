"""The order in which waiting jobs start (TP-29)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import Crew
from conformance9.suite.threadpool_programs import limits_memory, outcome
from conformance9.suite.tools import holds, need, timing

pytestmark = pytest.mark.clause("TP-29")


@pytest.mark.capability("order")
@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_each_worker_takes_jobs_in_the_order_scheduled(crew: Crew, kind: str) -> None:
    """TP-29: what one worker takes is in order, whatever other workers take beside it."""
    if kind == "percpu":
        need(crew.adapter, "percpu")
        pool = crew.percpu().ref()
    else:
        pool = crew.pool()
    for _ in range(20):
        taken: list[tuple[int, int]] = []
        over = threading.Semaphore(0)

        def body(number: int, taken: list[tuple[int, int]] = taken, over: threading.Semaphore = over) -> None:
            taken.append((threading.get_ident(), number))
            over.release()

        jobs = [crew.job(lambda job, number=number, body=body: body(number)) for number in range(100)]
        for job in jobs:
            crew.schedule(pool, job)
        for _ in jobs:
            holds("TP-29", over.acquire(timeout=timing.limit), "a job was not run")
        for worker in {ident for ident, _ in taken}:
            mine = [number for ident, number in taken if ident == worker]
            holds("TP-29", mine == sorted(mine), f"one worker took the jobs of a burst in the order {mine}")


@pytest.mark.capability("order")
def test_a_new_job_does_not_overtake_those_that_wait(crew: Crew) -> None:
    """TP-29: while workers come free and jobs wait, a new one is not handed to a free worker before them.

    At any moment at most as many older jobs as there are other workers may be taken but not yet seen to run.
    """
    pool = crew.pool()
    draws = 400
    starts: list[int] = []
    workers: set[int] = set()
    over = threading.Semaphore(0)

    def body(job: Any, number: int) -> None:
        starts.append(number)
        workers.add(threading.get_native_id())
        over.release()

    jobs: list[Any] = [crew.job(lambda job, number=number: body(job, number)) for number in range(draws)]
    for job in jobs:
        crew.schedule(pool, job)
    for _ in jobs:
        holds("TP-29", over.acquire(timeout=timing.limit), "a job was not run")
    waiting = set(range(draws))
    for number in starts:
        waiting.discard(number)
        older = sum(1 for other in waiting if other < number)
        holds(
            "TP-29",
            older < len(workers),
            f"job {number} started before {older} older ones, with {len(workers)} workers",
        )


@pytest.mark.capability("order", "cancel")
def test_withdrawn_and_scheduled_again_a_job_is_the_last(crew: Crew, thorough: bool) -> None:
    """TP-29: each schedule has its own place: A, B, cancel A, schedule A again: no worker takes A before B.

    First with as many workers blocked as the pool has, up to 64; then in bursts, for pools without a limit.
    """
    pool = crew.pool()
    gates: list[Any] = []
    while len(gates) < 64:
        gates.append(crew.stage.gate())
        crew.schedule(pool, crew.job(gates[-1]))
        if not gates[-1].began.wait(4 * timing.moment):
            break  # it waits, and so will the next ones
    for number in range(100 if thorough else 30):
        taken: list[tuple[int, int]] = []
        over = threading.Semaphore(0)
        places = list(range(40))

        def body(
            index: int,
            places: list[int] = places,
            taken: list[tuple[int, int]] = taken,
            over: threading.Semaphore = over,
        ) -> None:
            taken.append((threading.get_ident(), places[index]))
            over.release()

        jobs = [crew.job(lambda job, index=index, body=body: body(index)) for index in range(40)]
        for job in jobs:
            crew.schedule(pool, job)
        again = 0
        for index in range(0, 40, 3):
            with jobs[index].interlock:
                if pool.cancel_async(jobs[index]) is True and places[index] not in [place for _, place in list(taken)]:
                    places[index] = 40 + index
                    again += bool(pool.schedule(jobs[index]))
        if number == 0:
            for gate in (gates[0], gates[-1]):
                gate.go.set()
        for _ in jobs:
            holds(
                "TP-29",
                over.acquire(timeout=timing.limit),
                f"of 40 jobs, {again} of them scheduled again, one never ran",
            )
        for worker in {ident for ident, _ in taken}:
            mine = [place for ident, place in taken if ident == worker]
            holds("TP-29", mine == sorted(mine), f"a job that was scheduled again ran in its old place: {mine}")


@pytest.mark.capability("order", "refusals")
@limits_memory
def test_one_worker_runs_them_exactly_in_order(crew: Crew, implementation: Implementation) -> None:
    """TP-29: with no second worker to be had; jobs withdrawn from the middle and scheduled meanwhile."""
    lines = outcome("TP-29", implementation, "one_worker")
    holds("TP-29", lines == ["in order"], f"with one worker: {lines}")


@pytest.mark.capability("order", "refusals")
@limits_memory
def test_no_job_overtakes_one_that_met_a_worker_going_idle(crew: Crew, implementation: Implementation) -> None:
    """TP-29: two jobs scheduled before any two bytecodes, one after the other, of a worker that goes idle."""
    lines = outcome("TP-29", implementation, "order_at_every_step")
    holds("TP-29", lines == ["in order"], f"with one worker: {lines}")
