"""A queue that lives in an event loop (TK-19): its items run in the loop's thread, one turn of the loop after another.

A lane has two parts that are different there:

    LoopPool        in place of a pool: to post the executor's job is to post a turn to the loop
    LoopExecutor    a turn runs what waits when it begins. What comes meanwhile, from its own items too, is for the next
                    turn, after the loop has done its other things.

Many schedules between two turns are one hand-over: the promise of a lane is full from the post until the turn begins.

The loop's thread may be the main thread, where a signal handler can raise between any two lines (TP-36): what the
executor has taken is in `taken` until it is called, and goes back to the front of the lane if that does not come to
pass. A KeyboardInterrupt or SystemExit that an item raises is reported as any error is, and then passed on to the loop,
whose business it is.

Whether a loop is closed is seen when something is posted to it. Those who wait post from time to time, so that they are
not left waiting for a loop that is gone.

Rules. A: atomic, any context. L: written by the loop's thread. S: set at init.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from threadpool9 import PRI_NONE, UsageError
from threadpool9.lowlevel import Blocking, Poster, Steps, Wait, get_ident, monotonic, poster_here

from ._errors import LoopClosed
from ._executor import Executor, run_watched
from ._future import Future
from ._item import TAKING, Call, Item
from ._lane import Lane
from ._watch import running

_ASKED = 0.05  # seconds: so often at most a loop is asked whether it is still there, however many wait for it


class LoopPool:
    """What a lane posts to."""

    cpu: int | None = None
    pri = PRI_NONE

    def __init__(self, poster: Poster) -> None:
        self.poster = poster  # S
        self.asked = 0.0  # A: when it was last asked whether it is still there
        self.thread = 0  # L: its ident, from the first turn on

    def __repr__(self) -> str:
        return f"<loop pool of {self.poster!r}>"

    def post(self, job: Any) -> bool:
        """Have a turn in the loop. Any context. LoopClosed."""
        promise = [job]
        try:
            turn = job.turn(promise)
            next(turn)
            self.hand_over(functools.partial(next, turn, None))
        except BaseException:
            promise.clear()
            raise
        job.promise = promise  # now that the request was made; empty if the turn has begun
        return True

    def check(self) -> None:
        """LoopClosed if the loop is gone. Any context."""
        if (now := monotonic()) >= self.asked + _ASKED:  # the loop may be busy for long, and those who wait, many
            self.hand_over(tuple)  # does nothing
            self.asked = now

    def hand_over(self, fn: Any) -> None:
        """Post `fn`. Any context. LoopClosed."""
        try:
            self.poster.post(fn)
        except RuntimeError as error:
            if isinstance(error, RecursionError):
                raise
            raise LoopClosed(f"{self.poster!r} is closed: nothing can run there any more") from error

    def is_here(self) -> bool:
        """True if the caller is in the loop's thread, which must not block for what the loop is to run. Any context."""
        try:
            if poster_here() == self.poster:
                return True
        except UsageError:
            pass
        # An asyncio loop may run in another thread by now.
        running: Any = getattr(getattr(self.poster, "loop", None), "is_running", bool)
        return self.thread == get_ident() and not running()


class LoopLane(Lane):
    """A lane whose items run in the thread of an event loop."""

    __slots__ = ()
    in_loop = True

    def make_executor(self) -> Executor:
        """As for any lane; there is never another one."""
        return LoopExecutor(self)

    def may_wait(self, wait: Wait) -> None:
        """As for any lane: not if the loop would be kept from running by the very wait."""
        wait.check = self._check
        if not self.quiet():
            self._check(wait)

    def _check(self, wait: Wait) -> None:
        pool: Any = self.pool
        pool.check()
        if isinstance(wait, Blocking) and pool.is_here():
            raise UsageError(
                f"queue {self.name!r} lives in the event loop of this thread, which can't run while it is blocked: "
                "await it, or the call of the same name under .aio"
            )


class LoopReference:
    """In place of a reference to pools: there is nothing to give back."""

    def __init__(self, poster: Poster) -> None:
        self.pool = LoopPool(poster)  # S
        self.held = True  # A

    def put_steps(self, wait: Wait) -> Steps[None]:
        """As `Reference.put_steps`."""
        yield from ()
        self.held = False

    def release(self) -> None:
        """As `Reference.release`."""
        self.held = False


