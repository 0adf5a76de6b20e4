"""Fork under load, again and again: ``fork_program.py WHERE COUNT``, for `test_fork.py`.

WHERE the fork is called: ``main``, or in the function of a ``job``, ``task`` or ``work``. Two threads schedule on all
layers all the while. Each child does all that one can do with the layers, on objects that the parent uses at
that moment, and exits with 0; the parent then compares what it asked for with what ran. Prints one line of JSON.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import NoReturn

import task9
import threadpool9
import workqueue9
from threadpool9 import Job

LIMIT = 60.0
PARENT = os.getpid()
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what this is about

ran: dict[str, list[int]] = {"job": [], "task": [], "work": [], "delayed": []}  # the processes that ran one


def job_fn(job: Job) -> None:
    """One run of a job."""
    ran["job"].append(os.getpid())
    with job.interlock:
        job.done()


pool = threadpool9.get()
queue = task9.TaskQueue("shared")
wide = task9.TaskQueue("wide", concurrency=2)
percpu = task9.get(3)
timed = task9.TaskQueue("timed")
works = workqueue9.WorkQueue("works", lambda work, arg: ran["work"].append(os.getpid()), max_pending=16)
giant = workqueue9.WorkQueue("giant", lambda work, arg: ran["work"].append(os.getpid()), flags=workqueue9.WQ_GIANT)

jobs = [Job(job_fn) for _ in range(6)]
tasks = {q: [task9.Task(lambda task: ran["task"].append(os.getpid())) for _ in range(4)] for q in (queue, wide, percpu)}
delayed = [task9.DelayedTask(lambda task: ran["delayed"].append(os.getpid())) for _ in range(6)]
work_items = {q: [workqueue9.Work(n) for n in range(4)] for q in (works, giant)}
stop = threading.Event()
blowing = threading.Event()  # the storm rests while a child is at work: what matters is the moment of the fork


def storm(asked: dict[str, int], seed: int) -> None:
    """Schedule at random; `asked` counts what was accepted, each of which is one run in this process."""
    choose = random.Random(seed)
    while not stop.is_set():
        blowing.wait(LIMIT)
        job = choose.choice(jobs)
        with job.interlock:
            asked["job"] += pool.schedule(job)
        for some_queue, items in tasks.items():
            asked["task"] += some_queue.schedule(choose.choice(items))
        asked["delayed"] += timed.schedule_delayed(choose.choice(delayed), choose.random() / 500)
        for wq, some_works in work_items.items():
            try:
                asked["work"] += wq.enqueue(choose.choice(some_works))
            except workqueue9.WorkPending:
                pass
        time.sleep(choose.random() / 5000)


def child(n: int) -> None:
    """What a child does; an exception or a wrong count is a failure."""
    me = os.getpid()
    assert threadpool9.snapshot().queued == (), threadpool9.snapshot()
    asked = dict.fromkeys(ran, 0)
    for job in jobs:
        with job.interlock:
            assert pool.schedule(job), f"{job!r} was scheduled in the child from the beginning"
        asked["job"] += 1
    for some_queue, items in tasks.items():
        for task in items:
            assert not task.pending
            assert not task.running
            assert some_queue.schedule(task), f"{task!r} was pending in the child from the beginning"
            asked["task"] += 1
    for task in delayed:
        assert not task.armed
        assert timed.schedule_delayed(task, 0.0005), f"{task!r} was armed in the child from the beginning"
        asked["delayed"] += 1
    for wq, some_works in work_items.items():
        for work in some_works:
            assert wq.enqueue(work, timeout=LIMIT), f"{work!r} was refused"
            asked["work"] += 1
        for work in some_works:
            wq.wait(work, LIMIT)
        wq.flush(LIMIT)
        wq.drain(LIMIT)
    for some_queue in (*tasks, timed):
        some_queue.drain(LIMIT)
    deadline = time.monotonic() + LIMIT
    while any(task.pending or task.running for task in delayed) and time.monotonic() < deadline:
        time.sleep(0.0005)
    for job in jobs:
        with job.interlock:
            pool.cancel(job, LIMIT)
    mine = {kind: pids.count(me) for kind, pids in ran.items()}
    assert mine["task"] == asked["task"], (mine, asked)
    assert mine["work"] == asked["work"], (mine, asked)
    assert mine["delayed"] == asked["delayed"], (mine, asked)
    assert len(jobs) >= mine["job"] >= 0, mine  # cancel may have been faster

    # Withdrawing: what waits behind something that waits.
    go, began = threading.Event(), threading.Event()

    def wait_fn(task: task9.Task) -> None:
        began.set()
        go.wait(LIMIT)

    assert queue.schedule(task9.Task(wait_fn))
    assert began.wait(LIMIT)
    behind = tasks[queue][0]
    assert queue.schedule(behind)
    assert behind.cancel()
    armed = delayed[0]
    assert timed.schedule_delayed(armed, 1000)
    assert armed.cancel()
    go.set()
    queue.drain(LIMIT)
    # New objects too.
    with workqueue9.WorkQueue("new", lambda work, arg: arg.append(work), arg=[]) as new:
        work = workqueue9.Work(n)
        new.enqueue(work)
        new.wait(work, LIMIT)
        new.enqueue_delayed(work, 1000)
        assert new.cancel(work)


def run_child(n: int, leave: bool) -> NoReturn:
    """Be the child: exit 0, or 1 with a traceback on stderr."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    try:
        child(n)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    if leave:
        sys.exit(0)  # the long way: this child's own exit, which drains
    os._exit(0)


