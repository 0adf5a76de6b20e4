"""One process that ends: ``exit_program.py LAYER STATE POLICY ENDING``, for `test_exit.py`.

LAYER    job, task, work
STATE    what there is at the end: ``idle`` workers only; one item ``running`` until the exit has begun, and one
         ``queued`` behind it; one ``blocked`` for ever; one ``delayed`` by a thousand seconds
POLICY   of threadpool9.tunables.exit_policy
ENDING   how the main thread ends

Each run of an item writes one line; ``exiting`` is written when the exit begins: by one of `threading`'s own exit
functions, which is called before the layers'.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import task9
import threadpool9
import workqueue9

LIMIT = 60.0
at_threads_end = threading._register_atexit  # type: ignore[attr-defined]  # the last one registered is called first
layer, state, policy, ending = sys.argv[1:]
threadpool9.tunables.exit_policy = float(policy) if policy[0].isdigit() else policy
began, go = threading.Event(), threading.Event()


def say(line: str) -> None:
    """One line, in one call."""
    os.write(1, line.encode() + b"\n")


def run_it() -> None:
    """An item that runs at once."""
    say("ran")
    began.set()


def run_until_exit() -> None:
    """An item that is at work when the exit begins."""
    say("begin")
    began.set()
    go.wait()
    say("end")


def submit_job(action: Callable[[], object]) -> None:
    """As a job."""

    def fn(job: threadpool9.Job) -> None:
        action()
        with job.interlock:
            job.done()

    pool.post(threadpool9.Job(fn))


def refuse_threads(name: str) -> None:
    """No further worker from now on until the exit has begun: the next job stays queued."""
    start = threadpool9._seam.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if not go.is_set():
            raise RuntimeError("can't start new thread")
        start(thread)

    threadpool9._seam.Thread.start = refuse  # type: ignore[method-assign]  # what the OS does


def be_told(number: int) -> None:
    """Send a signal to this process, and stay until its handler ends the program: Python may call it late."""
    os.kill(os.getpid(), number)
    for _ in range(int(LIMIT / 0.001)):
        time.sleep(0.001)


pool = threadpool9.get()
queue = task9.TaskQueue("q")
works = workqueue9.WorkQueue("w", lambda work, arg: work.payload())
submit: Callable[[Callable[[], object]], object] = {
    "job": submit_job,
    "task": lambda action: queue.schedule(task9.Task(lambda task: action())),
    "work": lambda action: works.enqueue(workqueue9.Work(action)),
}[layer]

if state == "idle":
    submit(run_it)
    began.wait(LIMIT)
elif state == "delayed":
    later: list[object] = [task9.DelayedTask(lambda task: say("late")), workqueue9.Work(lambda: say("late"))]
    queue.schedule_delayed(later[0], 1000)  # type: ignore[arg-type]  # one of each
    works.enqueue_delayed(later[1], 1000)  # type: ignore[arg-type]
else:
    submit(run_until_exit)
    began.wait(LIMIT)
    if state == "queued":
        if layer == "job":
            refuse_threads("queued")
        submit(run_it)

if state in ("running", "queued"):
    if policy == "cancel":
        # When what is queued has been cancelled, and no sooner: it would run else.
        cancel = threadpool9._exit._cancel_queued

        def cancel_then_go() -> None:
            """Let what runs go on when what is queued has been cancelled."""
            cancel()
            for layer in threadpool9._layer.layers:
                layer.cancel_queued()
            go.set()

        threadpool9._exit._cancel_queued = cancel_then_go
    else:
        at_threads_end(go.set)
at_threads_end(say, "exiting")

if ending == "exit":
    sys.exit(3)
elif ending == "os._exit":
    os._exit(4)
elif ending == "exception":
    raise ValueError("on purpose")
elif ending == "sigterm":
    os.kill(os.getpid(), signal.SIGTERM)
elif ending == "handled":
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(5))
    be_told(signal.SIGTERM)
elif ending == "ctrl-c":
    be_told(signal.SIGINT)
