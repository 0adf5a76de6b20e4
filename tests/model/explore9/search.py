"""Searching the executions of a world: exhaustively up to a number of preemptions, at random, or by PCT.

*Exhaustive* (`exhaust`): depth first over the decisions; each execution is a replay of a prefix, then "go on"
wherever possible. An execution is cut off where it reaches a state from which the search has gone on already with
as many preemptions left (the state's hash is that of `Run.signature`).

A *world* is a function ``world(w)`` that sets the stage and gives `w.thread` bodies; it returns a check that is
called when everything has come to rest. A failure is a schedule: the list of the choices made, which
`replay` runs again.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import Any

from .copies import Copies
from .engine import Interrupt, Run, T
from .primitives import Cell, Lock, Log, RLock

Check = Callable[[], None]


class World:
    """What a world's function is given: the copies, and the stage."""

    def __init__(self, copies: Copies, run: Run) -> None:
        self.copies = copies
        self.run = run
        self.threadpool9 = copies.threadpool9
        self.task9 = copies.task9
        self.workqueue9 = copies.workqueue9
        self.log = Log()
        self.expect_errors = False
        self._bodies: list[tuple[str, Callable[[], object]]] = []

    def thread(self, name: str, body: Callable[[], object]) -> None:
        """`body` is to run on a thread of its own when the stage is set."""
        self._bodies.append((name, body))

    def interrupt(self, victim: str, call: Callable[[], object], raising: bool = False) -> None:
        """`call` may interrupt thread `victim` at any one point; `raising` if it ends with an exception."""
        self.run.interrupts.append(Interrupt(victim, call, raising))
        self.run.signals = self.run.signals or raising

    def broken_off(self, victim: str, operation: Callable[[], object], times: int = 1) -> Callable[[], None]:
        """`operation`, for thread `victim`: KeyboardInterrupt may come at any one point of it, or at any `times`."""
        inside = [True]

        def strike() -> None:
            if inside[0]:
                raise KeyboardInterrupt

        def attempt() -> None:
            try:
                operation()
            except KeyboardInterrupt:
                pass
            inside[0] = False

        for _ in range(times):
            self.interrupt(victim, strike, raising=True)
        return attempt

    def refuse_threads(self, number: int) -> None:
        """The OS refuses the next `number` threads."""
        left = [number]

        def refuse() -> bool:
            left[0] -= 1
            return left[0] >= 0

        self.run.refuse = refuse

    def idle(self, seconds: float) -> None:
        """Workers leave after that long (virtual time); by default never, and then they are left parked at the end."""
        self.threadpool9.tunables.idle_ms = seconds * 1000
        self.copies.set("threadpool9._worker._SOON", seconds)  # one look at what jobs left behind, just before

    def staff(self, *pools: Any) -> None:
        """Give each of `pools` one more worker, who is parked, and have nobody make further ones.

        That is a state which the layers come to by themselves, when a starter that was asked is slow. Worlds that are
        not about the making of threads are a good deal smaller so. Jobs must not wait for each other in there.
        """
        starter = self.threadpool9._registry.registry.starter
        if starter.absent:
            del starter.absent[0]
        for pool in pools:
            worker = self.copies.module("threadpool9._worker").Worker(pool)
            pool._workers[worker] = None
            starter.workers[worker] = None
            worker.thread.start()
        self.run.settle()

    def staff_timer(self) -> None:
        """The same for the timer."""
        timer = self.task9._timer
        timer.private_pool(timer.timer.pool, "pooltimer")
        self.staff(*timer.timer.pool)

    def job(self, fn: Callable[[Any], object], **kwargs: Any) -> Any:
        """A job that calls `fn`, then done()."""

        def run(job: Any) -> None:
            fn(job)
            with job.interlock:
                job.done()

        return self.threadpool9.Job(run, **kwargs)

    def cell(self, value: Any = None, name: str = "cell") -> Cell:
        """A value that the world's threads share."""
        return Cell(value, name)

    def pause(self, seconds: float) -> None:
        """Let time pass for the calling thread: what else is due at that time may come first, at no cost."""
        never = Lock()
        never.acquire()
        never.acquire(True, seconds)

    def lock(self) -> Any:
        """A plain lock."""
        return Lock()

    def rlock(self) -> Any:
        """A re-entrant lock."""
        return RLock()

    @property
    def meetings(self) -> Any:
        """Where threads meet that deal with one job."""
        return self.copies.module("threadpool9._job").meetings

    @property
    def errors(self) -> list[BaseException]:
        """What was reported to `threading.excepthook`."""
        return [error for error, _ in self.copies.errors]


class Plain:
    """Stands for `Copies` where a world does not need the layers."""

    threadpool9 = task9 = workqueue9 = None
    errors: list[Any] = []  # noqa: RUF012

    def reset(self) -> None:
        """Nothing to do."""


