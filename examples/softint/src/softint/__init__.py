"""softint: soft interrupts after NetBSD's softint(9), as a fourth layer.

For example::

    received = softint.establish(softint.Level.NET, handle_packets, card)
    received.schedule()                # any context, a signal handler too; many before it starts are one run
    received.disestablish()            # waits until it is not running

A handler runs on the CPU on which it was scheduled, on a thread of its level's priority. Those of one level and CPU run
one after the other, in the order scheduled, so a handler must not wait for long. On two CPUs it may run beside itself.

    level      a per-CPU TaskQueue with a group of our own, kept for the life of the process
    handler    an item for each CPU on which it was ever scheduled, each pending or running by itself

Fork: nothing is pending or running in the child, and every handler is still established. Exit: what was scheduled is
run. What is scheduled too late is dropped, and counted in a warning at the end: who raises interrupts can't help it.

Rules. A: atomic, any context. S: set once.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, final

from task9 import TaskQueue
from task9.lanes import Group, Item, Lane, running, scheduling
from threadpool9 import (
    PRI_SOFTBIO,
    PRI_SOFTCLOCK,
    PRI_SOFTNET,
    PRI_SOFTSERIAL,
    FinalizingError,
    UsageError,
    WaitTimeout,
)
from threadpool9.hooks import hookspec
from threadpool9.lowlevel import (
    Blocking,
    Layer,
    Sight,
    Tally,
    TunableSet,
    blank_ticket,
    check_function,
    get_ident,
    number,
    run,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Handler", "Level", "establish", "tunables"]


class Level(enum.IntEnum):
    """What a handler is for, the most urgent last. The value is the priority of its threads."""

    CLOCK = PRI_SOFTCLOCK
    BIO = PRI_SOFTBIO
    NET = PRI_SOFTNET
    SERIAL = PRI_SOFTSERIAL


# --- the layer


class Tracing:
    """The probes of this layer."""

    @hookspec
    def softint_establish(self, handler: Handler) -> None:
        """A handler was established. Its maker's thread."""

    @hookspec
    def softint_disestablish(self, handler: Handler) -> None:
        """A handler is gone and not running. The thread of disestablish's caller."""

    @hookspec
    def softint_schedule(self, handler: Handler, cpu: int) -> None:
        """A handler becomes pending on `cpu`. Any context."""

    @hookspec
    def softint_coalesced(self, handler: Handler) -> None:
        """A handler that was scheduled is pending there already. Any context."""

    @hookspec
    def softint_dropped(self, handler: Handler) -> None:
        """A handler was scheduled too late, at exit. Any context."""

    @hookspec
    def softint_entry(self, handler: Handler, cpu: int) -> None:
        """The function is about to be called. The worker's thread."""

    @hookspec
    def softint_return(self, handler: Handler, cpu: int) -> None:
        """The function has returned or raised. The worker's thread."""


class Tunables(TunableSet):
    """The tunables; the environment names them ``SOFTINT_`` and the name in capitals."""

    limit_ms: float
    """Report a handler that runs for longer than this many milliseconds; 0 (default) is off."""

    def __init__(self) -> None:
        super().__init__("softint", {"limit_ms": (0.0, number(0))})


def _in_child() -> None:
    global _dropped
    _dropped = Tally()  # the parent reports its own


def _report_dropped() -> None:
    if count := _dropped.value():
        warnings.warn(f"at exit {count} soft interrupts came too late and were dropped", RuntimeWarning, stacklevel=2)


def _watched() -> Iterator[Sight]:
    for level, queue in list(_queues.items()):
        for executor in queue.group.executors():
            run, item = executor.runs, executor.current
            if isinstance(item, _Pending) and executor.runs == run:
                yield Sight(executor, run, item, tunables.limit_ms / 1000, executor.ident, f"level {level.name}")


_dropped = Tally()  # A
_queues: dict[Level, TaskQueue] = {}  # A: an entry is never replaced
tunables = Tunables()
layer = Layer(
    "softint",
    Tracing,
    after_fork=_in_child,
    after_exit=_report_dropped,
    shortest_limit=lambda: tunables.limit_ms / 1000,
    watched=_watched,
)
probes = layer.probes
# The three that are fired for each single run ride on the tests that a lane makes for each item.
running.conditions.append(lambda: probes.entry is not None or probes.return_ is not None)
scheduling.conditions.append(lambda: probes.schedule is not None)
probes.changed.extend((running.update, scheduling.update))


# --- what is on the lanes


