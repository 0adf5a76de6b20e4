"""Workloads: how long somebody waits: for an answer, for a burst of short jobs, for the first threads."""

from __future__ import annotations

import functools
import hashlib
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from bursts import finish, nothing
from contest import CLOCK, contestant, detail, go_cold

import task9
import threadpool9

CPUS = len(threadpool9.allowed_cpus())
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)

# --- round trips, in a process that has one CPU: across CPUs the wake-up decides everything

Ask = Callable[[], object]  # hands something over, and returns when the answer is there


def _with_task(measure: Callable[[Ask], float]) -> float:
    reply: SimpleQueue[None] = SimpleQueue()
    with task9.TaskQueue("bench") as queue:
        task = task9.Task(lambda task: reply.put(None))

        def ask() -> None:
            queue.schedule(task)
            reply.get()

        return measure(ask)


def _with_call(measure: Callable[[Ask], float]) -> float:
    reply: SimpleQueue[None] = SimpleQueue()
    with task9.TaskQueue("bench") as queue:

        def ask() -> None:
            queue.call(reply.put, None)
            reply.get()

        return measure(ask)


def _with_job(measure: Callable[[Ask], float]) -> float:
    reply: SimpleQueue[None] = SimpleQueue()

    def answer(job: threadpool9.Job) -> None:
        with job.interlock:
            job.done()
        reply.put(None)

    with threadpool9.get() as pool:
        job = threadpool9.Job(answer)

        def ask() -> None:
            pool.post(job)
            reply.get()

        return measure(ask)


def _with_executor(measure: Callable[[Ask], float]) -> float:
    reply: SimpleQueue[None] = SimpleQueue()
    with ThreadPoolExecutor(2) as pool:

        def ask() -> None:
            pool.submit(reply.put, None)
            reply.get()

        return measure(ask)


def _with_trio(measure: Callable[[Ask], float]) -> float:
    from trio.lowlevel import start_thread_soon

    reply: SimpleQueue[object] = SimpleQueue()

    def ask() -> None:
        start_thread_soon(nothing, reply.put)
        reply.get()

    return measure(ask)


def _with_simplequeues(measure: Callable[[Ask], float]) -> float:
    there: SimpleQueue[bool] = SimpleQueue()
    back: SimpleQueue[None] = SimpleQueue()

    def work() -> None:
        while there.get():
            back.put(None)

    def ask() -> None:
        there.put(True)
        back.get()

    thread = threading.Thread(target=work)
    thread.start()
    took = measure(ask)
    there.put(False)
    thread.join()
    return took


