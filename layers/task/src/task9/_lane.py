"""The lane: a FIFO of items and the executors that empty it. Every queue of this stack is made of lanes.

    Group     what the lanes of one queue share: name, reasons to halt, who waits
    Lane      items        [t] [t] [ ] [t]   tickets, oldest left; an empty one was withdrawn
              idle         executors that may be started, the last one in is the first one out
    Executor  a job of the pool, run by one worker at a time; `current` is what it is doing

A private queue is one lane with up to `limit` executors on an unbound pool; a shared queue is one lane with one
executor for each CPU, on that CPU's pool. A task walks like this:

    put        claim the item; append its ticket to items; if an executor is idle, post it, and leave a promise:
               a burst posts once.
    execute    current = TAKING; take a ticket; current = item; make it idle; call; current = TAKING ...; None
    idle       publish itself in idle; *look again* at items; done()

Rules. A: atomic, any context. S: set at init. G: written under the lane's guard.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from threadpool9 import Error, Pool
from threadpool9.lowlevel import FREE, Lock, Wait, contents, deque, discard, need_frames, token

from ._executor import Executor
from ._group import Group
from ._item import TAKING, Call, Item, in_hands
from ._watch import scheduling

#: A: a token. One sweep at a time for all lanes: each is short, and another time will do.
sweeper = token()
#: What the owner of `sweeper` has in hand.
sweeping: list[Any] = []

_SHORT = 64  # a withdrawn ticket is taken out of a lane that is not longer
_FRAMES = 12  # more than a sweep, and the post at its end, go down


class Lane:
    """A FIFO with its executors; see the module's text.

    Attributes:
        group: the group it belongs to.
        pool: the pool that its executors' jobs run on.
        executors: one for each run that may be under way at once, made as needed.
    """

    __slots__ = (
        "executors", "group", "guard", "idle", "items", "limit", "pool", "promise", "swept", "unused",
    )  # fmt: skip

    #: True if its items run in the thread of an event loop, which nobody but its owner can make run.
    in_loop = False

    def __init__(self, group: Group, pool: Any, limit: int = 1) -> None:
        self.group = group  # S
        self.pool: Pool = pool  # S
        self.limit = limit  # S: how many executors there may be
        self.items: Any = deque()  # A
        #: With several executors, taking an item and saying so must be one step for a drain's marker (G).
        self.guard = Lock() if limit > 1 else None  # S
        first = self.make_executor()
        self.executors: tuple[Executor, ...] = (first,)  # G: replaced by a longer one
        self.idle: list[Executor] = [first]  # A
        self.promise: list[Any] | None = None  # A: full while an executor waits for a worker
        self.unused = 0  # roughly how many empty tickets there are
        self.swept = 0  # written by the owner of `sweeper`: odd during a sweep
        group.lanes.append(self)

    def make_executor(self) -> Executor:
        """One more executor of this lane."""
        return self.group.make_executor(self)

    def may_wait(self, wait: Wait) -> None:
        """Before `wait` waits for what is to run here: UsageError where that could never come. Any context."""

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
        """Claim the item and put it here. Any context.

        True; if it is pending what `Item.coalesce` says; False if it is barred.

        Raises what `Item.check_move` and `Pool.post` raise, and what a closed queue raises; then, and if there was no
        memory or no frame, the item is as it was, unless an executor has it already. A put that is broken off by
        anything else is completed first, or has not begun.
        """
        ticket = item.item_ticket
        if len(ticket) < 2:
            return item.coalesce(self.group)
        if (lane := item.item_lane) is not self and lane is not None:
            item.check_move(self)
        if not scheduling.plain:
            return self._put_watched(item)
        claimed = False
        try:
            del ticket[1]; claimed = True; item.item_lane = self; ticket[0] = item  # fmt: skip  # to be undone
            if item.barred and self.group.withdraw(item, ticket):  # publish, then look; who bars it does the same
                return False
            self.items.append(ticket)
            if self.idle and not self.promise:
                self.kick()
            if self.group.halts:
                self.group.look_closed()
        except BaseException as error:
            if not claimed:
                if isinstance(error, IndexError):  # somebody else did between our two looks
                    return item.coalesce(self.group)
                raise
            stays = undone = False
            try:  # there may be no frame, not even for this call
                stays = self._goes_on(item, ticket, error)
            except BaseException:
                pass
            if stays:
                raise
            blank = [None, None]
            try:
                del ticket[0]; undone = True; item.item_ticket = blank  # fmt: skip
            except IndexError:
                pass  # an executor has it: it has happened
            if undone:
                self.group.undone(item)
            elif isinstance(error, Error):
                return True
            if isinstance(error, Error):
                self.withdrawn(ticket)
            raise
        return True

    def _put_watched(self, item: Item) -> bool:
        """`put` while somebody listens: a fork child finds the item in `in_hands` while the probe is fired."""
        hand: list[None] = []
        try:
            if not item.claim(hand):
                return item.coalesce(self.group)
            return self.put_taken(item, hand)
        except BaseException:
            if hand:
                self.group.free(item, hand)
            raise

    def put_taken(self, item: Item, hand: list[None]) -> bool:
        """Put an item here that is in `hand`; the hand is empty when this has happened. Any context.

        Returns and raises as `put`.
        """
        ticket = [item]
        if (lane := item.item_lane) is not self and lane is not None:
            item.check_move(self)
        try:
            if not scheduling.plain:
                item.fire_scheduled(self)
            # Out of `in_hands` first: once it is on the lane, others may soon have it in theirs.
            item.item_lane, items = self, self.items
            del in_hands[item], hand[0]; item.item_ticket = ticket; items.append(ticket)  # fmt: skip
            if item.barred and self.group.withdraw(item, ticket):  # as in `put`
                return False
            self.see_to_it()
        except BaseException as error:
            begun = not hand
            stays = False
            try:
                stays = begun and self._goes_on(item, ticket, error)
            except BaseException:
                pass
            if stays:
                raise
            undone = not begun
            try:
                if begun:
                    del ticket[0]; undone = True; hand += FREE; in_hands[item] = None  # fmt: skip
            except IndexError:
                pass
            if undone and isinstance(error, Error):
                self.withdrawn(ticket)
            if undone or not isinstance(error, Error):
                raise
        return True

    def _goes_on(self, item: Item, ticket: list[Any], error: BaseException) -> bool:
        """`error` was raised in a put after the ticket was filled in: True if the put was completed all the same.

        Others may have coalesced with it since (TK-1). So what has nothing to do with the put (KeyboardInterrupt) does
        not undo it.
        """
        if None in ticket or isinstance(error, (Error, MemoryError, RecursionError)):
            return False
        if not (item.barred and self.group.withdraw(item, ticket)):  # as in `put`
            if ticket and not any(other is ticket for other in contents(self.items)):
                self.items.append(ticket)  # twice would do no harm
            self.see_to_it()
        return True

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
            if isinstance(error, Error):
                self.withdrawn(ticket)
            raise

    def kick(self) -> None:
        """Have an idle executor run, if there is one. Any context. Raises what `Pool.post` raises."""
        if self.group.halts and self.group.halted():
            return
        try:
            executor = self.idle[-1]
        except IndexError:
            return
        self.pool.post(executor)
        self.promise = executor.promise

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
                        del ticket[0]; count += 1  # fmt: skip
                    except IndexError:
                        pass
                elif not item.marker:
                    count += self.group.withdraw(item, ticket)
        return count

    def _sweep(self) -> None:
        """Throw the empty tickets away, unless somebody else does it, or takes something here. Any context."""
        items = self.items
        try:
            need_frames(_FRAMES)
        except RecursionError:
            return
        try:
            del sweeper[0]; self.swept += 1; self.group.halts[self] = None  # fmt: skip
        except IndexError:
            return
        mine = self.swept
        try:
            if not any(executor.current is TAKING for executor in self.executors):
                try:
                    sweeping.extend(filter(None, islice(iter(items.popleft, None), len(items))))
                except IndexError:
                    pass  # somebody else has thrown one away beside us
                self.unused = 0
            self._end_sweep(mine)
        except BaseException:
            self._end_sweep(mine)
            raise

    def _end_sweep(self, mine: int) -> None:
        """Put back what sweep number `mine` has in hand, and let the lane go on. May be repeated."""
        if self.swept == mine:  # else it has, and another one may be under way
            self.items.extendleft(reversed(sweeping)); del sweeping[:]  # fmt: skip  # twice would do no harm
            self.swept += 1; sweeper.append(None)  # fmt: skip
        self.group.let_go(self)

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
