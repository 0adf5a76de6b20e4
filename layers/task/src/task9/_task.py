"""The task: a small action that is scheduled often and run once (TK-1 to TK-6, TK-10).

States, told by where the task is, not by a state field:

    idle       _free holds its token, and no executor has the task in hand
    pending    the token is taken; the task is in a lane's items, a `deferred`, or armed in the timer
    running    an executor's `current`; the token was given back before the call, so it may be pending too
    dead       the token is taken for ever; fn is poisoned

`schedule` takes the token and appends the task. `cancel` takes the task out of wherever it waits, or takes the free
token, and keeps it while it waits for the run to end: whoever schedules meanwhile (the run itself, say) coalesces
with something that is being cancelled, so nothing outruns a cancel.

Who has the token in hand between two steps shows it by a list of its own, `held`, that is not empty: so an exception
from nowhere (see threadpool9's `_seam`) finds out whether there is something to give back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from threadpool9 import UsageError, WaitTimeout, _seam
from threadpool9._job import _owner_check, forbid_equality, interlock_released

from ._lane import TAKING, TRANSIENT, Executor, Lane
from ._watch import probes

if TYPE_CHECKING:
    from ._queue import TaskQueue


def _dead(task: Task) -> None:
    raise UsageError(f"{task!r} ran after destruction")


class Task:
    """A task: ``fn(task)`` runs soon after each `schedule`, several schedules before it starts being one run.

    Args:
        fn: called with the task itself, on a worker; subclass Task or close over what it needs.
        context: a `contextvars.Context` to run in (TK-15); default: an empty one, the worker's.

    An idle task owns nothing but its memory. Making one is allowed in any context. Follows ``task_init`` of the
    task(9) drafts.
    """

    __slots__ = ("__weakref__", "_exec", "_free", "_lane", "context", "fn")

    _marker = False
    #: A task never runs beside itself; a work of the layer above may, if its function re-used it.
    _exclusive = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        forbid_equality(cls)

    def __init__(self, fn: Callable[[Any], object], context: Context | None = None) -> None:
        if not callable(fn):
            raise TypeError(f"fn must be callable with the task, not {fn!r}")
        #: The `contextvars.Context` that the function runs in, None for the worker's own.
        self.context = context  # S
        if context is not None:
            if not isinstance(context, Context):
                raise TypeError(f"context must be a contextvars.Context, not {context!r}")
            fn = functools.partial(context.run, fn)  # type: ignore[call-arg]  # the task comes with the call
        self.fn = fn  # S, poisoned by destroy
        self._free = _seam.token()  # A: taken while pending
        self._lane: Lane | None = None  # written by who has the token: where it was scheduled last
        self._exec: Executor | None = None  # written by the executor that has popped the task

    @property
    def task_name(self) -> str:
        """The function's name, for people: snapshots, traces, metrics. Any context."""
        fn = getattr(self, "fn", None)
        if isinstance(fn, functools.partial):
            fn = fn.args[0] if fn.args else fn.func
        return getattr(fn, "__qualname__", None) or repr(fn)

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
        from ._queue import system_queue

        return system_queue().schedule(self)

    @property
    def pending(self) -> bool:
        """True if a run will begin for a schedule made so far. Any context; a moment's truth."""
        return not self._free and self.fn is not _dead

    @property
    def running(self) -> bool:
        """True while the function runs and has not called `done`. Any context; a moment's truth."""
        executor = self._exec
        return executor is not None and executor.current is self

    def done(self) -> None:
        """Say that this run is over though the function has not returned. Optional; by the function, once per run.

        Another run may begin, on another executor, and cancel stops waiting. Raises UsageError from elsewhere.
        """
        executor = self._exec
        if executor is None:
            raise UsageError(f"done() is for the task's own function, once per run; {self!r} has never run")
        executor.end_run(self)

    def _coalesced(self, group: object) -> bool:
        """The slow half of a schedule that found the token taken: False, or the reason why not."""
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed; make a new task")
        lane = self._lane
        if lane is not None and lane.group is not group and not self._free:
            raise UsageError(f"{self!r} is pending on queue {lane.group.name!r} and can't be on two; cancel() it first")
        if lane is not None and lane.group.frozen:
            lane.group.look_closed()  # what we would coalesce with is being refused itself
        if (probe := probes.coalesced) is not None:
            probe(lane, self)
        return False

    def _adopt(self, lane: Lane) -> None:
        """Move to another lane; the caller has the token (TK-10)."""
        old = self._lane
        if old is not None and old.group is not lane.group and self._exclusive and self.running:
            raise UsageError(f"{self!r} is running on queue {old.group.name!r} and can't be on two; cancel() it first")
        self._lane = lane

    def _tell_scheduled(self, lane: Lane) -> None:
        """Fire the probe of a schedule. Any context."""
        if (probe := probes.schedule) is not None:
            probe(lane, self)

    # --- cancelling

    def _withdraw(self, held: list[object]) -> bool:
        """Take the task out of where it waits; True puts the token into the caller's hand. Any context."""
        lane = self._lane
        if lane is None:
            return False
        executor = self._exec
        if _seam.discard(lane.items, self, held):
            return True
        return executor is not None and _seam.discard(executor.deferred, self, held)

    def _locate(self, held: list[object]) -> str:
        """Where the task is: ``"ours"`` (withdrawn just now; `held` says so), ``"taken"`` (an executor has it in hand
        or may have) or ``"nowhere"``. Any context.

        Looking in several places is not atomic: a task that was set aside comes back to its lane. So look again
        whenever an executor took something meanwhile; each time round is a step forward of somebody else.
        """
        while True:
            before = self._positions()
            if self._withdraw(held):
                return "ours"
            # One look at each: between two, without a GIL, the run may end and the next item be about to be taken.
            if any((now := e.current) is TAKING or now is self for e in self._executors()) or self._in_transit():
                return "taken"
            if before == self._positions():
                return "nowhere"

    def _executors(self) -> tuple[Executor, ...]:
        """Those that may have the task in hand."""
        lane, last = self._lane, self._exec
        executors = () if lane is None else lane.executors
        return executors if last is None or last in executors else (*executors, last)

    def _in_transit(self) -> bool:
        """True while something other than an executor has the task in hand."""
        return False

    def _positions(self) -> tuple[object, ...]:
        return self._lane, self._exec, *[executor.runs for executor in self._executors()]

    def cancel_async(self) -> bool:
        """Withdraw the pending run; True if the task is then neither pending nor running (TK-6).

        False means that a run has begun, or is beginning right now. Any context; never waits.
        """
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed")
        if self._free:
            return not self.running
        held: list[object] = []
        given = False
        try:
            where = self._locate(held)
            if held:
                self._tell_cancelled()  # before the next schedule can be
                given = True; self._free.append(None)  # fmt: skip  # noqa: E702 see _seam
        except BaseException:
            if held and not given:
                self._free.append(None)
            raise
        return where != "taken" and not self.running

    def _tell_cancelled(self) -> None:
        """Fire the probe of a cancel. Any context."""
        if (probe := probes.cancel) is not None:
            probe(self)

    def cancel(self, interlock: Any = None, timeout: float | None = None) -> bool:
        """Withdraw the pending run and wait for one under way (TK-6). Thread context; may block.

        Args:
            interlock: a lock that the caller holds and the task may need: released while waiting, only then.
            timeout: seconds to wait for a running task; None waits as long as it takes.

        Returns True if it never ran for that schedule (withdrawn, or not scheduled), False if it had to wait.
        Afterwards nothing runs without a new schedule. From inside the task itself: withdraws a pending
        re-run and returns False at once. Raises WaitTimeout; UsageError if the interlock is not held.
        """
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed")
        deadline = _seam.deadline_after(timeout)
        if interlock is not None:
            owned = _owner_check(interlock)
            if owned is not None and not owned():
                raise UsageError(f"cancel() of {self!r} was given an interlock that the caller does not hold")
        held: list[object] = []
        given = False
        try:
            never_ran = self._cancel(held, interlock, deadline)
            self._tell_cancelled()
            if held:
                given = True; self._free.append(None)  # fmt: skip  # noqa: E702 see _seam
        except BaseException:
            if held and not given:
                self._free.append(None)
            raise
        return never_ran

    def _cancel(self, held: list[object], interlock: Any, deadline: float | None) -> bool:
        waited = False
        while True:
            # The token in our hand keeps everybody from scheduling until we are through.
            where = "ours"
            if not held:
                try:
                    del self._free[0]; held.append(None)  # fmt: skip  # noqa: E702
                except IndexError:
                    where = self._locate(held)
            executor = self._exec
            if executor is not None and executor.current is self:
                if executor.ident == _seam.get_ident():
                    return False
                waited = True
                self._wait_for(executor, interlock, deadline)
            elif where != "taken":
                # Not ours and not taken: somebody else is cancelling or scheduling it at this moment, and
                # what happens at the same time as this call may be taken to happen after it.
                return not waited
            else:
                # An executor is between popleft and showing what it has: a few bytecodes.
                _seam.doze(TRANSIENT)
                if deadline is not None and _seam.monotonic() > deadline:
                    raise WaitTimeout(f"{self!r} is still running")

    def _wait_for(self, executor: Executor, interlock: Any, deadline: float | None) -> None:
        if interlock is None:
            over = executor.wait_end(self, deadline)
        else:
            over = interlock_released(interlock, lambda: executor.wait_end(self, deadline))
        if not over:
            raise WaitTimeout(f"{self!r} is still running")

    def forget_threads(self) -> None:
        """In a fork child: whoever scheduled or ran it is not there; it is not pending (TP-31)."""
        if self.fn is not _dead and not self._free:
            self._free.append(None)

    def destroy(self) -> None:
        """Poison the task: it must be idle; scheduling it afterwards is an error (TK-10). Never blocks."""
        if self.fn is _dead:
            raise UsageError(f"{self!r} is destroyed already")
        claimed = False
        try:
            del self._free[0]; claimed = True  # fmt: skip  # noqa: E702
            if self.running:
                raise UsageError(f"{self!r} is running; cancel() it before destroy()")
            self._lane = None  # so that no schedule takes it for one that is pending there
            self.fn = _dead
        except BaseException as error:
            if claimed and self.fn is not _dead:
                self._free.append(None)
            if isinstance(error, IndexError):
                raise UsageError(f"{self!r} is pending; cancel() it before destroy()") from None
            raise


def check_task(task: object, queue: TaskQueue) -> None:
    """TypeError unless `task` is one."""
    if not isinstance(task, Task):
        raise TypeError(f"{queue!r} takes tasks, not {task!r}")
