"""The lane: a FIFO of items and the executors that empty it. Every queue of this stack is made of lanes.

    Group     what the lanes of one queue share: name, reasons to halt, who waits
    Lane      items        [t] [t] [ ] [t]   tickets, oldest left; an empty one was withdrawn
              idle         executors that may be started, the last one in is the first one out
    Executor  one pool job, run by one worker at a time; `current` is what it is doing

A private queue is one lane with up to `limit` executors on an unbound pool; a shared queue is one lane with one
executor for each CPU, on that CPU's pool. A task walks like this:

    put        take the token; append the ticket to items; if an executor is idle, post its job, and leave a promise:
               a burst posts once.
    execute    current = TAKING; take a ticket; current = item; give the token back; call; current = TAKING ...; None
    idle       publish itself in idle; *look again* at items; done()

From TAKING to the end of the call an executor shows that it has something in hand, and it counts in `runs` whenever it
takes something or puts it down elsewhere: who looks at several lanes and sees the same counts before and after has
looked at one moment.

Executors are made by executors: one that begins sees to it that another one is idle, as long as there are fewer than
`limit`; and one that takes an item while more wait starts another. So a queue costs what it has used, and nothing is
made in interrupt context.

A task never runs beside itself (TK-3): an executor that meets a task which runs elsewhere hands the ticket to that
other executor, *then* looks whether the task still runs; the other one ends the run, *then* looks what it was handed.

Executors take nothing while `halts` of their group has an entry other than EXIT: a work queue's freeze makes one, a
sweep one for its lane, and a close, which is the end, one for itself. 1. A close makes its entry when nothing is left.
2. It looks once more. On the other side, 1. an executor shows TAKING, 2. it looks at `halts`; and 1. a put appends its
ticket, 2. it looks at `halts`. So what comes too late for a close is found by the close, which takes its entry back and
waits for it, or by the put, which withdraws it.

Rules. A: atomic, any context. E: written by the executor's thread while it runs, read by anybody. S: set at init.
G: written under the lane's guard.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NoReturn

from threadpool9 import Error, Job, Pool
from threadpool9.lowlevel import (
    FREE,
    Flock,
    Lock,
    Plumbing,
    Sleepers,
    contents,
    deque,
    discard,
    exiting,
    get_ident,
    note_origin,
    report_error,
    token,
)

from ._call import Call
from ._errors import QueueClosed
from ._item import Item, in_hands
from ._run import run_watched
from ._timer import Timing
from ._watch import probes, running, scheduling

__all__ = ["CLOSED", "EXIT", "FREEZE", "TAKING", "Executor", "Group", "Lane", "groups"]

#: What an executor shows while it takes something, or has something in hand that it puts down elsewhere.
TAKING: Any = type("Taking", (), {"__repr__": lambda self: "TAKING"})()
#: Entries in `halts`: a work queue's freeze, the end, and the exit of the interpreter, during which executors go on;
#: every other one is a close, or a sweep, that is looking round.
FREEZE, CLOSED, EXIT = "freeze", "closed", "exit"
_SHORT = 64  # a withdrawn ticket is taken out of a lane that is not longer


class Group:
    """What the lanes of one queue share. Lanes know the group, never the queue: a queue can be dropped.

    A layer overrides what its queues do otherwise, and hands the group to `task9.TaskQueue`.

    Attributes:
        name: for people.
        lanes: the lanes; appended to when a CPU comes.
        halts: not empty while executors must not take anything, or a put has to ask `look_closed`.
        sleepers: who waits for the end of a run, by executor.
    """

    __slots__ = ("__weakref__", "armed", "halts", "lanes", "name", "set_aside", "shared", "sleepers")

    def __init__(self, name: str, shared: bool = False) -> None:
        self.name = name  # S
        self.shared = shared  # S: a shared queue, whose tasks are to be short
        self.halts: dict[object, None] = {EXIT: None} if exiting.begun else {}  # A: see above
        self.set_aside = False  # A: an executor has ever handed a ticket to another one
        self.lanes: list[Lane] = []  # S, but for CPUs that come later: appended
        self.sleepers = Sleepers()  # A: who waits for the end of an executor's run
        self.armed: dict[Timing, Any] = {}  # A: items that wait in the timer for this queue, by their timing
        groups.add(self)

    # --- what a layer above may do otherwise

    def report(self, error: BaseException, item: Item) -> None:
        """An exception left the function of `item` (TK-14)."""
        note_origin(error, self.origin(item))
        report_error(error, origin=item)

    def origin(self, item: Item) -> str:
        """Where `item` has run, for the report of its exception."""
        return f"in queue {self.name!r}, {item!r}"

    def make_call(self, executor: Executor) -> Callable[[Any], object] | None:
        """What `executor` is to call with each item of the batch that begins; None: the item's own function."""
        return None

    def undone(self, item: Item) -> None:
        """`item`, which was on a lane of ours, is idle without a run: withdrawn, or nobody can run it. Any context."""

    def refuse_closed(self) -> NoReturn:
        """Raise what a put on a queue that is closed raises."""
        raise QueueClosed(f"queue {self.name!r} is closed and takes no new tasks")

    def withdraw(self, item: Any) -> bool:
        """Withdraw `item`, which is pending here; True if it was still there. Any context."""
        hand: list[None] = []
        try:
            withdrawn: bool = item.take_back(hand)
            if withdrawn:
                self.count_withdrawn(item)  # before the next schedule can be
            self.free(item, hand)
        except BaseException:
            self.free(item, hand)  # once more, or for nothing, does no harm
            item.was_withdrawn()
            raise
        if withdrawn:
            item.was_withdrawn()
        return withdrawn

    def count_withdrawn(self, item: Item) -> None:
        """`item` was withdrawn; its token is still in somebody's hand. Any context."""
        item.fire_cancelled()

    def free(self, item: Item, hand: list[None]) -> None:
        """`item`, whose token is in `hand`, becomes idle without a run. Any context. May be repeated."""
        # Without a further call, as `Item.give_back`: it undoes what had no frame left.
        if hand:
            free = item.item_token
            if item in in_hands:
                del in_hands[item]
            free += hand; del hand[:]  # fmt: skip  # noqa: E702
        self.undone(item)

    def entering(self, lane: Lane, item: Any) -> None:
        """`item` is about to be called; only while somebody listens."""
        if (probe := probes.entry) is not None:
            probe(lane, item)

    def returned(self, lane: Lane, item: Any) -> None:
        """`item` returned or raised; only while somebody listens."""
        if (probe := probes.return_) is not None:
            probe(lane, item)

    # ---

    def look_closed(self) -> None:
        """After a put, while `halts` has entries: raise if the queue, or the process, is at its end. Any context."""
        for why in list(self.halts):
            if why is EXIT:
                if (refused := exiting.why_not()) is not None:
                    raise refused
            elif why is not FREEZE and not isinstance(why, Lane):  # a lane's own entry is a sweep
                self.refuse_closed()

    def halted(self) -> bool:
        """True if executors must not take anything. Any context."""
        return any(why is not EXIT for why in list(self.halts))

    def let_go(self, why: object) -> None:
        """Take the entry `why` out of `halts`; run what was held. Any context."""
        self.halts.pop(why, None)
        # Cleared, then look: who appended while we were halted has left the kick to us.
        for lane in self.lanes:
            if lane.items and lane.idle:
                lane.kick()

    def quiet(self) -> bool:
        """True if nothing waits and nothing runs on any lane. Any context."""
        # Nor has an executor of one put anything on another that we had looked at before.
        runs = [lane.runs() for lane in self.lanes]
        return all(lane.quiet() for lane in self.lanes) and runs == [lane.runs() for lane in self.lanes]

    def executors(self) -> list[Executor]:
        """All executors of the queue. Any context."""
        return [executor for lane in self.lanes for executor in lane.executors]

    def is_own_thread(self) -> bool:
        """True if the caller is inside one of the queue's own tasks. Any context."""
        me = get_ident()
        return any(executor.ident == me for executor in self.executors())


