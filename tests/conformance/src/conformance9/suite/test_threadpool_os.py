"""What the OS sees of a worker: priority, name, refusals, cleanness (TP-10 to TP-13)."""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import PRI, Crew
from conformance9.suite.threadpool_programs import outcome
from conformance9.suite.tools import holds, need, timing, wait_asleep

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the OS's view of threads is read by Linux's calls")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


def comm(tid: int | None = None) -> str:
    """The OS's name of a thread."""
    with open(f"/proc/self/task/{tid or threading.get_native_id()}/comm") as file:
        return file.read().rstrip()


def nice() -> int:
    """The nice value of the calling thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def scheduling() -> tuple[str, int]:
    """Class and value of the calling thread."""
    if os.sched_getscheduler(0) == os.SCHED_RR:
        return "rr", os.sched_getparam(0).sched_priority
    return ("other" if os.sched_getscheduler(0) == os.SCHED_OTHER else "odd"), nice()


# --- TP-10


@pytest.mark.clause("TP-10")
@pytest.mark.capability("priorities")
def test_no_priority_touches_nothing(crew: Crew) -> None:
    """TP-10: a worker of PRI_NONE is scheduled as the process is."""
    seen = crew.run("TP-10", crew.pool(-1), scheduling)
    holds("TP-10", seen == scheduling(), f"PRI_NONE runs at {seen}, the process at {scheduling()}")


@pytest.mark.clause("TP-10")
@pytest.mark.capability("priorities")
def test_lower_user_priorities_have_higher_nice_values(crew: Crew) -> None:
    """TP-10: timesharing below 128: the less urgent, the nicer; 0 is the nicest of all."""
    values = [crew.run("TP-10", crew.pool(pri), scheduling) for pri in (0, 20, 40, 63)]
    holds("TP-10", all(kind == "other" for kind, _ in values), f"user priorities are scheduled as {values}")
    numbers = [number for _, number in values]
    holds("TP-10", numbers == sorted(numbers, reverse=True), f"priorities 0, 20, 40, 63 have nice values {numbers}")
    holds("TP-10", numbers[0] > numbers[-1], f"priorities 0 and 63 have the same nice value {numbers[0]}")


@pytest.mark.clause("TP-10")
@pytest.mark.capability("priorities")
@pytest.mark.skipif(not ROOT, reason="only root may raise priorities without limits")
@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_urgent_priorities_reach_the_os(crew: Crew, kind: str) -> None:
    """TP-10: kernel priorities have negative nice values; from 128 on SCHED_RR, rising with the priority."""

    def pool(pri: int) -> Any:
        if kind == "percpu":
            need(crew.adapter, "percpu")
            return crew.percpu(pri).ref()
        return crew.pool(pri)

    kernel = [crew.run("TP-10", pool(pri), scheduling) for pri in (64, 96, 127)]
    holds("TP-10", all(kind == "other" for kind, _ in kernel), f"priorities 64, 96, 127 are scheduled as {kernel}")
    numbers = [number for _, number in kernel]
    holds("TP-10", numbers[0] >= numbers[1] >= numbers[2] and numbers[2] < 0, f"and have nice values {numbers}")
    real_time = [crew.run("TP-10", pool(pri), scheduling) for pri in (128, 191, 192, 223)]
    holds("TP-10", all(kind == "rr" for kind, _ in real_time), f"priorities from 128 on are scheduled as {real_time}")
    numbers = [number for _, number in real_time]
    holds("TP-10", numbers == sorted(set(numbers)), f"priorities 128, 191, 192, 223 have real-time values {numbers}")


@pytest.mark.clause("TP-10")
@pytest.mark.capability("priorities")
def test_a_refused_priority_is_told_once_and_never_fatal(crew: Crew, implementation: Implementation) -> None:
    """TP-10: without privilege the jobs run, one warning for many workers; in strict mode get() raises."""
    lines = outcome("TP-10", implementation, "unprivileged")
    holds("TP-10", lines[:2] == ["ran", "told 1"], f"a process without privilege said {lines}")
    if "strict" in crew.adapter.capabilities:
        holds("TP-10", lines[2:] == ["refused", "accepted again"], f"in strict mode it said {lines[2:]}")


# --- TP-11


@pytest.mark.clause("TP-11")
@pytest.mark.capability("thread names")
def test_threads_have_names_that_ps_shows(crew: Crew) -> None:
    """TP-11: poolthread, /cpu for a bound one, @pri for one with a priority."""
    expected = {"poolthread": crew.pool(-1), f"poolthread@{PRI}": crew.pool()}
    if "percpu" in crew.adapter.capabilities:
        for cpu in crew.adapter.cpus():
            expected[f"poolthread/{cpu}"] = crew.percpu(-1).ref_remote(cpu)
            expected[f"poolthread/{cpu}@5"] = crew.percpu(5).ref_remote(cpu)
    for name, pool in expected.items():
        for _ in range(2):
            seen = crew.run("TP-11", pool, comm)
            holds("TP-11", seen == name[:15], f"a thread that should be {name} is {seen}")


@pytest.mark.clause("TP-11")
@pytest.mark.capability("job names", "thread names")
def test_the_job_s_name_is_shown_while_it_runs(crew: Crew) -> None:
    """TP-11: if asked for; before, after and if not asked for, it is the thread's own."""
    pool = crew.pool()
    own = f"poolthread@{PRI}"[:15]

    def run(name: str) -> tuple[int, str]:
        seen: list[Any] = []
        gate = crew.stage.gate()

        def body(job: Any) -> None:
            seen.extend((threading.get_native_id(), comm()))
            gate()

        crew.schedule(pool, crew.job(body, None, name))
        holds("TP-11", gate.entered(), "the job was not run")
        gate.go.set()
        wait_asleep(seen[:1])
        return seen[0], seen[1]

    holds("TP-11", run("silent")[1] == own, "a job's name is shown though that was not asked for")
    crew.adapter.set_job_names(True)
    for name in ("short", "a name that is longer than the OS takes"):
        tid, shown = run(name)
        holds("TP-11", shown == name[:15].rstrip(), f"while the job {name!r} ran its thread was called {shown!r}")
        holds("TP-11", comm(tid) == own, f"after the job {name!r} its thread is called {comm(tid)!r}")
    crew.adapter.set_job_names(False)
    holds("TP-11", run("silent")[1] == own, "a job's name is shown though that is not asked for any more")


