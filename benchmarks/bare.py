"""Workloads: the least that a task, a work, a job and a call can cost in Python. Not for use: see what is missing.

One thread around a deque, written for nothing but speed. What is kept of the contract is what each unit has to pay for
by itself: schedules coalesce, a unit can be withdrawn in constant time, any thread may schedule, an idle thread is
woken and sleeps, the function may raise. There is no drain, close, freeze, fork, exit, probe, snapshot or report; no
other queue, priority or CPU; no check of an argument; and a KeyboardInterrupt leaves it broken.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from bursts import FAST, NORMAL, nothing
from contest import CLOCK, contestant
from waits import Ask, register_round_trips

FEW = NORMAL // 10


class BareTask:
    """What `task9.Task` has, without names."""

    __slots__ = ("executor", "fn", "lane", "ticket")

    def __init__(self, fn: Callable[[Any], object]) -> None:
        self.fn = fn
        self.ticket: list[Any] = [None, None]
        self.lane = self.executor = None


class BareWork:
    """What a work has: the queue has the function."""

    __slots__ = ("executor", "lane", "payload", "ticket")

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload
        self.ticket: list[Any] = [None, None]
        self.lane = self.executor = None


class BareJob:
    """What a job has: its function takes the interlock and says when it is done."""

    __slots__ = ("fn", "interlock", "lane", "ticket")

    def __init__(self, fn: Callable[[Any], object]) -> None:
        self.fn = fn
        self.interlock = threading.RLock()
        self.ticket: list[Any] = [None, None]
        self.lane = None

    def done(self) -> None:
        """As `threadpool9.Job.done`."""
        self.ticket = [None, None]


def _finish(job: BareJob) -> None:
    with job.interlock:
        job.done()


class BareQueue:
    """A deque and the thread that empties it."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.idle: list[Any] = []
        self.current: Any = None
        self.over = False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def schedule(self, unit: Any) -> bool:
        """As `task9.TaskQueue.schedule`."""
        ticket = unit.ticket
        try:
            del ticket[1]
        except IndexError:
            return False
        ticket[0] = unit
        self.items.append(ticket)
        if self.idle:
            self.wake()
        return True

    def call(self, fn: Callable[..., object], /, *args: Any, **kwargs: Any) -> None:
        """As `task9.TaskQueue.call`."""
        self.items.append([(fn, args, kwargs)])
        if self.idle:
            self.wake()

    def wake(self) -> None:
        """Claim the thread if it is idle."""
        try:
            self.idle.pop().release()
        except IndexError:
            pass

    def work(self) -> None:
        """The thread."""
        items, bell, func, arg = self.items, threading.Lock(), nothing, None
        bell.acquire()
        while not self.over:
            while items:
                try:
                    ticket = items.popleft()
                    item = ticket[0]
                    del ticket[0]
                except IndexError:  # withdrawn
                    continue
                self.current = item
                try:
                    if item.__class__ is tuple:
                        item[0](*item[1], **item[2])
                    elif item.__class__ is BareTask:
                        item.ticket = [None, None]
                        item.fn(item)
                    elif item.__class__ is BareWork:
                        item.ticket = [None, None]
                        func(item, arg)
                    else:
                        item.fn(item)
                except Exception:
                    pass
                self.current = None
            self.idle.append(bell)
            if items or self.over:  # look again
                try:
                    self.idle.remove(bell)
                    continue
                except ValueError:
                    pass
            bell.acquire()

    def end(self) -> None:
        """By the thread that has made it."""
        self.over = True
        self.call(nothing)
        self.thread.join()


# --- bursts

Feed = Callable[[BareQueue], object]


def _time(queue: BareQueue, feed: Feed) -> float:
    last = threading.Lock()
    last.acquire()
    began = CLOCK()
    feed(queue)
    queue.call(last.release)
    last.acquire()
    return CLOCK() - began


def _burst(feed: Feed, rounds: int = 1) -> float:
    queue = BareQueue()
    for _ in range(rounds):
        took = _time(queue, feed)
    queue.end()
    return took


def _register_bursts() -> None:
    def register(kind: str, make: Callable[[], Any]) -> None:
        @functools.cache
        def made() -> list[Any]:
            return [make() for _ in range(FEW)]  # what lives on costs the others: each has a new ticket after each run

        @contestant("burst", f"bare new {kind}")
        def new(scale: float) -> float:
            number = int(NORMAL * scale)

            def feed(queue: BareQueue) -> None:
                schedule = queue.schedule
                for _ in range(number):
                    schedule(make())

            return _burst(feed) / number

        @contestant("burst", f"bare {kind} made before")
        def made_before(scale: float) -> float:
            units = made()[: int(FEW * scale)]

            def feed(queue: BareQueue) -> None:
                schedule = queue.schedule
                for unit in units:
                    schedule(unit)

            return _burst(feed, 2) / len(units)

    register("Task", functools.partial(BareTask, nothing))
    register("Work", BareWork)
    register("Job", functools.partial(BareJob, _finish))


_register_bursts()


@contestant("burst", "bare call")
def bare_calls(scale: float) -> float:
    """A call."""
    number = int(FAST * scale)

    def feed(queue: BareQueue) -> None:
        call = queue.call
        for _ in range(number):
            call(nothing)

    return _burst(feed) / number


@contestant("cold burst", "10 000 bare new Tasks")
def cold_bare_tasks(scale: float) -> float:
    """The thread is started in the timed part."""

    def feed(queue: BareQueue) -> None:
        for _ in range(int(10_000 * scale)):
            queue.schedule(BareTask(nothing))

    began = CLOCK()
    _burst(feed)
    return CLOCK() - began


# --- round trips


def _with_bare_task(measure: Callable[[Ask], float]) -> float:
    reply: SimpleQueue[None] = SimpleQueue()
    queue = BareQueue()
    task = BareTask(lambda task: reply.put(None))

    def ask() -> None:
        queue.schedule(task)
        reply.get()

    took = measure(ask)
    queue.end()
    return took


register_round_trips({"bare task": _with_bare_task})
