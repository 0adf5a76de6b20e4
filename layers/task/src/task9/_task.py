"""The task: a small action that is scheduled often and run once (TK-1 to TK-6, TK-10).

What states it has, and who owns it, is said in `_item`. `cancel` takes the task out of its ticket, or claims it, and
keeps it while it waits for the run to end: whoever schedules meanwhile (the run itself, say) coalesces with something
that is being cancelled, so nothing outruns a cancel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from threadpool9 import UsageError, WaitTimeout
from threadpool9.lowlevel import (
    Blocking,
    Steps,
    Wait,
    check_function,
    check_unit_class,
    function_name,
    get_ident,
    interlock_released,
    owner_check,
    run,
)

from ._aio import TaskAio
from ._item import Item, in_hands
from ._watch import probes

if TYPE_CHECKING:
    from ._executor import Executor
    from ._group import Group
    from ._lane import Lane
    from ._queue import TaskQueue


#: The queue of tasks that are scheduled without one. It stands in `_shared`, above us; the package puts it here.
system_queue: Any = None


def _dead(task: Task) -> None:
    raise UsageError(f"{task!r} ran after destruction")


class Task(Item):
    """A task: ``fn(task)`` runs soon after each `schedule`; schedules made before it starts coalesce into one run.

    Args:
        fn: called with the task itself, on a worker; subclass Task or close over what it needs.
        context: a `contextvars.Context` to run in (TK-15); default: the worker's, which started empty.
        name: for people: snapshots, traces, metrics, reports. Default: the function's name.

    An idle task owns nothing but its memory. Making one is allowed in any context. Follows ``task_init`` of the
    task(9) drafts.
    """

    __slots__ = ("_name", "fn")

    schedulable = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_unit_class(cls)

    def __init__(self, fn: Callable[[Any], object], context: Context | None = None, name: str | None = None) -> None:
        if type(fn) is not _FUNCTION or fn.__code__.co_flags & _NOT_PLAIN:
            check_function("fn", fn, " with the task")
        if context is not None:
            if not isinstance(context, Context):
                raise TypeError(f"context must be a contextvars.Context, not {context!r}")
            fn = functools.partial(context.run, fn)  # type: ignore[call-arg]  # the task comes with the call
        if name is not None and not isinstance(name, str):
            raise TypeError(f"the name of a task is a str, not {name!r}")
        self.fn = fn  # S, poisoned by destroy
        self._name = name  # S
        self.item_ticket = [None, None]
        self.item_lane = self.item_executor = None

    def run(self) -> object:
        """Call the function. For executors."""
        return self.fn(self)

    @property
    def context(self) -> Context | None:
        """The `contextvars.Context` that the function runs in, None for the worker's own."""
        return unwrap(getattr(self, "fn", None))[1]

    @property
    def task_name(self) -> str:
        """Its name, or the function's, for people. Any context."""
        if getattr(self, "_name", None) is not None:
            return self._name  # type: ignore[return-value]  # just looked at
        return function_name(unwrap(getattr(self, "fn", None))[0])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task_name} at {id(self):#x}>"

    # --- scheduling

    def schedule(self) -> bool:
        """Run on the system queue: PRI_NONE, the current CPU, as soon as possible (TK-1, TK-2, TK-4).

        True if newly queued, False if coalesced with a schedule whose run has not begun: that run sees all that
        was written before this call. Any context; never blocks, takes no lock of the user. (The first call in the
        process makes the queue: have `task9.get` do that in thread context, if a handler might be the first.)

        Raises UsageError if the task is destroyed, or pending or running on another queue (TK-10).
        """
        queued: bool = system_queue().schedule(self)
        return queued

    @property
    def pending(self) -> bool:
        """True if a run will begin for a schedule made so far. Any context; may already be stale."""
        return len(self.item_ticket) < 2 and self.fn is not _dead

    @property
    def running(self) -> bool:
        """True while the function runs and has not called `done`. Any context; may already be stale."""
        return self.item_running

    def done(self) -> None:
        """Say that this run is over though the function has not returned. Optional; by the function, once per run.

        Another run may begin, on another executor, and cancel stops waiting. Raises UsageError from elsewhere.
        """
        executor = self.item_executor
        if executor is None:
            raise UsageError(f"done() is for the task's own function, once per run; {self!r} has never run")
        if executor.ident != get_ident() or executor.current is not self:
            raise UsageError(f"done() is for the task's own function, once per run; {self!r} is not running here")
        executor.end_run()

    def coalesce(self, group: Group) -> bool:
        """The slow half of a schedule that found the task not idle: False, or the reason why not."""
        self.refuse_dead()
        lane = self.item_lane
        if lane is not None and lane.group is not group and self in tuple(self.item_ticket):
            raise UsageError(f"{self!r} is pending on queue {lane.group.name!r} and can't be on two; cancel() it first")
        if lane is not None and lane.group.halts:
            lane.group.look_closed()  # what we would coalesce with is being refused itself
        if (probe := probes.coalesced) is not None:
            probe(lane, self)
        return False

    def refuse_dead(self) -> None:
        """Raise UsageError if it is destroyed. Any context."""
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed; make a new task")

    def check_move(self, lane: Lane) -> None:
        """On two queues at once: never (TK-10)."""
        old = self.item_lane
        if old is not None and old.group is not lane.group and self.item_running:
            raise UsageError(f"{self!r} is running on queue {old.group.name!r} and can't be on two; cancel() it first")

    # --- cancelling

    def cancel_async(self) -> bool:
        """Withdraw the pending run; True if the task is then neither pending nor running (TK-6).

        False means that a run has begun, or is beginning right now. Any context; never waits.
        """
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed")
        if len(self.item_ticket) == 2 or ((lane := self.item_lane) is not None and lane.group.withdraw(self)):
            return not self.item_running
        return not self.in_hand()

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """Withdraw the pending run and wait for one under way (TK-6). Thread context; may block.

        Args:
            interlock: a lock that the caller holds and the task may need: released while waiting, only then.
            timeout: seconds to wait for a running task; None waits as long as it takes.

        Returns True if it never ran for that schedule (withdrawn, or not scheduled), False if it had to wait.
        Afterwards nothing runs without a new schedule. From inside the task itself: withdraws a pending
        re-run and returns False at once. Raises WaitTimeout; UsageError if the interlock is not held.
        """
        return run(self.cancel_steps(interlock, Blocking(timeout)))

    def cancel_steps(self, interlock: Any, wait: Wait) -> Steps[bool]:
        """`cancel`, for layers: by a thread or by a task of an event loop."""
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed")
        if interlock is not None:
            owned = owner_check(interlock)
            if owned is not None and not owned():
                raise UsageError(f"cancel() of {self!r} was given an interlock that the caller does not hold")
        hand: list[None] = []
        try:
            never_ran = yield from self._cancel(hand, interlock, wait)
            self.fire_cancelled()
            self.give_back(hand)
        except BaseException:
            self.give_back(hand)
            raise
        return never_ran

    @property
    def aio(self) -> TaskAio:
        """`cancel` for event loops: ``await task.aio.cancel()`` (AW-1)."""
        return TaskAio(self)

    def _cancel(self, hand: list[None], interlock: Any, wait: Wait) -> Steps[bool]:
        waited = False
        while True:
            # While we hold it, nobody can schedule it.
            if not hand:
                self.claim(hand) or self.take_back(hand)
            executor = self.item_executor
            if executor is not None and executor.current is self:
                if executor.ident == get_ident():
                    return False
                waited = True
                yield from self._wait_for(executor, interlock, wait)
            elif hand or not self.in_hand():
                # Ours; or somebody else is cancelling or scheduling it at this moment, and a concurrent
                # operation may be taken to come after this call.
                return not waited
            else:
                # An executor is between taking it and showing that: a few bytecodes.
                yield from wait.pause(f"{self!r} is still running")

    def _wait_for(self, executor: Executor, interlock: Any, wait: Wait) -> Steps[None]:
        if interlock is None:
            over = yield from executor.wait_end(self, wait)
        else:
            over = yield from interlock_released(interlock, lambda: executor.wait_end(self, wait))
        if not over:
            raise WaitTimeout(f"{self!r} is still running")

    def forget_threads(self) -> None:
        """In a fork child: as for any item."""
        if self.fn is not _dead:
            super().forget_threads()

    def destroy(self) -> None:
        """Poison the task: it must be idle; scheduling it afterwards is an error (TK-10). Never blocks."""
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed already")
        hand: list[None] = []
        try:
            if not self.claim(hand):
                raise UsageError(f"{self!r} is pending; cancel() it before destroy()")
            if self.item_running:
                raise UsageError(f"{self!r} is running; cancel() it before destroy()")
            self.item_lane = None  # so that no schedule takes it for one that is pending there
            name = self.task_name  # messages go on naming it
            del in_hands[self]; self.fn = _dead; self._name = name; del hand[0]  # fmt: skip
        except BaseException:
            self.give_back(hand)
            raise


_FUNCTION = type(_dead)
_COROUTINE = 0x80 | 0x200  # inspect.CO_COROUTINE, CO_ASYNC_GENERATOR
_NOT_PLAIN = _COROUTINE | 0x20  # and CO_GENERATOR


def unwrap(fn: Any) -> tuple[Any, Context | None]:
    """`fn` without the `Context.run` that a task has around it, and that context; None if there is none."""
    found = getattr(fn.func, "__self__", None) if isinstance(fn, functools.partial) else None
    return (fn.args[0], found) if isinstance(found, Context) else (fn, None)


def check_task(task: object, queue: TaskQueue) -> None:
    """TypeError unless `task` is one that was initialised."""
    if not isinstance(task, Task):
        hint = ""
        if isinstance(task, type):
            hint = ": make one, Task(fn)"
        elif callable(task):
            hint = ": schedule(Task(fn)), or call(fn)"
        raise TypeError(f"{queue!r} takes tasks, not {task!r}{hint}")
    if not task.schedulable:
        raise TypeError(f"{task!r} has a period: start() it, cancel() it")
    if not hasattr(task, "item_ticket"):
        raise TypeError(f"{type(task).__name__}.__init__ did not call super().__init__(): it is no task yet")
