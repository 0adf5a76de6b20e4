"""Workloads: the least that a task, and a call, can cost in Python. Not for use: see what is missing.

One thread around a deque, written for nothing but speed. What is kept of the contract is what each unit has to pay for
by itself: schedules coalesce, a unit can be withdrawn in constant time, any thread may schedule, an idle thread is
woken and sleeps, the function may raise. There is no drain, close, freeze, fork, exit, probe, snapshot or report; no
other queue, priority or CPU; no check of an argument; and a KeyboardInterrupt leaves it broken.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from bursts import FAST, NORMAL, nothing
from contest import CLOCK, contestant


class BareTask:
    """What `task9.Task` has, without names."""

    __slots__ = ("executor", "fn", "lane", "ticket")

    def __init__(self, fn: Callable[[Any], object]) -> None:
        self.fn = fn
        self.ticket: list[Any] = [None, None]
        self.lane = self.executor = None


class BareQueue:
    """A deque and the thread that empties it."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.idle: list[Any] = []
        self.current: Any = None
        self.over = False
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def schedule(self, task: BareTask) -> bool:
        """As `task9.TaskQueue.schedule`."""
        ticket = task.ticket
        try:
            del ticket[1]
        except IndexError:
            return False
        ticket[0] = task
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
        items, bell = self.items, threading.Lock()
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
                    else:
                        item.ticket = [None, None]
                        item.fn(item)
                except Exception:
                    pass
                self.current = None
            self.idle.append(bell)
            if items:  # look again
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


def _burst(number: int, feed: Callable[[BareQueue], object]) -> float:
    queue, last = BareQueue(), threading.Lock()
    last.acquire()
    began = CLOCK()
    feed(queue)
    queue.call(last.release)
    last.acquire()
    took = CLOCK() - began
    queue.end()
    return took / number


@contestant("burst", "bare new Task")
def bare_tasks(scale: float) -> float:
    """A new task per call."""
    number = int(NORMAL * scale)

    def feed(queue: BareQueue) -> None:
        schedule = queue.schedule
        for _ in range(number):
            schedule(BareTask(nothing))

    return _burst(number, feed)


@contestant("burst", "bare call")
def bare_calls(scale: float) -> float:
    """A call."""
    number = int(FAST * scale)

    def feed(queue: BareQueue) -> None:
        call = queue.call
        for _ in range(number):
            call(nothing)

    return _burst(number, feed)
