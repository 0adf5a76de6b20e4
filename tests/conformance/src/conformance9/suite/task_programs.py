"""Programs of the task layer's tests that need a process of their own.

Each is called by `conformance9._child` with a fresh adapter, and tells what it sees on standard output, a line at a
time and each in one call of the OS, for prints of several threads may mix.
"""

from __future__ import annotations

import atexit
import gc
import os
import threading
import time
import warnings
from typing import Any

from conformance9._adapters import Implementation
from conformance9.suite import tools
from conformance9.suite.kit import Tally, await_state
from conformance9.suite.tools import Gate, Log, timing, wait_until


def outcome(clause: str, implementation: Implementation, program: str) -> list[str]:
    """The lines that a program of this module said, which must end well."""
    return tools.outcome(clause, implementation, f"{__name__}:{program}")


def say(*words: object) -> None:
    """A line, in one call."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def fork(adapter: Any) -> None:
    """One runs, one waits, one is armed: the child begins anew, the parent goes on."""
    warnings.simplefilter("ignore")  # Python's own about threads and fork
    queue, gate, tally = adapter.queue("queue"), Gate(), Tally()
    running, waiting = adapter.task(gate), adapter.task(tally)
    armed = adapter.delayed(tally) if "delayed" in adapter.capabilities else waiting
    queue.schedule(running)
    gate.entered()
    queue.schedule(waiting)
    if armed is not waiting:
        queue.schedule_delayed(armed, 3600)
    pid = os.fork()
    if pid == 0:
        say("child: pending", [task.pending for task in (running, waiting, armed)])
        say("child: running", [task.running for task in (running, waiting, armed)])
        say("child: scheduled", queue.schedule(waiting))
        queue.drain(timing.limit)
        say("child: runs", tally.runs)
        if armed is not waiting:
            queue.schedule_delayed(armed, 0.001)
            deadline = time.monotonic() + timing.limit
            while tally.runs < 2 and time.monotonic() < deadline:
                threading.Event().wait(0.001)
            say("child: armed runs", tally.runs - 1)
        os._exit(0)
    say("parent: child ended with", os.waitpid(pid, 0)[1])
    gate.go.set()
    queue.drain(timing.limit)
    say("parent: runs", tally.runs, "pending", [task.pending for task in (running, waiting)])
    os._exit(0)


def exit_drains(adapter: Any) -> None:
    """Scheduled before the exit, by a thread that lives on, by an atexit function, by a task that runs at exit."""
    queue, late = adapter.queue("queue"), threading.Event()

    def slow(task: Any) -> None:
        late.wait(timing.moment)
        say("slow")
        queue.schedule(adapter.task(lambda task: say("from a task")))

    atexit.register(lambda: queue.schedule(adapter.task(lambda task: say("from atexit"))))
    for _ in range(5):
        queue.schedule(adapter.task(slow))

    def live_on() -> None:
        late.wait(3 * timing.moment)
        queue.schedule(adapter.task(lambda task: say("from a late thread")))

    threading.Thread(target=live_on).start()


def exit_with_timers(adapter: Any) -> None:
    """Armed in an hour, and due while a task holds up the exit."""
    queue, beside, noted, due = adapter.queue("queue"), adapter.queue("beside"), Log(), 1.5
    queue.schedule_delayed(adapter.delayed(lambda task: say("fired in an hour")), 3600)
    start = time.monotonic()
    soon = adapter.delayed(lambda task: say("fired"))

    def hold_up(task: Any) -> None:
        threading.Event().wait(max(0.0, start + 2 * due - time.monotonic()))
        late = not noted.entries or noted.entries[0] - start > due / 2
        say("held up", "but too slow to tell" if late else "long enough")

    beside.schedule(adapter.task(hold_up))
    queue.schedule_delayed(soon, due)
    atexit.register(id, (queue, beside, soon))  # a queue that is dropped cancels what is armed
    # The last line: an atexit function may come after the implementation's exit, and that after the task.
    noted.add(time.monotonic())


def cancelled(adapter: Any) -> None:
    """Beside one that stays armed, a thousand are armed for in an hour, and cancelled, forty times."""
    queue, stays = adapter.queue("queue"), adapter.delayed(id)
    queue.schedule_delayed(stays, 1800)
    tasks = [adapter.delayed(id) for _ in range(1000)]
    gc.collect()
    before = len(gc.get_objects())

    def left() -> int:
        gc.collect()
        return len(gc.get_objects()) - before

    for _ in range(40):
        for task in tasks:
            queue.schedule_delayed(task, 3600)
        soon = adapter.delayed(id)
        queue.schedule_delayed(soon, 1e-4)
        await_state("TK-12", "a timer fires", lambda soon=soon: soon.timed_out)
        for task in tasks:
            task.cancel_async()
    say("few are left" if wait_until(lambda: left() < 40_000, timing.limit / 4) else f"{left()} objects are left")
    stays.cancel()
    queue.close()
