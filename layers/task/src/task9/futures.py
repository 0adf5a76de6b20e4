"""`ThreadPoolExecutor` on a queue, so on shared threads (TK-20): one changed import line in place of the standard one.

For example::

    from task9.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_pending=100) as executor:
        futures = [executor.submit(fetch, url) for url in urls]

It is a subclass of the standard class, whose ``__init__`` checks the arguments and whose `map` is used, so both are the
running Python's. Of what that class keeps for itself only ``_max_workers`` is used.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import math
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from contextvars import Context, copy_context
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar

from threadpool9 import PRI_NONE, FinalizingError, UsageError
from threadpool9.lowlevel import Blocking, Local, run

from ._errors import Full, QueueClosed
from ._future import Future
from ._group import Group
from ._queue import TaskQueue
from ._slots import Slots

__all__ = ["Full", "ThreadPoolExecutor"]

T = TypeVar("T")
P = ParamSpec("P")

#: The executors that a thread was initialised for.
_initialised = Local()


class Crew(Group):
    """The group of one executor's queue."""

    __slots__ = ("broken", "initargs", "initializer", "slots")
    drop_silently = True

    def __init__(
        self, name: str, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], bound: int | None
    ) -> None:
        super().__init__(name)
        self.initializer = initializer  # S
        self.initargs = initargs  # S
        self.broken = False  # A: written once
        self.slots = None if bound is None else Slots(bound)  # S: one for each call that may wait

    def refuse_closed(self) -> NoReturn:
        """In the words of the standard library."""
        raise QueueClosed(f"cannot schedule new futures after shutdown of {self.name!r}")

    def refuse_broken(self) -> None:
        """Raise BrokenThreadPool if an initializer has failed."""
        if self.broken:
            raise BrokenThreadPool(f"an initializer of {self.name!r} has failed; it takes and runs no calls any more")

    def initialise(self) -> None:
        """See that the initializer was called on this worker's thread; BrokenThreadPool if one has failed."""
        self.refuse_broken()
        if self.initializer is None:
            return
        done = _initialised.__dict__.setdefault("crews", weakref.WeakSet())
        if self in done:
            return
        try:
            self.initializer(*self.initargs)
        except BaseException:
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            self.broken = True  # who waits for a place gets one, as each call that waits gives up its own
            self.refuse_broken()
        done.add(self)

    def give_slot(self, slot: list[None]) -> None:
        """Give back the slot that is in `slot`, if any. Any context."""
        if self.slots is not None:
            self.slots.give(slot)


class _Call(Future[T]):
    """A call for an executor with an initializer, or with a bound."""

    __slots__ = ("_crew", "slot")

    def __init__(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], context: Context, crew: Crew
    ) -> None:
        super().__init__(fn, args, kwargs, context)
        self._crew = crew  # S
        self.slot: list[None] = []  # A: the slot that it takes

    def run(self) -> None:
        """As for any submitted call; after the initializer."""
        crew = self._crew
        crew.give_slot(self.slot)
        try:
            crew.initialise()
        except BrokenThreadPool as error:
            self.fail(error.with_traceback(None), asked=True)  # it was logged
        else:
            super().run()

    def was_withdrawn(self) -> None:
        """As for any submitted call; and its slot is free."""
        super().was_withdrawn()
        self._crew.give_slot(self.slot)

    def forget_threads(self) -> None:
        """As for any submitted call; and its slot is free."""
        super().forget_threads()
        self._crew.give_slot(self.slot)
        if self._crew.slots is not None:
            self._crew.slots.space.wake_all()


