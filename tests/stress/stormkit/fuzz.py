"""Random programs on all layers, struck by faults: ``python -m stormkit.fuzz KIND SEED EPISODES`` for `test_fuzz.py`.

An *episode* is a fresh set of queues and units. Its own thread launches, moves, cancels, waits and drains at random,
and most operations are struck by a fault of the episode's kind; two more threads do the same without faults. Each unit
keeps account: the fewest runs that its operations have promised, the most that they allow. When everything is quiet,
every unit, every counter, every drain is checked, and everything is launched once more.

    recursion   the operation begins so close to the recursion limit that it may meet it anywhere
    nomemory    one allocation within the operation is refused
    signal      a handler raises KeyboardInterrupt somewhere within the operation
    thread      another thread raises an exception in this one, somewhere within the operation
    fork        the process forks between two operations; the child launches everything and sees it run
    exit        the process ends with work left, under each policy (`exit_episode`)

A failure names its seed; timing is not the seed's to decide, so it may take several goes to see it again.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeAlias

import task9
import threadpool9
import workqueue9

try:
    import _testcapi
except ImportError:
    _testcapi = None  # type: ignore[assignment]  # this interpreter can't refuse memory

Operation: TypeAlias = Callable[[], object]

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
LIMIT = float(os.environ.get("SECTION9_FUZZ_LIMIT", "60"))  # of one wait; the test stretches it
STEPS, ROUNDS = 25, 4  # operations between two looks, looks in an episode
NOISE = 2  # threads


class Struck(BaseException):
    """What the fault kind `thread` raises."""


FAULTS = (RecursionError, MemoryError, KeyboardInterrupt, Struck)


class Unit:
    """A unit, how to use it, and its account."""

    def __init__(self, launch: Callable[[float], object], **how: Any) -> None:
        self.launch = launch
        self.cancel: Callable[[], object] | None = how.get("cancel")
        self.cancel_async: Operation | None = how.get("cancel_async")
        self.move: Callable[[float], object] | None = how.get("move")
        self.busy: Callable[[], object] = how.get("busy", lambda: False)
        #: Taken outside of what is struck: where memory is short, ``with`` itself may leave a lock taken.
        self.interlock: Callable[[], Any] = how.get("interlock", nullcontext)
        self.noted: bool = how.get("noted", False)  # a launch that says False may have left a note for one more run
        self.name = how["name"]
        self.runs: list[None] = []
        self.fewest = self.most = 0

    def account(self, operation: str, outcome: object) -> None:
        """What an operation has promised: `outcome` is what it returned, or the exception."""
        struck = isinstance(outcome, FAULTS)
        if operation in ("launch", "move"):
            self.most += struck or (outcome is True if operation == "launch" else outcome is False)
            self.fewest += outcome is True if operation == "launch" else outcome is False
            self.most += self.noted and outcome is False
            if operation == "move" and struck:  # it may have been withdrawn
                self.fewest -= 1
        else:
            self.fewest -= 1  # it may have withdrawn one

    def check(self) -> None:
        """Nothing is under way: compare, and begin anew."""
        count = len(self.runs)
        assert self.fewest <= count <= self.most, (
            f"{self.name}: {count} runs, where {self.fewest} to {self.most} were asked for"
        )
        del self.runs[:]
        self.fewest = self.most = 0


class Place:
    """Queues of every kind, and a thread's own units on them."""

    def __init__(self) -> None:
        pri = random.choice((-1, 5, 40))
        self.pool = threadpool9.get(pri)
        self.queues = {
            "private": task9.TaskQueue("private", pri),
            "concurrent": task9.TaskQueue("concurrent", pri, concurrency=2),
            "percpu": task9.TaskQueue("percpu", pri, percpu=True),
            "shared": task9.get(pri),
        }
        self.works = {
            "ordered": workqueue9.WorkQueue("ordered", self.call, pri=pri),
            "bounded": workqueue9.WorkQueue("bounded", self.call, pri=pri, max_pending=3),
            "wide": workqueue9.WorkQueue("wide", self.call, pri=pri, max_active=3),
            "giant": workqueue9.WorkQueue("giant", self.call, pri=pri, flags=workqueue9.WQ_GIANT),
        }
        self.called: dict[str, list[None]] = {name: [] for name in self.works}

    def call(self, work: Any, arg: object) -> None:
        """The function of all work queues."""
        work.payload()

    def close(self) -> None:
        """End all of it."""
        for queue in self.queues.values():
            queue.put(LIMIT) if hasattr(queue, "put") else queue.close(LIMIT)  # type: ignore[attr-defined]
        for wq in self.works.values():
            wq.close(LIMIT)
        self.pool.put(LIMIT)

    def drain(self) -> None:
        """Everything that waits."""
        for queue in self.queues.values():
            queue.drain(LIMIT)
        for wq in self.works.values():
            wq.flush(LIMIT)
        self.pool.drain(LIMIT)