groups: Flock[Group] = Flock()  # for snapshots, the watchdog, fork and exit


class Lane:
    """A FIFO with its executors; see the module's text.

    Attributes:
        group: the group it belongs to.
        pool: the pool that its executors' jobs run on.
        executors: one for each run that there may be at once, as far as they were needed.
    """

    __slots__ = (
        "executors",
        "group",
        "guard",
        "idle",
        "items",
        "limit",
        "pool",
        "promise",
        "sweeper",
        "sweeping",
        "swept",
        "unused",
    )  # fmt: skip

    def __init__(self, group: Group, pool: Pool, limit: int = 1) -> None:
        self.group = group  # S
        self.pool = pool  # S
        self.limit = limit  # S: how many executors there may be
        self.items: Any = deque()  # A
        #: With several executors, taking an item and saying so must be one step for a drain's marker (G).
        self.guard = Lock() if limit > 1 else None  # S
        self.executors: tuple[Executor, ...] = (Executor(self),)  # G: replaced by a longer one
        self.idle: list[Executor] = list(self.executors)  # A
        self.promise: list[Job] | None = None  # A: full while an executor's job waits for a worker
        self.unused = 0  # roughly how many empty tickets there are
        self.sweeper = token()  # A
        self.sweeping: list[Any] = []  # what the owner of the sweeper's token has in hand
        self.swept = 0  # written by the owner of the sweeper's token: odd during a sweep
        group.lanes.append(self)

    @property
    def name(self) -> str:
        """The queue's name. Any context."""
        return self.group.name

    @property
    def cpu(self) -> int | None:
        """The CPU that the lane is bound to, None if to none. Any context."""
        return self.pool.cpu

    @property
    def pri(self) -> int:
        """The priority of its threads. Any context."""
        return self.pool.pri

    @property
    def shared(self) -> bool:
        """True for a lane of a shared queue, whose tasks are to be short. Any context."""
        return self.group.shared

    # --- putting items on

    def put(self, item: Item) -> bool:
        """Take the item's token and put it here. Any context.

        True; if it is pending what `Item.coalesce` says; False if it is barred.

        Raises what `Item.check_move` and `Pool.post` raise, and what a closed queue raises; then, and if anything else
        is raised meanwhile, the item is as it was, unless an executor has it already.
        """
        if item.item_ticket:
            return item.coalesce(self.group)
        if (lane := item.item_lane) is not self and lane is not None:
            item.check_move(self)
        if not scheduling.plain:
            return self._put_watched(item)
        free, ticket = item.item_token, [item]
        try:
            del free[0]; item.item_lane = self; item.item_ticket = ticket  # fmt: skip  # noqa: E702 ours to undo
            if item.barred:  # publish, then look: who bars it says so, then looks where it is
                return self._refuse_barred(ticket, free)
            self.items.append(ticket)
            if self.idle and not self.promise:
                self.kick()
            if self.group.halts:
                self.group.look_closed()
        except BaseException as error:
            if item.item_ticket is not ticket:
                if isinstance(error, IndexError):  # somebody else took the token between our two looks
                    return item.coalesce(self.group)
                raise  # it was run, and scheduled again
            undone = False
            try:
                del ticket[0]; undone = True; free += FREE  # fmt: skip  # noqa: E702
            except IndexError:
                pass  # an executor has it: it has happened
            if undone:
                self.group.undone(item)
            elif isinstance(error, Error):
                return True
            raise
        return True

    def _refuse_barred(self, ticket: list[Any], free: list[None]) -> bool:
        try:
            del ticket[0]; free += FREE  # fmt: skip  # noqa: E702
        except IndexError:
            pass  # withdrawn already, by who bars it
        return False

    def _put_watched(self, item: Item) -> bool:
        """`put` while somebody listens: a fork child finds the token in `in_hands` while the probe is fired."""
        hand: list[None] = []
        try:
            if not item.take_token(hand):
                return item.coalesce(self.group)
            item.item_lane = self
            if item.barred:  # as in `put`
                item.give_back(hand)
                return False
            self.put_taken(item, hand)
        except BaseException:
            if hand:
                self.group.free(item, hand)
            raise
        return True

    def put_taken(self, item: Item, hand: list[None]) -> None:
        """Put an item here whose token is in `hand`; the hand is empty when this has happened. Any context.

        Raises as `put`.
        """
        ticket = [item]
        if (lane := item.item_lane) is not self and lane is not None:
            item.check_move(self)
        try:
            if not scheduling.plain:
                item.fire_scheduled(self)
            # Out of `in_hands` first: once it is on the lane, others may soon have it in theirs.
            item.item_lane, items = self, self.items
            del in_hands[item], hand[:]; item.item_ticket = ticket; items.append(ticket)  # fmt: skip  # noqa: E702
            self.see_to_it()
        except BaseException as error:
            undone = bool(hand)  # not even begun
            try:
                if not hand:
                    del ticket[0]; undone = True; hand += FREE; in_hands[item] = None  # fmt: skip  # noqa: E702
            except IndexError:
                pass
            if undone or not isinstance(error, Error):
                raise

    def put_ticket(self, ticket: list[Any]) -> None:
        """Put a full ticket here. Any context. Raises what `Pool.post` and a closed queue raise; it is here even so."""
        self.items.append(ticket)
        self.see_to_it()

    def see_to_it(self) -> None:
        """Something was put on: have it run. Any context. Raises as `put_ticket`."""
        if self.idle and not self.promise:
            self.kick()
        if self.group.halts:
            self.group.look_closed()

    def call(self, call: Any) -> None:
        """Put a tuple (function, arguments, keyword arguments) here (TK-17). Any context. Raises as `put`."""
        ticket = [call]
        try:
            if not scheduling.plain:
                ticket[0] = Call(*call)
                ticket[0].fire_scheduled(self)
            self.items.append(ticket)
            if self.idle and not self.promise:
                self.kick()
            if self.group.halts:
                self.group.look_closed()
        except BaseException as error:
            try:
                del ticket[0]
            except IndexError:
                if isinstance(error, Error):
                    return  # an executor has it: all is well
            raise

    def kick(self) -> None:
        """Have an idle executor run, if there is one. Any context. Raises what `Pool.post` raises."""
        if self.group.halts and self.group.halted():
            return
        try:
            job = self.idle[-1].job
        except IndexError:
            return
        self.pool.post(job)
        self.promise = job.promise

    def kick_another(self) -> None:
        """`kick`, by an executor, which goes on by itself where no further thread can be had."""
        try:
            self.kick()
        except (Error, MemoryError):
            pass

    # --- taking tickets out

    def withdrawn(self, ticket: list[Any]) -> None:
        """`ticket`, which was withdrawn, may be on this lane: see to it that empty ones don't pile up. Any context."""
        waiting = len(self.items)
        if waiting <= _SHORT:
            discard(self.items, ticket)
            return
        self.unused += 1
        if self.unused > waiting // 2:
            self._sweep()

    def withdraw_all(self) -> int:
        """Withdraw everything that waits here now; how many that were. Any context."""
        count = 0
        for ticket in contents(self.items):
            for item in tuple(ticket):
                if isinstance(item, (tuple, Call)):
                    try:
                        del ticket[0]; count += 1  # fmt: skip  # noqa: E702
                    except IndexError:
                        pass
                elif not item.marker:
                    count += self.group.withdraw(item)
        return count

    def _sweep(self) -> None:
        """Throw the empty tickets away. Any context: if somebody is at work here, another time will do."""
        group, items, live = self.group, self.items, self.sweeping
        try:
            del self.sweeper[0]; self.swept += 1; group.halts[self] = None  # fmt: skip  # noqa: E702
        except IndexError:
            return
        try:
            if not any(executor.current is TAKING for executor in self.executors):
                try:
                    live.extend(filter(None, islice(iter(items.popleft, None), len(items))))
                except IndexError:
                    pass  # somebody else has thrown one away beside us
                self.unused = 0
        finally:
            items.extendleft(reversed(live)); del live[:]  # fmt: skip  # noqa: E702 twice would do no harm
            self.swept += 1; self.sweeper.append(None)  # fmt: skip  # noqa: E702
            group.let_go(self)

    # --- looking

    def quiet(self) -> bool:
        """True if nothing waits and nothing runs here. Any context."""
        # Items first: an executor shows TAKING before it takes. And nothing was put back meanwhile by one that was not
        # busy any more when we looked at it.
        runs, swept = self.runs(), self.swept
        idle = not (self.items and any(contents(self.items))) and all(
            e.current is None and not e.deferred for e in self.executors
        )
        return idle and runs == self.runs() and not swept % 2 and swept == self.swept

    def load(self) -> int:
        """How much there is to do here, roughly: what waits and what runs. Any context."""
        return len(self.items) + sum(executor.current is not None for executor in self.executors)

    def runs(self) -> list[int]:
        """The same twice means that nothing was taken and nothing put down in between. Any context."""
        return [executor.runs for executor in self.executors]

    def pending(self) -> list[Any]:
        """What waits here now, the oldest first, without markers: items, and tuples for calls. Any context."""
        found = [item for ticket in contents(self.items) for item in tuple(ticket)]
        return [item for item in found if not getattr(item, "marker", False)]