class _Group(Group):
    """What the lanes of one level share."""

    __slots__ = ()

    def origin(self, item: Item) -> str:
        return f"in {item!r}"

    def entering(self, lane: Lane, item: Any) -> None:
        super().entering(lane, item)
        if (probe := probes.entry) is not None:
            probe(item.handler, lane.cpu)

    def returned(self, lane: Lane, item: Any) -> None:
        if (probe := probes.return_) is not None:
            probe(item.handler, lane.cpu)
        super().returned(lane, item)


class _Pending(Item):
    """A handler on one CPU."""

    __slots__ = ("barred", "handler")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler  # S
        self.barred = 0  # A
        self.item_ticket = blank_ticket()
        self.item_lane = self.item_executor = None

    def __repr__(self) -> str:
        return repr(self.handler)

    def run(self) -> object:
        return self.handler.fn(self.handler.arg)

    def coalesce(self, group: Group) -> bool:
        if (probe := probes.coalesced) is not None:
            probe(self.handler)
        return False

    def fire_scheduled(self, lane: Lane) -> None:
        if (probe := probes.schedule) is not None:
            probe(self.handler, lane.cpu)


# --- handlers


@final
class Handler:
    """A soft interrupt handler; from `establish`. ``with`` disestablishes it at its end."""

    def __init__(self, queue: TaskQueue, level: Level, fn: Callable[[Any], object], arg: Any, name: str) -> None:
        self.level, self.fn, self.arg, self.name = level, fn, arg, name  # S
        self.gone = False  # A: disestablish has begun
        self._queue = queue  # S
        self._items: dict[Lane, _Pending] = {}  # A: an entry is never replaced

    def __repr__(self) -> str:
        return f"<soft interrupt {self.name} level {self.level.name}{' gone' if self.gone else ''}>"

    @property
    def pending(self) -> bool:
        """True if it waits on some CPU. Any context; may already be stale."""
        return any(item.item_pending for item in list(self._items.values()))

    @property
    def running(self) -> bool:
        """True while it runs on some CPU. Any context; may already be stale."""
        return any(item.item_running for item in list(self._items.values()))

    def schedule(self, cpu: int | None = None) -> bool:
        """Run it on this CPU, or on `cpu`, soon: True if that makes it pending there, False if it is, or is dropped.

        Any context; never blocks. Raises UsageError when it is gone, CPUError, and StartError as `Pool.schedule`.
        """
        lane = self._queue.lane_here() if cpu is None else self._queue.lane_of(cpu)
        item = self._items.get(lane)
        if item is None:
            item = self._items.setdefault(lane, _Pending(self))
        if self.gone:  # looked at after the item can be seen: disestablish says so, then bars what it sees
            raise UsageError(f"{self!r} can't be scheduled: it was disestablished")
        try:
            return lane.put(item)
        except FinalizingError:
            _dropped.bump()
            if (probe := probes.dropped) is not None:
                probe(self)
            return False

    def disestablish(self, timeout: float | None = None) -> None:
        """Withdraw it, and wait until it runs nowhere: it never runs again. A second time does no harm.

        Thread context; may block, at most `timeout` seconds: then WaitTimeout, and it is gone all the same. From inside
        of the handler: UsageError.
        """
        wait, what = Blocking(timeout), f"disestablishing {self!r}"
        me = get_ident()
        for item in list(self._items.values()):
            if item.item_running and item.item_executor is not None and item.item_executor.ident == me:
                raise UsageError(f"{self!r} can't disestablish itself: it would wait for its own end")
        self.gone = True
        items = list(self._items.values())
        for item in items:
            item.barred = 1  # said, then looked where it is; a put publishes it, then looks whether it is barred
        for item in items:
            while item.item_pending or item.in_hand():
                self._queue.group.withdraw(item)
                executor = item.item_executor
                if executor is None or executor.current is not item:
                    run(wait.pause(what))  # something is being taken, perhaps this: a few bytecodes
                elif not run(executor.wait_end(item, wait)):
                    raise WaitTimeout(f"{what}: it is still running")
        if (probe := probes.disestablish) is not None:
            probe(self)

    def __enter__(self) -> Handler:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.disestablish()


def establish(level: Level, fn: Callable[[Any], object], arg: Any = None, name: str | None = None) -> Handler:
    """Establish ``fn(arg)`` as a handler at `level`. Thread context. Raises TypeError; ValueError for no such level."""
    level = Level(level)
    check_function("fn", fn, " with arg")
    queue = _queues.get(level)
    if queue is None:
        title = f"softint/{level.name.lower()}"
        fresh = TaskQueue(title, level.value, percpu=True, group=_Group(title))
        queue = _queues.setdefault(level, fresh)
        if queue is not fresh:
            fresh.close()
    handler = Handler(queue, level, fn, arg, name or str(getattr(fn, "__qualname__", fn)))
    if (probe := probes.establish) is not None:
        probe(handler)
    return handler
