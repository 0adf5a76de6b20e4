"""Programs of the threadpool layer's tests that need a process of their own, and how they are run.

Each is called by `conformance9._child` with a fresh adapter and words, and tells what it sees on standard output,
a line at a time and each in one call of the OS, for prints of several threads may mix.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9.suite import tools
from conformance9.suite.crew import PRI, Crew, finish
from conformance9.suite.tools import Log, Stage, stepped, timing, wait_asleep, wait_until

HERE = "conformance9.suite.threadpool_programs"
SCARCE = "this OS starts threads all the same"
#: For tests whose program takes the memory for further threads away.
limits_memory = pytest.mark.skipif(sys.platform != "linux", reason="limits address space by Linux's call")


def finished(clause: str, implementation: Implementation, program: str, *words: str) -> tuple[list[str], str, int]:
    """Run a program of this module to its end: its lines, what it wrote to standard error, and its status."""
    return tools.finished(clause, implementation, f"{HERE}:{program}", *words)


def outcome(clause: str, implementation: Implementation, program: str, *words: str) -> list[str]:
    """The lines that a program of this module said, which must end well. Skips where no thread is refused to it."""
    lines = tools.outcome(clause, implementation, f"{HERE}:{program}", *words)
    if SCARCE in lines:
        pytest.skip("a limit on address space refuses no thread here")
    return lines


def say(*words: object) -> None:
    """A line, in one call."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def says(adapter: Any, text: str, before: Callable[..., object] = lambda: None) -> Any:
    """A job that says something."""

    def fn(job: Any) -> None:
        before()
        say(text)
        finish(job)

    return adapter.job(fn)


def schedule(pool: Any, job: Any) -> Any:
    """Schedule, interlock held."""
    with job.interlock:
        return pool.schedule(job)


# --- threads on demand


def first_pools(adapter: Any) -> None:
    """TP-3: how many threads the first pools of a process have made before any job."""
    before = tools.os_tids()
    pools = [adapter.get(PRI), *([adapter.percpu_get(PRI)] if "percpu" in adapter.capabilities else [])]
    wait_until(lambda: tools.os_tids() == before, timing.moment)
    threads = len(tools.os_tids() - before)
    for pool in pools:
        pool.put()
    say("threads", threads)


# --- CPUs


def one_cpu(adapter: Any, cpu: str) -> None:
    """Bound before the first use; the parent has bound nobody, so the adapter may be imported already."""
    os.sched_setaffinity(0, {int(cpu)})
    if set(adapter.cpus()) != {int(cpu)} and "CONFORMANCE9_BOUND" not in os.environ:
        # It looked when it was imported: start again, bound from the first.
        environment = {**os.environ, "CONFORMANCE9_BOUND": "1"}
        os.execve(sys.executable, [sys.executable, "-m", "conformance9._child", *sys.argv[1:]], environment)
    say("cpus", adapter.cpus())
    stage = Stage()
    crew = Crew(adapter, stage)
    percpu = adapter.percpu_get(PRI)
    say("ran on", sorted(crew.run("TP-8", percpu.ref(), lambda: os.sched_getaffinity(0))))
    other = (int(cpu) + 1) % (os.cpu_count() or 1) if (os.cpu_count() or 1) > 1 else 1
    try:
        percpu.ref_remote(other)
    except adapter.cpu_error:
        say("refused")
    percpu.put()