class Failure(AssertionError):
    """An execution went wrong; `schedule` replays it."""

    def __init__(self, world: str, error: BaseException, schedule: list[int], executions: int, timeline: str) -> None:
        self.error, self.schedule, self.executions, self.timeline = error, schedule, executions, timeline
        super().__init__(
            f"{world}: {type(error).__name__}: {error}\n"
            f"execution {executions}, replay with schedule {schedule}\n\n{timeline}"
        )


class Replay:
    """Makes the given choices, then goes on."""

    sleep = False

    def __init__(self, schedule: list[int]) -> None:
        self.schedule = schedule

    def choose(self, run: Run, thread: T, options: list[Any], going: bool) -> int:
        """The next choice."""
        at = len(run.decisions)
        choice = self.schedule[at] if at < len(self.schedule) else 0
        return choice if choice < len(options) else 0


class Deepening:
    """Depth first with a bound; see the module's text. One object lives through a whole search."""

    sleep = True

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.seen: dict[tuple[int, int], list[tuple[int, frozenset[int]]]] = {}
        self.todo: list[tuple[tuple[int, int], ...]] = [()]  # prefixes: (position, choice) that are not "go on"
        self.prefix: dict[int, int] = {}
        self.last = -1
        self.path: tuple[tuple[int, int], ...] = ()

    def begin(self) -> bool:
        """Take the next prefix; False when there is none."""
        if not self.todo:
            return False
        self.path = self.todo.pop()
        self.prefix = dict(self.path)
        self.last = self.path[-1][0] if self.path else -1
        return True

    def choose(self, run: Run, thread: T, options: list[Any], going: bool) -> int:
        """Follow the prefix; beyond it note the alternatives and go on, or give up where we have been."""
        at = len(run.decisions)
        if at <= self.last:
            choice = self.prefix.get(at)
            if choice is None:
                left = self.bound - run.preemptions
                choice = next(n for n, option in enumerate(options) if option[0] <= left)
            if choice >= len(options):
                raise AssertionError("a replay met other choices: something is not under control")
            return choice
        left = self.bound - run.preemptions
        key = (run.signature(), thread.id if going else 0)
        asleep = run.asleep()
        been = self.seen.setdefault(key, [])
        for their_left, their_asleep in been:
            if their_left >= left and their_asleep <= asleep:
                return -1
        been.append((left, asleep))
        first = -1
        for choice in range(len(options) - 1, -1, -1):
            if options[choice][0] <= left:
                if first >= 0:
                    self.todo.append((*self.path, (at, first)))
                first = choice
        return first


class Random:
    """Any choice, with equal chance; fewer preemptions than switches that are free."""

    sleep = False

    def __init__(self, seed: int, chance: float = 0.15) -> None:
        self.random = random.Random(seed)
        self.chance = chance

    def choose(self, run: Run, thread: T, options: list[Any], going: bool) -> int:
        """The next choice."""
        if going and self.random.random() > self.chance:
            return 0
        if not going:
            cheapest = min(option[0] for option in options)
            if self.random.random() > self.chance:
                return self.random.choice([n for n, option in enumerate(options) if option[0] == cheapest])
        return self.random.randrange(len(options))


class PCT:
    """Probabilistic concurrency testing: random priorities, and `depth` points where the running thread falls last."""

    sleep = False

    def __init__(self, seed: int, length: int, depth: int = 3) -> None:
        self.random = random.Random(seed)
        self.priority: dict[int, float] = {}
        self.fair = min(600, 4 * length + 200)
        self.falls = {self.random.randrange(max(1, length)) for _ in range(depth)}

    def choose(self, run: Run, thread: T, options: list[Any], going: bool) -> int:
        """The runnable thread of the highest priority; timeouts and interrupts now and then."""
        at = len(run.decisions)
        for _, _, target in options:
            if isinstance(target, T):
                self.priority.setdefault(target.id, 1 + self.random.random())
        if at in self.falls:
            self.priority[thread.id] = -float(at)
            rare = [n for n, option in enumerate(options) if option[1] in ("timeout", "interrupt")]
            if rare and self.random.random() < 0.5:
                return self.random.choice(rare)
        able = [n for n, option in enumerate(options) if option[1] in ("go", "run")]
        if not able:
            return self.random.randrange(len(options))
        if at > self.fair:  # strict priorities starve a thread that another one goes round for: no longer
            return self.random.choice(able)
        return max(able, key=lambda n: self.priority[options[n][2].id])