class Executor:
    """One job of one lane; runs items until there are none.

    Attributes:
        lane: the lane it serves.
        current: the item in hand (a tuple for a call), `TAKING` while it takes one, else None. Any context; a moment's
            truth, and a run's if `runs` is the same before and after.
        ident: the thread that it runs on, 0 for none.
        runs: goes up whenever something is taken or put down elsewhere.
        errors: how many runs have raised.
    """

    __slots__ = ("__weakref__", "current", "deferred", "errors", "ident", "job", "lane", "moves", "runs", "ticket")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane  # S
        self.job = Plumbing(self._run, lane.group.name)  # S
        self.current: Any = None  # E: the item in hand, TAKING, or None
        self.ident = 0  # E: thread that runs us, 0 if none
        self.ticket: list[Any] = []  # E: the ticket taken last; full while its item is not yet in `current`
        self.runs = 0  # E: goes up whenever something is taken or put down elsewhere
        self.moves = 0  # E: how many of these were no runs
        self.errors = 0  # E
        self.deferred: list[list[Any]] = []  # A: tickets of items that we run, handed to us by other executors

    @property
    def started(self) -> int:
        """How many runs have begun. Any context."""
        return self.runs - self.moves

    def _run(self, job: Job) -> None:
        lane = self.lane
        group, guard, items = lane.group, lane.guard, lane.items
        tickets, taking, call_class = iter(items.popleft, None), TAKING, tuple
        halts, waiting, deferred = group.halts, group.sleepers.locks, self.deferred
        self.ident = get_ident()
        self._begin()
        while True:
            call = group.make_call(self)
            self.current = taking
            here = () if halts and group.halted() else items  # a close that has not seen TAKING has made its entry
            while here:
                try:
                    if guard is None:
                        if halts and group.halted():  # shown TAKING, then looked: a sweep has the lane to itself
                            break
                        # Kept in one step: a fork child finds it in `ticket`, then in `current`. See `_atomic`.
                        for ticket in tickets: self.ticket = ticket; break  # fmt: skip  # noqa: E701, E702
                        if halts and group.halted():  # what was put here after the freeze may be what we have
                            self._put_back(ticket)
                            break
                        item = ticket[0]
                        if item.__class__ is not call_class:
                            if item.item_executor is not self and not self._may_take(item, ticket):
                                continue
                            del ticket[0]; self.current = item; item.item_executor = self  # fmt: skip  # noqa: E702
                        else:
                            del ticket[0]; self.current = item  # fmt: skip  # noqa: E702
                        self.runs += 1
                    else:
                        with guard:
                            item = self._take_guarded(tickets)
                        if item is None:
                            if halts and group.halted():
                                break
                            continue
                        if items and lane.idle and not lane.promise:
                            lane.kick_another()
                except IndexError:  # nothing is left, or the ticket was withdrawn
                    continue
                try:
                    if item.__class__ is call_class:
                        fn, args, kwargs = item
                        if running.plain:
                            fn(*args, **kwargs)
                        else:
                            run_watched(self, Call(fn, args, kwargs), None)
                    elif not running.plain:
                        run_watched(self, item, call)
                    elif call is None:
                        item.item_token.append(None)  # from here on a schedule means another run
                        item.run()
                    else:
                        call(item)  # gives the token back when it has read what the next put will overwrite
                except BaseException as error:
                    self._failed(error, item)
                self.current = taking
                if waiting:
                    group.sleepers.wake(self)
                if deferred:
                    self._take_deferred()
            item = ticket = None  # an idle executor keeps nobody alive
            self.ticket = []
            self.current = None
            if waiting:
                group.sleepers.wake(self)
            self.ident = 0
            lane.idle.append(self)
            # Look again: who appended before the line above saw no idle executor.
            if not items or (halts and group.halted()):
                break
            try:
                lane.idle.remove(self)
            except ValueError:
                break
            self.ident = get_ident()
        job.done()

    def _begin(self) -> None:
        """Off the idle stack; and see to it that another one is there, if there may be one more."""
        lane = self.lane
        try:
            lane.idle.remove(self)
        except ValueError:
            pass  # a post that met a run at its end
        if lane.guard is not None and len(lane.executors) < lane.limit:
            with lane.guard:
                if not lane.idle and len(lane.executors) < lane.limit:
                    another = Executor(lane)
                    lane.executors = (*lane.executors, another)
                    lane.idle.append(another)

    def _take_guarded(self, tickets: Any) -> Any:
        """Take an item and show it, under the guard; None if there is nothing to run."""
        group = self.lane.group
        if group.halts and group.halted():
            return None
        for ticket in tickets: self.ticket = ticket; break  # fmt: skip  # noqa: E701, E702
        if group.halts and group.halted():  # since then
            self._put_back(ticket)
            return None
        item = ticket[0]
        if isinstance(item, Item):
            if item.item_executor is not self and not self._may_take(item, ticket):
                return None
            del ticket[0]; self.current = item; item.item_executor = self  # fmt: skip  # noqa: E702
        else:
            del ticket[0]; self.current = item  # fmt: skip  # noqa: E702
        self.runs += 1
        return item

    def _put_back(self, ticket: list[Any]) -> None:
        """To where it was: before what nobody has taken. Under the guard, so that two keep their order."""
        self.lane.items.appendleft(ticket)
        self.runs += 1; self.moves += 1  # fmt: skip  # noqa: E702 put down

    def _may_take(self, item: Item, ticket: list[Any]) -> bool:
        """`item` was not ours the last time. False if it is a drain's marker, or runs elsewhere and is left to that."""
        if item.marker:
            self.runs += 1; self.moves += 1  # fmt: skip  # noqa: E702
            del ticket[0]
            item.reached(self)  # type: ignore[attr-defined]  # what markers have
            return False
        other = item.item_executor
        if other is not None and item.exclusive and other.current is item:
            self.lane.group.set_aside = True
            self.runs += 1; self.moves += 1  # fmt: skip  # noqa: E702 put down
            other.deferred.append(ticket)
            if other.current is item or not discard(other.deferred, ticket):
                return False
        return True

    def _take_deferred(self) -> None:
        """Put what others have handed to us during the run back where it was scheduled, at the front."""
        # `current` is TAKING, something in hand as when taking.
        self.runs += 1; self.moves += 1  # fmt: skip  # noqa: E702
        try:
            for ticket in iter(self.deferred.pop, None):
                self.ticket = ticket
                for item in tuple(ticket):
                    item.item_lane.items.appendleft(ticket)
                    if item.item_lane.idle:
                        item.item_lane.kick_another()
        except IndexError:
            pass
        self.runs += 1; self.moves += 1  # fmt: skip  # noqa: E702

    def _failed(self, error: BaseException, item: Any) -> None:
        self.errors += 1
        group = self.lane.group
        try:
            group.report(error, item if isinstance(item, Item) else Call(*item))
        except BaseException as second:
            report_error(second, origin=group)

    def end_run(self) -> None:
        """The run counts as over although the function has not returned. The run's own thread."""
        self.current = TAKING
        if self.lane.group.sleepers.locks:
            self.lane.group.sleepers.wake(self)
        if self.deferred:
            self._take_deferred()

    def wait_end(self, item: object, deadline: float | None) -> bool:
        """Wait until the run of `item` that is under way, if any, is over. Thread context; False after `deadline`."""
        run = self.runs
        if self.current is not item:
            return True

        def must_wait() -> bool:
            return self.runs == run and self.current is item

        sleepers = self.lane.group.sleepers
        while must_wait():
            if not sleepers.wait(self, must_wait, deadline) and must_wait():
                return False
        return True