def cpu_gone(adapter: Any) -> None:
    """The kernel's refusal is played by functions in its place."""
    real_set, real_get = os.sched_setaffinity, os.sched_getaffinity
    every = real_get(0)
    gone: set[int] = set()

    def set_affinity(tid: int, cpus: Any) -> None:
        left = set(cpus) - gone
        if not left:
            raise OSError(22, "Invalid argument")
        real_set(tid, left)

    def get_affinity(tid: int) -> set[int]:
        return real_get(tid) - gone or real_get(tid)

    told: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest, **more: told.append(str(message))
    os.sched_setaffinity, os.sched_getaffinity = set_affinity, get_affinity
    crew = Crew(adapter, Stage())
    percpu = adapter.percpu_get(PRI)
    cpu = max(adapter.cpus())
    pool = percpu.ref_remote(cpu)

    def binding() -> str:
        return "bound" if crew.run("TP-8", pool, lambda: real_get(0)) == {cpu} else "elsewhere"

    say(binding())
    gone.add(cpu)
    for tid in map(int, os.listdir("/proc/self/task")):  # as the kernel does when a CPU goes
        real_set(tid, real_get(threading.get_native_id()) - gone)
    before = len(told)
    places = [binding() for _ in range(20)]
    say("ran", places.count("elsewhere"), "elsewhere")
    say("told", len(told) - before)
    gone.clear()
    for tid in map(int, os.listdir("/proc/self/task")):
        real_set(tid, every)
    adapter.settle()
    wait_until(lambda: binding() == "bound", 5)
    say(binding())
    percpu.put()


# --- what the OS refuses


class Scarce:
    """Between `enough` and `scarce`: whether there is room for the stack of one more thread."""

    STACK = 256 << 20

    def __init__(self) -> None:
        threading.stack_size(self.STACK)
        self.hard = resource.getrlimit(resource.RLIMIT_AS)[1]

    def scarce(self) -> None:
        """From now on a thread is refused, as by an OS that has no memory for it."""
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + self.STACK // 2, self.hard))
        try:
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
        except (RuntimeError, MemoryError):
            return
        say(SCARCE)
        os._exit(0)

    def enough(self) -> None:
        """As before."""
        resource.setrlimit(resource.RLIMIT_AS, (self.hard, self.hard))


def no_thread_at_all(adapter: Any) -> None:
    """TP-12: nothing of ours is there that could retry."""
    memory = Scarce()
    pool = adapter.get(PRI)
    log = Log()
    crew = Crew(adapter, Stage())
    job = crew.job(log.add)
    memory.scarce()
    for _ in range(3):
        try:
            schedule(pool, job)
        except adapter.start_error:
            say("refused")
        except BaseException as error:
            say("raised", repr(error))
        else:
            say("accepted")
    memory.enough()
    time.sleep(timing.moment)
    say("ran", len(log.entries), "times")
    say("scheduled" if schedule(pool, job) is not False else "not scheduled")
    log.reached(1)
    time.sleep(timing.moment)
    say("ran", len(log.entries), "times")
    pool.put()


def refused_and_retried(adapter: Any) -> None:
    """TP-12: a worker is there, blocked; the next thread is refused for a while."""
    memory = Scarce()
    pool = adapter.get(PRI)
    stage = Stage()
    crew = Crew(adapter, stage)
    gate, _ = crew.blocked("TP-12", pool)
    memory.scarce()
    log = Log()
    for number in range(5):
        said = schedule(pool, crew.job(lambda job, number=number: log.add(number)))
        if said is False:
            say("not scheduled")
    began, used = time.monotonic(), time.process_time()
    log.reached(1, 1.5)
    say("ran", len(log.entries), "while threads were refused")
    share = (time.process_time() - used) / (time.monotonic() - began)
    say("spins" if share > 0.1 else "rests")
    memory.enough()
    say("all ran" if log.reached(5) else f"{len(log.entries)} ran")
    gate.go.set()
    pool.put()


