"""The fourth layer: order, coalescing, any context, the end of a handler, fork, exit, probes, tunables.

Nothing is imported but pytest and what is installed: the same file runs on the wheels alone.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import softint
import task9
import threadpool9
from softint import Level
from threadpool9.hooks import hookimpl, register, unregister

LIMIT = 60.0  # ends a hang
CPU = threadpool9.current_cpu()
with threadpool9.percpu_get() as pools:
    CPUS = pools.cpus
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Gate:
    """A handler that keeps its level and CPU busy until it is opened."""

    def __init__(self, level: Level) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.handler = softint.establish(level, self._run, name="gate")

    def _run(self, arg: object) -> None:
        self.entered.set()
        assert self.opened.wait(LIMIT)

    def __enter__(self) -> Gate:
        self.handler.schedule(CPU)
        assert self.entered.wait(LIMIT)
        return self

    def __exit__(self, *exc: object) -> None:
        self.opened.set()
        self.handler.disestablish(LIMIT)


def until_run(level: Level, cpu: int = CPU) -> None:
    """Wait until all that was scheduled on `cpu` before has run."""
    over = threading.Event()
    with softint.establish(level, lambda arg: over.set(), name="last") as last:
        last.schedule(cpu)
        assert over.wait(LIMIT)


class Producer(task9.Task):
    """A task that schedules a handler."""

    def __init__(self, handler: softint.Handler) -> None:
        super().__init__(Producer.produce)
        self.handler = handler

    def produce(self) -> None:
        """On the CPU that the task was put on."""
        self.handler.schedule()


@pytest.fixture
def listen() -> Iterator[Callable[[object], None]]:
    """Register a plugin for the time of one test."""
    plugins: list[object] = []

    def listen(plugin: object) -> None:
        register(plugin)
        plugins.append(plugin)

    yield listen
    for plugin in plugins:
        unregister(plugin)


def run(program: str, **environment: str) -> tuple[str, str]:
    """What a program of its own prints and complains about; it must succeed."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    path = os.pathsep.join(filter(None, [str(Path(softint.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "PYTHONPATH": path, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# --- running


@pytest.mark.parametrize("level", Level)
def test_a_handler_runs_with_its_argument_on_the_cpu_it_was_scheduled_on(level: Level) -> None:
    """On each CPU of the process, on a thread of the pool of its level."""
    seen: list[tuple[object, int, list[int]]] = []
    over = threading.Semaphore(0)

    def fn(arg: object) -> None:
        me = threading.get_native_id()
        seen.append(
            (arg, threadpool9.current_cpu(), [w.pool_pri for w in threadpool9.snapshot().workers if w.tid == me])
        )
        over.release()

    with softint.establish(level, fn, "argument") as handler:
        for cpu in CPUS:
            assert handler.schedule(cpu)
            assert over.acquire(timeout=LIMIT)

    assert seen == [("argument", cpu, [level.value]) for cpu in CPUS]


def test_the_levels_are_in_the_order_of_their_importance() -> None:
    """As in softint(9)."""
    assert Level.SERIAL > Level.NET > Level.BIO > Level.CLOCK


def test_what_is_scheduled_on_this_cpu_runs_on_this_cpu() -> None:
    """Without a CPU it is the caller's; a bound job does not change its CPU meanwhile."""
    seen: list[tuple[int, int]] = []
    over = threading.Event()

    def fn(arg: object) -> None:
        seen.append((arg, threadpool9.current_cpu()))  # type: ignore[arg-type]
        over.set()

    handlers = {cpu: softint.establish(Level.NET, fn, cpu) for cpu in CPUS}
    with task9.TaskQueue("producers", percpu=True) as queue:
        for cpu, handler in handlers.items():
            over.clear()
            queue.schedule_on(cpu, Producer(handler))
            assert over.wait(LIMIT)
            handler.disestablish()

    assert seen == [(cpu, cpu) for cpu in handlers]


