"""The program whose CPUs are taken away and given back by `test_cpuset.py`: load on all three layers, and reports.

It reads commands, one a line: ``look`` answers with one JSON line of what the OS holds for the threads that run
bound work now, ``stop`` ends the load, drains, and answers with the counts. Warnings come on stderr.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import warnings

import task9
import threadpool9
import workqueue9
from threadpool9 import Job

warnings.simplefilter("always")
LIMIT = 20.0

events: list[list[object]] = []


class Witness:
    """Remembers what is told of CPUs."""

    @threadpool9.hookimpl
    def threadpool9_bind__lost(self, pool: threadpool9.Pool, cpu: int) -> None:
        """Taken away."""
        events.append(["lost", pool.pri, cpu])

    @threadpool9.hookimpl
    def threadpool9_bind__restored(self, pool: threadpool9.Pool, cpu: int) -> None:
        """Back."""
        events.append(["restored", pool.pri, cpu])


threadpool9.register(Witness())

percpu = threadpool9.percpu_get()
unbound = threadpool9.get()
CPUS = percpu.cpus
pools = {str(cpu): percpu.ref_remote(cpu) for cpu in CPUS} | {"unbound": unbound}
tasks = task9.get(1)
ran_works: list[int] = []


def count_work(work: workqueue9.Work, arg: object) -> None:
    """The work queue's function; beside itself on another CPU too, as a work may be enqueued again when it runs."""
    ran_works.append(1)


queue = workqueue9.WorkQueue("cpuset", count_work, pri=2, flags=workqueue9.WQ_PERCPU)
stopping = threading.Event()
asked = {"jobs": 0, "tasks": 0, "works": 0}
ran_jobs: list[int] = []
ran_tasks: list[int] = []


def storm() -> None:
    """Schedule on every layer and CPU until told to stop; each accepted schedule is one run to come."""
    choose = random.Random(9)

    def job_fn(job: Job) -> None:
        ran_jobs.append(1)
        with job.interlock:
            job.done()

    jobs = [Job(job_fn) for _ in range(8)]
    some_tasks = [task9.Task(lambda task: ran_tasks.append(1)) for _ in range(8)]
    works = [workqueue9.Work(None) for _ in range(8)]
    while not stopping.is_set():
        job, task, work = choose.choice(jobs), choose.choice(some_tasks), choose.choice(works)
        with job.interlock:
            asked["jobs"] += (percpu.ref() if choose.random() < 0.5 else pools[str(choose.choice(CPUS))]).schedule(job)
        asked["tasks"] += (
            tasks.schedule(task) if choose.random() < 0.5 else tasks.schedule_on(choose.choice(CPUS), task)
        )
        try:
            asked["works"] += queue.enqueue(work, cpu=choose.choice((None, *CPUS)))
        except workqueue9.WorkPending:
            pass
        time.sleep(0)  # a load, not a starvation


def where() -> tuple[list[int], int]:
    """What the OS says of the calling thread."""
    return sorted(os.sched_getaffinity(0)), threadpool9.current_cpu()


def look() -> dict[str, object]:
    """Ask each pool, lane and queue where it runs things now."""
    answers: dict[str, object] = {}
    over = threading.Semaphore(0)

    def note(name: str) -> None:
        answers[name] = where()
        over.release()

    wanted = 0
    for name, pool in pools.items():

        def fn(job: Job, name: str = name) -> None:
            note(name)
            with job.interlock:
                job.done()

        pool.post(Job(fn))
        wanted += 1
    for cpu in CPUS:
        tasks.schedule_on(cpu, task9.Task(lambda task, cpu=cpu: note(f"task {cpu}")))
        wanted += 1
    for _ in range(wanted):
        assert over.acquire(timeout=LIMIT), f"of {wanted} looks only {sorted(answers)} came back"
    records = threadpool9.snapshot().pools
    answers["lost"] = sorted(
        [record.pri, record.cpu] for record in records if record.cpu_lost and record.cpu is not None
    )
    answers["allowed"] = threadpool9.allowed_cpus()
    answers["events"] = events
    return answers


def main() -> None:
    """Obey until the end of the input."""
    load = threading.Thread(target=storm)
    load.start()
    print(json.dumps(look()), flush=True)
    for line in sys.stdin:
        if line.strip() == "look":
            print(json.dumps(look()), flush=True)
            continue
        stopping.set()
        load.join()
        tasks.put(LIMIT)
        with queue:
            pass
        unbound.put(LIMIT)
        percpu.put(LIMIT)
        ran = {"jobs": len(ran_jobs), "tasks": len(ran_tasks), "works": len(ran_works)}
        print(json.dumps({"asked": asked, "ran": ran, "events": events}), flush=True)
        return


if __name__ == "__main__":
    main()