def one_worker(adapter: Any) -> None:
    """TP-29: with one worker and no other to be had, the order is seen exactly."""
    memory = Scarce()
    pool = adapter.get(PRI)
    crew = Crew(adapter, Stage())
    log = Log()
    for _ in range(20):
        gate, _ = crew.blocked("TP-29", pool)
        memory.scarce()
        first = len(log.entries)
        threads: set[int] = set()

        def enter(number: int, threads: set[int] = threads) -> None:
            threads.add(threading.get_ident())
            log.add(number)

        jobs = [crew.job(lambda job, number=number: enter(number)) for number in range(40)]
        for job in jobs[:20]:
            schedule(pool, job)
        withdrawn = set()
        if "cancel" in adapter.capabilities:
            for number in (0, 7, 19):
                with jobs[number].interlock:
                    if pool.cancel_async(jobs[number]):
                        withdrawn.add(number)
            if 7 in withdrawn:  # scheduled again it is the last of those that wait, wherever it was before
                schedule(pool, jobs[7])
        gate.go.set()
        for job in jobs[20:]:  # while the worker is at the others
            schedule(pool, job)
        due = [number for number in range(20) if number not in withdrawn]
        due += [*sorted(withdrawn & {7}), *range(20, 40)]
        log.reached(first + len(due))
        memory.enough()
        # A second worker, which was started for an earlier job and came late, may be there: then nothing is due.
        if threads == {gate.thread} and log.entries[first:] != due:
            say("order", log.entries[first:], "due", due)
            os._exit(0)
        wait_asleep(crew.fresh())
    say("in order")
    pool.put()


def queued_is_shown(adapter: Any) -> None:
    """TP-34: with one worker, blocked, and no other to be had."""
    memory = Scarce()
    pool = adapter.get(PRI)
    crew = Crew(adapter, Stage())
    gate, _ = crew.blocked("TP-34", pool)
    memory.scarce()
    log = Log()
    for name in ("first", "second", "third"):
        schedule(pool, crew.job(log.add, None, name))
    say("queued", *adapter.snapshot().queued)
    memory.enough()
    gate.go.set()
    log.reached(3)
    say("queued", *adapter.snapshot().queued)
    pool.put()


def order_at_every_step(adapter: Any) -> None:
    """TP-29: with one worker, of two jobs that are scheduled at two moments of its going idle the first is first."""
    memory = Scarce()
    pool = adapter.get(PRI)
    crew = Crew(adapter, Stage())
    with stepped() as steps:
        crew.run("TP-29", pool, lambda: None)
        memory.scarce()
        log = Log()
        pair = [crew.job(lambda job, number=number: log.add(number)) for number in range(2)]
        for number in range(1000):
            log.entries.clear()
            interrupts = [lambda job=job: schedule(pool, job) for job in pair]
            over = threading.Event()

            def body(job: Any, number: int = number, interrupts: Any = interrupts, over: Any = over) -> None:
                steps.arm(number, *interrupts, ident=threading.get_ident())
                over.set()

            schedule(pool, crew.job(body))
            over.wait(timing.limit)
            if not steps.was_met():
                steps.disarm()
                schedule(pool, crew.job())  # so that the worker looks, in case one was scheduled already
                break
            if not log.reached(2) or log.entries != [0, 1]:
                say(f"at step {number} after a job: order {log.entries}", *steps.errors)
                os._exit(0)
            for job in pair:
                wait_until(lambda job=job: crew.schedule(pool, job) is not False)
            log.reached(4)
    memory.enough()
    say("in order", *steps.errors)
    pool.put()


# --- threads that are odd


def odd_from_the_first(adapter: Any) -> None:
    """TP-13: the first schedule of all comes from a thread with settings of its own."""
    names = ["CPU set", "signal mask"] + ["nice value"] * (os.geteuid() == 0)  # who may not lower it can't undo it

    def settings() -> tuple[Any, ...]:
        nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        return os.sched_getaffinity(0), signal.pthread_sigmask(signal.SIG_BLOCK, []), nice

    process = settings()
    pool = adapter.get(-1)
    crew = Crew(adapter, Stage())

    def odd() -> None:
        os.sched_setaffinity(0, {min(process[0])})
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 7)
        seen = crew.run("TP-13", pool, settings)
        for name, is_now, due in zip(names, seen, process, strict=False):
            say(name, "clean" if is_now == due else f"is {is_now}, of the process {due}")

    thread = threading.Thread(target=odd)
    thread.start()
    thread.join()
    pool.put()


# --- priorities


