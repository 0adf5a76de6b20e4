"""Queues of tasks: the shared per-CPU ones, one for each priority, and private ones (TK-4, TK-5, TK-7, TK-16).

A queue is a thin face over lanes (see `_lane`). It holds one reference to the pools that its lanes run on, and
gives it back when it is closed or dropped. An idle queue owns no thread (TK-9).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import threadpool9
from threadpool9 import PRI_NONE, UsageError, WaitTimeout, _seam
from threadpool9._priority import check_priority

from ._errors import QueueClosed
from ._lane import CLOSED, FREEZE, TAKING, TRANSIENT, Executor, Group, Lane
from ._task import Task, check_task
from ._timer import timer
from ._watch import probes

if TYPE_CHECKING:
    from types import TracebackType

    from ._delayed import DelayedTask

__all__ = ["TaskQueue", "get"]


class Drain:
    """The function of a drain's marker: told when everything before it in its lane has been taken."""

    def __init__(self) -> None:
        self.reached = False  # written by the executor that got here
        self.waiters = _seam.Waiters()
        #: What other executors of the lane had in hand at that moment: (executor, task, run).
        self.others: list[tuple[Executor, object, int]] = []

    def note_others(self, me: Executor) -> None:
        """Under the lane's guard: nobody takes anything in between."""
        # Who is TAKING has nothing in hand: it waits for the guard that we hold.
        self.others = [
            (e, e.current, e.runs) for e in me.lane.executors if e is not me and e.current not in (None, TAKING)
        ]

    def __call__(self, marker: Task) -> None:
        self.reached = True
        self.waiters.wake_all()

    def wait(self, deadline: float | None, what: str) -> None:
        """Until the marker was reached and what the others had in hand is over."""
        _seam.wait_until(self.waiters, lambda: not self.reached, deadline, what)
        for executor, task, run in self.others:

            def busy(executor: Executor = executor, task: object = task, run: int = run) -> bool:
                return executor.runs == run and executor.current is not None and executor.current is task

            _seam.wait_until(executor.waiters, busy, deadline, what)


class Marker(Task):
    """What a drain puts into a lane."""

    __slots__ = ()
    _marker = True

    def _tell_scheduled(self, lane: Lane) -> None:
        pass  # nobody's task

    def __repr__(self) -> str:
        return "<drain marker>"


def _holds_nothing(lane: Lane, deadline: float | None, what: str) -> bool:
    """True if the lane is frozen and nothing waits there. Thread context."""
    while lane.group.frozen and not lane.items:
        runs = lane.runs()
        if (
            not any(executor.current is TAKING for executor in lane.executors)
            and not lane.items
            and runs == lane.runs()
        ):
            return True
        # Somebody is taking right now, and puts back what is not to be taken: a few bytecodes.
        _pause(deadline, what)
    return False


def _pause(deadline: float | None, what: str) -> None:
    """Give somebody who is between two steps the time for them; WaitTimeout after `deadline`. Thread context."""
    if deadline is not None and _seam.monotonic() > deadline:
        raise WaitTimeout(f"{what}: the time limit ran out")
    _seam.doze(TRANSIENT)


