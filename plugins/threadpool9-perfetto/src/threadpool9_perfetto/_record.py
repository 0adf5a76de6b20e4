"""Recording: one tuple for each event, in a ring with a bound. Formatting happens when the trace is written.

The listeners of schedule probes run in any context, signal handlers and finalizers included. So a listener does
one `deque.append` of a tuple and nothing else: no lock, no formatting, nothing of the user's is called. A record
holds strings and numbers only, never the job or task itself: a trace must not keep anything alive.

The bound. Whoever finds the ring a batch longer than its capacity takes the oldest batch out and notes how many
that were, again by one append. Two who do so at once drop one batch too many, and count it: the sum stays right.

A record is ``(time, kind, tid, ident, name, a, b)``; `ident` tells which job or task of those that are alive (an id
may be used again later, but not before the run that it was scheduled for has begun or was cancelled).
"""

from __future__ import annotations

import threading
import types
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from time import perf_counter_ns
from typing import Any

from threadpool9 import current_cpu, hookimpl

Record = tuple[int, int, int, int, Any, Any, Any]

BATCH = 1024

# Kinds of records; the comment says what `a` and `b` are.
JOB_SCHEDULE = 0  # name of the pool's threads
JOB_COALESCED = 1  # name of the pool's threads
JOB_CANCEL = 2  # name of the pool's threads
JOB_START = 3  # name of the pool's threads; (the pool's CPU or None, the CPU that we are on)
JOB_END = 4
JOB_ERROR = 5  # name of the exception
TASK_SCHEDULE = 6  # queue; type
TASK_COALESCED = 7  # queue; type
TASK_CANCEL = 8  # None; type
TASK_START = 9  # queue; type
TASK_END = 10
TASK_ERROR = 11  # name of the exception
TIMER_ARM = 12  # due, seconds of time.monotonic; type
TIMER_FIRE = 13  # seconds late; type
THREAD_START = 14  # the pool's CPU or None
THREAD_DYING = 15
THREAD_EXIT = 16
SPAWN = 17
BIND_LOST = 18  # CPU
BIND_RESTORED = 19  # CPU
WAIT_START = 20
WAIT_END = 21
QUEUE_MADE = 22  # name of the queue's function

#: What stands for the function of a work; the queue has it.
WORK = "(work)"

upper = hookimpl(optionalhook=True)  # the upper layers need not be installed

_NAMED = frozenset((types.FunctionType, types.BuiltinFunctionType, types.MethodType))


class _Thread(threading.local):
    """The OS's number of each thread: asking the OS for every record would be a system call each."""

    def __init__(self) -> None:
        self.tid = threading.get_native_id()


def _label(fn: Any) -> str:
    """A name for a function; of other callables the type's, since their attributes may run anybody's code."""
    if fn is None:
        return WORK
    kind = type(fn)
    name: str = fn.__qualname__ if kind in _NAMED else kind.__name__
    return name


def _task_label(task: Any) -> str:
    """A name for the function of a task; of what was submitted the name that it goes by, which is all there is."""
    if isinstance(task, Future):
        name: str = task.task_name  # type: ignore[attr-defined]  # it is a task9.Future
        return name
    return _label(getattr(task, "fn", None))