# --- TP-12


@pytest.mark.clause("TP-12")
@pytest.mark.capability("refusals")
def test_if_no_thread_can_be_had_schedule_says_so(crew: Crew, implementation: Implementation) -> None:
    """TP-12: with none that could retry, StartError; the job is as before, never runs for it, and can be scheduled."""
    lines = outcome("TP-12", implementation, "no_thread_at_all")
    due = 3 * ["refused"] + ["ran 0 times", "scheduled", "ran 1 times"]
    holds("TP-12", lines == due, f"with no memory for a thread it said {lines}")


@pytest.mark.clause("TP-12")
@pytest.mark.capability("refusals", "unlimited")
def test_a_refused_thread_is_tried_again(crew: Crew, implementation: Implementation) -> None:
    """TP-12: jobs stay queued while no thread can be had, without spinning, and run when one can."""
    lines = outcome("TP-12", implementation, "refused_and_retried")
    due = ["ran 0 while threads were refused", "rests", "all ran"]
    holds("TP-12", lines == due, f"with a blocked worker and no memory for another it said {lines}")


# --- TP-13


@pytest.mark.clause("TP-13")
@pytest.mark.capability("clean threads")
def test_a_worker_does_not_take_after_who_scheduled(crew: Crew) -> None:
    """TP-13: CPU set, signal mask, nice value and context of the thread that scheduled are not the worker's."""
    process = os.sched_getaffinity(0), signal.pthread_sigmask(signal.SIG_BLOCK, []), nice()
    pool = crew.pool(-1)
    crew.blocked("TP-13", pool)  # some thread of the implementation is there already, from here
    seen: list[Any] = []

    def look() -> tuple[Any, ...]:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return os.sched_getaffinity(0), mask, nice(), variable.get()

    def odd() -> None:
        os.sched_setaffinity(0, {min(process[0])})
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 7)
        variable.set("of the scheduler")
        seen.append(crew.run("TP-13", pool, look))

    thread = crew.stage.thread(odd)
    thread.join(timing.limit)
    holds("TP-13", seen, f"a job scheduled by an odd thread was not run: {thread.failure!r}")
    affinity, mask, value, context = seen[0]
    holds("TP-13", affinity == process[0], f"the worker may run on {sorted(affinity)} as the thread that scheduled")
    holds("TP-13", mask == process[1], f"the worker blocks {sorted(mask)} as the thread that scheduled")
    holds("TP-13", value == process[2], f"the worker has nice value {value}, the process {process[2]}")
    holds("TP-13", context == "none", "the worker sees the context of the thread that scheduled")


@pytest.mark.clause("TP-13")
@pytest.mark.capability("clean threads")
def test_the_first_thread_of_all_does_not_take_after_who_scheduled(crew: Crew, implementation: Implementation) -> None:
    """TP-13: nor where no thread of the implementation is there that could start the worker."""
    lines = outcome("TP-13", implementation, "odd_from_the_first")
    due = ["CPU set clean", "signal mask clean"] + ["nice value clean"] * ROOT
    holds("TP-13", lines == due, f"the first worker of a process, for a thread with odd settings, is {lines}")


@pytest.mark.clause("TP-13")
@pytest.mark.capability("clean threads")
@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_what_a_job_left_on_its_thread_is_put_right(crew: Crew, kind: str) -> None:
    """TP-13: CPU set, name and nice value are as before for the next job on the same thread."""
    if kind == "percpu":
        need(crew.adapter, "percpu")
        pool = crew.percpu(-1).ref()
    else:
        pool = crew.pool(-1)

    def look() -> tuple[Any, ...]:
        return threading.get_native_id(), sorted(os.sched_getaffinity(0)), comm(), nice()

    def spoil() -> int:
        one = os.sched_getaffinity(0)
        everything = set(crew.adapter.cpus()) if "percpu" in crew.adapter.capabilities else one
        os.sched_setaffinity(0, {max(one)} if len(one) > 1 else everything)
        with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
            file.write("spoilt")
        if ROOT:  # others could not undo it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 11)
        return threading.get_native_id()

    before = crew.run("TP-13", pool, look)
    for _ in range(20):
        wait_asleep([before[0]])
        tid = crew.run("TP-13", pool, spoil)
        wait_asleep([tid])
        after = crew.run("TP-13", pool, look)
        if tid == after[0]:
            holds(
                "TP-13",
                after[1:] == before[1:],
                f"the thread was {before[1:]}, after a job that changed it {after[1:]}",
            )
            return
    pytest.skip("no worker was used twice in 20 attempts")