def make_units(place: Place, choose: random.Random) -> list[Unit]:
    """One unit or two of each kind on each queue."""
    pool, units = place.pool, []

    def add(make: Callable[[Callable[[], None]], Unit]) -> None:
        pause = choose.choice((0.0, 0.0, 0.0, 0.0002))

        def run() -> None:
            unit.runs.append(None)
            if pause:
                time.sleep(pause)

        unit = make(run)
        units.append(unit)

    def job(run: Callable[[], None]) -> Unit:
        def fn(job: Any) -> None:
            run()
            with job.interlock:
                job.done()

        made = threadpool9.Job(fn)

        return Unit(
            lambda delay: pool.post(made) if delay < 0.001 else pool.schedule(made),
            cancel_async=lambda: pool.cancel_async(made),
            cancel=lambda: pool.cancel(made, LIMIT),
            interlock=lambda: made.interlock,
            busy=lambda: made.wait(LIMIT),
            noted=True,
            name="job",
        )

    def task(queue: Any, run: Callable[[], None], name: str) -> Unit:
        made = task9.Task(lambda task: run())
        return Unit(
            lambda delay: queue.schedule(made),
            cancel_async=made.cancel_async,
            cancel=lambda: made.cancel(timeout=LIMIT),
            busy=lambda: made.pending or made.running,
            name=f"task on {name}",
        )

    def delayed(queue: Any, run: Callable[[], None], name: str) -> Unit:
        made = task9.DelayedTask(lambda task: run())
        return Unit(
            lambda delay: queue.schedule_delayed(made, delay),
            move=lambda delay: made.reschedule(delay, queue=queue),
            cancel_async=made.cancel_async,
            cancel=lambda: made.cancel(timeout=LIMIT),
            busy=lambda: made.armed or made.pending or made.running,
            name=f"delayed task on {name}",
        )

    def work(wq: Any, run: Callable[[], None], name: str) -> Unit:
        def called() -> None:
            place.called[name].append(None)
            run()

        made = workqueue9.Work(called)

        def launch(delay: float) -> object:
            return wq.enqueue(made, block=False) if delay < 0.001 else wq.enqueue_delayed(made, delay)

        return Unit(
            launch,
            move=lambda delay: wq.modify(made, delay),
            cancel_async=lambda: wq.cancel_async(made),
            cancel=lambda: wq.cancel(made, LIMIT),
            busy=lambda: wq.wait(made, LIMIT),
            name=f"work on {name}",
        )

    add(job)
    add(job)
    for name, queue in place.queues.items():
        add(lambda run, queue=queue, name=name: task(queue, run, name))  # type: ignore[misc]  # bound now
        add(lambda run, queue=queue, name=name: delayed(queue, run, name))  # type: ignore[misc]
    for name, wq in place.works.items():
        add(lambda run, wq=wq, name=name: work(wq, run, name))  # type: ignore[misc]
    return units


# --- faults: each calls an operation and returns what it returned, or raises


def plain(operation: Operation, choose: random.Random) -> object:
    """No fault."""
    return operation()