def test_handlers_of_a_level_run_in_order_and_several_schedules_are_one_run() -> None:
    """First scheduled, first run; a schedule of what is pending changes nothing."""
    ran: list[object] = []
    a, b, c = (softint.establish(Level.BIO, ran.append, name) for name in "abc")
    with Gate(Level.BIO):
        assert [h.schedule(CPU) for h in (b, a, b, c, a, c)] == [True, True, False, True, False, False]
        assert a.pending
        assert not a.running
    until_run(Level.BIO)

    assert ran == ["b", "a", "c"]
    assert not a.pending


def test_a_schedule_by_the_handler_itself_is_another_run() -> None:
    """It is pending again while it runs."""
    runs: list[bool] = []
    over = threading.Event()

    def fn(arg: object) -> None:
        runs.append(handler.running)
        if len(runs) < 3:
            assert handler.schedule(CPU)
            assert not handler.schedule(CPU)
        else:
            over.set()

    handler = softint.establish(Level.CLOCK, fn)
    handler.schedule(CPU)
    assert over.wait(LIMIT)
    handler.disestablish()
    assert runs == [True, True, True]


def test_a_handler_runs_on_all_cpus_at_once() -> None:
    """Pending and running on each by itself."""
    together = threading.Barrier(len(CPUS) + 1)
    with softint.establish(Level.NET, lambda arg: together.wait(LIMIT)) as handler:
        assert [handler.schedule(cpu) for cpu in CPUS] == [True] * len(CPUS)
        together.wait(LIMIT)


def test_a_level_does_not_wait_for_another() -> None:
    """A handler that takes long keeps those of its own level waiting only."""
    with Gate(Level.CLOCK):
        until_run(Level.SERIAL)