def unprivileged(adapter: Any) -> None:
    """TP-10: without the right to real time."""
    # Use it once, so that all is imported: the interpreter may be installed where only root can read.
    warm = adapter.get(PRI)
    Crew(adapter, Stage()).run("TP-10", warm, lambda: None)
    warm.put()
    if os.geteuid() == 0:
        os.setuid(65534)
    told: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *rest, **more: told.append(str(message))
    crew = Crew(adapter, Stage())
    pool = adapter.get(200)
    for _ in range(5):
        crew.threads("TP-10", pool, 2)
    say("ran")
    say("told", len(told))
    for gate in crew.stage._gates:
        gate.go.set()
    pool.put()
    if "strict" in adapter.capabilities:
        adapter.set_strict(True)
        try:
            adapter.get(201)
        except adapter.refused_error:
            say("refused")
        adapter.set_strict(False)
        adapter.get(201).put()
        say("accepted again")


# --- fork


def fork_while_running(adapter: Any) -> None:
    """TP-31: one job runs, others wait or are idle; the child begins anew."""
    warnings.simplefilter("ignore")  # Python's own about threads and fork
    pool = adapter.get(PRI)
    crew = Crew(adapter, Stage())
    gate, running = crew.blocked("TP-31", pool)
    log = Log()
    idle = crew.job(log.add)
    schedule(pool, idle)
    log.reached(1)
    pid = os.fork()
    if pid == 0:
        signal.alarm(1 + int(1.5 * timing.limit))  # a child that hangs is ended by its OS
        with open("/proc/self/status") as file:
            say("threads", next(line.split()[1] for line in file if line.startswith("Threads:")))
        with running.interlock:
            say("unscheduled" if pool.cancel_async(running) else "still scheduled")
        say("scheduled" if schedule(pool, idle) is not False else "not scheduled")
        say("ran" if log.reached(2) else "did not run")
        time.sleep(timing.moment)
        say("runs", len(log.entries) - 1)
        pool.put()
        say("put")
        os._exit(0)
    say("child ended with", os.waitpid(pid, 0)[1])
    gate.go.set()
    say("parent goes on" if gate.ended.wait(timing.limit) else "parent hangs")
    pool.put()


def fork_while_queued(adapter: Any) -> None:
    """TP-31: jobs that wait, for no thread can be had; the child has memory again, and runs its own."""
    warnings.simplefilter("ignore")
    memory = Scarce()
    pool = adapter.get(PRI)
    crew = Crew(adapter, Stage())
    gate, _ = crew.blocked("TP-31", pool)
    memory.scarce()
    log = Log()
    waiting = [crew.job(lambda job, number=number: log.add(number)) for number in range(3)]
    for job in waiting:
        schedule(pool, job)
    pid = os.fork()
    if pid == 0:
        signal.alarm(1 + int(1.5 * timing.limit))  # a child that hangs is ended by its OS
        memory.enough()
        schedule(pool, crew.job(lambda job: log.add("of the child")))
        log.reached(1)
        time.sleep(timing.moment)
        say("ran", *log.entries)
        say("scheduled", *[schedule(pool, job) is not False for job in waiting])
        log.reached(4)
        pool.put()
        say("ran", *sorted(log.entries[1:]))
        os._exit(0)
    say("child ended with", os.waitpid(pid, 0)[1])
    memory.enough()
    gate.go.set()
    log.reached(3)
    pool.put()
    say("parent ran", *sorted(log.entries))


