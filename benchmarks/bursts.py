"""Workloads: how many units a second, with no-ops, from the first schedule to the end of the last run.

Whatever is new is made inside the timed part.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from queue import Queue, SimpleQueue
from typing import Any

from contest import CLOCK, contestant, go_cold

import task9
import threadpool9
import workqueue9

SLOW, NORMAL, FAST = 20_000, 100_000, 200_000  # items, so that each lasts longer than one switch interval


def nothing(*args: object) -> None:
    """What most units do."""


def finish(job: threadpool9.Job) -> None:
    """What most jobs do."""
    with job.interlock:
        job.done()


# --- peers


@contestant("burst", "ThreadPoolExecutor")
def executor(scale: float) -> float:
    """ThreadPoolExecutor(2), warm."""
    number = int(SLOW * scale)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(nothing).result()
        began = CLOCK()
        for _ in range(number):
            future = pool.submit(nothing)
        future.result()
        return (CLOCK() - began) / number


@contestant("burst", "multiprocessing ThreadPool")
def thread_pool(scale: float) -> float:
    """ThreadPool(2), warm."""
    number = int(SLOW * scale)
    with ThreadPool(2) as pool:
        pool.apply(nothing)
        began = CLOCK()
        for _ in range(number):
            result = pool.apply_async(nothing)
        result.get()
        return (CLOCK() - began) / number


def loop(queue: Any, number: int) -> float:
    """A thread around a queue: seconds per item."""
    over: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        while (item := queue.get()) is not None:
            item()

    thread = threading.Thread(target=work)
    thread.start()
    began = CLOCK()
    for _ in range(number):
        queue.put(nothing)
    queue.put(functools.partial(over.put, None))
    over.get()
    took = CLOCK() - began
    queue.put(None)
    thread.join()
    return took / number


@contestant("burst", "queue.Queue loop")
def queue_loop(scale: float) -> float:
    """A queue and a thread."""
    return loop(Queue(), int(SLOW * scale))


@contestant("burst", "SimpleQueue loop")
def simplequeue_loop(scale: float) -> float:
    """A SimpleQueue and a thread: the limit of pure Python."""
    return loop(SimpleQueue(), int(FAST * scale))


@contestant("burst", "trio's thread cache", needs="trio")
def trio_cache(scale: float) -> float:
    """A thread for whatever finds none idle, so it is fed in portions of 20."""
    from trio.lowlevel import start_thread_soon

    portions = int(SLOW * scale / 200)
    left = threading.Semaphore(0)
    began = CLOCK()
    for _ in range(portions):
        for _ in range(20):
            start_thread_soon(nothing, lambda outcome: left.release())
        for _ in range(20):
            left.acquire()
    return (CLOCK() - began) / (portions * 20)


# --- ours: each `feed` schedules what is to be run


def _tasks(number: int, feed: Callable[[task9.TaskQueue], object]) -> float:
    with task9.TaskQueue("bench") as queue:
        queue.call(nothing)
        queue.drain()
        began = CLOCK()
        feed(queue)
        queue.drain()
        return (CLOCK() - began) / number


def _works(number: int, feed: Callable[[workqueue9.WorkQueue[Any, Any]], object]) -> float:
    with workqueue9.WorkQueue[Any, Any]("bench", nothing) as queue:
        queue.enqueue(workqueue9.Work())
        queue.flush()
        began = CLOCK()
        feed(queue)
        queue.flush()
        return (CLOCK() - began) / number


def _jobs(number: int, feed: Callable[[threadpool9.Pool], object]) -> float:
    over: SimpleQueue[None] = SimpleQueue()

    def last(job: threadpool9.Job) -> None:
        finish(job)
        over.put(None)

    with threadpool9.get() as pool:
        pool.post(threadpool9.Job(last))
        over.get()
        began = CLOCK()
        feed(pool)
        pool.post(threadpool9.Job(last))  # jobs start in order: at most one for each worker is left when this one ends
        over.get()
        return (CLOCK() - began) / number


def _feed_tasks(queue: task9.TaskQueue, number: int) -> None:
    schedule, make = queue.schedule, task9.Task
    for _ in range(number):
        schedule(make(nothing))


@contestant("burst", "new Task")
def new_task(scale: float) -> float:
    """A new Task per call."""
    number = int(NORMAL * scale)
    return _tasks(number, lambda queue: _feed_tasks(queue, number))


@contestant("burst", "new Work")
def new_work(scale: float) -> float:
    """A new Work per call."""
    number = int(NORMAL * scale)

    def feed(queue: workqueue9.WorkQueue[Any, Any]) -> None:
        enqueue, make = queue.enqueue, workqueue9.Work
        for _ in range(number):
            enqueue(make())

    return _works(number, feed)


@contestant("burst", "new Job")
def new_job(scale: float) -> float:
    """A new Job per call, posted; each has an interlock of its own."""
    number = int(NORMAL * scale)

    def feed(pool: threadpool9.Pool) -> None:
        post, make = pool.post, threadpool9.Job
        for _ in range(number):
            post(make(finish))

    return _jobs(number, feed)


@contestant("burst", "call")
def call(scale: float) -> float:
    """`TaskQueue.call`."""
    number = int(FAST * scale)

    def feed(queue: task9.TaskQueue) -> None:
        call = queue.call
        for _ in range(number):
            call(nothing)

    return _tasks(number, feed)


@contestant("burst", "new Task, 8 producers")
def new_task_producers(scale: float) -> float:
    """The same with 8 threads that schedule."""
    share = int(NORMAL * scale) // 8
    barrier = threading.Barrier(9)

    def produce(queue: task9.TaskQueue) -> None:
        barrier.wait()
        _feed_tasks(queue, share)

    with task9.TaskQueue("bench") as queue:
        queue.call(nothing)
        queue.drain()
        threads = [threading.Thread(target=produce, args=(queue,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        while barrier.n_waiting < 8:
            time.sleep(0.001)
        began = CLOCK()
        barrier.wait()
        for thread in threads:
            thread.join()
        queue.drain()
        return (CLOCK() - began) / (share * 8)


def _twice(feed: Callable[[], object], wait: Callable[[], object]) -> float:
    """Units that exist and were here before: what the second time takes."""
    feed()
    wait()
    began = CLOCK()
    feed()
    wait()
    return CLOCK() - began


def _feed(schedule: Callable[[Any], object], units: list[Any]) -> None:
    for unit in units:
        schedule(unit)


@functools.cache
def _tasks_made() -> list[task9.Task]:
    return [task9.Task(nothing) for _ in range(NORMAL)]


@contestant("burst", "Task made before")
def made_task(scale: float) -> float:
    """Tasks that exist."""
    units = _tasks_made()[: int(NORMAL * scale)]
    with task9.TaskQueue("bench") as queue:
        return _twice(lambda: _feed(queue.schedule, units), queue.drain) / len(units)


@functools.cache
def _works_made() -> list[workqueue9.Work[Any]]:
    return [workqueue9.Work[Any]() for _ in range(NORMAL)]


@contestant("burst", "Work made before")
def made_work(scale: float) -> float:
    """Works that exist."""
    units = _works_made()[: int(NORMAL * scale)]
    with workqueue9.WorkQueue[Any, Any]("bench", nothing) as queue:
        return _twice(lambda: _feed(queue.enqueue, units), queue.flush) / len(units)


@functools.cache
def _jobs_made() -> list[threadpool9.Job]:
    return [threadpool9.Job(finish) for _ in range(NORMAL)]


@contestant("burst", "Job made before")
def made_job(scale: float) -> float:
    """Jobs that exist, posted."""
    units = _jobs_made()[: int(NORMAL * scale)]
    return _jobs(len(units), lambda pool: _feed(pool.post, units))


# --- a cold queue


@contestant("cold burst", "ThreadPoolExecutor(8)")
def cold_executor(scale: float) -> float:
    """A fresh executor."""
    began = CLOCK()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(int(10_000 * scale)):
            pool.submit(nothing)
    return CLOCK() - began


@contestant("cold burst", "10 000 new Tasks")
def cold_tasks(scale: float) -> float:
    """A fresh queue, no thread."""
    go_cold()
    began = CLOCK()
    with task9.TaskQueue("cold") as queue:
        for _ in range(int(10_000 * scale)):
            queue.schedule(task9.Task(nothing))
        queue.drain()
        return CLOCK() - began


@contestant("cold burst", "10 000 calls")
def cold_calls(scale: float) -> float:
    """A fresh queue, no thread."""
    go_cold()
    began = CLOCK()
    with task9.TaskQueue("cold") as queue:
        for _ in range(int(10_000 * scale)):
            queue.call(nothing)
        queue.drain()
        return CLOCK() - began
