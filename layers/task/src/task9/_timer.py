"""The timer: one heap for the whole process, kept by one job that exists while something is armed (TK-11, TK-12).

Arming, from any context, puts an entry into `intake` and wakes the timer only if the entry is due before the
time that the timer sleeps until. Only the timer's job touches the heap. An entry is (due, number, ticket); the
ticket is a list that holds the task, and ``ticket.pop()`` is the claim between expiry and cancel: exactly one
gets it. A claimed entry is an empty list and is thrown away when the heap meets it, or when they are the
majority: arm and cancel stay O(log n), amortised.

Publish-then-look: who arms appends to the intake, *then* reads `next_wake`; who cancels claims the ticket, *then* reads
`next_wake`; the timer writes `next_wake`, *then* looks at the intake and at the first ticket before it sleeps.

Rules. A: atomic, any context. T: the timer's job only (written there, read anywhere where marked A too).
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import threadpool9
from threadpool9 import Error, Job, Pool, _hooks, _lifecycle, _seam

from ._lane import NoLock, PlumbingJob
from ._watch import probes

if TYPE_CHECKING:
    from ._delayed import DelayedTask

Ticket = list["DelayedTask"]
Entry = tuple[float, int, int, Ticket]

_AWAKE = -math.inf  # next_wake while the timer is about to look at the intake anyway
_INTAKE_LIMIT = 4096  # beyond this many entries the timer is woken to sort out the dead ones


class Timer:
    """The heap and its job; see the module's text."""

    def __init__(self) -> None:
        self.next_wake = _AWAKE  # T, A to read
        self.moving: DelayedTask | None = None  # T, A to read: what is on its way from the heap to its lane
        self.moves = 0  # T, A to read: goes up before anything is taken from the heap and after it was put down
        self.stopped = False  # A: the interpreter is exiting
        self._intake: _seam.deque[Entry] = _seam.deque()  # A
        self._numbers = itertools.count()  # A; a number that comes twice on a free-threaded build does no harm
        self._absent = _seam.token()  # A: taken while the job is scheduled or runs
        self._box: _seam.Mailbox[None] = _seam.Mailbox()  # A: wake-ups
        self._heap: list[Entry] = []  # T
        self._expected = 0  # T: entries alive at the last sweep, or fewer if fewer were left since
        self._pool: Pool | None = None  # written once, by the first to arm; a pool without jobs costs no thread
        self._job = PlumbingJob(self._run, interlock=NoLock(), name="task9 timer")  # S

    def arm(self, task: DelayedTask, due: float, held: list[object]) -> None:
        """Have ``task._expire()`` called at `due` (monotonic seconds) or soon after. Any context.

        The token is in the caller's hand, and still is if this raises.
        """
        ticket: Ticket = [task]
        task._when = due
        try:
            entry = (due, next(self._numbers), id(ticket), ticket)
            # Out of our hand when it is there; and nobody sees a ticket that is not.
            del held[0]; task._ticket = ticket; self._intake.append(entry)  # fmt: skip  # noqa: E702
            if self._absent:
                self._boot()
            elif due < self.next_wake or len(self._intake) > _INTAKE_LIMIT:
                self._box.put(None)
        except BaseException:
            if not held and ticket:
                try:
                    _seam.collect(ticket.pop, held)
                    self.cancelled(due)  # it may sleep for it already
                except IndexError:
                    pass  # fired
            raise

    def _boot(self) -> None:
        """Have the timer's job run, unless somebody else has just done so. Any context."""
        claimed = False
        try:
            del self._absent[0]; claimed = True  # fmt: skip  # noqa: E702 see _seam
            if self._pool is None:
                self._pool = threadpool9.get()
            self._pool.post(self._job)
        except BaseException as error:
            if claimed:
                if self._pool is None or isinstance(error, Error):
                    self._absent.append(None)
                    self._boot_for_others()
                else:
                    self._pool.post(self._job)  # it may have been posted or not; once more does no harm
                raise
            if not isinstance(error, IndexError):
                raise

    def _boot_for_others(self) -> None:
        """Our attempt failed, and who armed meanwhile has taken it for a timer that lives: try once more for them."""
        if len(self._intake) > 1 and self._absent:
            try:
                del self._absent[0]
            except IndexError:
                return
            try:
                if self._pool is None:
                    self._pool = threadpool9.get()
                self._pool.post(self._job)
            except Error:
                self._absent.append(None)

    def cancelled(self, due: float) -> None:
        """A canceller claimed an entry for `due`: do not sleep for it, nor at all if it was the last. Any context."""
        if due <= self.next_wake:
            self._box.put(None)

    def armed(self) -> int:
        """How many entries wait. Any context; exact when nobody is arming."""
        return sum(1 for entry in [*self._heap, *_seam.contents(self._intake)] if entry[3])

    # --- the job

    def _run(self, job: Job) -> None:
        heap, intake = self._heap, self._intake
        if self._absent:
            # A post that met a run at its end may mean one run more than was asked for: then nothing is left to do.
            job.done()
            return
        while not self.stopped:
            self.next_wake = _AWAKE
            self._take_in()
            self._fire()
            if not heap:
                if intake:
                    continue
                break
            self.next_wake = heap[0][0]
            if intake or not heap[0][3]:
                continue
            left = heap[0][0] - _seam.monotonic()
            if left <= 0:
                continue
            try:
                self._box.get(True, min(left, 1e6))
                while True:
                    self._box.get(False)
            except _seam.Empty:
                pass
        self._absent.append(None)
        # Look again: who armed before the line above did not start us.
        if intake and not self.stopped:
            self._boot()  # takes effect at done()
        job.done()

    def _take_in(self) -> None:
        heap, intake = self._heap, self._intake
        for _ in range(len(intake)):
            entry = intake.popleft()
            if entry[3]:
                heapq.heappush(heap, entry)
        self._expected = min(self._expected, len(heap))
        if len(heap) > 2 * self._expected + _INTAKE_LIMIT:
            heap[:] = [entry for entry in heap if entry[3]]
            heapq.heapify(heap)
            self._expected = len(heap)

    def _fire(self) -> None:
        heap = self._heap
        now = _seam.monotonic()
        while heap:
            due, _, _, ticket = heap[0]
            if not ticket:  # cancelled
                heapq.heappop(heap)
                continue
            if due > now:
                now = _seam.monotonic()
                if due > now:
                    return
            heapq.heappop(heap)
            self.moves += 1
            try:
                # Show what we are about to take, then take it, then put it on its lane: see `Task._locate`.
                self.moving = ticket[0]
                task = ticket.pop()
                if (probe := probes.timer__fire) is not None:
                    probe(task, now - due)
                task._expire()
            except IndexError:
                pass  # cancelled
            except Exception as error:  # no thread for its queue, say
                _hooks.report_error(error, origin=self.moving)
            finally:
                self.moves += 1
                self.moving = None

    # --- exit and fork

    def stop(self) -> None:
        """At exit: nothing fires any more, and the job ends (TK-14)."""
        self.stopped = True
        self._box.put(None)

    def forget_all(self) -> None:
        """In a fork child: nothing is armed."""
        entries = [*self._heap, *self._intake]
        pool = self._pool
        self.__init__()  # type: ignore[misc]  # everything anew is the point
        self._pool = pool
        for entry in entries:
            for task in entry[3]:
                task.forget_threads()


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
_lifecycle.before_exit.append(timer.stop)
