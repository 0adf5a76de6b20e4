"""One execution: threads that run one at a time, with a decision before each operation on shared state.

A *point* is one operation on one shared object (a lock, a deque, a queue, a list, a dict, one attribute of one
object). Before it the explorer may let another thread run: a *preemption*. Where a thread blocks or ends, the
choice of the next one is free, and so it is where a thread spins. A timed wait that could go on waiting may end at
any time: that costs a preemption while others can run, and the virtual clock jumps to the deadline. An *interrupt*
is a function that is called on its victim's own thread at a point, as a signal handler is, at most once; it costs
nothing.

What the execution did is kept as a hash of its *happens-before* order: each event is hashed with the event before it on
its thread and with the last events on the same object that conflict with it. Two executions with the same hash have
done the same operations with the same results, so they are in the same state, however they were interleaved. The
search goes on from each state once (see `search`).

Only points on objects that are raced for are decisions ("hot"): two threads used one, at least one of them wrote,
and no other event ordered the two (vector clocks tell). To swap any other pair takes a decision elsewhere.
Which objects
are hot is found out while searching; `Run.found` tells what was not known before.

A thread that was preempted before an operation *sleeps* until somebody does something that conflicts with that
operation: were it to go on before, the preemption might as well have come after the operation, at the same cost,
and that is searched too. Time that passes wakes everybody. (Sleep sets in full do not go together with a bound on
preemptions; this part of them does.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .fibers import make_fiber, make_hub

NEVER = 1e5  # a timed wait of that many seconds or more does not time out

MOST = 12  # threads in one execution

#: A thread that has done so many operations without anybody else is preempted for free: what spins until another thread
#: has gone on is no livelock. No world has a thread that does as many without spinning.
PATIENCE = 300


class Abort(BaseException):
    """Unwinds the threads of an execution that is over."""


class Deadlock(Exception):
    """Nobody can run, and somebody who should not wait for ever does."""


class Livelock(Exception):
    """The execution has had too many steps."""


class Unrepeatable(Exception):
    """A replay met other choices than the execution that it replays: something is not under control."""


class Rec:
    """What one execution knows of one shared object."""

    __slots__ = (
        "by", "depths", "hot", "key", "name", "readers", "reads", "reads_clock", "run", "write", "write_at",
        "write_clock",
    )  # fmt: skip

    def __init__(self, run: Run, key: str) -> None:
        self.run = run
        self.key = key
        thread = run.current
        thread.made += 1
        self.name = hash((thread.id, thread.made))  # the same however the making was interleaved
        self.hot = key in run.hot
        self.write = 0  # hash of the last write
        self.reads = 0  # hash of the reads since
        self.by = -1  # thread of the last write, its time there, and all that came before it
        self.write_at = 0
        self.write_clock: list[int] | None = None
        self.readers: dict[int, int] = {}  # the same for the reads since
        self.reads_clock: list[int] | None = None
        self.depths = 0  # bits: read, written outside of interrupts; read, written inside


def _join(one: list[int], other: list[int]) -> list[int]:
    return [a if a > b else b for a, b in zip(one, other, strict=True)]


class Interrupt:
    """`call` runs on `victim`'s thread at one of its points (or never).

    One that raises, as a Ctrl-C does, comes only where the interpreter looks for signals: after calls, when a loop goes
    round, and at the start of a function; the copies must be made with ``signals=True`` to have these places.
    """

    def __init__(self, victim: str, call: Callable[[], object], raising: bool) -> None:
        self.victim = victim
        self.call = call
        self.raising = raising
        self.fired = False


class T:
    """A controlled thread."""

    __slots__ = (
        "api", "asleep", "children", "clock", "daemon", "deadline", "depth", "done", "fiber", "hash", "id", "ident",
        "made", "name", "timed_out", "waiting", "where",
    )  # fmt: skip

    def __init__(self, name: str, id_: int, ident: int, daemon: bool) -> None:
        self.name = name
        self.id = id_
        self.ident = ident
        self.daemon = daemon
        self.hash = id_
        self.clock = [0] * MOST
        self.asleep: tuple[Rec, bool] | None = None  # the operation that it was preempted before
        self.fiber: Any = None
        self.done = False
        self.waiting: Any = None  # what it is blocked on
        self.deadline: float | None = None
        self.timed_out = False
        self.children = self.made = self.depth = 0
        self.api: Any = None  # the object that `current_thread` gives
        self.where = ""

    def enabled(self) -> bool:
        """True unless it is blocked."""
        return self.waiting is None or self.waiting.ready()


class Run:
    """One execution of one world under a strategy; see the module's text."""

    current_run: Run | None = None

    def __init__(self, strategy: Any, hot: set[str], trace: bool = False, limit: int = 4000) -> None:
        self.strategy = strategy
        self.hot = hot
        self.found: set[str] = set()
        self.trace: list[tuple[T, str, str]] | None = [] if trace else None
        self.limit = limit
        self.steps = 0
        self.turn = 0  # the step at which the running thread got its turn
        self.preemptions = 0
        self.decisions: list[int] = []
        self.clock = 1000.0
        self.threads: list[T] = []
        self.live: list[T] = []
        self.sleepers: list[T] = []
        self.interrupts: list[Interrupt] = []
        self.signals = False  # an interrupt that raises is armed
        self.setup = True
        self.passive = True
        self.aborting = False
        self.pruned = False
        self.over = False
        self.failure: BaseException | None = None
        self.result: object = None  # for a world's check to fill
        self.next: T | None = None
        self.attrs: dict[tuple[int, str], tuple[Rec, object]] = {}
        self.hub = make_hub()
        self.current = T("setup", 1, 1, False)
        self.refuse: Callable[[], bool] | None = None
        self.on_over: Callable[[], None] | None = None

    # --- running

    def execute(self, main: Callable[[], None]) -> None:
        """Run `main` and all threads that come of it to the end, or to the first failure."""
        assert Run.current_run is None
        Run.current_run = self
        first = self.current
        self.threads.append(first)
        self.live.append(first)
        first.fiber = make_fiber(lambda: self._main(first, main), self.hub)
        self.passive = False
        try:
            self.next = first
            while self.next is not None:
                thread, self.next = self.next, None
                self.current = thread
                self.hub.run(thread.fiber)
            if not self.aborting and self.on_over is not None:
                self.passive = True
                try:
                    self.on_over()
                except Exception as error:
                    self.failure = error
                self.passive = False
        finally:
            self.aborting = True
            for thread in self.threads:
                tries = 0
                while not thread.done:
                    self.current = thread
                    self.hub.run(thread.fiber)
                    tries += 1
                    assert tries < 1000, f"{thread.name} does not end"
            Run.current_run = None

    def _main(self, thread: T, body: Callable[[], object]) -> None:
        try:
            if not self.aborting:
                if self.trace is not None:
                    self.trace.append((thread, "", "begins"))
                if self.interrupts:  # at the first point, so that it gets known what a handler touches
                    self._decide(thread, None)
                    thread.hash = hash((thread.hash, 19))
                body()
        except Abort:
            pass
        except BaseException as error:
            if not self.aborting:
                self.failure = error
                self.aborting = True
        thread.done = True
        self.live.remove(thread)
        if self.trace is not None and not self.aborting:
            self.trace.append((thread, "", "ends"))
        if not self.aborting:
            thread.hash = hash((thread.hash, 7))
            try:
                self.next = self._after_end(thread)
            except Abort:
                pass

    def _after_end(self, thread: T) -> T | None:
        options = self._others(thread)
        if not options:
            self._nobody()
            return None
        return self._commit(thread, options[self._choose(thread, options, False)])

    def spawn(self, name: str, body: Callable[[], object], daemon: bool) -> T:
        """A new controlled thread, child of the current one; it may run from the next decision on."""
        parent = self.current
        parent.children += 1
        thread = T(name, hash((parent.id, 21, parent.children)), len(self.threads) + 1, daemon)
        assert len(self.threads) < MOST, "too many threads"
        parent.clock[parent.ident - 1] += 1
        thread.clock[:] = parent.clock
        thread.hash = hash((parent.hash, thread.id))
        parent.hash = hash((parent.hash, 3, parent.children))
        thread.fiber = make_fiber(lambda: self._main(thread, body), self.hub)
        self.threads.append(thread)
        self.live.append(thread)
        return thread

    def fail(self, error: BaseException) -> None:
        """End the execution with `error`."""
        if self.failure is None:
            self.failure = error
        self.aborting = True
        raise Abort

    # --- points

    def attr(self, obj: object, name: str, write: bool) -> None:
        """A point on one attribute of one object."""
        known = self.attrs.get((id(obj), name))
        if known is None:
            kind = obj.__name__ if isinstance(obj, type) else type(obj).__name__
            known = self.attrs[id(obj), name] = (Rec(self, f"{kind}.{name}"), obj)
        self.point(known[0], write, "store" if write else "load")

    def point(self, rec: Rec, write: bool, what: str) -> None:
        """The operation `what` on `rec` comes next; others may come before it."""
        if self.passive or self.setup:
            return
        if rec.hot:
            self.before(rec, write)
            self.event(rec, write, what)
            return
        if self.aborting:
            raise Abort
        self.steps += 1
        if self.steps > self.limit:
            self.fail(Livelock(f"more than {self.limit} steps"))
        self._watch(self.current, rec, write)
        if self.trace is not None:
            self.trace.append((self.current, where(), f"{what} {rec.key}"))

    def before(self, rec: Rec, write: bool) -> None:
        """The first half of a point: the decision."""
        if self.setup:
            return
        if self.aborting:
            raise Abort
        self.steps += 1
        if self.steps > self.limit:
            self.fail(Livelock(f"more than {self.limit} steps"))
        if rec.hot:
            self._decide(self.current, (rec, write))

    def event(self, rec: Rec, write: bool, what: str) -> None:
        """The second half: the operation happens now."""
        if self.setup:
            return
        thread = self.current
        if not rec.hot:
            self._watch(thread, rec, write)
            if self.trace is not None:
                self.trace.append((thread, where(), f"{what} {rec.key}"))
            return
        if write:
            thread.hash = rec.write = hash((thread.hash, rec.name, rec.write, rec.reads))
            rec.reads = 0
        else:
            thread.hash = hash((thread.hash, rec.name, rec.write))
            rec.reads ^= thread.hash
        self._note_order(thread, rec, write)
        if self.sleepers:
            for other in self.sleepers:
                asleep = other.asleep
                if asleep is not None and asleep[0] is rec and (write or asleep[1]):
                    self._wake(other)
                    break
        if self.trace is not None:
            self.trace.append((thread, where(), f"{what} {rec.key}"))

    def _watch(self, thread: T, rec: Rec, write: bool) -> None:
        """An operation on an object that is not raced for, as far as is known: no decision, and what comes of it
        follows from the operations on the hot ones. See whether it is raced for after all.
        """
        clock, me = thread.clock, thread.ident - 1
        at = clock[me] + 1  # covered by the clock of whoever is ordered after our next hot event
        writer, readers = rec.by, rec.readers
        raced = -1
        if writer >= 0 and writer != me and rec.write_at > clock[writer]:
            raced = writer
        if write:
            for reader, when in readers.items():
                if reader != me and when > clock[reader]:
                    raced = reader
            if readers:
                readers.clear()
            rec.by, rec.write_at = me, at
        else:
            readers[me] = at
        if raced >= 0:
            self.found.add(rec.key)
            # The search begins anew. Meanwhile take it as ordering the two, not to find what it does order.
            self.threads[raced].clock[raced] += 1
            thread.clock = _join(clock, self.threads[raced].clock)
        elif self.interrupts:
            rec.depths |= (2 if write else 1) << (2 if thread.depth else 0)
            if (rec.depths & 2 and rec.depths & 12) or (rec.depths & 8 and rec.depths & 3):
                self.found.add(rec.key)

    def _note_order(self, thread: T, rec: Rec, write: bool) -> None:
        """A hot operation orders what came before it, on both threads, before what comes after."""
        clock, me = thread.clock, thread.ident - 1
        clock[me] += 1
        writer = rec.by
        if writer >= 0 and rec.write_at > clock[writer]:
            clock = thread.clock = _join(clock, rec.write_clock)
        if write:
            if rec.readers:
                if len(rec.readers) > 1 or me not in rec.readers:
                    clock = thread.clock = _join(clock, rec.reads_clock)
                rec.readers.clear()
            rec.write_clock, rec.by, rec.write_at = clock.copy(), me, clock[me]
        else:
            others = len(rec.readers) > 1 or (rec.readers and me not in rec.readers)
            rec.reads_clock = _join(rec.reads_clock, clock) if others else clock.copy()
            rec.readers[me] = clock[me]

    def _wake(self, thread: T) -> None:
        thread.asleep = None
        self.sleepers = [other for other in self.sleepers if other.asleep is not None]

    def signal(self) -> None:
        """The interpreter looks for signals here: an interrupt that raises may come."""
        if self.passive or self.setup:
            return
        if self.aborting:
            raise Abort
        thread = self.current
        self._decide(thread, None, True)
        thread.hash = hash((thread.hash, 19))  # further on, though nothing has happened

    def _decide(self, thread: T, pending: tuple[Rec, bool] | None, signal: bool = False) -> None:
        """Who goes on, before `thread` does `pending`; None: only interrupts may come, those that raise if `signal`."""
        while True:
            options: list[tuple[int, str, Any]] = [(0, "go", thread)]
            if pending is not None and len(self.live) > 1:
                for other in self.live:
                    if other is not thread:
                        waiting = other.waiting
                        if waiting is None or waiting.ready():
                            options.append((1, "run", other))
                        elif other.deadline is not None:
                            options.append((1, "timeout", other))
            if self.steps - self.turn > PATIENCE:
                fair = [(0, *option[1:]) for option in options if option[1] == "run"]
                if fair:
                    self._switch(thread, self._commit(thread, fair[self._choose(thread, fair, False)]))
                    return
            if self.interrupts:
                self._add_interrupts(thread, options, signal)
            if len(options) == 1:
                return
            option = options[self._choose(thread, options, True)]
            if option[1] == "go":
                return
            if option[1] == "interrupt":
                self._interrupt(thread, option[2])
                continue
            target = self._commit(thread, option)
            if option[1] == "run":
                thread.asleep = pending
                self.sleepers.append(thread)
            self._switch(thread, target)
            return

    def _add_interrupts(self, thread: T, options: list[tuple[int, str, Any]], signal: bool) -> None:
        for interrupt in self.interrupts:
            if not interrupt.fired and interrupt.victim == thread.name and interrupt.raising is signal:
                options.append((0, "interrupt", interrupt))

    def _interrupt(self, thread: T, interrupt: Interrupt) -> None:
        interrupt.fired = True
        self.signals = any(i.raising and not i.fired for i in self.interrupts)
        thread.hash = hash((thread.hash, 5, self.interrupts.index(interrupt)))
        if self.trace is not None:
            self.trace.append((thread, where(), "is interrupted"))
        thread.depth += 1
        try:
            interrupt.call()
        finally:
            thread.depth -= 1
            if self.trace is not None:
                self.trace.append((thread, "", "the interrupt returns"))

    def _commit(self, thread: T, option: tuple[int, str, Any]) -> T:
        """Make `option` true; returns the thread that is to run."""
        cost, kind, target = option
        self.preemptions += cost
        if kind == "timeout":
            target.timed_out = True
            self.clock = max(self.clock, target.deadline)
            while self.sleepers:
                self._wake(self.sleepers[0])
            target.hash = hash((target.hash, 11, self.clock))
        return target

    def _switch(self, thread: T, target: T) -> None:
        if target is thread:
            return
        self.current = target
        self.turn = self.steps
        thread.fiber.switch(target.fiber)
        if self.aborting:
            raise Abort

    def _others(self, thread: T) -> list[tuple[int, str, Any]]:
        """What may happen when `thread` cannot go on."""
        options = [(0, "run", other) for other in self.live if other is not thread and other.enabled()]
        cost = 1 if options else 0
        for other in self.live:
            if other.deadline is not None and not other.enabled():
                options.append((cost, "timeout", other))
        return options

    def block(self, obj: Any, deadline: float | None) -> bool:
        """Wait until ``obj.ready()``; False if `deadline` (virtual time) passed before. `obj` was found not ready."""
        if self.passive:
            raise RuntimeError(f"would wait for {obj.describe()} outside of the exploration")
        thread = self.current
        if deadline is not None and deadline - self.clock >= NEVER:
            deadline = None
        if deadline is not None:
            thread.hash = hash((thread.hash, 13, deadline))
        if self.trace is not None:
            self.trace.append((thread, where(), f"waits for {obj.describe()}"))
        thread.where = where()
        while True:
            thread.waiting, thread.deadline, thread.timed_out = obj, deadline, False
            options = self._others(thread)
            if self.interrupts:
                self._add_interrupts(thread, options, False)
            if not options:
                self._nobody()
                self.next = None
                thread.fiber.switch(self.hub)
                raise Abort
            option = options[self._choose(thread, options, False)]
            if option[1] == "interrupt":
                thread.waiting = thread.deadline = None
                self._interrupt(thread, option[2])
                if obj.ready():
                    return True
                continue
            self._switch(thread, self._commit(thread, option))
            thread.waiting = thread.deadline = None
            return not thread.timed_out

    def settle(self) -> None:
        """While the stage is set: let all others run until they wait for something that has no time limit."""
        assert self.setup
        others = [thread for thread in self.live if thread is not self.current]

        class Quiet:
            def ready(self) -> bool:
                return all(t.done or (not t.enabled() and t.waiting and t.deadline is None) for t in others)

            def describe(self) -> str:
                return "a quiet stage"

        if not Quiet().ready():
            self.block(Quiet(), None)

    def _nobody(self) -> None:
        """Nobody can run: the end, or a deadlock."""
        stuck = [thread for thread in self.live if not thread.daemon]
        if stuck:
            waits = "; ".join(
                f"{t.name} waits for {t.waiting.describe()} at {t.where}" for t in self.live if t.waiting is not None
            )
            self.fail(Deadlock(waits))
        self.over = True

    def _choose(self, thread: T, options: list[tuple[int, str, Any]], going: bool) -> int:
        if self.setup:
            return 0
        if self.sleepers and self.strategy.sleep:
            # Numbered among all, so that a schedule does not depend on who sleeps; but not to be chosen.
            options = [(99, *option[1:]) if getattr(option[2], "asleep", None) else option for option in options]
        if len(options) == 1:
            choice = 0 if options[0][0] < 99 else -1
        else:
            choice = self.strategy.choose(self, thread, options, going)
        if choice < 0:
            self.pruned = self.aborting = True
            raise Abort
        if len(options) > 1:
            self.decisions.append(choice)
        return choice

    def asleep(self) -> frozenset[int]:
        """Who sleeps."""
        return frozenset(thread.id for thread in self.sleepers)

    def signature(self) -> int:
        """The same for executions that are in the same state."""
        total = hash(self.clock)
        for thread in self.threads:
            total += hash((thread.id, thread.hash))
        return total


def where() -> str:
    """file:line of the innermost frame that is not ours."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "explore9" not in name:
            return f"{name.rpartition('/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