class LoopExecutor(Executor):
    """The executor of a lane in a loop: what is posted there is a turn of it."""

    __slots__ = ("promise", "taken")

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self.taken: Any = None  # L: what was taken and is not called yet
        self.promise: list[Any] = []  # A: full from a post until its turn begins

    def turn(self, promise: list[Any]) -> Iterator[None]:
        """Run what waits now. The loop's thread; advanced to its ``yield`` by who posts it.

        So the first instruction in the loop's thread, where an asynchronous exception may come too, is in the ``try``.
        """
        interrupts: list[BaseException] = []
        try:
            yield
            promise.clear()
            if not self.ident:  # else this is a loop inside of an item's call, and the turn outside goes on later
                self._take_turn(interrupts)
            self._go_on()
        except GeneratorExit:  # it was never called: the loop is gone
            promise.clear()
        except BaseException as error:
            interrupts.append(error)
            promise.clear()
            self._recover()
            self._go_on()
        for interrupt in interrupts:
            raise interrupt

    def _go_on(self) -> None:
        """What came meanwhile is for the next turn. May be repeated."""
        lane = self.lane
        if lane.items and lane.idle and not self.promise:
            lane.kick_another()

    def _take_turn(self, interrupts: list[BaseException]) -> None:
        lane, items = self.lane, self.lane.items
        group = lane.group
        pool: Any = lane.pool
        pool.thread = get_ident()
        self._begin()
        tickets = iter(items.popleft, None)
        call = group.make_call(self)
        self.current = TAKING
        for _ in range(len(items)):
            if group.halts and group.halted():  # shown TAKING, then looked, as any executor
                break
            try:
                for ticket in tickets: self.ticket = ticket; break  # fmt: skip  # see threadpool9's _atomic
                item = ticket[0]
                if isinstance(item, Item):
                    last = item.item_executor
                    if last is not None and last is not self and not self._may_take(item, ticket):
                        continue
                del ticket[0]; self.current = self.taken = item; self.started += 1  # fmt: skip
                if isinstance(item, Item):
                    item.item_executor = self
            except IndexError:  # withdrawn
                continue
            try:
                self._call(item, call)
            except BaseException as error:
                if self.taken is not None:  # it was not called
                    raise
                if isinstance(error, (KeyboardInterrupt, SystemExit)):
                    interrupts.append(error)
                self._failed(error, item)
            item = ticket = None
            self.current = TAKING
            group.sleepers.wake(self)
            if self.deferred:
                self._take_deferred()
        self._rest()

    def _call(self, item: Any, call: Any) -> None:
        if not isinstance(item, Item):
            fn, args, kwargs = item
            if running.plain:
                self.taken = None; fn(*args, **kwargs)  # fmt: skip
            else:
                noted = Call(fn, args, kwargs)
                self.taken = None; run_watched(self, noted, None)  # fmt: skip
        elif isinstance(item, Future):
            self.taken = None; self._run_submitted(item)  # fmt: skip
        elif not running.plain:
            self.taken = None; run_watched(self, item, call)  # fmt: skip
        elif call is None:
            blank = [None, None]
            self.taken = None; item.item_ticket = blank; item.run()  # fmt: skip
        else:
            self.taken = None; call(item)  # fmt: skip

    def _run_submitted(self, future: Future[Any]) -> None:
        """It keeps what its function raises; but what ends a program is for the loop, too."""
        if running.plain:
            future.run()
        else:
            run_watched(self, future, None)
        future.raise_interrupt()

    def _rest(self) -> None:
        """Idle again. May be repeated."""
        self.ticket = ()
        self.current = None
        self.lane.group.sleepers.wake(self)
        self.ident = 0
        if self not in self.lane.idle:
            self.lane.idle.append(self)

    def _recover(self) -> None:
        """A turn was broken off between two lines: put back what was not called."""
        ticket = self.ticket
        if self.taken is not None:
            self.moves += 2  # taken, and put down
            self.started -= 1; ticket += (self.taken,); self.taken = None  # fmt: skip
        if ticket:  # twice on the lane would do no harm
            self.lane.items.appendleft(ticket)
        self._rest()