class ThreadPoolExecutor(concurrent.futures.ThreadPoolExecutor):
    """The standard `concurrent.futures.ThreadPoolExecutor` on a `TaskQueue`: the process's shared threads (TK-20).

    Args:
        max_workers: how many calls run at once; default: the running Python's.
        thread_name_prefix: the name of the queue, for people: snapshots and reports. Threads are shared, and have
            names of their own.
        initializer: called on each thread before the first call that it runs for this executor. Threads are shared and
            come and go, so over time it may be called more than `max_workers` times: do not hand out a limited
            resource there. Context variables that it sets are not seen by the calls, which run in a
            copy of the submitter's.
        initargs: its arguments.
        pri: a priority; calls run on threads of that priority.
        percpu: one call at a time on each CPU, bound to it; each runs on its submitter's CPU; not with `max_workers`.
        max_pending: how many calls may wait; None for no limit.
        when_full: what a submit does then: ``"block"`` until there is room (from one of the executor's own calls, which
            would wait for itself, it raises `Full`), ``"raise"`` `Full`, or ``"run"`` the call in the caller's thread.

    What it promises beyond the standard one: the futures are `Future`, calls run in a copy of the submitter's context
    variables, submit is for any context (but for a full executor with ``"block"``), an idle executor owns no thread,
    and calls that were submitted before the exit of the interpreter run by the exit policy (TP-32).
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        pri: int = PRI_NONE,
        percpu: bool = False,
        max_pending: int | None = None,
        when_full: Literal["block", "raise", "run"] = "block",
    ) -> None:
        super().__init__(max_workers, thread_name_prefix, initializer, initargs)
        if percpu and max_workers is not None:
            raise ValueError("max_workers can't be combined with percpu, which runs one call per CPU")
        if max_pending is not None and type(max_pending) is not int:
            raise TypeError(f"max_pending is an int >= 1 or None, not {max_pending!r}")
        if max_pending is not None and max_pending < 1:
            raise ValueError(f"max_pending is an int >= 1 or None, not {max_pending!r}")
        if when_full not in ("block", "raise", "run"):
            raise ValueError(f'when_full is "block", "raise" or "run", not {when_full!r}')
        name = thread_name_prefix or f"executor-{next(_numbers)}"
        self._when_full = when_full  # S
        self._crew = Crew(name, initializer, initargs, max_pending)  # S
        #: The queue that it stands on. S.
        workers = 1 if percpu else math.ceil(self._max_workers)  # the standard class takes any number
        self.queue = TaskQueue(name, pri, percpu, workers, group=self._crew)
        if percpu:
            self._max_workers = len(self._crew.lanes)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` called, in a copy of the caller's context variables; its `Future`.

        Any context; may block, raise `Full` or call `fn` itself only as `when_full` says. Raises RuntimeError after
        `shutdown`, BrokenThreadPool if the initializer has failed, StartError as `threadpool9.Pool.schedule`.
        """
        crew, queue = self._crew, self.queue
        if queue.closed:
            crew.refuse_closed()
        try:
            if crew.initializer is None and crew.slots is None:
                future = Future(fn, args, kwargs, copy_context())
                future.start(queue.lane_here())
                return future
            return self._submit(fn, args, kwargs)
        except FinalizingError:  # programs look for the words of the standard one
            raise FinalizingError("cannot schedule new futures after interpreter shutdown") from None

    def _submit(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
        """With an initializer, or a bound."""
        crew, slots = self._crew, self._crew.slots
        self._check_open()
        call = _Call(fn, args, kwargs, copy_context(), crew)
        try:
            if slots is not None and not slots.take_now(call.slot):
                if self._when_full == "run":
                    call.run()
                    call.raise_interrupt()
                    return call
                blocks = self._when_full == "block" and not crew.is_own_thread()
                run(slots.take(call.slot, Blocking(None) if blocks else None, lambda: self._full(fn, slots.bound)))
                self._check_open()
            call.start(self.queue.lane_here())
        except BaseException:
            if slots is not None:
                slots.give(call.slot)
            raise
        return call

    def _check_open(self) -> None:
        self._crew.refuse_broken()
        if self.queue.closed:
            self._crew.refuse_closed()

    def _full(self, fn: object, bound: int) -> Full:
        self._check_open()
        return Full(f"executor {self._crew.name!r} holds {bound} calls; {fn!r} was not submitted")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new calls; with `cancel_futures` cancel what waits; with `wait` wait until all has been run.

        Thread context; ``wait=False`` is for any. Raises UsageError if one of its own calls would wait for itself.
        """
        crew, queue = self._crew, self.queue
        queue.closed = True
        if crew.slots is not None:
            crew.slots.end()
        if cancel_futures:
            queue.cancel_pending()
        if not wait:
            queue._abandon()
        elif crew.is_own_thread():
            raise UsageError(f"a call of executor {crew.name!r} can't wait for the end of its own executor")
        else:
            # Not for the calls of another executor that was not waited for.
            run(queue.close_steps(Blocking(None), leave_workers=True))


_numbers = itertools.count()
