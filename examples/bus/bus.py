#!/usr/bin/env python3
"""A bus with several controllers, written twice: with dedicated threads, and with jobs on one shared pool.

A controller has four activities that wait for something to happen: it discovers targets, configures them, completes
their transfers, and hands on their events. Each may have to wait for the hardware, so none may hold up another.

`ThreadedController` gives each activity a thread that lives as long as the controller, mostly asleep.
`JobController` gives each a `threadpool9.Job` embedded in the controller, with the controller's own lock as interlock;
threads are there while there is work. Compare these two classes: everything else is shared by both.

The simulated hardware is deterministic, so both must write the same logs. The program checks that, and counts the
threads in ``/proc/self/task``, which makes it one for Linux. Exit status: 0 all as promised, 1 not.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep

import threadpool9

CONTROLLERS = 4
TARGETS = 6
TRANSFERS = 5
ACTIVITIES = ("discover", "config", "completion", "event")
IDLE_MS = 200
PATIENCE = 10.0
"""Seconds after which something that should happen at once is taken for lost."""
_TASKS = "/proc/self/task"


@dataclass(frozen=True, slots=True)
class Item:
    """Something that happened, at a time on the bus's own clock, which has nothing to do with ours."""

    time: int
    target: int
    detail: int = 0


class Gate:
    """Something that the hardware does not finish before it is told to: keeps activities busy while we count."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.open = threading.Event()

    def pass_through(self) -> None:
        """Arrive and wait."""
        self.arrived.release()
        self.open.wait(PATIENCE)


# --- what both have in common


class Controller(ABC):
    """The state of a controller and what its activities do; how they are run is up to the subclass.

    `lock` guards `inboxes` and `unhandled`. Each log is written by one activity only.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()
        self.inboxes: dict[str, deque[Item | Gate]] = {activity: deque() for activity in ACTIVITIES}
        self.unhandled = 0
        self.settled = threading.Condition(self.lock)
        self.logs: dict[str, list[str]] = {activity: [] for activity in ACTIVITIES}
        self._left = dict.fromkeys(range(TARGETS), TRANSFERS)  # by the completion activity only
        self._do: dict[str, Callable[[Item], None]] = {
            "discover": self._discover,
            "config": self._config,
            "completion": self._completion,
            "event": self._event,
        }

    @abstractmethod
    def produce(self, activity: str, item: Item | Gate) -> None:
        """Give an activity something to do; any thread."""

    @abstractmethod
    def stop(self) -> None:
        """End all activities; nothing of this controller runs any more when it returns."""

    def handle(self, activity: str, item: Item | Gate) -> None:
        """Do what is to be done about `item`, without the lock: it may take its time."""
        if isinstance(item, Gate):
            item.pass_through()
        else:
            sleep(0.0005)  # the hardware answers
            self._do[activity](item)
        with self.lock:
            self.unhandled -= 1
            if not self.unhandled:
                self.settled.notify_all()

    def wait_settled(self, timeout: float) -> bool:
        """Wait until all that was produced, and all that came of it, has been handled; False if it takes too long."""
        with self.lock:
            return self.settled.wait_for(lambda: not self.unhandled, timeout)

    def _write(self, activity: str, item: Item, text: str) -> None:
        self.logs[activity].append(f"{item.time:7} {self.name} {activity:10} target {item.target}: {text}")

    def _discover(self, item: Item) -> None:
        identity = zlib.crc32(f"{self.name} {item.target}".encode())
        self._write("discover", item, f"is a {identity:08x}")
        self.produce("config", Item(item.time + 10, item.target, identity))

    def _config(self, item: Item) -> None:
        width = 1 << item.detail % 4
        self._write("config", item, f"{width} lanes, {TRANSFERS} transfers started")
        for number in range(TRANSFERS):
            self.produce("completion", Item(item.time + 100 * (number + 1) // width, item.target, number))

    def _completion(self, item: Item) -> None:
        self._left[item.target] -= 1
        left = self._left[item.target]
        self._write("completion", item, f"transfer {item.detail} is done, {left} to come")
        if not left:
            self.produce("event", Item(item.time + 1, item.target))

    def _event(self, item: Item) -> None:
        self._write("event", item, "is ready")

    def log(self) -> list[str]:
        """All logs by bus time; lines of the same time in the order of `ACTIVITIES`, each in its own order."""
        return sorted((line for activity in ACTIVITIES for line in self.logs[activity]), key=lambda line: line[:7])


# --- the first way: a thread for each activity


class ThreadedController(Controller):
    """Four threads from the first moment to the last."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.stopping = False
        self.wakeups = {activity: threading.Condition(self.lock) for activity in ACTIVITIES}
        self.threads = [threading.Thread(target=self._serve, args=(activity,)) for activity in ACTIVITIES]
        for thread in self.threads:
            thread.start()

    def produce(self, activity: str, item: Item | Gate) -> None:
        """Put it into the inbox and wake the thread, in one step."""
        with self.lock:
            self.inboxes[activity].append(item)
            self.unhandled += 1
            self.wakeups[activity].notify()

    def _serve(self, activity: str) -> None:
        name_this_thread(f"{self.name}/{activity}")
        inbox = self.inboxes[activity]
        while True:
            with self.lock:
                while not inbox:
                    if self.stopping:
                        return
                    self.wakeups[activity].wait()
                item = inbox.popleft()
            self.handle(activity, item)

    def stop(self) -> None:
        """Ask each thread to leave, and wait until it has."""
        with self.lock:
            self.stopping = True
            for wakeup in self.wakeups.values():
                wakeup.notify()
        for thread in self.threads:
            thread.join()


# --- the second way: a job for each activity


class Activity(threadpool9.Job):
    """A job that is part of its controller: no thread, no wake-up condition, no flag to stop it."""

    def __init__(self, controller: JobController, name: str) -> None:
        super().__init__(Activity.serve, interlock=controller.lock, name=f"{controller.name}/{name}")
        self.controller = controller
        self.activity = name
        self.inbox = controller.inboxes[name]

    def serve(self) -> None:
        """Consume until there is nothing left.

        Finding the inbox empty and saying done() is one step under the lock, as is filling it and scheduling in
        `produce`: no item can slip in between and stay behind.
        """
        while True:
            with self.interlock:
                if not self.inbox:
                    self.done()
                    return
                item = self.inbox.popleft()
            self.controller.handle(self.activity, item)


class JobController(Controller):
    """Threads while there is work."""

    def __init__(self, name: str, pool: threadpool9.Pool) -> None:
        super().__init__(name)
        self.pool = pool
        self.jobs = {activity: Activity(self, activity) for activity in ACTIVITIES}

    def produce(self, activity: str, item: Item | Gate) -> None:
        """Put it into the inbox and schedule the job, in one step."""
        with self.lock:
            self.inboxes[activity].append(item)
            self.unhandled += 1
            self.pool.schedule(self.jobs[activity])

    def stop(self) -> None:
        """Cancel each job: when that returns, it is not running."""
        for job in self.jobs.values():
            with self.lock:
                self.pool.cancel(job)
            job.destroy()


# --- counting


def name_this_thread(name: str) -> None:
    """Make `name` the name that the operating system shows; fifteen bytes of it."""
    with open(f"{_TASKS}/{threading.get_native_id()}/comm", "wb", buffering=0) as file:
        file.write(name.encode()[:15])


def threads() -> list[str]:
    """Names of all threads that are there for controllers, as the operating system shows them, sorted.

    The pool's helper, which comes now and then to start workers, is among them.
    """
    names = []
    for tid in os.listdir(_TASKS):
        try:
            with open(f"{_TASKS}/{tid}/comm", encoding="utf-8") as file:
                names.append(file.read().rstrip("\n"))
        except OSError:  # it left just now
            continue
    return sorted(name for name in names if name.startswith(("bus", "pool")))


def workers() -> int:
    """How many threads run activities, or are ready to."""
    return sum(name != "poolstarter" for name in threads())


@dataclass(slots=True)
class Count:
    """Threads that one way of writing it has in the situations that matter."""

    begin: int = 0
    script: int = 0
    stuck: int = 0
    idle: int = 0
    idle_after: float = 0.0


def await_exact(expected: int) -> int:
    """The number of threads once it is `expected`, or what it is when patience ends."""
    deadline = monotonic() + PATIENCE
    while (count := len(threads())) != expected and monotonic() < deadline:
        sleep(0.01)
    return count


def settle(controllers: Sequence[Controller]) -> int:
    """Wait until all controllers have handled everything; returns the most workers seen meanwhile."""
    most = workers()
    deadline = monotonic() + PATIENCE
    for controller in controllers:
        while not controller.wait_settled(0.002):
            most = max(most, workers())
            if monotonic() > deadline:
                raise TimeoutError(f"{controller.name}: {controller.unhandled} items were not handled in time")
    return most


# --- the simulation


def run(make: Callable[[str], Controller], idle_threads: int) -> tuple[list[Controller], Count]:
    """Run the script on controllers that `make` makes; returns them, stopped, and what was counted meanwhile."""
    count = Count()
    controllers = [make(f"bus{number}") for number in range(CONTROLLERS)]
    try:
        count.begin = await_exact(idle_threads)
        count.script = play(controllers)
        count.stuck = get_stuck(controllers)
        begun = monotonic()
        count.idle = await_exact(idle_threads)
        count.idle_after = monotonic() - begun
    finally:
        for controller in controllers:
            controller.stop()
    return controllers, count


def play(controllers: Sequence[Controller]) -> int:
    """The script: targets show up on all buses in an order that is random, but the same each time."""
    arrivals = [(controller, target) for controller in controllers for target in range(TARGETS)]
    random.Random(9).shuffle(arrivals)
    for number, (controller, target) in enumerate(arrivals):
        controller.produce("discover", Item(1000 * number, target))
    return settle(controllers)


def get_stuck(controllers: Sequence[Controller]) -> int:
    """The worst case: the hardware answers none of the activities, so each needs a thread of its own."""
    gate = Gate()
    for controller in controllers:
        for activity in ACTIVITIES:
            controller.produce(activity, gate)
    for _ in range(len(controllers) * len(ACTIVITIES)):
        if not gate.arrived.acquire(timeout=PATIENCE):
            raise TimeoutError("an activity waits for the thread of another")
    count = workers()
    gate.open.set()
    settle(controllers)
    return count


def main() -> int:
    """Run both, compare, print; returns the exit status."""
    dedicated = CONTROLLERS * len(ACTIVITIES)
    threadpool9.tunables.idle_ms = IDLE_MS
    print(f"{CONTROLLERS} controllers with {len(ACTIVITIES)} activities each, {TARGETS} targets on each bus")
    threaded, thread_count = run(ThreadedController, dedicated)
    with threadpool9.get() as pool:
        jobs, job_count = run(lambda name: JobController(name, pool), 0)

    print()
    print("threads that serve controllers      dedicated    jobs")
    for text, a, b in (
        ("before anything happens", thread_count.begin, job_count.begin),
        ("most seen during the script", thread_count.script, job_count.script),
        ("all activities wait at once", thread_count.stuck, job_count.stuck),
        (f"idle, idle time {IDLE_MS} ms", thread_count.idle, job_count.idle),
    ):
        print(f"  {text:<32}  {a:9}  {b:6}")
    print(f"the last thread of the jobs left {job_count.idle_after:.2f} s after the last of them was done")
    print()

    lines = threaded[0].log()
    print(f"the log of {threaded[0].name}, its first lines of {len(lines)}:")
    for line in lines[:6]:
        print(f"  {line}")
    print()
    ok = True
    for one, other in zip(threaded, jobs, strict=True):
        same = one.logs == other.logs and one.log() == other.log()
        ok = ok and same
        checksum = zlib.crc32("\n".join(other.log()).encode())
        verdict = "the same from threads and jobs" if same else "DIFFERENT"
        print(f"  {one.name}: {len(other.log())} lines, checksum {checksum:08x}, {verdict}")
    expected = [("threads", thread_count, dedicated), ("jobs", job_count, 0)]
    for kind, count, idle in expected:
        # A pool may start one more where a busy machine lets a worker that was woken wait for its CPU.
        if (count.begin, count.idle) != (idle, idle) or count.stuck < dedicated:
            print(f"  {kind}: expected {idle} threads when idle and {dedicated} when all wait, not {count}")
            ok = False
    print("all logs are identical" if ok else "something is wrong, see above")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
