"""The timer: one heap for the whole process, kept by one job that exists while something is armed (TK-11, TK-12).

The job has a pool of its own, so it never waits behind work. Arming, from any context, puts an entry into `intake` and
wakes the timer only if the entry is due before the time that the timer sleeps until. Only the timer's job touches the
heap. An entry is (due, number, ticket): when it is due, the timer puts the ticket on the lane of its item, as it is;
whoever withdraws the item meanwhile empties the ticket, wherever it is. Entries with an empty ticket are thrown away
when the heap meets them, or when they are the majority: arm and cancel stay O(log n), amortised.

Publish-then-look: who arms appends to the intake, *then* reads `next_wake`; who cancels empties the ticket, *then*
reads `next_wake`; the timer writes `next_wake`, *then* looks at the intake and at the first ticket before it sleeps.

Rules. A: atomic, any context. T: the timer's job only (written there, read anywhere where marked A too).
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import Any

from threadpool9 import Job, Pool
from threadpool9.lowlevel import (
    Empty,
    Mailbox,
    Plumbing,
    contents,
    deque,
    doze,
    insist,
    monotonic,
    private_pool,
    report_error,
    token,
)

from ._watch import probes

Ticket = list[Any]
Entry = tuple[float, int, int, Ticket]

_AWAKE = -math.inf  # next_wake while the timer is about to look at the intake anyway
_BACK_OFF = 0.01  # seconds, after an error of the timer itself
_INTAKE_LIMIT = 4096  # beyond this many entries the timer is woken to sort out the dead ones


class Timing:
    """What an item that was armed knows of it: made by each arming, replaced by the next one."""

    __slots__ = ("due", "ticket")

    def __init__(self, due: float, ticket: Ticket) -> None:
        self.due = due  # S: monotonic seconds
        self.ticket: Ticket | None = ticket  # T, A: None when the timer has put it on its lane


class Timer:
    """The heap and its job; see the module's text."""

    def __init__(self) -> None:
        self.next_wake = _AWAKE  # T, A to read
        self.stopped = False  # A: the interpreter is exiting
        self._intake: Any = deque()  # A
        self._numbers = itertools.count()  # A; a number that comes twice on a free-threaded build does no harm
        self._absent = token()  # A: taken by the job while it runs
        self._promise: list[Job] | None = None  # A: full while the job waits for its worker
        self._box: Mailbox[None] = Mailbox()  # A: wake-ups
        self._heap: list[Entry] = []  # T
        self._expected = 0  # T: entries alive at the last sweep, or fewer if fewer were left since
        self.pool: list[Pool] = []  # A: filled by the first to arm; a pool without jobs costs no thread
        self._job = Plumbing(self._run, "task9 timer")  # S

    def arm(self, due: float, ticket: Ticket) -> None:
        """Have the item of `ticket` expire at `due` (monotonic seconds) or soon after. Any context."""
        self._intake.append((due, next(self._numbers), id(ticket), ticket))
        if self._absent:
            if not self._promise:
                self._boot()
        elif due < self.next_wake or len(self._intake) > _INTAKE_LIMIT:
            self._box.put(None)

    def _boot(self) -> None:
        """Have the timer's job run. Any context. Raises what `Pool.post` raises."""
        if not self.pool:
            private_pool(self.pool, "pooltimer")
        self.pool[0].post(self._job)
        self._promise = self._job.promise

    def cancelled(self, due: float) -> None:
        """An entry for `due` was withdrawn: do not sleep for it, nor at all if it was the last. Any context."""
        if due <= self.next_wake:
            self._box.put(None)

    def armed(self) -> int:
        """How many entries wait. Any context; exact when nobody is arming."""
        return sum(1 for entry in [*self._heap, *contents(self._intake)] if entry[3])

    # --- the job

    def _run(self, job: Job) -> None:
        self._absent.clear()
        try:
            while not self.stopped:
                try:
                    if not self._turn():
                        break
                except BaseException as error:  # memory was refused, say: all that is armed depends on this thread
                    report_error(error, origin="task9 timer")
                    doze(_BACK_OFF)
        finally:
            insist(self._absent.append, None)
        # Look again: whoever armed before the line above did not start us.
        if self._intake and not self.stopped:
            self._boot()  # takes effect at done()
        job.done()

    def _turn(self) -> bool:
        """Fire what is due, sleep until the next is; False if nothing is armed. May be broken off and begun again."""
        heap, intake = self._heap, self._intake
        self.next_wake = _AWAKE
        self._take_in()
        self._fire()
        if not heap:
            return bool(intake)
        self.next_wake = heap[0][0]
        if intake or not heap[0][3]:
            return True
        left = heap[0][0] - monotonic()
        if left <= 0:
            return True
        try:
            self._box.get(True, min(left, 1e6))
            while True:
                self._box.get(False)
        except Empty:
            return True

    def _take_in(self) -> None:
        heap, intake = self._heap, self._intake
        for _ in range(len(intake)):
            entry = intake[0]
            if entry[3]:
                heapq.heappush(heap, entry)
            del intake[0]  # now that it has another place
        self._expected = min(self._expected, len(heap))
        if len(heap) > 2 * self._expected + _INTAKE_LIMIT:
            heap[:] = [entry for entry in heap if entry[3]]
            heapq.heapify(heap)
            self._expected = len(heap)

    def _fire(self) -> None:
        heap = self._heap
        now = monotonic()
        while heap:
            due, _, _, ticket = heap[0]
            if not ticket:  # withdrawn
                heapq.heappop(heap)
                continue
            if due > now:
                now = monotonic()
                if due > now:
                    return
            for item in tuple(ticket):
                try:
                    if (probe := probes.timer__fire) is not None:
                        probe(item, now - due)
                    item.expire(ticket)
                except Exception as error:  # no thread for its queue, say
                    report_error(error, origin=item)
            heapq.heappop(heap)

    # --- exit and fork

    def stop(self) -> None:
        """At exit: nothing fires any more, and the job ends (TK-14)."""
        self.stopped = True
        self._box.put(None)

    def forget_all(self) -> list[Any]:
        """In a fork child: nothing is armed; what was."""
        items = [item for entry in [*self._heap, *self._intake] for item in entry[3]]
        pool = self.pool
        self.__init__()  # type: ignore[misc]  # everything anew is the point
        self.pool = pool
        return items


def coalesce(due: float, jitter: float) -> float:
    """The time in [due, due + jitter] at which other timers are likely to fire too.

    That is the next multiple of the largest power of two that fits into the jitter. Multiples of different
    powers coincide often, so timers with different jitters share their wake-ups, and no state is needed.
    """
    if jitter < 1e-9:  # less than the clock tells
        return due
    step = 2.0 ** (math.frexp(jitter)[1] - 1)
    return min(math.ceil(due / step) * step, due + jitter)


timer = Timer()