class Result:
    """What a search did."""

    def __init__(self, world: str, mode: str) -> None:
        self.world, self.mode = world, mode
        self.executions = self.complete = self.states = self.longest = 0
        self.seconds = 0.0
        self.finished = False  # nothing was left out within the bound
        self.failure: Failure | None = None

    def __str__(self) -> str:
        end = "" if self.finished else " (cut off)"
        return (
            f"{self.world}: {self.mode}{end}, {self.executions} executions ({self.complete} to the end), "
            f"{self.states} states, {self.seconds:.1f} s"
        )


class Search:
    """Searches one world on one set of copies."""

    def __init__(self, world: Callable[[World], Check | None], copies: Any = None, name: str = "") -> None:
        self.world = world
        self.copies = copies if copies is not None else Plain()
        self.name = name or world.__name__
        self.hot: set[str] = set()
        self._since_collection = 0

    def run(self, strategy: Any, trace: bool = False) -> Run:
        """One execution."""
        copies = self.copies
        copies.reset()
        run = Run(strategy, self.hot, trace)
        world = World(copies, run)
        checks: list[Check] = []

        def main() -> None:
            check = self.world(world)
            if check is not None:
                checks.append(check)
            for name, body in world._bodies:
                run.spawn(name, body, False)
            run.setup = False

        def over() -> None:
            if copies.errors and not world.expect_errors:
                raise AssertionError(f"reported: {world.errors!r}") from world.errors[0]
            for check in checks:
                check()

        run.on_over = over
        enabled = gc.isenabled()
        gc.disable()
        try:
            run.execute(main)
        finally:
            self._since_collection += 1
            if self._since_collection > 50:
                self._since_collection = 0
                gc.collect(0 if self._since_collection % 20 else 1)
            if enabled:
                gc.enable()
        return run

    def exhaust(self, bound: int, seconds: float = 1e9, executions: int = 10**9) -> Result:
        """All executions with at most `bound` preemptions, unless the limits are met first."""
        result = Result(self.name, f"bound {bound}")
        start = time.process_time()
        while True:
            strategy = Deepening(bound)
            again = False
            while strategy.begin():
                late = result.executions % 32 == 31 and time.process_time() - start > seconds
                if late or result.executions >= executions:
                    result.seconds = time.process_time() - start
                    return result
                run = self.run(strategy)
                self._count(result, run)
                if run.failure is not None:
                    self._fail(result, run, start)
                    return result
                if run.found - self.hot:
                    # More is shared than was known: what was searched so far lacked decisions.
                    self.hot |= run.found
                    again = True
                    break
            result.states = len(strategy.seen)
            if not again:
                result.finished = True
                result.seconds = time.process_time() - start
                return result

    def sample(self, executions: int, seed: int = 0, mode: str = "random", seconds: float = 1e9) -> Result:
        """Executions at random or by PCT; the hot objects are taken as `exhaust` found them, and added to."""
        result = Result(self.name, mode)
        start = time.process_time()
        length = 100
        for number in range(executions):
            if time.process_time() - start > seconds:
                break
            run = self.run(PCT(seed + number, length) if mode == "pct" else Random(seed + number))
            length = max(20, len(run.decisions))
            self._count(result, run)
            if run.failure is not None:
                self._fail(result, run, start)
                return result
            self.hot |= run.found
        result.seconds = time.process_time() - start
        return result

    def replay(self, schedule: list[int]) -> Run:
        """The execution that made these choices, with its trace."""
        return self.run(Replay(schedule), trace=True)

    def _count(self, result: Result, run: Run) -> None:
        result.executions += 1
        result.complete += not run.pruned
        result.longest = max(result.longest, run.steps)

    def _fail(self, result: Result, run: Run, start: float) -> None:
        result.seconds = time.process_time() - start
        schedule = list(run.decisions)
        while schedule and schedule[-1] == 0:
            schedule.pop()
        again = self.replay(schedule)
        error = run.failure
        assert error is not None
        if type(again.failure) is not type(error):
            error.add_note(f"the replay ended otherwise: {again.failure!r}")
        result.failure = Failure(self.name, error, schedule, result.executions, timeline(again))


def timeline(run: Run) -> str:
    """The trace of an execution as a table with a column for each thread; switches of the thread stand out."""
    threads = [thread for thread in run.threads[1:] if any(entry[0] is thread for entry in run.trace or ())]
    width = 46 if len(threads) < 4 else 38
    lines = ["     " + "".join(thread.name[: width - 2].ljust(width) for thread in threads)]
    last = None
    for number, (thread, where, what) in enumerate(run.trace or ()):
        if thread not in threads:
            continue
        column = threads.index(thread)
        text = f"{where} {what}".strip()
        lines.append(f"{number:4}{'>' if thread is not last else ' '}" + " " * (column * width) + text)
        last = thread
    return "\n".join(line.rstrip() for line in lines)
