"""Waiting for what a set of lanes holds, and ending it (TK-7, TK-16). See threadpool9's `_waiting` for how.

A drain puts a marker on each lane that is not quiet. When an executor meets the marker, everything before it has been
taken; what other executors of the lane have in hand at that moment is waited for after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from threadpool9 import WaitTimeout
from threadpool9.lowlevel import Steps, Wait, Waiters, discard

from ._errors import QueueClosed
from ._executor import Executor
from ._group import CLOSED, FREEZE, Closing, Group
from ._item import TAKING, Item
from ._lane import Lane

_NOBODY: Any = object()  # in place of the executor that ran it last; not None, so that who takes a marker looks at it


class Marker(Item):
    """What a drain puts on a lane."""

    __slots__ = ("_others", "_reached", "_waiters")
    marker = True

    def __init__(self) -> None:
        self.item_ticket = [None, None]
        self.item_lane = None
        self.item_executor = _NOBODY
        self._reached = False  # written by the executor that got here
        self._waiters = Waiters()
        #: What other executors of the lane had in hand at that moment: (executor, item, run).
        self._others: list[tuple[Executor, object, int]] = []

    def reached(self, me: Executor) -> None:
        """By the executor that meets us, under the lane's guard: nobody takes anything in between."""
        # One that is TAKING has nothing in hand: it waits for the guard.
        self._others = [
            (e, e.current, e.runs) for e in me.lane.executors if e is not me and e.current not in (None, TAKING)
        ]
        self._reached = True
        self._waiters.wake_all()

    def wait(self, wait: Wait, what: str) -> Steps[None]:
        """Until we were met and what the others had in hand is over."""
        yield from self._waiters.wait_until_not(lambda: not self._reached, wait, what)
        for executor, item, run in self._others:

            def busy(executor: Executor = executor, item: object = item, run: int = run) -> bool:
                return executor.runs == run and executor.current is not None and executor.current is item

            yield from executor.lane.group.sleepers.wait_until_not(executor, busy, wait, what)

    def __repr__(self) -> str:
        return "<drain marker>"


def _holds_nothing(lane: Lane, wait: Wait, what: str) -> Steps[bool]:
    """True if the lane is halted and nothing waits there."""
    while lane.group.halted() and not lane.pending():
        runs, swept = lane.runs(), lane.swept
        if (
            not any(executor.current is TAKING for executor in lane.executors)
            and not lane.pending()
            and runs == lane.runs()
            and not swept % 2
            and swept == lane.swept
        ):
            return True
        # Somebody is taking right now, and puts back what is not to be taken: a few bytecodes.
        yield from wait.pause(what)
    return False


def _wait_for_runs(executors: Iterable[Executor], wait: Wait, what: str) -> Steps[None]:
    for executor in executors:
        current = executor.current
        if current is not None and current is not TAKING and not (yield from executor.wait_end(current, wait)):
            raise WaitTimeout(f"{what}: the time limit ran out")


def drain_once(group: Group, wait: Wait, what: str) -> Steps[None]:
    """Until all that was put on the lanes of `group` before this call is over."""
    yield from _pass(group, wait, what)
    if not group.set_aside:
        return
    # A task that was running elsewhere when its turn came was set aside. Once the run that was in its way is over,
    # the executor takes it in hand and puts it back at the front of its lane: so wait for those runs, then for
    # what executors have in hand, then for what they have put back.
    yield from _wait_for_runs([executor for executor in group.executors() if executor.deferred], wait, what)
    yield from _pass(group, wait, what)
    yield from _pass(group, wait, what)


def _pass(group: Group, wait: Wait, what: str) -> Steps[None]:
    markers: list[tuple[Lane, Marker]] = []
    try:
        for lane in list(group.lanes):
            while not lane.quiet():
                if (yield from _holds_nothing(lane, wait, what)):
                    # A halted lane takes no marker either; nothing waits there, so its runs are all there is.
                    yield from _wait_for_runs(lane.executors, wait, what)
                    continue  # without a GIL one may have shown what it takes and not counted it yet: look again
                marker = Marker()
                markers.append((lane, marker))
                try:
                    lane.put(marker)
                    break
                except QueueClosed:  # a close is looking whether it is through: look, too
                    markers.pop()
                    yield from wait.pause(what)
        for _, marker in markers:
            yield from marker.wait(wait, what)
    except BaseException as error:
        for lane, marker in markers:
            discard(lane.items, marker.item_ticket)
        if isinstance(error, WaitTimeout):
            raise WaitTimeout(f"{error} with {_left(group)}") from None
        raise


def _left(group: Group) -> str:
    """What a drain would have to wait for, for people."""
    waiting = sum(len(lane.pending()) for lane in list(group.lanes))
    running = sum(executor.current not in (None, TAKING) for executor in group.executors())
    frozen = "; the queue is frozen, thaw() it" if FREEZE in group.halts else ""
    return f"{waiting} waiting and {running} running{frozen}"


def drain_until_quiet(group: Group, wait: Wait, what: str) -> Steps[None]:
    """Until nothing is left, what is put on meanwhile included."""
    while not group.quiet():
        yield from _pass(group, wait, what)
        if not group.quiet():
            yield from wait.pause(what)  # two who drain would otherwise wait for each other's markers, in turns


def end(group: Group, cancelled: list[Item], wait: Wait) -> Steps[None]:
    """Cancel what is armed and drain, until no executor takes anything any more, and nothing is there to take.

    What was cancelled is appended to `cancelled`. The group is halted for good when this returns.
    """
    what = f"closing queue {group.name!r}"
    ended = Closing()
    try:
        while True:
            disarm_all(group, cancelled)
            yield from drain_until_quiet(group, wait, what)
            # Publish, then look: see the head of `_group`.
            group.halts[ended] = None
            disarm_all(group, cancelled)  # a period that was beginning has armed its next one
            if not any(item.armed for item in list(group.armed.values())) and group.quiet():
                group.halts[CLOSED] = None
                group.halts.pop(ended, None)
                return
            group.let_go(ended)
            yield from wait.pause(what)
    except BaseException:
        group.let_go(ended)
        raise


def disarm_all(group: Group, cancelled: list[Item]) -> None:
    """Cancel what is armed for `group`; what is on its lane already runs instead. Any context."""
    for timing, item in list(group.armed.items()):
        ticket = timing.ticket
        if ticket and group.withdraw(item, ticket):
            cancelled.append(item)
