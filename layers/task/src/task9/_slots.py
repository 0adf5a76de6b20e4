"""Back-pressure (TK-20, WQ-9): a bounded number of slots, one for each call or work that may still come.

A slot is taken before a put and given back when the item is called or withdrawn. Slots are made in growing portions
when they are first needed, so a bound costs what is used of it.

Rules. A: atomic, any context. S: set at init.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

from threadpool9.lowlevel import Steps, Wait, Waiters

_FIRST_PORTION = 64
_LAST = (-1,)


class Slots:
    """The slots of one queue.

    Args:
        bound: how many there are.

    A slot is in a hand, a list, or in `free`; a layer that keeps it with its unit puts it back into `free` itself, and
    calls `offer`.
    """

    def __init__(self, bound: int) -> None:
        self.bound = bound  # S
        self.free: list[None] = []  # A: those that are not taken
        self._portions = []  # A: those that were not made yet, the smallest last
        size = _FIRST_PORTION
        while bound > 0:
            self._portions.append(repeat(None, min(size, bound)))
            bound -= size
            size *= 2
        self._portions.reverse()
        self.space = Waiters()  # A: who waits for a slot
        self.ended = False  # A: nobody waits any more

    def take_now(self, hand: list[None]) -> bool:
        """Take a slot into `hand`; False if there is none. Any context."""
        while True:
            try:
                hand.extend(map(self.free.pop, _LAST))
                return True
            except IndexError:
                if not self._portions:
                    return False
            portion = None
            try:
                for portion in map(self._portions.pop, _LAST): self.free.extend(portion); break  # fmt: skip
            except IndexError:
                pass  # somebody else was faster
            except BaseException:
                if portion is not None:
                    self._portions.append(portion)  # what is left of it
                raise

    def take(self, hand: list[None], wait: Wait | None, full: Callable[[], Exception]) -> Steps[None]:
        """Take a slot into `hand`; wait for one, or if that is None or not in time, raise ``full()``."""
        while not self.take_now(hand):
            if wait is None or self.ended:
                raise full()
            try:
                in_time = yield from self.space.wait(lambda: not (self.free or self.ended), wait)
            except BaseException:
                self.offer()  # we may have been woken for a slot that we do not take: let another have it
                raise
            if not in_time and not self.free:
                raise full()

    def give(self, hand: list[None]) -> None:
        """Put back the slot that is in `hand`, if any, and wake one who waits. Any context."""
        try:
            self.free.extend(map(hand.pop, _LAST))  # one call into C
        except IndexError:
            pass  # there is none, or another thread gives it back
        self.offer()

    def offer(self) -> None:
        """Wake one who waits if there is a slot for it. Any context; once too often does no harm."""
        if self.free and self.space.locks:
            self.space.wake_one()

    def end(self) -> None:
        """Nobody is to wait any more. Any context."""
        self.ended = True
        self.space.wake_all()

    def forget_threads(self) -> None:
        """In a fork child: nothing is pending, nobody waits."""
        self.__init__(self.bound)  # type: ignore[misc]  # everything anew is the point