def fork_in_a_storm(adapter: Any) -> None:
    """TP-31: thirty forks while other threads schedule; each child runs a job at once."""
    warnings.simplefilter("ignore")
    pool = adapter.get(PRI)
    stop = threading.Event()

    def storm() -> None:
        job = adapter.job(finish)
        while not stop.is_set():
            schedule(pool, job)

    threads = [threading.Thread(target=storm, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    good = 0
    for _ in range(30):
        pid = os.fork()
        if pid == 0:
            signal.alarm(int(timing.limit))  # a child that hangs is ended by its OS
            log = Log()

            def fn(job: Any, log: Log = log) -> None:
                finish(job)
                log.add(1)

            schedule(pool, adapter.job(fn))
            os._exit(0 if log.reached(1) else 1)
        good += os.waitpid(pid, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join(timing.limit)
    say("good", good)
    pool.put()


# --- exit


def exit_drains(adapter: Any) -> None:
    """TP-32: from before the exit, from a thread that lives on, from an atexit function."""
    pool = adapter.get(PRI)
    late = threading.Event()
    atexit.register(lambda: schedule(pool, says(adapter, "atexit")))

    def live_on() -> None:
        late.wait(timing.limit)
        schedule(pool, says(adapter, "late"))

    threading.Thread(target=live_on).start()
    schedule(pool, says(adapter, "before", lambda: late.wait(timing.limit)))
    for _ in range(20):
        schedule(pool, says(adapter, "burst", lambda: time.sleep(0.01)))
    timer = threading.Timer(0.2, late.set)
    timer.daemon = True
    timer.start()


def exit_chain(adapter: Any) -> None:
    """TP-32: a job that runs at exit schedules another one, five deep."""
    pool = adapter.get(PRI)

    def link(depth: int) -> Any:
        def fn(job: Any) -> None:
            time.sleep(0.05)
            say("link", depth)
            if depth:
                schedule(pool, link(depth - 1))
            finish(job)

        return adapter.job(fn)

    schedule(pool, link(4))


def exit_idle(adapter: Any) -> None:
    """TP-32: idle workers only."""
    if "idle out" in adapter.capabilities:
        adapter.set_idle(600)
    crew = Crew(adapter, Stage())
    waiting = crew.threads("TP-32", adapter.get(PRI), 3)
    for _, gate in waiting:
        gate.go.set()
    wait_asleep(tid for tid, _ in waiting)
    say("exiting")


def exit_policy(adapter: Any, policy: str) -> None:
    """TP-32: a blocked job that never ends."""
    adapter.set_exit_policy(policy if policy.isalpha() else float(policy))
    entered = threading.Event()

    def never(job: Any) -> None:
        entered.set()
        threading.Event().wait()

    schedule(adapter.get(PRI), adapter.job(never))
    entered.wait(timing.limit)
    say("exiting")


def exit_cancels(adapter: Any) -> None:
    """TP-32: three jobs that wait, for no thread can be had, and one that runs until they are shown no more."""
    memory = Scarce()
    adapter.set_exit_policy("cancel")
    pool = adapter.get(PRI)
    entered, exiting = threading.Event(), threading.Event()

    def goes_on() -> None:
        entered.set()
        exiting.wait(timing.limit)
        wait_until(lambda: not adapter.snapshot().queued, timing.limit / 2)

    schedule(pool, says(adapter, "went on", goes_on))
    entered.wait(timing.limit)
    memory.scarce()
    for _ in range(3):
        schedule(pool, says(adapter, "waited"))
    say("exiting")
    exiting.set()


def exit_after_everybody(adapter: Any) -> None:
    """TP-32: schedule in the last moments is a clear error or runs, never a hang or a crash."""
    pool = adapter.get(PRI)
    schedule(pool, says(adapter, "before"))

    class Late:
        def __init__(self) -> None:
            self.job, self.finish, self.say, self.schedule = adapter.job, finish, say, schedule

        def __del__(self) -> None:
            try:
                self.schedule(pool, self.job(self.finish))
            except adapter.usage_error:
                self.say("refused")
            else:
                self.say("accepted")

    sys.modules["conformance9_late"] = Late()  # type: ignore[assignment]  # goes when the modules go


def exit_interrupted(adapter: Any) -> None:
    """TP-32: a job that never ends, and Ctrl-C."""
    # A shell that runs the suite in the background has had it ignored, for the children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    exit_policy(adapter, "drain")


# --- free threading


def gil(adapter: Any) -> None:
    """TP-33: after use of the implementation."""
    crew = Crew(adapter, Stage())
    pool = adapter.get(PRI)
    crew.run("TP-33", pool, lambda: None)
    pool.put()
    say("enabled" if sys._is_gil_enabled() else "disabled")  # type: ignore[attr-defined, unused-ignore]
