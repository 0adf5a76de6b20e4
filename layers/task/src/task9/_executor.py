"""The executor: a job of one lane, which runs items until there are none.

From TAKING to the end of the call an executor shows that it has something in hand, and it counts in `runs` whenever it
takes something or puts it down elsewhere: who looks at several lanes and sees the same counts before and after has
looked at one moment.

Executors are made by executors: one that begins sees to it that another one is idle, as long as there are fewer than
the lane's limit; and one that takes an item while more wait starts another. So a queue costs what it has used, and
nothing is made in interrupt context.

A task never runs beside itself (TK-3): an executor that meets a task which runs elsewhere hands the ticket to that
other executor, *then* looks whether the task still runs; the other one ends the run, *then* looks what it was handed.

Rules. A: atomic, any context. E: written by the executor's thread while it runs, read by anybody. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from threadpool9 import Stalled
from threadpool9.lowlevel import (
    Plumbing,
    Steps,
    Wait,
    blank_ticket,
    claim_stall,
    discard,
    get_ident,
    insist,
    monotonic,
    note_origin,
    report_error,
    token,
)

from ._item import TAKING, Call, Item
from ._watch import probes, running, tunables

if TYPE_CHECKING:
    from ._lane import Lane


class Executor(Plumbing):
    """The job of a lane: runs items until there are none.

    Attributes:
        lane: the lane it serves.
        current: the item in hand (a tuple for a call), `TAKING` while it takes one, else None. Any context; may
            already be stale, but not if `runs` is the same before and after.
        ident: the thread that it runs on, 0 for none.
        started: how many runs have begun.
        errors: how many runs have raised.
    """

    __slots__ = ("current", "deferred", "errors", "ident", "lane", "moves", "started", "ticket")

    def __init__(self, lane: Lane) -> None:
        super().__init__(type(self)._run, lane.group.name)
        self.lane = lane  # S
        self.current: Any = None  # E: the item in hand, TAKING, or None
        self.ident = 0  # E: thread that runs us, 0 if none
        self.ticket: Any = ()  # E: the ticket taken last; full while its item is not yet in `current`
        self.started = 0  # E: how many runs have begun
        self.moves = 0  # E: how often something was put down elsewhere, or taken for no run
        self.errors = 0  # E
        #: A: tickets of items that we run, handed to us by other executors. A list from the first run on.
        self.deferred: Any = ()

    @property
    def runs(self) -> int:
        """Goes up whenever something is taken or put down elsewhere. Any context."""
        return self.started + self.moves

    def _run(self) -> None:
        lane = self.lane
        group, guard, items = lane.group, lane.guard, lane.items
        tickets, taking, call_class = iter(items.popleft, None), TAKING, tuple
        self._begin()
        halts, waiting, deferred = group.halts, group.sleepers, self.deferred
        while True:
            try:
                call = group.make_call(self)
            except MemoryError:
                call = insist(group.make_call, self)
            self.current = taking
            here = () if halts and group.halted() else items  # a close that has not seen TAKING has made its entry
            while here:
                try:
                    if guard is None:
                        if halts and group.halted():  # shown TAKING, then looked: a sweep has the lane to itself
                            break
                        # Kept in one step: a fork child finds it in `ticket`, then in `current`. See `_atomic`.
                        for ticket in tickets: self.ticket = ticket; break  # fmt: skip
                        if halts and group.halted():  # what was put here after the freeze may be what we have
                            self._put_back(ticket)
                            break
                        item = ticket[0]
                        if item.__class__ is not call_class:
                            last = item.item_executor
                            if last is not None and last is not self and not self._may_take(item, ticket):
                                continue
                            del ticket[0]; self.current = item; item.item_executor = self  # fmt: skip
                        else:
                            del ticket[0]; self.current = item  # fmt: skip
                        self.started += 1
                    else:
                        with lane.guard:  # type: ignore[union-attr]  # another one in a fork child
                            item = self._take_guarded(tickets)
                        if item is None:
                            if halts and group.halted():
                                break
                            continue
                        if items and lane.idle and not lane.promise:
                            lane.kick_another()
                except IndexError:  # nothing is left, or the ticket was withdrawn
                    continue
                except MemoryError:
                    self._refused()
                    continue
                try:
                    if item.__class__ is call_class:
                        if running.plain:
                            item[0](*item[1], **item[2])  # no variable of ours keeps them once `item` is another one
                        else:
                            run_watched(self, Call(*item), None)
                    elif not running.plain:
                        run_watched(self, item, call)
                    elif call is None:
                        try:
                            item.item_ticket = [None, None]  # from here on a schedule means another run
                        except MemoryError:
                            item.item_ticket = insist(blank_ticket)
                        item.run()
                    else:
                        call(item)  # makes it idle when it has read what the next put will overwrite
                except BaseException as error:
                    self._failed(error, item)
                    try:
                        call = group.make_call(self)  # the time of the report is nobody's
                    except MemoryError:
                        pass
                self.current = taking
                if waiting:
                    insist(group.sleepers.wake, self)
                if deferred:
                    self._take_deferred()
            item = ticket = None  # an idle executor keeps nobody alive
            self.ticket = ()
            self.current = None
            if waiting:
                insist(group.sleepers.wake, self)
            self.ident = 0
            lane.idle.append(self)
            # Look again: whoever appended before the line above saw no idle executor.
            if not items or (halts and group.halted()):
                break
            self._begin()  # another one may have relied on our being idle
        self.done()

    def _begin(self) -> None:
        """Off the idle stack; and see to it that another one is there, if there may be one more."""
        lane = self.lane
        self.ident = get_ident()
        if self.deferred == ():
            self.deferred = insist(list)
        try:
            lane.idle.remove(self)
        except ValueError:
            pass  # a post that met a run at its end
        if lane.guard is not None and len(lane.executors) < lane.limit:
            with lane.guard:
                if not lane.idle and len(lane.executors) < lane.limit:
                    try:
                        another = lane.make_executor()
                        lane.executors = (*lane.executors, another)
                        lane.idle.append(another)
                    except MemoryError:
                        pass  # the next one to begin tries again

    def _take_guarded(self, tickets: Any) -> Any:
        """Take an item and show it, under the guard; None if there is nothing to run."""
        group = self.lane.group
        if group.halts and group.halted():
            return None
        for ticket in tickets: self.ticket = ticket; break  # fmt: skip
        if group.halts and group.halted():  # since then
            self._put_back(ticket)
            return None
        item = ticket[0]
        if isinstance(item, Item):
            last = item.item_executor
            if last is not None and last is not self and not self._may_take(item, ticket):
                return None
            del ticket[0]; self.current = item; item.item_executor = self  # fmt: skip
        else:
            del ticket[0]; self.current = item  # fmt: skip
        self.started += 1
        return item

    def _refused(self) -> None:
        """Memory was refused while something was being taken: it goes back, to be taken again."""
        ticket, item = self.ticket, self.current
        if item is not TAKING and not ticket:
            ticket += (item,)
        self.current = TAKING
        if ticket:  # twice on the lane would do no harm
            self.lane.items.appendleft(ticket)
        self.ticket = ()

    def _put_back(self, ticket: list[Any]) -> None:
        """To where it was: before what nobody has taken. Under the guard, so that two keep their order."""
        self.lane.items.appendleft(ticket)
        self.moves += 1  # put down

    def _may_take(self, item: Item, ticket: list[Any]) -> bool:
        """`item` was another's the last time. False for a marker, and if it runs elsewhere and is left there."""
        if item.marker:
            self.moves += 1
            item.reached(self)  # type: ignore[attr-defined]  # what markers have; may be repeated
            del ticket[0]
            return False
        other: Any = item.item_executor
        if item.exclusive and other.current is item:
            self.lane.group.set_aside = True
            self.moves += 1  # put down
            other.deferred.append(ticket)
            if other.current is item or not discard(other.deferred, ticket):
                return False
        return True

    def _take_deferred(self) -> None:
        """Put what others have handed to us during the run back where it was scheduled, at the front."""
        # `current` is TAKING, something in hand as when taking.
        self.moves += 1
        try:
            for ticket in iter(self.deferred.pop, None):
                self.ticket = ticket
                for item in tuple(ticket):
                    item.item_lane.items.appendleft(ticket)
                    if item.item_lane.idle:
                        item.item_lane.kick_another()
        except IndexError:
            pass
        self.moves += 1

    def _failed(self, error: BaseException, item: Any) -> None:
        self.errors += 1
        group = self.lane.group
        try:
            if not isinstance(item, Item):
                item = Call(*item)
            group.report(error, item)
        except BaseException as second:
            note_origin(second, group.origin(item))
            report_error(second, origin=item)
        if isinstance(item, Item):
            if item.item_ticket is self.ticket and not self.ticket:
                # Memory was refused, or a Ctrl-C came in a loop, before it was made idle.
                group.free(item, insist(token))
            item.broken_off(error)

    def end_run(self) -> None:
        """The run counts as over although the function has not returned. The run's own thread."""
        self.current = TAKING
        if self.lane.group.sleepers:
            insist(self.lane.group.sleepers.wake, self)
        if self.deferred:
            self._take_deferred()

    def wait_end(self, item: object, wait: Wait) -> Steps[bool]:
        """Wait until the run of `item` that is under way, if any, is over; False if it was not in time."""
        run = self.runs

        def must_wait() -> bool:
            return self.runs == run and self.current is item

        sleepers = self.lane.group.sleepers
        while must_wait():
            if not (yield from sleepers.wait(self, must_wait, wait)) and must_wait():
                return False
        return True


def run_watched(executor: Executor, item: Any, call: Callable[[Any], object] | None) -> None:
    """Run `item`, which `executor` has taken, with probes around it and a time limit (TK-4). The worker's thread."""
    lane = executor.lane
    # Fired first: once the item is idle its next run may be scheduled, and the probe of that fired.
    try:
        lane.group.entering(lane, item)
    finally:
        if call is None:
            item.item_ticket = insist(blank_ticket)
    run, start = executor.runs, monotonic()
    try:
        if call is None:
            item.run()
        else:
            call(item)
    except BaseException as error:
        if (probe := probes.error) is not None:
            probe(lane, item, error)
        raise
    finally:
        took = (monotonic() - start) * 1000
        lane.group.returned(lane, item)
        limit = tunables.limit_ms
        if limit and took > limit and lane.group.shared and claim_stall(executor, run):
            late = Stalled(
                f"{item!r} took {took:.1f} ms on the shared queue {lane.group.name!r}, whose tasks are to be "
                f"shorter than {limit:g} ms; give it a TaskQueue of its own"
            )
            report_error(late, origin=item)
        del item  # an exception that a future holds keeps this frame
