"""Cycles of one kind, and what the process holds before and after: ``leak_program.py KIND COUNT``.

A tenth of the cycles warms up: caches fill, deques get their blocks, memory pools their arenas. Prints one line of
JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable

import task9
import threadpool9
import workqueue9
from threadpool9 import Job

pool = threadpool9.get()
queue = task9.TaskQueue("q")
works = workqueue9.WorkQueue("w", lambda work, arg: None)


def finish(job: Job) -> None:
    """A job that has nothing to do."""
    with job.interlock:
        job.done()


job = Job(finish)
task = task9.Task(lambda task: None)
delayed = task9.DelayedTask(lambda task: None)
work = workqueue9.Work()


def get_put() -> None:
    """References, the last ones too: pools come and go."""
    threadpool9.get(5).put()
    threadpool9.percpu_get(6).put()
    task9.get(7).put()


def create_destroy() -> None:
    """Every kind of object."""
    Job(finish).destroy()
    task9.Task(finish).destroy()
    task9.DelayedTask(finish).destroy()
    workqueue9.Work()
    task9.TaskQueue("new").close()
    workqueue9.WorkQueue("new", finish).destroy()


def schedule_cancel() -> None:
    """Whether or not the run has begun by then."""
    with job.interlock:
        pool.schedule(job)
        pool.cancel(job)
    queue.schedule(task)
    task.cancel()
    works.enqueue(work)
    works.cancel(work)


def enqueue_wait() -> None:
    """Runs, each awaited."""
    works.enqueue(work)
    works.wait(work)
    queue.schedule(task)
    queue.drain()


def arm_cancel() -> None:
    """Timers, never fired."""
    queue.schedule_delayed(delayed, 1000)
    delayed.cancel()
    works.enqueue_delayed(work, 1000)
    works.cancel(work)


def used_queues() -> None:
    """Queues that come, are used and go."""
    with task9.TaskQueue("used") as used:
        used.schedule(task9.Task(finish_task))
    with workqueue9.WorkQueue("used", lambda work, arg: None, max_pending=1) as wq:
        wq.enqueue(workqueue9.Work())


def finish_task(task: object) -> None:
    """A task that has nothing to do."""


KINDS: dict[str, Callable[[], None]] = {
    kind.__name__: kind for kind in (get_put, create_destroy, schedule_cancel, enqueue_wait, arm_cancel, used_queues)
}


def held() -> dict[str, int]:
    """What the process holds when nothing is going on."""
    works.flush()
    queue.drain()
    deadline = time.monotonic() + 30
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        threadpool9.retire_idle()  # again, if a worker was on its way to being idle
    for _ in range(3):
        gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "fds": len(os.listdir("/proc/self/fd")),
        "objects": len(gc.get_objects()),
        "blocks": sys.getallocatedblocks(),
        "rss_kib": pages * os.sysconf("SC_PAGE_SIZE") // 1024,
    }


def main() -> None:
    """Warm up, look, go round, look."""
    cycle, count = KINDS[sys.argv[1]], int(sys.argv[2])
    for _ in range(count // 10 + 1):
        cycle()
    before = held()
    for _ in range(count):
        cycle()
    print(json.dumps({"before": before, "after": held()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
