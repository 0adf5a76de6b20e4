"""What this layer does at fork and exit, and what the watchdog looks at (TK-4, TK-14).

In a fork child every lane is empty, every task unscheduled, every timer disarmed. What was under way is found in the
lanes, in what executors show, in the timer, and in `in_hands`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

from threadpool9 import tunables as pool_tunables
from threadpool9.lowlevel import FREE, Lock, RLock, Sight, contents, get_ident, safe_repr

from ._executor import Executor
from ._group import EXIT, FREEZE, groups
from ._item import TAKING, Call, Item, in_hands
from ._lane import sweeper, sweeping
from ._shared import registry
from ._timer import timer
from ._watch import layer, tunables


def _in_child() -> None:
    registry.lock = RLock()
    me = get_ident()
    stranded: list[Any] = [*timer.forget_all(), *in_hands]
    in_hands.clear()
    tickets = list(sweeping)
    sweeping.clear()
    sweeper[:] = FREE
    for group in groups.all():
        stranded += group.armed.values()
        group.armed.clear()
        group.sleepers.clear()
        group.halts.pop(EXIT, None)
        for lane in group.lanes:
            tickets += lane.items
            lane.items.clear()
            lane.swept += lane.swept % 2
            group.halts.pop(lane, None)
            lane.promise = None
            if lane.guard is not None:
                lane.guard = Lock()
            for executor in lane.executors:
                tickets += [executor.ticket, *executor.deferred]
                if executor.deferred:
                    executor.deferred.clear()
                executor.ticket = ()
                if executor.ident != me:  # what this very thread runs goes on
                    stranded.append(executor.current)
                    executor.current, executor.ident = None, 0
            lane.idle[:] = [executor for executor in lane.executors if not executor.ident]
    stranded += [item for ticket in tickets for item in ticket]
    for item in stranded:
        if isinstance(item, Item) and not item.marker:
            item.forget_threads()


def _before_exit() -> None:
    timer.stop()
    for group in groups.all():
        group.halts[EXIT] = None  # so that each put asks whether it is still let in


def _cancel_queued() -> None:
    for group in groups.all():
        for lane in list(group.lanes):
            lane.withdraw_all()


def _generation() -> Callable[[], bool]:
    """Whether everything is over that waits or runs now."""
    waiting: list[list[Any]] = []
    runs: list[tuple[Executor, int]] = []
    for group in groups.all():
        if group.halted():
            continue  # what is held is not waited for, but reported
        for lane in list(group.lanes):
            if lane.in_loop:
                continue  # nor what waits for a loop that does not run any more
            waiting += [ticket for ticket in contents(lane.items) if ticket]
            runs += [(executor, executor.runs) for executor in lane.executors if executor.current is not None]

    def over() -> bool:
        return not any(waiting) and not any(e.runs == run and e.current is not None for e, run in runs)

    return over


def _waiting() -> Iterable[str]:
    for group in groups.all():
        for lane in list(group.lanes):
            pending = len(lane.pending())
            for executor in lane.executors:
                if (item := shown(executor)) is not None:
                    yield f"{safe_repr(item)} on queue {group.name!r}"
            if pending:
                yield f"{pending} more on queue {group.name!r}"


def _report_held() -> None:
    """At the end of the exit: what can't run is not lost without a word."""
    for group in groups.all():
        held = sum(len(lane.pending()) for lane in list(group.lanes))
        why = "is frozen" if FREEZE in group.halts else "waits for its event loop"
        if held and (FREEZE in group.halts or any(lane.in_loop for lane in group.lanes)):
            warnings.warn(f"at exit queue {group.name!r} {why}: {held} were not run", RuntimeWarning, stacklevel=2)


def shown(executor: Executor) -> object:
    """What it runs, as people are to see it; None if nothing."""
    current = executor.current
    return Call(*current) if isinstance(current, tuple) else None if current is TAKING else current


def _shortest_limit() -> float:
    limits = [limit for limit in (pool_tunables.stall_ms, tunables.limit_ms) if limit > 0]
    return min(limits) / 1000 if limits else 0.0


def _watched() -> list[Sight]:
    """Every task, and those of shared queues more strictly."""
    sights = []
    for group in groups.all():
        limits = [pool_tunables.stall_ms, tunables.limit_ms if group.shared else 0.0]
        limit = min((limit for limit in limits if limit > 0), default=0.0) / 1000
        for executor in group.executors() if limit else ():
            run, item = executor.runs, shown(executor)
            if item is not None and executor.runs == run:
                sights.append(Sight(executor, run, item, limit, executor.ident, f"queue {group.name!r}"))
    return sights


layer.after_fork = _in_child
layer.before_exit = _before_exit
layer.cancel_queued = _cancel_queued
layer.generation = _generation
layer.waiting = _waiting
layer.after_exit = _report_held
layer.shortest_limit = _shortest_limit
layer.watched = _watched