class TaskQueue:
    """A private queue: its tasks run in order and may sleep without delaying any other queue (TK-5).

    Args:
        name: for people: snapshots, reports, thread names.
        pri: a priority; the queue runs on threads of that priority.
        percpu: one lane for each CPU, each in order, bound to its CPU; a task runs on the CPU it was scheduled on.
        concurrency: how many tasks run at once (started in order); not together with `percpu`.

    Thread context. Close it, or use it in a ``with`` statement. Follows ``taskqueue_create``.
    """

    _shared = False

    def __init__(self, name: str, pri: int = PRI_NONE, percpu: bool = False, concurrency: int = 1) -> None:
        self._closed = True  # until we are complete
        self._held: list[Any] = []  # A: our reference to the pools; who pops it gives it back
        if not isinstance(name, str):
            raise TypeError(f"the name of a queue is a str, not {name!r}")
        if type(concurrency) is not int:
            raise TypeError(f"concurrency is an int >= 1, not {concurrency!r}")
        if concurrency < 1 or (percpu and concurrency != 1):
            raise ValueError(f"concurrency is >= 1, and 1 for a per-CPU queue, not {concurrency}")
        self.name = name  # S
        self.pri = check_priority(pri)  # S
        self._percpu = threadpool9.percpu_get(pri) if percpu else None  # S
        self._pool = None if percpu else threadpool9.get(pri)  # S
        self._held.append(self._percpu or self._pool)
        self._group = self._make_group()  # S
        #: CPU to lane, for a per-CPU queue. An entry is never replaced.
        self._lanes: dict[int, Lane] = {}
        self._lane: Lane | None = None  # S: the lane of a queue that is not per-CPU
        if self._percpu is not None:
            for cpu in self._percpu.cpus:
                self._lanes[cpu] = Lane(self._group, self._percpu.ref_remote(cpu), 1, name)
        elif self._pool is not None:
            self._lane = Lane(self._group, self._pool, concurrency, name)
        self._cancelled: _seam.deque[DelayedTask] = _seam.deque()  # A: what a close has cancelled, until one tells it
        #: Delayed tasks that are armed for this queue; dict operations are atomic.
        self._armed: dict[DelayedTask, None] = {}
        self._closed = False  # A: set once, by close

    def _make_group(self) -> Group:
        return Group(self.name, self._shared)

    def __repr__(self) -> str:
        return f"<TaskQueue {self.name!r}{' closed' if self._closed else ''}>"

    # --- scheduling

    def schedule(self, task: Task) -> bool:
        """Run `task` here as soon as possible: True if newly queued, False if coalesced (TK-1, TK-2).

        Any context; never blocks. On a per-CPU queue the task runs on the caller's CPU. Raises TypeError;
        UsageError if the task is destroyed or on another queue; QueueClosed; StartError as `Pool.schedule`.
        """
        if self._closed:
            self._refuse_closed()
        lane = self._lane
        if lane is None:
            lane = self._current_lane()
        try:
            if not task._free and task._lane is lane and probes.coalesced is None:
                return False  # the short way to what `put` finds: a burst is mostly this
            return lane.put(task)
        except AttributeError:
            check_task(task, self)
            raise

    def schedule_on(self, cpu: int, task: Task) -> bool:
        """`schedule` on the lane of CPU `cpu` of a per-CPU queue. Any context. Raises CPUError for a bad CPU."""
        check_task(task, self)
        if self._closed:
            self._refuse_closed()
        return self._lane_of(cpu).put(task)

    def schedule_delayed(self, task: DelayedTask, seconds: float, jitter: float = 0.0) -> bool:
        """Run `task` here, `seconds` from now at the earliest; see `DelayedTask.schedule`. Any context."""
        if not hasattr(task, "reschedule"):
            raise TypeError(f"{self!r} can delay a DelayedTask, not {task!r}")
        return task.schedule(seconds, jitter, self)

    def _refuse_closed(self) -> NoReturn:
        self._group.refuse_closed()

    def _current_lane(self) -> Lane:
        cpu = threadpool9.current_cpu()
        lane = self._lanes.get(cpu)
        if lane is None:
            percpu = self._percpu
            assert percpu is not None
            bound = percpu.ref().cpu
            assert bound is not None
            lane = self._lane_of(bound)
        return lane

    def _lane_of(self, cpu: int) -> Lane:
        percpu = self._percpu
        if percpu is None:
            raise UsageError(f"queue {self.name!r} is not per-CPU: there is no CPU to choose")
        lane = self._lanes.get(cpu) if type(cpu) is int else None
        if lane is not None:
            return lane
        pool = percpu.ref_remote(cpu)  # raises for a CPU that we may not use
        # A CPU that came after the queue was made.
        fresh = Lane(self._group, pool, 1, self.name)
        lane = self._lanes.setdefault(cpu, fresh)
        if lane is not fresh:
            self._group.lanes.remove(fresh)
        return lane

    # --- waiting

    def drain(self, timeout: float | None = None) -> None:
        """Wait until all that was scheduled before this call has completed, on every CPU (TK-7).

        Thread context; may block, at most `timeout` seconds (WaitTimeout). What is scheduled later, and what is
        armed in the timer, is not awaited. From a task of the same queue: UsageError.
        """
        deadline = _seam.deadline_after(timeout)
        if self._group.is_own_thread():
            raise UsageError(f"a task of queue {self.name!r} can't wait for its own queue to drain")
        if (probe := probes.drain__start) is not None:
            probe(self)
        try:
            self._drain(deadline)
        finally:
            if (probe := probes.drain__done) is not None:
                probe(self)

    def _drain(self, deadline: float | None) -> None:
        what = f"draining queue {self.name!r}"
        self._pass(deadline, what)
        if not self._group.set_aside:
            return
        # A task that was running elsewhere when its turn came was set aside. Once the run that was in its way is over,
        # the executor takes it in hand and puts it back at the front of its lane: so wait for those runs, then for
        # what executors have in hand, then for what they have put back.
        for executor in self._group.executors():
            current = executor.current
            if executor.deferred and isinstance(current, Task) and not executor.wait_end(current, deadline):
                raise WaitTimeout(f"{what}: the time limit ran out")
        self._pass(deadline, what)
        self._pass(deadline, what)

    def _pass(self, deadline: float | None, what: str) -> None:
        drains = []
        try:
            for lane in list(self._group.lanes):
                while not lane.quiet():
                    if _holds_nothing(lane, deadline, what):
                        # A frozen lane takes no marker either; nothing waits there, so its runs are all there is.
                        for executor in lane.executors:
                            current = executor.current
                            if isinstance(current, Task) and not executor.wait_end(current, deadline):
                                raise WaitTimeout(f"{what}: the time limit ran out")
                        break
                    drain = Drain()
                    marker = Marker(drain)
                    drains.append((lane, marker, drain))
                    try:
                        lane.put(marker)
                        break
                    except QueueClosed:  # a close is looking whether it is through: look, too
                        drains.pop()
                        _pause(deadline, what)
            for _, _, drain in drains:
                drain.wait(deadline, what)
        except BaseException:
            for lane, marker, _ in drains:
                _seam.discard(lane.items, marker)
            raise

    def close(self, timeout: float | None = None) -> tuple[DelayedTask, ...]:
        """Refuse new tasks, complete what is scheduled, cancel what is armed; returns the latter (TK-16).

        Thread context; may block, at most `timeout` seconds (WaitTimeout: closed to new tasks, call again to
        wait on). A second close does nothing. From a task of the same queue: UsageError. Nothing runs here when it
        has returned: a schedule at the same time as the close has been run by then, or it raises QueueClosed.
        """
        deadline = _seam.deadline_after(timeout)
        if self._group.is_own_thread():
            raise UsageError(f"a task of queue {self.name!r} can't close its own queue")
        self._closed = True
        self._end(deadline)
        self._release(deadline)
        told: list[DelayedTask] = []
        try:
            # One by one: several may close at once, and each is told to one of them.
            while self._cancelled:
                _seam.collect(self._cancelled.popleft, told)
        except IndexError:
            pass
        except BaseException:
            self._cancelled.extendleft(reversed(told))
            raise
        return tuple(told)

    def _cancel_armed(self) -> None:
        """Cancel what is armed for this queue; what fires at this moment runs instead."""
        for task in list(self._armed):
            if task.disarm():
                self._cancelled.append(task)

    def _end(self, deadline: float | None) -> None:
        """Cancel what is armed and drain, until no executor takes anything any more, and nothing is there to take."""
        ended = object()
        try:
            while True:
                self._cancel_armed()
                if self._is_expiring():  # too late to cancel, and not on its lane yet
                    _pause(deadline, f"closing queue {self.name!r}")
                    continue
                self._drain_all(deadline)
                # Publish, then look: see the head of `_lane`.
                self._group.frozen[ended] = None
                self._cancel_armed()  # a period that was beginning has armed its next one
                if not self._is_expiring() and self._group.quiet():
                    self._group.frozen[CLOSED] = None
                    self._group.frozen.pop(ended, None)
                    return
                self._group.let_go(ended)
        except BaseException:
            self._group.let_go(ended)
            raise

    def _is_expiring(self) -> bool:
        """True while the timer has one of ours in hand, on its way to its lane."""
        task = timer.moving
        lane = None if task is None else task._lane
        return lane is not None and lane.group is self._group

    def _drain_all(self, deadline: float | None) -> None:
        """Drain until nothing is left; a task that was let in beside the close is completed too."""
        what = f"closing queue {self.name!r}"
        while not self._group.quiet():
            self._pass(deadline, what)
            if not self._group.quiet():
                _pause(deadline, what)  # two who drain would otherwise wait for each other's markers, in turns

    def _release(self, deadline: float | None) -> None:
        """Give the reference to the pools back, once."""
        taken: list[Any] = []
        given: list[None] = []
        try:
            _seam.collect(self._held.pop, taken)
            taken[0].put_until(deadline, given)
        except BaseException as error:
            if taken and not given:
                self._held.append(taken[0])  # still ours
            if taken or not isinstance(error, IndexError):
                raise

    def _abandon(self) -> None:
        """Close without waiting: what is scheduled still runs, then the workers leave. Any context."""
        self._closed = True
        self._cancel_armed()
        self._group.let_go(FREEZE)  # nobody is left to thaw it
        taken: list[Any] = []
        try:
            _seam.collect(self._held.pop, taken)
        except IndexError:
            return
        taken[0].release()

    def __enter__(self) -> TaskQueue:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not getattr(self, "_held", None) or finalizing():  # at exit the exit policy has had its say
            return
        closed = self._closed
        self._abandon()
        if not closed:
            warnings.warn(
                f"queue {self.name!r} was dropped without close(); its tasks still run",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class SharedQueue(TaskQueue):
    """THE shared per-CPU queue of a priority (TK-4); from `get`. Its tasks are to be short."""

    _shared = True

    def __init__(self, name: str, pri: int) -> None:
        super().__init__(name, pri, percpu=True)
        self.references = 0  # under the registry's lock

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one completes what is scheduled and cancels what is armed.

        Thread context; may block, at most `timeout` seconds: then WaitTimeout, and the queue goes when its tasks have
        run. One put too many is a UsageError.
        """
        last = False
        try:
            with _registry.lock:
                if self.references == 0:
                    raise UsageError(f"one put() too many: nobody holds a reference to {self!r}")
                if self.references == 1:
                    if self is _registry.system:
                        raise UsageError(f"one put() too many: {self!r} itself is kept by Task.schedule()")
                    if self._group.is_own_thread():
                        raise UsageError(f"a task of queue {self.name!r} can't put the last reference to its own queue")
                    if _registry.queues.get(self.pri) is self:
                        del _registry.queues[self.pri]
                    last = True
                self.references -= 1
            if last:
                super().close(timeout)
        except BaseException:
            if last:
                self.references = 0
                self._abandon()
            raise

    def discard(self) -> None:
        """A queue that lost the race to be the one: nobody has seen it."""
        super().close()

    def close(self, timeout: float | None = None) -> tuple[DelayedTask, ...]:
        """A shared queue belongs to everybody: `put` the reference instead. Always UsageError."""
        raise UsageError(f"{self!r} is shared; put() the reference that get() gave")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.put()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not finalizing() and self is not _registry.system:  # which lives as long as the process
            super().__del__()


class _Registry:
    """The shared queues of the process; written under `lock`, which is never held while waiting."""

    def __init__(self) -> None:
        self.lock = _seam.RLock()
        self.queues: dict[int, SharedQueue] = {}
        self.system: SharedQueue | None = None  # written once; its reference is never put


_registry = _Registry()


def get(pri: int = PRI_NONE) -> SharedQueue:
    """Take a reference to THE shared per-CPU queue of priority `pri` (TK-4). Thread context; `put` it back.

    Raises TypeError or PriorityError for a bad priority. Follows ``taskqueue_get``.
    """
    check_priority(pri)
    with _registry.lock:
        queue = _registry.queues.get(pri)
        if queue is not None:
            queue.references += 1
            return queue
    # Made without the lock: that asks hooks. Who comes second throws its queue away.
    fresh = SharedQueue("system" if pri == PRI_NONE else f"shared@{pri}", pri)
    with _registry.lock:
        queue = _registry.queues.setdefault(pri, fresh)
        queue.references += 1
    if queue is not fresh:
        fresh.discard()
    return queue


def system_queue() -> SharedQueue:
    """The queue of `Task.schedule`: the shared one of PRI_NONE. Any context."""
    queue = _registry.system
    if queue is None:
        queue = get(PRI_NONE)
        with _registry.lock:
            if _registry.system is None:
                _registry.system = queue
            else:  # a handler that interrupted us, or another thread, was faster
                queue.references -= 1
                queue = _registry.system
    return queue