def recursion(operation: Operation, choose: random.Random) -> object:
    """Up to 60 frames are left."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]  # it ends with None

    def descend(frames: int) -> object:
        return operation() if frames <= 0 else descend(frames - 1)

    return descend(sys.getrecursionlimit() - depth - choose.randrange(60))


def nomemory(operation: Operation, choose: random.Random) -> object:
    """One of the next allocations of this thread is refused: no other gets the interpreter meanwhile."""
    number = choose.randrange(80)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        _testcapi.set_nomemory(number, number + 1)
        try:
            return operation()
        finally:
            _testcapi.remove_mem_hooks()
    except SystemError as error:  # CPython 3.11 and 3.12 forget to say why, where a frame can't be had
        raise MemoryError from error
    except RuntimeError as error:
        if "allocate lock" in str(error):  # what CPython says where a lock can't be had
            raise MemoryError from error
        raise
    finally:
        sys.setswitchinterval(interval)


def by_signal(operation: Operation, choose: random.Random) -> object:
    """The handler raises once, if the operation is not over."""
    window = [None]

    def strike(number: int, frame: object) -> None:
        if window:  # the signal may come late, by way of another thread
            window.clear()
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, 1.5e-4))
    try:
        return operation()
    finally:
        del window[:]
        signal.setitimer(signal.ITIMER_REAL, 0)


def by_thread(operation: Operation, choose: random.Random) -> object:
    """Another thread strikes once; at the latest when the operation is over."""
    me, struck, spins, go = threading.get_ident(), [0], choose.randrange(300), threading.Lock()

    def strike() -> None:
        with go:
            pass
        for _ in range(spins):
            pass
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(me), ctypes.py_object(Struck))
        struck[0] = 1

    striker = threading.Thread(target=strike)
    outcome: object = None
    go.acquire()
    striker.start()
    try:
        outcome = Struck()  # unless we get further
        go.release()
        try:
            outcome = operation()
        except Exception as error:
            outcome = error
        while not struck[0]:
            pass
        for _ in range(1000):  # where it is noticed
            pass
    except Struck:
        pass
    striker.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


KINDS: dict[str, Callable[[Operation, random.Random], object]] = {
    "recursion": recursion, "nomemory": nomemory, "signal": by_signal, "thread": by_thread, "fork": plain,
}  # fmt: skip


# --- an episode


def operate(place: Place, units: list[Unit], choose: random.Random, fault: Any, waits: bool) -> None:
    """One operation, chosen at random, and its account."""
    unit = choose.choice(units)
    delay = choose.choice((0.0, 0.0, 0.0002, 0.002))
    operations: list[tuple[str, Operation | None]] = [("launch", lambda: unit.launch(delay))] * 6
    operations += [("cancel", unit.cancel_async)]
    if unit.move is not None:
        operations += [("move", lambda: unit.move(delay))]  # type: ignore[misc]  # it is not None
    if waits:
        operations += [("cancel", unit.cancel), ("drain", place.drain)]
    name, operation = choose.choice(operations)
    assert operation is not None
    outcome: object
    try:
        with nullcontext() if name == "drain" else unit.interlock():
            outcome = fault(operation, choose)
    except (*FAULTS, threadpool9.Error, workqueue9.Full, workqueue9.WorkPending) as error:
        if isinstance(error, threadpool9.WaitTimeout):
            raise
        outcome = error
    if name != "drain":
        unit.account(name, outcome)


def until(condition: Operation, what: str) -> None:
    """Poll for what nobody announces."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.0005)


def settle(place: Place, units: list[Unit]) -> None:
    """Wait for everything that was launched; check every account."""
    for unit in units:
        until(lambda unit=unit: not unit.busy(), f"{unit.name} does not come to its end")  # type: ignore[misc]
    place.drain()
    for unit in units:
        unit.check()


def launch_all(place: Place, units: list[Unit]) -> None:
    """Everything is idle: each unit can be launched, and runs."""
    for unit in units:
        until(lambda unit=unit: launched(unit), f"{unit.name} can't be launched")  # type: ignore[misc]
        unit.account("launch", True)
    settle(place, units)


def launched(unit: Unit) -> bool:
    """Launch it; False on a queue that is full. A job may be pending once more, for a note that was left."""
    try:
        assert unit.launch(0.0) or unit.noted, f"{unit.name} is pending for ever"
    except workqueue9.Full:
        return False
    return True


def check_counters(place: Place) -> None:
    """Everything is quiet: what went in has come out."""

    def agree() -> bool:
        counters = threadpool9.snapshot().counters
        return counters.started == counters.completed == counters.scheduled - counters.cancelled

    until(agree, f"the totals do not agree: {threadpool9.snapshot().counters}")
    for name, wq in place.works.items():
        stats = wq.stats()
        ran = len(place.called[name])
        assert stats.completed == stats.started == ran, f"queue {name}: {ran} calls and {stats}"
        assert stats.enqueued == stats.completed + stats.cancelled, f"queue {name}: {stats}"