def wait_for(pid: int) -> str:
    """Wait for a child; what is wrong with it, or an empty string."""
    deadline = time.monotonic() + 2 * LIMIT
    pause = 0.001
    while time.monotonic() < deadline:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return "" if status == 0 else f"status {os.waitstatus_to_exitcode(status)}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    os.kill(pid, signal.SIGUSR1)  # its stacks, on stderr
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def fork(n: int, leave: bool) -> str:
    """Fork once."""
    pid = os.fork()
    if pid == 0:
        run_child(n, leave)
    blowing.clear()
    problem = wait_for(pid)
    blowing.set()
    return problem


def fork_in(where: str, n: int) -> str:
    """Fork once in a function of `where`, which is a fresh object each time."""
    over = threading.Event()
    answer: list[str] = []

    def do() -> None:
        try:
            answer.append(fork(n, leave=False))
        finally:
            over.set()

    if where == "main":
        return fork(n, leave=n % 2 == 0)
    if where == "job":

        def fn(job: Job) -> None:
            do()
            with job.interlock:
                job.done()

        pool.post(Job(fn))
    elif where == "task":
        forkers.schedule(task9.Task(lambda task: do()))
    else:
        fork_works.enqueue(workqueue9.Work(do))
    assert over.wait(3 * LIMIT)
    return answer[0]


forkers = task9.TaskQueue("forkers")
fork_works = workqueue9.WorkQueue("forkers", lambda work, arg: work.payload())


def main() -> None:
    """Fork and compare."""
    where, count = sys.argv[1], int(sys.argv[2])
    sys.setswitchinterval(1e-4)
    asked = [dict.fromkeys(ran, 0) for _ in range(2)]
    threads = [threading.Thread(target=storm, args=(mine, seed)) for seed, mine in enumerate(asked)]
    blowing.set()
    for thread in threads:
        thread.start()
    choose = random.Random()
    wrong = []
    for n in range(count):
        time.sleep(choose.random() / 200)
        if problem := fork_in(where, n):
            wrong.append(f"fork {n}: {problem}")
            break
    stop.set()
    for thread in threads:
        thread.join()
    while any(record.job == "job_fn" for record in threadpool9.snapshot().workers) or threadpool9.snapshot().queued:
        time.sleep(0.001)
    deadline = time.monotonic() + LIMIT
    while any(task.pending or task.running for task in delayed) and time.monotonic() < deadline:
        time.sleep(0.001)
    for some_queue in (*tasks, timed, forkers):
        some_queue.drain(LIMIT)
    for wq in (*work_items, fork_works):
        wq.flush(LIMIT)
    counts = {kind: sum(mine[kind] for mine in asked) for kind in ran}
    runs = {kind: len(pids) for kind, pids in ran.items()}
    print(json.dumps({"forks": count, "wrong": wrong, "asked": counts, "ran": runs}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
