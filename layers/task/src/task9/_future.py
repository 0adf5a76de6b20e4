"""Results (TK-18): the future is the item itself, and a `concurrent.futures.Future` that prepares nothing for waiters.

    pending    its ticket is full; cancel() takes it out
    running    an executor took it out
    cancelled  written on one line with the taking out
    finished   written by the executor, after the value or the failure

Who is to be informed of that is the matter of `_audience`.

`result` waits on a lock of its own, as everything in this stack: a handler on the same thread may cancel the future.

Rules. A: atomic, any context. B: written by who has taken it out of its ticket. S: set at init.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from threadpool9 import Error, UsageError
from threadpool9.lowlevel import (
    FREE,
    FREE_THREADED,
    Awaiting,
    Blocking,
    Steps,
    Wait,
    bell_here,
    doze,
    function_name,
    get_ident,
    refuse_copy,
    run,
)

from ._audience import FINISHED, NOTIFIED, PENDING, Failure, StandardFuture
from ._errors import ResultLost
from ._item import Item, in_hands
from ._watch import running, scheduling

if TYPE_CHECKING:
    from ._lane import Lane

T = TypeVar("T")


def _blocking(timeout: float | None) -> Blocking:
    """As the standard library takes time limits: negative ones are over, and any kind of number will do."""
    return Blocking(None if timeout is None else max(0.0, timeout + 0.0))


_SPINS, _DOZE = 100, 1e-4
_ONCE_MORE = range(2 * _SPINS if FREE_THREADED else 0)


class Future(StandardFuture[T], Item):
    """The result of a call that was submitted to a queue (TK-18). `TaskQueue.submit` makes them, nobody else.

    It is a `concurrent.futures.Future`: `concurrent.futures.wait` and `as_completed`, callbacks, and
    `asyncio.wrap_future` take it. Besides:

    - `cancel` is exact: True means that the function was not entered and never will be (TP-25).
    - An exception that was never retrieved is reported when the future is deleted (``tunables.report_unretrieved``).
    - In a fork child a call that had not begun is cancelled; one that another thread was running raises `ResultLost`.
    - Waiting, inside a call, for something that this very call keeps from running is a UsageError, not a hang.
    """

    __slots__ = ("_args", "_context", "_failure", "_fn", "_kwargs", "_name", "_settled", "_value")

    __reduce_ex__ = refuse_copy

    exclusive = False

    def __init__(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], context: Context) -> None:
        # Not the standard one: it makes what hardly any future needs.
        self._fn: Any = fn  # B, as what follows
        self._args: Any = args
        self._kwargs: Any = kwargs
        self._context: Any = context
        self._settled = PENDING
        self._value: Any = None
        self._failure: Failure | None = None
        self._name: str | None = None
        self.item_ticket = ()  # it is put once, and never idle
        self.item_lane = self.item_executor = None

    # --- on a lane

    @property
    def carrier(self) -> Item | None:
        """The item that waits on a lane for this future's call; None if there is none any more. Any context."""
        return self

    def start(self, lane: Lane) -> None:
        """Put it on `lane`, once. Any context. Raises as `Lane.call`."""
        ticket = [self]
        self.item_lane, self.item_ticket = lane, ticket
        try:
            if scheduling.plain:
                lane.items.append(ticket)
            else:  # meanwhile a fork child finds it in `in_hands`
                in_hands[self] = None
                self.fire_scheduled(lane)
                del in_hands[self]; lane.items.append(ticket)  # fmt: skip
            lane.see_to_it()
        except BaseException as error:
            in_hands.pop(self, None)
            try:
                del ticket[0]
            except IndexError:
                if isinstance(error, Error):
                    return  # an executor has it: all is well
            if isinstance(error, Error):
                lane.withdrawn(ticket)
            raise

    def run(self) -> None:
        """Call the function and keep what comes of it. The worker's thread."""
        if not running.plain:
            self._name = self.task_name  # for the probe at the end
        try:
            value = self._context.run(self._fn, *self._args, **self._kwargs)
        except BaseException as error:
            # Without our own frame. That of the function keeps it alive all the same, so it must not hold us.
            try:
                error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
            except Exception:
                pass  # its class lets nobody
            self.fail(error)
            del self
            return
        # Whoever gets the result may rely on the arguments being gone.
        self._fn = self._args = self._kwargs = self._context = self.item_lane = self.item_executor = None
        self.item_ticket = ()
        self._value = value; self._settled = FINISHED  # fmt: skip
        if self._first is not None or self._audience is not None:
            self.announce()

    def fail(self, error: BaseException, asked: bool = False) -> None:
        """Settle with `error`, to be reported unless it was `asked` for. By who has taken it out of its ticket."""
        lane = self.item_lane
        self._failure = failure = Failure(error)
        failure.origin = self.task_name if lane is None else lane.group.origin(self)
        failure.asked = asked
        self._fn = self._args = self._kwargs = self._context = self.item_lane = self.item_executor = None
        self.item_ticket = ()
        self._settled = FINISHED
        self.announce()

    def raise_interrupt(self) -> None:
        """After a `run` in a thread that is not ours: a KeyboardInterrupt or SystemExit is for that thread, too."""
        if (failure := self._failure) is not None and isinstance(failure.error, (KeyboardInterrupt, SystemExit)):
            failure.asked = True
            raise failure.error

    def broken_off(self, error: BaseException) -> None:
        """As for any item: it is settled, and who waits for it is informed."""
        if self._settled is PENDING and self._failure is None:
            self.fail(error, asked=True)
            return
        if self._settled is PENDING:
            self._settled = FINISHED
        self.announce()

    def be_given(self, fn: Callable[..., T], *args: Any) -> None:
        """Say what is to be run, for a future that was made without a function. The worker's thread."""
        self._fn, self._args, self._kwargs = fn, args, {}

    def take_back(self, hand: list[None], ticket: Any = None) -> bool:
        """As for any item; and it is cancelled."""
        return self.take_back_from(self, hand, self.item_ticket if ticket is None else ticket)

    def take_back_from(self, item: Item, hand: list[None], ticket: Any) -> bool:
        """Withdraw `item`, which stands for this future, as `Item.take_back`; and the future is cancelled."""
        taken = False
        if not ticket or None in ticket:
            return False
        try:
            del ticket[0]; self._settled = NOTIFIED; taken = True; hand += FREE; in_hands[item] = None  # fmt: skip
        except IndexError:
            return False
        except MemoryError:
            if taken:
                hand[:] = FREE
            raise
        if (lane := item.item_lane) is not None:
            lane.withdrawn(ticket)
        return True

    def was_withdrawn(self) -> None:
        """Inform who waits for it. May be repeated."""
        if self._settled is NOTIFIED:
            self._fn = self._args = self._kwargs = self._context = self.item_lane = None
            self.announce()

    def forget_threads(self) -> None:
        """In a fork child: not pending for ever, and no lock is held by a thread that is not there."""
        if self._settled is PENDING:
            if not self.running():
                self._settled = NOTIFIED
            else:
                lost = ResultLost(f"{self!r} was running in another thread when this process was forked")
                self._failure = Failure(lost)
                self._settled = FINISHED
        self.item_ticket = ()
        self.item_lane = self.item_executor = None
        self._fn = self._args = self._kwargs = self._context = None
        if (audience := self._audience) is not None:
            audience.pop("calls", None)  # they are the parent's
            if (crowd := audience.pop("crowd", None)) is not None:
                audience.crowd._waiters = crowd._waiters  # an iteration that was forked along takes its own out
                audience.crowd._state = self._settled
        self.announce()

    @property
    def context(self) -> Context | None:
        """The `contextvars.Context` that the function runs in; None once it has run. Any context."""
        context: Context | None = self._context
        return context

    @property
    def task_name(self) -> str:
        """The function's name, for people. Any context."""
        fn = self._fn
        return self._name or function_name(fn)

    def __repr__(self) -> str:
        failure, what = self._failure, f"of {self.task_name} " if self._fn is not None else ""
        match self._settled:
            case "PENDING" | "FINISHED" if failure is not None:
                state = f"raised {type(failure.error).__name__}"
            case "PENDING":
                state = "running" if self.running() else "pending"
            case "FINISHED":
                state = f"returned {type(self._value).__name__}"
            case _:
                state = "cancelled"
        return f"<{type(self).__name__} {what}at {id(self):#x} {state}>"

    # --- asking

    def running(self) -> bool:
        """True while the function runs. Any context; may already be stale."""
        carrier = self.carrier
        return self._settled is PENDING and (carrier is None or not carrier.item_pending)

    def cancel(self) -> bool:
        """Withdraw the call: True if the function was not entered and never will be, also if it was cancelled before.

        Any context, except in code that interrupts `concurrent.futures.wait` or `as_completed` on this future.
        """
        carrier = self.carrier
        if carrier is not None and carrier.item_pending:
            ticket, lane = carrier.item_ticket, carrier.item_lane
            # Looked after the ticket was read, so that is ours.
            if self.carrier is carrier and lane is not None and lane.group.withdraw(carrier, ticket):
                return True
        for turn in _ONCE_MORE:  # without a GIL, another thread may be between the two halves of one line
            if self._settled is not PENDING:
                break
            if turn >= _SPINS:  # it has lost its CPU there, or the call has begun
                if carrier is None or carrier.in_hand():
                    break
                doze(_DOZE)
        if self._settled is not NOTIFIED:
            if (failure := self._failure) is not None:
                failure.asked = True  # who cancels it does not want it: `map`, say, for what comes after an exception
            return False
        self.was_withdrawn()  # once more: what has withdrawn it may have been interrupted
        return True

    def result(self, timeout: float | None = None) -> T:
        """What the function returned; waits for it, at most `timeout` seconds. Raises what the function raised.

        Thread context. Raises TimeoutError; `concurrent.futures.CancelledError` if it was cancelled; UsageError if it
        could only wait for itself.
        """
        if self._settled is not FINISHED:
            run(self._finish(_blocking(timeout)))
        if self._failure is None:
            return self._value  # type: ignore[no-any-return]
        self._failure.asked = True
        try:
            raise self._failure.error
        finally:
            del self  # the frame is in the traceback now

    def __await__(self) -> Steps[T]:
        """``await future``, in a task of asyncio or trio: as `result`. Cancelling it ends only the wait (AW-2)."""
        try:
            if self._settled is PENDING and ((lane := self._refuse_own()) is None or not lane.in_loop):
                # The first sleep, without steps, and hardly ever is there another. The worker has just been woken, and
                # gets the GIL when this thread sleeps: to be short here saves it a wait, and the answer a fifth of its
                # time.
                bell = bell_here()
                if self.__dict__.setdefault("_first", bell) is bell:
                    try:
                        if self._settled is PENDING:
                            if bell.is_future:
                                yield bell
                            else:
                                yield from bell.sleep()
                            if self._settled is not PENDING:
                                return self.result()
                    finally:
                        self._first = None
            wait = Awaiting(None)
            yield from wait.run(self._finish(wait))
            return self.result()
        finally:
            del self  # the frame is in the traceback of what it raises

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function raised, None if it returned; waits and raises as `result`. Thread context."""
        if self._settled is not FINISHED:
            run(self._finish(_blocking(timeout)))
        return self._exception

    # --- settling

    def _finish(self, wait: Wait) -> Steps[None]:
        """Wait until it is finished, or raise why not."""
        if self._settled is PENDING:
            if (lane := self._refuse_own()) is not None:
                lane.may_wait(wait)
            sleepers = (self._audience or self._attended()).sleepers
            while self._settled is PENDING:
                if not (yield from sleepers.wait(lambda: self._settled is PENDING, wait)) and self._settled is PENDING:
                    raise TimeoutError
        if self._settled is NOTIFIED:
            raise concurrent.futures.CancelledError

    def _refuse_own(self) -> Lane | None:
        """UsageError if it can't be settled before the calling function has returned; else the lane that it is on."""
        carrier, executor, me = self.carrier, self.item_executor, get_ident()
        lane: Lane | None = self.item_lane if carrier is None else carrier.item_lane
        if (
            lane is not None
            and (
                (executor is not None and executor.ident == me)  # it is in this very call
                or (lane.limit == 1 and lane.executors[0].ident == me)
            )
            and not lane.in_loop  # there `Lane.may_wait` knows: to await lets the loop go on
        ):
            raise UsageError(f"a call of queue {lane.name!r} can't wait for {self!r}, which waits for this very call")
        return lane