class Ring:
    """The records of one trace, oldest left, at most `capacity` and a batch."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.limit = capacity + BATCH
        self.records: deque[Record] = deque()
        self._dropped: deque[int] = deque()
        self.thread = _Thread()

    def make_room(self) -> None:
        """Drop the oldest batch. Any context."""
        popleft = self.records.popleft
        count = 0
        try:
            while count < BATCH:
                popleft()
                count += 1
        except IndexError:  # somebody else makes room too
            pass
        finally:
            self._dropped.append(count)

    def dropped(self) -> int:
        """How many records were dropped so far."""
        return sum(self._dropped.copy())


def listeners(ring: Ring) -> tuple[object, ...]:
    """One plugin for each layer that records into `ring`.

    They are closures, because what they use is then fastest to reach, and they take all arguments of their probe in
    its order, because any other choice costs a dictionary for each call.
    """
    records, limit, make_room, thread = ring.records, ring.limit, ring.make_room, ring.thread
    append: Callable[[Record], None] = records.append
    now = perf_counter_ns

    class Threadpool:
        """What happens to jobs and workers."""

        @hookimpl
        def threadpool9_schedule__job(self, pool: Any, job: Any) -> None:
            append((now(), JOB_SCHEDULE, thread.tid, id(job), job.name, pool.thread_name, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_schedule__job__running(self, pool: Any, job: Any) -> None:
            append((now(), JOB_COALESCED, thread.tid, id(job), job.name, pool.thread_name, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_cancel__job(self, pool: Any, job: Any) -> None:
            append((now(), JOB_CANCEL, thread.tid, id(job), job.name, pool.thread_name, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_thread__job(self, pool: Any, job: Any) -> None:
            where = (pool.cpu, current_cpu())
            append((now(), JOB_START, thread.tid, id(job), job.name, pool.thread_name, where))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_thread__job__done(self, pool: Any, job: Any) -> None:
            # Only the identity is used: the job may be somebody else's by now.
            append((now(), JOB_END, thread.tid, id(job), None, None, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_thread__job__error(self, pool: Any, job: Any, error: BaseException) -> None:
            append((now(), JOB_ERROR, thread.tid, id(job), job.name, type(error).__name__, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_thread__start(self, pool: Any) -> None:
            append((now(), THREAD_START, thread.tid, 0, pool.thread_name, pool.cpu, None))
            if len(records) > limit:
                make_room()

        @hookimpl
        def threadpool9_thread__dying(self, pool: Any) -> None:
            append((now(), THREAD_DYING, thread.tid, 0, pool.thread_name, None, None))

        @hookimpl
        def threadpool9_thread__exit(self, pool: Any) -> None:
            append((now(), THREAD_EXIT, thread.tid, 0, pool.thread_name, None, None))

        @hookimpl
        def threadpool9_dispatcher__spawn(self, pool: Any) -> None:
            append((now(), SPAWN, thread.tid, 0, pool.thread_name, None, None))

        @hookimpl
        def threadpool9_bind__lost(self, pool: Any, cpu: int) -> None:
            append((now(), BIND_LOST, thread.tid, 0, pool.thread_name, cpu, None))

        @hookimpl
        def threadpool9_bind__restored(self, pool: Any, cpu: int) -> None:
            append((now(), BIND_RESTORED, thread.tid, 0, pool.thread_name, cpu, None))

    class Task:
        """What happens to tasks, and to works, which are tasks to the layer that runs them."""

        @upper
        def task9_schedule(self, lane: Any, task: Any) -> None:
            append(
                (
                    now(),
                    TASK_SCHEDULE,
                    thread.tid,
                    id(task),
                    _task_label(task),
                    lane.name,
                    type(task).__name__,
                )
            )
            if len(records) > limit:
                make_room()

        @upper
        def task9_coalesced(self, lane: Any, task: Any) -> None:
            append(
                (
                    now(),
                    TASK_COALESCED,
                    thread.tid,
                    id(task),
                    _task_label(task),
                    lane.name,
                    type(task).__name__,
                )
            )
            if len(records) > limit:
                make_room()

        @upper
        def task9_cancel(self, task: Any) -> None:
            append((now(), TASK_CANCEL, thread.tid, id(task), _task_label(task), None, type(task).__name__))
            if len(records) > limit:
                make_room()

        @upper
        def task9_entry(self, lane: Any, task: Any) -> None:
            append(
                (
                    now(),
                    TASK_START,
                    thread.tid,
                    id(task),
                    _task_label(task),
                    lane.name,
                    type(task).__name__,
                )
            )
            if len(records) > limit:
                make_room()

        @upper
        def task9_return(self, lane: Any, task: Any) -> None:
            append((now(), TASK_END, thread.tid, id(task), None, None, None))
            if len(records) > limit:
                make_room()

        @upper
        def task9_error(self, lane: Any, task: Any, error: BaseException) -> None:
            append((now(), TASK_ERROR, thread.tid, id(task), None, type(error).__name__, None))
            if len(records) > limit:
                make_room()

        @upper
        def task9_timer__arm(self, task: Any, due: float) -> None:
            append((now(), TIMER_ARM, thread.tid, id(task), _task_label(task), due, type(task).__name__))
            if len(records) > limit:
                make_room()

        @upper
        def task9_timer__fire(self, task: Any, late: float) -> None:
            append((now(), TIMER_FIRE, thread.tid, id(task), _task_label(task), late, type(task).__name__))
            if len(records) > limit:
                make_room()

        @upper
        def task9_drain__start(self, queue: Any) -> None:
            append((now(), WAIT_START, thread.tid, id(queue), f"drain {queue.name}", None, None))

        @upper
        def task9_drain__done(self, queue: Any) -> None:
            append((now(), WAIT_END, thread.tid, id(queue), None, None, None))
            if len(records) > limit:
                make_room()

    class Workqueue:
        """What only work queues have; their works are tasks and seen as such."""

        @upper
        def workqueue9_create(self, name: str, func: Any) -> None:
            append((now(), QUEUE_MADE, thread.tid, 0, name, _label(func), None))
            if len(records) > limit:
                make_room()

        @upper
        def workqueue9_enqueue(self, wq: Any, wk: Any, cpu: int | None) -> None:
            queue = None if wq is None else wq.name  # dropped, and its works go on
            append((now(), TASK_SCHEDULE, thread.tid, id(wk), WORK, queue, type(wk).__name__))
            if len(records) > limit:
                make_room()

        @upper
        def workqueue9_wait__start(self, wq: Any, wk: Any) -> None:
            append((now(), WAIT_START, thread.tid, id(wk), f"wait {wq.name}", None, None))

        @upper
        def workqueue9_wait__done(self, wq: Any, wk: Any) -> None:
            append((now(), WAIT_END, thread.tid, id(wk), None, None, None))
            if len(records) > limit:
                make_room()

    return Threadpool(), Task(), Workqueue()