def _round_trips(name: str, idle: float, number: int, ask: Ask) -> float:
    times = []
    for _ in range(number + number // 10):
        if idle:
            time.sleep(idle)
        began = CLOCK()
        ask()
        times.append(CLOCK() - began)
    times = sorted(times[number // 10 :])
    detail(name, [times[int(quantile * number)] for quantile in QUANTILES])
    return times[number // 2]


def register_round_trips(ways: dict[str, Callable[[Callable[[Ask], float]], float]]) -> None:
    """Two contestants for each way: at once, and after a millisecond of idling."""

    def register(name: str, way: Callable[[Callable[[Ask], float]], float], idle: float, needs: str) -> None:
        @contestant("round trip", name, needs)
        def round_trip(scale: float) -> float:
            number = int((200 if idle else 3000) * scale)
            return way(functools.partial(_round_trips, name, idle, number))

    for name, way in ways.items():
        needs = "trio" if "trio" in name else ""
        register(name, way, 0.0, needs)
        register(f"{name}, after 1 ms idle", way, 0.001, needs)


register_round_trips(
    {
        "task": _with_task,
        "call": _with_call,
        "job": _with_job,
        "ThreadPoolExecutor": _with_executor,
        "trio's thread cache": _with_trio,
        "two SimpleQueues": _with_simplequeues,
    }
)

# --- n jobs of a certain time, thrown at a pool that has no thread

MILLISECONDS = (0.2, 0.5, 1, 2, 5, 20)
SLEEPS = 400


def how_many(milliseconds: float) -> int:
    """Hashing jobs of this length: some 0.3 s of CPU time in all."""
    return max(40, min(800, int(300 / milliseconds)))


@functools.cache
def blob(milliseconds: float) -> bytes:
    """Bytes whose sha256 takes this long here; the GIL is released meanwhile."""
    probe = bytes(4_000_000)
    took = []
    for _ in range(9):
        began = CLOCK()
        hashlib.sha256(probe)
        took.append(CLOCK() - began)
    return bytes(int(len(probe) * milliseconds / 1000 / statistics.median(took)))


def sleeping(milliseconds: float) -> Callable[[], object]:
    """What a job that waits for something does."""
    return functools.partial(time.sleep, milliseconds / 1000)


def hashing(milliseconds: float) -> Callable[[], object]:
    """What a job that keeps a CPU busy does."""
    return functools.partial(hashlib.sha256, blob(milliseconds))


class Countdown:
    """Told by each of `number` units that it has ended; `wait` returns when all have. Takes no lock."""

    def __init__(self, number: int) -> None:
        self.left: list[None] = [None] * number
        self.over: SimpleQueue[None] = SimpleQueue()
        self.wait = self.over.get

    def one(self) -> None:
        """One has ended."""
        self.left.pop()
        if not self.left:
            self.over.put(None)


def throw_jobs(name: str, act: Callable[[], object], number: int) -> float:
    """Seconds until `number` new jobs that call `act` have ended, from none of our threads on."""
    go_cold()
    count = Countdown(number)

    def run(job: threadpool9.Job) -> None:
        act()
        with job.interlock:
            job.done()
        count.one()

    with threadpool9.get() as pool:
        began = CLOCK()
        for _ in range(number):
            pool.post(threadpool9.Job(run))
        count.wait()
        took = CLOCK() - began
        detail(name, [len(threadpool9.snapshot().workers)])
    return took


def throw_futures(act: Callable[[], object], number: int, threads: int) -> float:
    """The same for a fresh executor."""
    count = Countdown(number)

    def run() -> None:
        act()
        count.one()

    with ThreadPoolExecutor(threads) as pool:
        began = CLOCK()
        for _ in range(number):
            pool.submit(run)
        count.wait()
        return CLOCK() - began


def throw_simplequeue(act: Callable[[], object], number: int, threads: int) -> float:
    """The same for threads around one SimpleQueue, started in the timed part."""
    count = Countdown(number)
    queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

    def work() -> None:
        while (item := queue.get()) is not None:
            item()
            count.one()

    began = CLOCK()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for thread in workers:
        thread.start()
    for _ in range(number):
        queue.put(act)
    count.wait()
    took = CLOCK() - began
    for _ in workers:
        queue.put(None)
    for thread in workers:
        thread.join()
    return took


def _register_short_jobs() -> None:
    def register(name: str, act: Callable[[float], Callable[[], object]], length: float, most: int, peers: int) -> None:
        @contestant("short jobs", f"{name}, jobs")
        def jobs(scale: float) -> float:
            return throw_jobs(f"{name}, jobs", act(length), max(10, int(most * scale)))

        @contestant("short jobs", f"{name}, executor")
        def futures(scale: float) -> float:
            return throw_futures(act(length), max(10, int(most * scale)), peers)

    for milliseconds in MILLISECONDS:
        register(f"sleep {milliseconds} ms", sleeping, milliseconds, SLEEPS, 32)
        register(f"sha256 {milliseconds} ms", hashing, milliseconds, how_many(milliseconds), CPUS)


_register_short_jobs()


@contestant("short jobs", "sha256 0.2 ms, SimpleQueue")
def hash_simplequeue(scale: float) -> float:
    """As many threads as CPUs around a SimpleQueue."""
    return throw_simplequeue(hashing(0.2), int(how_many(0.2) * scale), CPUS)


@contestant("short jobs", "sha256 0.2 ms, one thread")
def hash_alone(scale: float) -> float:
    """One after the other."""
    act = hashing(0.2)
    began = CLOCK()
    for _ in range(int(how_many(0.2) * scale)):
        act()
    return CLOCK() - began


@contestant("workers", "10 000 no-op jobs")
def workers_made(scale: float) -> float:
    """How many workers a burst of no-op jobs makes, from none on."""
    go_cold()
    over: SimpleQueue[None] = SimpleQueue()

    def last(job: threadpool9.Job) -> None:
        finish(job)
        over.put(None)

    with threadpool9.get() as pool:
        for _ in range(int(10_000 * scale)):
            pool.post(threadpool9.Job(finish))
        pool.post(threadpool9.Job(last))
        over.get()
        return len(threadpool9.snapshot().workers)


# --- cold starts: eight units that block, handed over at once, on a fresh pool; when the first, second, eighth begins


def _begin_times(hand_over: Callable[[Callable[[], None]], object], end: Callable[[], object]) -> list[float]:
    begun: SimpleQueue[float] = SimpleQueue()
    gate: SimpleQueue[None] = SimpleQueue()

    def block() -> None:
        begun.put(CLOCK())
        gate.get()

    began = CLOCK()
    for _ in range(8):
        hand_over(block)
    times = sorted(begun.get() - began for _ in range(8))
    for _ in range(8):
        gate.put(None)
    end()
    return times


def _start_ours() -> list[float]:
    go_cold()
    pool = threadpool9.get()

    def hand_over(block: Callable[[], None]) -> None:
        def run(job: threadpool9.Job) -> None:
            block()
            with job.interlock:
                job.done()

        pool.post(threadpool9.Job(run))

    return _begin_times(hand_over, pool.put)


def _start_executor() -> list[float]:
    pool = ThreadPoolExecutor(8)
    return _begin_times(pool.submit, pool.shutdown)


def _register_cold_starts() -> None:
    def register(name: str, start: Callable[[], list[float]], place: int) -> None:
        @contestant("cold start", name)
        def cold_start(_scale: float) -> float:
            return start()[place - 1]

    for what, place in (("first", 1), ("second", 2), ("eighth", 8)):
        register(f"{what} worker", _start_ours, place)
        register(f"{what} thread of the executor", _start_executor, place)


_register_cold_starts()