def fork_child(place: Place, units: list[Unit]) -> None:
    """Fork here and now; the child launches everything."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            for unit in units:
                del unit.runs[:]
                unit.fewest = unit.most = 0
            launch_all(place, units)
            place.drain()
            place.close()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # there is one
        finally:
            os._exit(status)
    end = time.monotonic() + 3 * LIMIT
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGUSR1)  # its stacks
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.0005)
    assert ended[1] == 0, f"a fork child ended with status {ended[1]:#x}"


def episode(kind: str, seed: int) -> None:
    """One episode of a kind of fault."""
    random.seed(seed)
    choose = random.Random(seed)
    fault, place = KINDS[kind], Place()
    over = threading.Event()
    failures: list[BaseException] = []

    def noise(seed: int) -> None:
        mine = random.Random(seed)
        try:
            units = make_units(place, mine)
            while not over.is_set():
                for _ in range(STEPS):
                    operate(place, units, mine, plain, waits=False)
                settle(place, units)
        except BaseException as error:
            failures.append(error)

    # An allocation is refused to whoever asks next.
    threads = [threading.Thread(target=noise, args=(choose.random(),)) for _ in range(NOISE * (kind != "nomemory"))]
    for thread in threads:
        thread.start()
    try:
        units = make_units(place, choose)
        for _ in range(ROUNDS):
            for _ in range(STEPS):
                if kind == "fork" and choose.random() < 0.04:
                    fork_child(place, units)
                if choose.random() < 0.1:
                    threadpool9.retire_idle(LIMIT)
                operate(place, units, choose, fault, waits=kind != "nomemory")  # who waits lets others run
            settle(place, units)
            launch_all(place, units)
    finally:
        over.set()
        for thread in threads:
            thread.join(2 * LIMIT)
    assert not failures, failures
    settle(place, units)
    check_counters(place)
    place.close()


# --- the end of a process


def exit_episode(seed: int) -> None:
    """Leave work behind and end; says on stdout what was launched (s) and what ran (r), for `test_fuzz` to compare."""
    choose = random.Random(seed)
    threadpool9.tunables.exit_policy = choose.choice(("drain", "drain", "cancel", "abandon", 0.05))  # type: ignore[assignment]
    print("policy", threadpool9.tunables.exit_policy, flush=True)
    place = Place()
    numbers, one_by_one = iter(range(10**6)), threading.Lock()  # without a GIL an iterator may give a number twice

    def launch(mine: random.Random, count: int) -> None:
        for _ in range(count):
            with one_by_one:
                number = next(numbers)
            say = lambda what, number=number: os.write(1, f"{what} {number}\n".encode())  # noqa: E731

            def run(say: Any = say, pause: float = mine.choice((0.0, 0.0, 0.001))) -> None:
                time.sleep(pause)
                say("r")

            def fn(job: Any, run: Any = run) -> None:
                run()
                with job.interlock:
                    job.done()

            try:
                match mine.randrange(4):
                    case 0:
                        place.pool.post(threadpool9.Job(fn))
                    case 1:
                        mine.choice(list(place.queues.values())).call(run)
                    case 2:
                        mine.choice(list(place.queues.values())).schedule(task9.Task(lambda task, run=run: run()))
                    case _:
                        mine.choice(list(place.works.values())).enqueue(workqueue9.Work(run), block=False)
            except (threadpool9.FinalizingError, workqueue9.Full):
                continue
            say("s")

    import atexit

    if choose.random() < 0.5:
        atexit.register(launch, random.Random(seed + 1), 5)
    if choose.random() < 0.5:
        threading.Thread(target=launch, args=(random.Random(seed + 2), 50)).start()
    launch(choose, choose.randrange(100))
    globals()["kept"] = place


def main(kind: str, seed: int, episodes: int) -> None:
    """Run that many episodes with that many seeds, beginning with `seed`."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    threading.excepthook = lambda args: sys.__excepthook__(args.exc_type, args.exc_value, args.exc_traceback)  # type: ignore[arg-type]
    if kind == "exit":
        return exit_episode(seed)
    for number in range(seed, seed + episodes):
        faulthandler.dump_traceback_later(6 * LIMIT, exit=True)
        try:
            episode(kind, number)
        except BaseException:
            print(f"seed {number} failed", flush=True)
            raise
        print(f"seed {number} passed", flush=True)
    threadpool9.retire_idle(LIMIT)
    return None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
