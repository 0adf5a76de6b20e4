"""Items that can wait in the timer: arming, expiring, moving, disarming (TK-11).

An armed item waits with the very ticket that it will wait with on its lane, so whoever withdraws it need not know where
it is. Everything said of pending items holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threadpool9 import Error
from threadpool9.lowlevel import FREE, monotonic

from ._item import Item, in_hands
from ._lane import Lane
from ._timer import Timing, coalesce, timer
from ._watch import probes, scheduling

_SHORTEST = 1e-9  # seconds: less than the clock tells


def check_seconds(what: str, value: float, positive: bool = False) -> float:
    """`value` if it is a delay; TypeError or ValueError naming `what`."""
    least = _SHORTEST if positive else 0
    number = type(value) is not bool and isinstance(value, (int, float))
    if number and least <= value < 1e12:
        return value
    error = ValueError if number else TypeError
    raise error(f"{what} is a number of seconds from {least:g} to 1e12, not {value!r}")


class TimedItem(Item):
    """What delayed tasks and works are: items that can wait in the timer. A subclass has a slot ``item_timing``."""

    if not TYPE_CHECKING:  # which would find that nothing here has the slot
        __slots__ = ()

    item_timing: Timing | None
    """B: of the arming made last, if it was not withdrawn."""

    @property
    def timed_out(self) -> bool:
        """True if the timer has fired since it was last armed. Any context.

        Once this is True, it is on its lane or its run has begun: a drain called from then on waits for that run.
        """
        timing = self.item_timing
        return timing is not None and not timing.ticket  # of one that was withdrawn nobody keeps the timing

    @property
    def armed(self) -> bool:
        """True while it waits for its time. Any context; may already be stale."""
        timing = self.item_timing
        return timing is not None and bool(timing.ticket)

    def arm(self, lane: Lane, seconds: float, jitter: float, hand: list[None]) -> bool:
        """Have it put on `lane` in `seconds`; False if it is barred. Any context.

        It is in `hand`, and still is if this raises.
        """
        return self.arm_at(lane, coalesce(monotonic() + seconds, jitter), hand)

    def arm_at(self, lane: Lane, due: float, hand: list[None]) -> bool:
        """As `arm`, at `due` (monotonic seconds)."""
        if self.item_lane is not lane and self.item_lane is not None:
            self.check_move(lane)
        if (probe := probes.timer__arm) is not None:
            probe(self, due)
        ticket = [self]
        timing = Timing(due, ticket)
        armed = lane.group.armed
        try:
            # A fork child finds it in `armed` from here on. The ticket comes last: with that others may withdraw it.
            self.item_lane, self.item_timing = lane, timing
            armed[timing] = self; del in_hands[self], hand[0]; self.item_ticket = ticket  # fmt: skip
            timer.arm(due, ticket)
            if lane.group.halts:
                lane.group.look_closed()
            if self.barred and lane.group.withdraw(self, ticket):  # as in `Lane.put`
                return False
        except BaseException as error:
            undone = bool(hand)
            try:
                if not hand:
                    del ticket[0]; undone = True; hand += FREE; in_hands[self] = None  # fmt: skip
            except IndexError:
                pass  # it has fired, or was withdrawn: it has happened
            if undone:
                self.item_timing = None
                armed.pop(timing, None)
            if undone or not isinstance(error, Error):
                raise
        return True

    def expire(self, ticket: list[Item]) -> None:
        """The timer's job: the time has come. Raises what `Lane.put_ticket` raises; then it is idle."""
        lane, timing = self.item_lane, self.item_timing
        assert lane is not None
        if not scheduling.plain:
            self.fire_scheduled(lane)
        try:
            lane.put_ticket(ticket)
        except BaseException:
            hand: list[None] = []
            try:
                del ticket[0]; hand += FREE; in_hands[self] = None  # fmt: skip
            except IndexError:
                return  # an executor has it all the same, or it was withdrawn
            lane.withdrawn(ticket)
            self.item_timing = None
            lane.group.free(self, hand)
            raise
        finally:
            if timing is not None and timing.ticket is ticket:
                timing.ticket = None
                lane.group.armed.pop(timing, None)

    def take_back(self, hand: list[None], ticket: Any = None) -> bool:
        """As for any item; and it does not wait in the timer any more."""
        try:
            taken = super().take_back(hand, ticket)
            if taken:
                self._leave_the_timer()
        except BaseException:
            if hand:
                self._leave_the_timer()  # once more does no harm
            raise
        return taken

    def forget_threads(self) -> None:
        """In a fork child: as for any item; and it is not armed."""
        self.item_timing = None
        super().forget_threads()

    def _leave_the_timer(self) -> None:
        """It was withdrawn: it is ours, and with it its timing."""
        timing, lane = self.item_timing, self.item_lane
        if timing is not None and timing.ticket is not None:
            if lane is not None:
                lane.group.armed.pop(timing, None)
            timer.cancelled(timing.due)  # else a thread would sleep for nothing until then
            self.item_timing = None

    def disarm(self) -> bool:
        """Withdraw it if it still waits in the timer; True then. Any context; a run that was queued goes on."""
        timing = self.item_timing
        ticket, lane = None if timing is None else timing.ticket, self.item_lane
        return bool(ticket) and lane is not None and lane.group.withdraw(self, ticket)
