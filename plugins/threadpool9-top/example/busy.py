"""Something to look at: pools, tasks and work queues at work, and one job that is stuck.

Run it in one terminal and, in another, what it prints:

    python busy.py

It stops at Ctrl-C, or after the number of seconds that is its argument.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time

import task9
import threadpool9
import threadpool9_top
import workqueue9


def hash_something(work: workqueue9.Work, arg: object) -> None:
    """Be busy for some milliseconds."""
    until = time.monotonic() + random.uniform(0.001, 0.02)
    while time.monotonic() < until:
        hash(os.urandom(64))


class Wait(threadpool9.Job):
    """A job that waits."""

    def __init__(self, name: str, until: threading.Event, seconds: float | None) -> None:
        super().__init__(self.run, name=name)
        self.until, self.seconds = until, seconds

    def run(self, job: threadpool9.Job) -> None:
        """Wait for the event, or the time."""
        self.until.wait(self.seconds)
        with self.interlock:
            self.done()


def main() -> None:
    """Keep everything going until told to stop."""
    threadpool9_top.serve()  # or leave this out and start with THREADPOOL9_TOP=1
    print(f"python -m threadpool9_top {os.getpid()}", flush=True)
    over = threading.Event()

    stuck = Wait("wait for a reply", over, None)
    sound = Wait("mix sound", over, 0.5)
    redraw = task9.Task(lambda task: time.sleep(0.001))
    blink = task9.DelayedTask(lambda task: task.schedule(0.25))

    with threadpool9.get() as pool, threadpool9.get(100) as urgent, task9.TaskQueue("screen") as screen:
        with workqueue9.WorkQueue("hashes", hash_something, flags=workqueue9.WQ_PERCPU) as hashes:
            pool.post(stuck)
            blink.schedule(0.25)
            end = time.monotonic() + float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
            try:
                while time.monotonic() < end:
                    urgent.post(sound)
                    screen.schedule(redraw)
                    for cpu in threadpool9.allowed_cpus():
                        hashes.enqueue(workqueue9.Work(), cpu=cpu)
                    time.sleep(0.02)
            except KeyboardInterrupt:
                pass
            over.set()
            blink.cancel()


if __name__ == "__main__":
    main()
