"""Pools that are bound to a CPU (TP-7, TP-8)."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import PRI, Crew, finish
from conformance9.suite.threadpool_programs import outcome
from conformance9.suite.tools import Log, holds, pinned, refuses, timing, wait_asleep

pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "sched_getaffinity"), reason="this OS does not tell to which CPU a thread is bound"
    ),
    pytest.mark.capability("percpu"),
]


def allowed_list() -> str:
    """The kernel's own words about the calling thread."""
    with open(f"/proc/self/task/{threading.get_native_id()}/status") as file:
        return next(line.split()[1] for line in file if line.startswith("Cpus_allowed_list"))


@pytest.mark.clause("TP-7")
def test_a_worker_is_bound_before_the_first_bytecode(crew: Crew, thorough: bool) -> None:
    """TP-7: whoever schedules, wherever it is bound: a fresh worker's first act finds it bound to the pool's CPU."""
    percpu = crew.percpu()
    cpus = crew.adapter.cpus()
    sets: list[set[int]] = []
    over = threading.Semaphore(0)

    def fn(job: Any) -> None:
        sets.append(os.sched_getaffinity(0))
        finish(job)
        over.release()

    for _ in range(100 if thorough else 15):
        for cpu in cpus:
            for where in {cpus[0], cpus[-1]}:
                crew.adapter.settle()
                with pinned(where):
                    crew.schedule(percpu.ref_remote(cpu), crew.adapter.job(fn))
                holds("TP-7", over.acquire(timeout=timing.limit), f"a job for CPU {cpu} was not run")
                seen = sets.pop()
                holds("TP-7", seen == {cpu}, f"at its first bytecode a job for CPU {cpu} may run on {sorted(seen)}")


@pytest.mark.clause("TP-7")
def test_every_worker_of_a_bound_pool_is_bound(crew: Crew) -> None:
    """TP-7: the second and the fifth beside blocked ones too, the kernel's status file says, and when used again."""
    percpu = crew.percpu()
    for cpu in crew.adapter.cpus():
        pool = percpu.ref_remote(cpu)
        for _ in range(2):
            waiting = crew.threads("TP-7", pool, 5)
            for tid, _ in waiting:
                seen = os.sched_getaffinity(tid)
                holds("TP-7", seen == {cpu}, f"a worker for CPU {cpu} may run on {sorted(seen)}")
            for _, gate in waiting:
                gate.go.set()
            wait_asleep(tid for tid, _ in waiting)
            said = crew.run("TP-7", pool, allowed_list)
            holds("TP-7", said == str(cpu), f"Cpus_allowed_list of a worker for CPU {cpu} is {said}")


@pytest.mark.clause("TP-7")
def test_ref_is_the_pool_of_the_caller_s_cpu(crew: Crew) -> None:
    """TP-7: for a thread bound to each CPU in turn; the same object each time, and what ref_remote() gives."""
    percpu = crew.percpu()
    for cpu in crew.adapter.cpus():
        with pinned(cpu):
            pool = percpu.ref()
            holds("TP-7", pool == percpu.ref_remote(cpu), f"on CPU {cpu} ref() is {pool!r}")
            holds("TP-7", pool == percpu.ref(), "ref() twice gave two pools")
            seen = crew.run("TP-7", pool, lambda: os.sched_getaffinity(0))
        holds("TP-7", seen == {cpu}, f"ref() on CPU {cpu} runs jobs on {sorted(seen)}")


@pytest.mark.clause("TP-7")
def test_a_reference_works_from_any_other_cpu(crew: Crew) -> None:
    """TP-7: got on one CPU, used on another to schedule."""
    percpu = crew.percpu()
    cpus = crew.adapter.cpus()
    with pinned(cpus[0]):
        pool = percpu.ref()
    with pinned(cpus[-1]):
        seen = crew.run("TP-7", pool, lambda: os.sched_getaffinity(0))
    holds("TP-7", seen == {cpus[0]}, f"the pool of CPU {cpus[0]} ran a job on {sorted(seen)}")


@pytest.mark.clause("TP-7", "TP-6")
def test_pools_of_different_cpus_run_at_the_same_time(crew: Crew) -> None:
    """TP-7: one blocked job for each CPU, all at once."""
    percpu = crew.percpu()
    gates = [crew.blocked("TP-7", percpu.ref_remote(cpu))[0] for cpu in crew.adapter.cpus()]
    holds("TP-7", all(not gate.ended.is_set() for gate in gates), "a blocked job ended")


@pytest.mark.clause("TP-7", "TP-1")
@pytest.mark.capability("shared")
def test_bound_pools_of_two_priorities_are_different(crew: Crew) -> None:
    """TP-7: each priority has its own for each CPU."""
    one, other = crew.percpu(PRI), crew.percpu(PRI - 1)
    for cpu in crew.adapter.cpus():
        holds("TP-7", one.ref_remote(cpu) != other.ref_remote(cpu), f"two priorities share the pool of CPU {cpu}")


@pytest.mark.clause("TP-8")
def test_the_cpus_are_those_that_the_process_may_use(crew: Crew) -> None:
    """TP-8: no more and no fewer, and any other is a clear error."""
    allowed = os.sched_getaffinity(0)
    cpus = crew.adapter.cpus()
    holds("TP-8", set(cpus) == allowed, f"pools for the CPUs {cpus}, the process may use {sorted(allowed)}")
    percpu = crew.percpu()
    for cpu in (-1, max(allowed) + 1, 99999):
        refuses("TP-8", f"ref_remote({cpu})", crew.adapter.cpu_error, lambda cpu=cpu: percpu.ref_remote(cpu))
    log = Log()
    for cpu in cpus:
        crew.schedule(percpu.ref_remote(cpu), crew.job(log.add))
    holds("TP-8", log.reached(len(cpus)), "after a refused ref_remote() a pool does not work")


@pytest.mark.clause("TP-8")
def test_a_process_that_may_use_one_cpu_has_one_pool(crew: Crew, implementation: Implementation) -> None:
    """TP-8: in a process that was bound to its last CPU before the implementation was imported."""
    cpu = max(os.sched_getaffinity(0))
    lines = outcome("TP-8", implementation, "one_cpu", str(cpu))
    holds("TP-8", lines[:1] == [f"cpus ({cpu},)"], f"bound to CPU {cpu}, it said {lines}")
    holds("TP-8", lines[1:] == [f"ran on [{cpu}]", "refused"], f"bound to CPU {cpu}, it said {lines}")


@pytest.mark.clause("TP-8")
@pytest.mark.capability("cpu changes")
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two CPUs, this process has one",
)
def test_a_cpu_that_goes_and_comes_back_loses_no_job(crew: Crew, implementation: Implementation) -> None:
    """TP-8: jobs for a CPU that is gone run on those that remain, that is told once, and it is bound again later.

    In a process where ``os.sched_setaffinity`` refuses the CPU as the kernel does after a hot-unplug.
    """
    lines = outcome("TP-8", implementation, "cpu_gone")
    holds("TP-8", lines == ["bound", "ran 20 elsewhere", "told 1", "bound"], f"it said {lines}")