def test_an_exception_is_reported_with_the_handler_and_the_level_goes_on(listen: Callable[[object], None]) -> None:
    """To the error hook, as those of tasks."""
    reports: list[Any] = []

    class Reporter:
        @hookimpl
        def threadpool9_error(self, error: Any) -> bool:
            reports.append(error.exc_value)
            return True

    listen(Reporter())
    with softint.establish(Level.NET, lambda arg: 1 // 0, name="divides") as handler:
        handler.schedule(CPU)
        until_run(Level.NET)

    (report,) = reports
    assert isinstance(report, ZeroDivisionError)
    assert "in <soft interrupt divides level NET>" in report.__notes__[0]


# --- any context


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
def test_from_a_signal_handler_and_a_finalizer() -> None:
    """Between any two lines of a loop that schedules the same handler: each schedule is followed by a run."""
    printed, complaints = run(
        """
        import signal, threading, softint
        wanted, seen, asked = 0, 0, 0
        over = threading.Event()
        def fn(arg):
            global seen
            seen = wanted
            over.set()
        handler = softint.establish(softint.Level.SERIAL, fn)
        def on_signal(*args):
            global wanted, asked
            wanted += 1
            handler.schedule()
            asked += 1
        class Finalized:
            def __del__(self):
                on_signal()
        signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(20_000):
            cycle = Finalized()
            cycle.me = cycle
            handler.schedule()
        signal.setitimer(signal.ITIMER_REAL, 0)
        del cycle
        import gc; gc.collect()
        assert asked > 20_000, asked
        while seen != wanted:
            assert over.wait(10), (seen, wanted)
            over.clear()
        handler.disestablish()
        print("all seen")
        """
    )
    assert (printed, complaints) == ("all seen\n", "")


# --- the end of a handler


def test_disestablish_withdraws_what_is_pending() -> None:
    """It never runs, and scheduling it is an error."""
    ran: list[object] = []
    with Gate(Level.NET):
        handler = softint.establish(Level.NET, ran.append)
        handler.schedule(CPU)
        handler.disestablish()
        assert not handler.pending
        with pytest.raises(threadpool9.UsageError, match="disestablished"):
            handler.schedule(CPU)
        handler.disestablish()
    until_run(Level.NET)
    assert ran == []


def test_disestablish_waits_until_it_is_not_running() -> None:
    """With a limit WaitTimeout, and it is gone all the same; a second call waits on."""
    with Gate(Level.NET) as gate:
        with pytest.raises(threadpool9.WaitTimeout, match="gate"):
            gate.handler.disestablish(0.01)
        with pytest.raises(threadpool9.UsageError):
            gate.handler.schedule(CPU)
        assert gate.handler.running
        waiter = threading.Thread(target=gate.handler.disestablish)
        waiter.start()
        gate.opened.set()
        waiter.join(LIMIT)
        assert not waiter.is_alive()
        assert not gate.handler.running


def test_a_handler_cannot_disestablish_itself() -> None:
    """A clear error in place of waiting for its own end; it stays established."""
    errors: list[Exception] = []

    def fn(arg: object) -> None:
        try:
            handler.disestablish()
        except threadpool9.UsageError as error:
            errors.append(error)

    with softint.establish(Level.NET, fn) as handler:
        handler.schedule(CPU)
        until_run(Level.NET)
        assert "own end" in str(errors[0])
        assert handler.schedule(CPU)


def test_a_disestablish_at_any_line_of_a_schedule_is_the_end() -> None:
    """As a signal handler may call it, or another thread: what is being scheduled then never runs."""
    ran: list[object] = []
    with Gate(Level.NET):
        for step in itertools.count():
            handler = softint.establish(Level.NET, ran.append)
            if not interrupted(handler, step):
                break
            assert not handler.pending
    until_run(Level.NET)
    assert ran == [None]  # the last one, which nothing interrupted
    assert step > 10


def interrupted(handler: softint.Handler, step: int) -> bool:
    """Schedule; disestablish at line number `step` of that. False if it has not so many lines."""
    lines = itertools.count()

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_name not in ("schedule", "put"):
            return None
        if event == "line" and next(lines) == step:
            handler.disestablish()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        handler.schedule(CPU)
    except threadpool9.UsageError:
        pass
    finally:
        sys.settrace(before)
    return handler.gone


def test_a_disestablish_beside_a_schedule_that_is_listened_to_is_the_end(listen: Callable[[object], None]) -> None:
    """What is about to be put is waited for."""
    runs: list[object] = []
    putting, go = threading.Event(), threading.Event()

    class Listener:
        @hookimpl
        def softint_schedule(self) -> None:
            putting.set()
            assert go.wait(LIMIT)

    handler = softint.establish(Level.NET, runs.append)
    listen(Listener())
    scheduler = threading.Thread(target=handler.schedule, args=(CPU,))
    scheduler.start()
    assert putting.wait(LIMIT)
    ending = threading.Thread(target=handler.disestablish, args=(LIMIT,))
    ending.start()
    ending.join(0.1)
    assert ending.is_alive(), "it returned although a schedule was under way"
    go.set()
    ending.join(LIMIT)
    scheduler.join(LIMIT)
    before = len(runs)  # it may have run before disestablish returned
    until_run(Level.NET)
    assert len(runs) == before


def test_nothing_runs_after_disestablish_whoever_schedules_at_that_moment() -> None:
    """Many times, with two threads that schedule until they are refused."""
    late: list[object] = []
    for _ in range(200):
        gone = threading.Event()
        began = threading.Barrier(3)

        def fn(arg: object, gone: threading.Event = gone) -> None:
            if gone.is_set():
                late.append(arg)

        handler = softint.establish(Level.CLOCK, fn)

        def storm(handler: softint.Handler = handler, began: threading.Barrier = began) -> None:
            began.wait(LIMIT)
            try:
                while True:
                    handler.schedule()
            except threadpool9.UsageError:
                pass

        threads = [threading.Thread(target=storm) for _ in range(2)]
        for thread in threads:
            thread.start()
        began.wait(LIMIT)
        handler.disestablish(LIMIT)
        gone.set()
        for thread in threads:
            thread.join(LIMIT)
        assert not handler.pending
        assert not handler.running
    for cpu in CPUS:
        until_run(Level.CLOCK, cpu)
    assert late == []


@pytest.mark.parametrize(
    ("level", "fn", "error"), [(3, print, ValueError), ("net", print, ValueError), (Level.NET, None, TypeError)]
)
def test_misuse_is_a_clear_error(level: Any, fn: Any, error: type[Exception]) -> None:
    """At establish, not at the first run."""
    with pytest.raises(error):
        softint.establish(level, fn)


# --- fork and exit


@needs_fork
def test_a_fork_child_starts_with_nothing_pending_and_every_handler_established() -> None:
    """What ran and waited is the parent's; the child schedules, disestablishes and drains its own."""
    printed, complaints = run(
        """
        import os, sys, threading, threadpool9, softint
        parent, cpu = os.getpid(), threadpool9.current_cpu()
        entered, opened = threading.Event(), threading.Event()
        def where(arg):
            os.write(1, f"{arg} in the {'parent' if os.getpid() == parent else 'child'}\\n".encode())
        def gate(arg):
            if os.getpid() == parent:
                entered.set(); opened.wait(30)
            where("gate")
        running = softint.establish(softint.Level.NET, gate)
        waiting = softint.establish(softint.Level.NET, where, "waiting")
        running.schedule(cpu); entered.wait(30); waiting.schedule(cpu)
        pid = os.fork()
        if not pid:
            assert not running.running and not running.pending and not waiting.pending
            assert waiting.schedule(cpu) and running.schedule(cpu)
            sys.exit()  # drained
        assert os.waitpid(pid, 0)[1] == 0
        assert running.running and waiting.pending
        opened.set()
        """
    )
    assert complaints == ""
    assert printed.splitlines() == [
        "waiting in the child",
        "gate in the child",
        "gate in the parent",
        "waiting in the parent",
    ]


def test_what_is_pending_at_exit_is_run() -> None:
    """With what it schedules in turn."""
    printed, complaints = run(
        """
        import softint
        left = [3]
        def fn(arg):
            left[0] -= 1
            print(left[0], flush=True)
            if left[0]:
                handler.schedule()
        handler = softint.establish(softint.Level.CLOCK, fn)
        handler.schedule()
        """
    )
    assert (printed, complaints) == ("2\n1\n0\n", "")


#: A daemon thread schedules when the exit has begun: too late. The handler that it schedules keeps the exit waiting.
LATE = """
    import os, threading, softint
    from threadpool9.hooks import hookimpl, hookspec, register
    from threadpool9.lowlevel import Layer
    begun, tried = threading.Event(), threading.Event()
    class Tracing:
        @hookspec
        def late_probe(self):
            pass
    Layer("late", Tracing, before_exit=begun.set)
    class Plugin:
        @hookimpl
        def softint_dropped(self, handler):
            print("dropped", handler.name, flush=True)
    register(Plugin())
    handler = softint.establish(softint.Level.NET, lambda arg: tried.wait(30), name="handler")
    other = softint.establish(softint.Level.BIO, print, "never")
    def daemon():
        begun.wait(30)
        print(other.schedule(), flush=True)
        # here
        tried.set()
    threading.Thread(target=daemon, daemon=True).start()
    handler.schedule()
    """


def test_what_comes_too_late_is_dropped_and_counted() -> None:
    """False and a probe in place of an exception, since who raises interrupts can't help it; one warning at the end."""
    for _ in range(10):
        printed, complaints = run(LATE)
        # A schedule is published before it is refused: without a GIL a worker may have run it by then, which is True.
        if printed != "never\nTrue\n":
            break
    assert printed == "dropped handler\nFalse\n".replace("handler", "print")
    assert "RuntimeWarning: at exit 1 soft interrupts came too late and were dropped" in complaints


@needs_fork
def test_a_fork_child_reports_what_it_has_dropped_itself() -> None:
    """Not what the parent has; and its own exit is still to come."""
    child = """
        pid = os.fork()
        if not pid:
            import warnings
            warnings.simplefilter("error")
            try:
                softint.layer.after_exit()
                os._exit(0 if other.schedule() else 2)
            except BaseException:
                os._exit(1)
        print(os.waitpid(pid, 0)[1], flush=True)
"""
    printed, complaints = run(LATE.replace("        # here\n", child))
    assert printed.splitlines()[-1] == "0"
    assert "at exit 1 soft interrupts came too late and were dropped" in complaints


# --- probes and tunables


def test_probes_in_the_order_of_events(listen: Callable[[object], None]) -> None:
    """Each with its arguments."""
    events: list[tuple[object, ...]] = []

    class Listener:
        @hookimpl
        def softint_establish(self, handler: softint.Handler) -> None:
            events.append(("establish", handler.name))

        @hookimpl
        def softint_schedule(self, handler: softint.Handler, cpu: int) -> None:
            events.append(("schedule", handler.name, cpu))

        @hookimpl
        def softint_coalesced(self, handler: softint.Handler) -> None:
            events.append(("coalesced", handler.name))

        @hookimpl
        def softint_entry(self, handler: softint.Handler, cpu: int) -> None:
            events.append(("entry", handler.name, cpu))

        @hookimpl
        def softint_return(self, handler: softint.Handler, cpu: int) -> None:
            events.append(("return", handler.name, cpu))

        @hookimpl
        def softint_disestablish(self, handler: softint.Handler) -> None:
            events.append(("disestablish", handler.name))

    gate = Gate(Level.NET)
    with gate:
        listen(Listener())
        with softint.establish(Level.NET, lambda arg: None, name="it") as handler:
            handler.schedule(CPU)
            handler.schedule(CPU)
            gate.opened.set()
            until_run(Level.NET)

    assert [event for event in events if "it" in event] == [
        ("establish", "it"),
        ("schedule", "it", CPU),
        ("coalesced", "it"),
        ("entry", "it", CPU),
        ("return", "it", CPU),
        ("disestablish", "it"),
    ]


def test_the_probes_of_the_layer_below_are_fired_for_a_run_too(listen: Callable[[object], None]) -> None:
    """With what is on its lanes."""
    seen: list[str] = []

    class Listener:
        @hookimpl
        def task9_entry(self, lane: Any, task: object) -> None:
            seen.append(f"{lane.name} {task!r}")

    listen(Listener())
    until_run(Level.SERIAL)
    assert seen == ["softint/serial <soft interrupt last level SERIAL>"]


def test_a_handler_over_its_limit_is_reported_once(listen: Callable[[object], None]) -> None:
    """`tunables.limit_ms`, by the watchdog of the layer at the bottom, while it runs."""
    reports: list[Any] = []
    seen = threading.Event()

    class Reporter:
        @hookimpl
        def threadpool9_error(self, error: Any) -> bool:
            reports.append(error.exc_value)
            seen.set()
            return True

    listen(Reporter())
    softint.tunables.limit_ms = 5
    try:
        with Gate(Level.BIO):
            assert seen.wait(LIMIT)
    finally:
        softint.tunables.limit_ms = 0
    (report,) = reports
    assert isinstance(report, threadpool9.Stalled)
    assert "<soft interrupt gate level BIO> on level BIO" in str(report)
    assert "in _run" in str(report)  # its stack


def test_tunables_are_checked_and_read_from_the_environment() -> None:
    """A bad value is an error that names the tunable, a bad one in the environment a warning."""
    with pytest.raises(threadpool9.TunableError, match="limit_ms takes a number >= 0"):
        softint.tunables.limit_ms = -1
    with pytest.raises(AttributeError, match="no tunable"):
        softint.tunables.limit = 1
    program = "import softint; print(softint.tunables)"
    assert run(program, SOFTINT_LIMIT_MS="7") == ("<tunables limit_ms=7.0>\n", "")
    printed, complaints = run(program, SOFTINT_LIMIT_MS="much")
    assert printed == "<tunables limit_ms=0.0>\n"
    assert "SOFTINT_LIMIT_MS='much' in the environment is ignored" in complaints


def test_what_runs_is_seen_from_below() -> None:
    """In the snapshot of task9, under the names of this layer."""
    with Gate(Level.NET):
        queues = {queue.name: queue for queue in task9.snapshot().queues}
        running = [name for lane in queues["softint/net"].lanes for name in lane.running]
    assert running == ["<soft interrupt gate level NET>"]


def test_no_private_name_of_a_layer_below_is_overridden() -> None:
    """What the check of imports can't see: a method that begins with an underscore is not ours to replace."""
    checked = 0
    for thing in vars(softint).values():
        if isinstance(thing, type) and thing.__module__ == "softint":
            bases = [
                base for base in thing.__mro__[1:] if base.__module__.partition(".")[0] in ("threadpool9", "task9")
            ]
            private = {name for base in bases for name in vars(base) if name[0] == "_" and not name.endswith("__")}
            assert not private & vars(thing).keys(), thing
            checked += len(bases)
    assert checked >= 3
