"""What the lanes of one queue share: name, reasons to halt, who waits. A layer above subclasses it.

Executors take nothing while `halts` has an entry other than EXIT: a work queue's freeze makes one, a sweep one for its
lane, and a close, which is the end, one for itself. 1. A close makes its entry when nothing is left. 2. It looks once
more. On the other side, 1. an executor shows TAKING, 2. it looks at `halts`; and 1. a put appends its ticket, 2. it
looks at `halts`. So what comes too late for a close is found by the close, which takes its entry back and waits for it,
or by the put, which withdraws it.

Rules. A: atomic, any context. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from threadpool9.lowlevel import Flock, Sleepers, exiting, get_ident, note_origin, report_error, safe_repr

from ._errors import QueueClosed
from ._executor import Executor
from ._item import Item, in_hands
from ._timer import Timing
from ._watch import probes

if TYPE_CHECKING:
    from ._lane import Lane

#: Entries in `halts`: a work queue's freeze, the end, and the exit of the interpreter, during which executors go on;
#: besides these a `Closing`, and lanes that are being swept.
FREEZE, CLOSED, EXIT = "freeze", "closed", "exit"


class Closing:
    """An entry in `halts`: a close that looks whether anything is left."""


class Group:
    """What the lanes of one queue share. Lanes know the group, never the queue: a queue can be dropped.

    A layer overrides what its queues do differently, and hands the group to `task9.TaskQueue`.

    Attributes:
        name: for people.
        lanes: the lanes; appended to when a CPU comes.
        halts: not empty while executors must not take anything, or a put has to ask `look_closed`.
        sleepers: who waits for the end of a run, by executor; a layer above may use it for other objects.
    """

    __slots__ = ("__weakref__", "armed", "halts", "lanes", "name", "set_aside", "shared", "sleepers")

    def __init__(self, name: str, shared: bool = False) -> None:
        self.name = name  # S
        self.shared = shared  # S: a shared queue, whose tasks are to be short
        self.halts: dict[object, None] = {EXIT: None} if exiting.begun else {}  # A: see above
        self.set_aside = False  # A: an executor has ever handed a ticket to another one
        self.lanes: list[Lane] = []  # S, but for CPUs that come later: appended
        self.sleepers = Sleepers()  # A: who waits for the end of an executor's run, or for what a layer above wakes
        self.armed: dict[Timing, Any] = {}  # A: items that wait in the timer for this queue, by their timing
        groups.add(self)

    # --- what a layer above may do otherwise

    def report(self, error: BaseException, item: Item) -> None:
        """An exception left the function of `item` (TK-14)."""
        note_origin(error, self.origin(item))
        report_error(error, origin=item)

    def origin(self, item: Item) -> str:
        """Where `item` has run, for the report of its exception."""
        return f"in queue {self.name!r}, {safe_repr(item)}"

    def make_call(self, executor: Executor) -> Callable[[Any], object] | None:
        """What `executor` is to call with each item of the batch that begins; None: the item's own function."""
        return None

    def make_executor(self, lane: Lane) -> Executor:
        """One more executor of `lane`."""
        return Executor(lane)

    def undone(self, item: Item) -> None:
        """`item`, which was on a lane of ours, is idle without a run: withdrawn, or nobody can run it. Any context."""

    def refuse_closed(self) -> NoReturn:
        """Raise what a put on a queue that is closed raises."""
        raise QueueClosed(f"queue {self.name!r} is closed and takes no new tasks")

    def withdraw(self, item: Any, ticket: Any = None) -> bool:
        """Withdraw `item`, which is pending here, with `ticket` if given; True if it was still there. Any context."""
        hand: list[None] = []
        try:
            withdrawn: bool = item.take_back(hand, ticket)
            if withdrawn:
                self.count_withdrawn(item)  # before the next schedule can be
            self.free(item, hand)
            if withdrawn:
                item.was_withdrawn()
        except BaseException:
            self.free(item, hand)  # once more, or for nothing, does no harm
            item.was_withdrawn()
            raise
        return withdrawn

    def count_withdrawn(self, item: Item) -> None:
        """`item` was withdrawn; it is still in somebody's hand. Any context."""
        item.fire_cancelled()

    #: True if the queue may be dropped without a close, and without a warning.
    drop_silently = False

    def free(self, item: Item, hand: list[None]) -> None:
        """`item`, if it is in `hand`, becomes idle without a run. Any context. May be repeated."""
        # Without a further call, as `Item.give_back`: it undoes what had no frame left.
        if hand:
            blank = [None, None]
            if item in in_hands:
                del in_hands[item]
            item.item_ticket = blank; del hand[0]  # fmt: skip
        self.undone(item)

    def abandoned(self) -> None:
        """The queue was dropped without a close; what is scheduled still runs. Any context."""

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
            elif why is CLOSED or isinstance(why, Closing):
                self.refuse_closed()

    def halted(self) -> bool:
        """True if executors must not take anything. Any context."""
        return any(why is not EXIT for why in list(self.halts))

    def let_go(self, why: object) -> None:
        """Take the entry `why` out of `halts`; run what was held. Any context."""
        self.halts.pop(why, None)
        # Cleared, then look: whoever appended while we were halted has left the kick to us.
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
