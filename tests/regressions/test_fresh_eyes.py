"""What people found who read the layers for the first time and tried to break them, a test for each."""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import heapq
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest
from pace import patience

import threadpool9
import workqueue9
from conformance9.suite.tools import wait_until
from task9 import DelayedTask, PeriodicTask, Task, TaskQueue
from threadpool9 import Job, hookimpl
from threadpool9.lowlevel import FREE_THREADED
from workqueue9 import Full, KeyedWork, Work, WorkQueue

LIMIT = patience(20.0)
PRI = 61  # nobody else's


def fires(queue: TaskQueue) -> bool:
    """True if a delayed task runs."""
    ran = threading.Event()
    queue.schedule_delayed(DelayedTask(lambda task: ran.set()), 0.001)
    return ran.wait(LIMIT)


# --- errors where nobody looked for them


@pytest.mark.alone
@pytest.mark.parametrize("name", ["heappush", "heappop"])
def test_the_timer_outlives_an_error_of_its_own(
    monkeypatch: pytest.MonkeyPatch, reports: list[BaseException], name: str
) -> None:
    """Memory that is refused to it, say: it is reported, and nothing that is armed is lost."""
    real, refused = getattr(heapq, name), []

    def refuse_once(*args: Any) -> Any:
        if not refused:
            refused.append(True)
            raise MemoryError
        return real(*args)

    with TaskQueue("q") as queue:
        monkeypatch.setattr(heapq, name, refuse_once)
        assert fires(queue)
        assert refused
        assert fires(queue)
    assert [type(error) for error in reports] == [MemoryError]


@pytest.mark.alone
@pytest.mark.parametrize(
    "hook",
    [
        "threadpool9_thread__start",
        "threadpool9_thread__exit",
        "threadpool9_thread__job",
        "task9_entry",
        "task9_timer__fire",
    ],
)
def test_a_hook_that_wants_to_end_the_program_breaks_nothing(reports: list[BaseException], hook: str) -> None:
    """SystemExit, or what a test framework raises, is as any error of a hook: reported, counted, and it stays there."""
    raised: list[str] = []

    def listen(self: object) -> None:
        if not raised:
            raised.append(hook)
            raise SystemExit

    plugin = type("Plugin", (), {hook: hookimpl(listen, specname=hook)})()
    errors = threadpool9.snapshot().hook_errors
    threadpool9.register(plugin)
    try:
        with TaskQueue("q", PRI) as queue:
            for _ in range(2):
                assert fires(queue)
                ran = threading.Event()
                task = Task(lambda task, ran=ran: ran.set())
                assert queue.schedule(task)
                assert ran.wait(LIMIT)
            queue.drain(LIMIT)
            threadpool9.retire_idle(LIMIT)
        assert wait_until(lambda: raised)
    finally:
        threadpool9.unregister(plugin)
    assert threadpool9.snapshot().hook_errors == errors + 1
    assert [type(error) for error in reports] == [SystemExit]


def test_a_job_without_a_representation_is_reported_by_its_own_error(reports: list[BaseException]) -> None:
    """And its worker lives on."""

    class Nameless(Job):
        def __repr__(self) -> str:
            raise ZeroDivisionError

    def fail(job: Job) -> None:
        raise KeyError("real")

    with threadpool9.get(PRI) as pool:
        job = Nameless(fail)
        for _ in range(2):
            pool.post(job)
            pool.drain(LIMIT)
    assert [type(error) for error in reports] == [KeyError, KeyError]


@pytest.mark.alone
def test_whoever_comes_second_waits_for_plugins_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one may wait for a module that this thread is importing."""
    from threadpool9 import _autoload

    monkeypatch.setattr(_autoload._state, "done", False)
    monkeypatch.setattr(_autoload, "_PATIENCE", 0.01)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with _autoload._state.lock:
            held.set()
            go.wait(LIMIT)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(LIMIT)
    _autoload.autoload()
    assert holder.is_alive()
    go.set()
    holder.join(LIMIT)


# --- units


@pytest.mark.parametrize("base", [Job, Task, Work])
def test_a_dataclass_may_be_a_unit(base: Any) -> None:
    """It adds its methods after the class was looked at: identity stays what counts."""

    @dataclasses.dataclass
    class Unit(base):  # type: ignore[misc]
        number: int

        def __post_init__(self) -> None:
            super().__init__(self.go) if base is not Work else super().__init__()

        def go(self, unit: object) -> None:
            """Never called here."""

    one, other = Unit(1), Unit(1)
    assert one != other
    assert len({one, other}) == 2
    with pytest.raises(TypeError, match="__hash__"):
        dataclasses.dataclass(unsafe_hash=True)(type("Hashed", (base,), {"__annotations__": {"number": int}}))


def test_nothing_can_be_copied() -> None:
    """Two objects would share what one owner must have alone."""
    with (
        threadpool9.get(PRI) as pool,
        threadpool9.percpu_get(PRI) as percpu,
        TaskQueue("q", PRI) as queue,
        WorkQueue[Any, Any]("w", print, pri=PRI) as wq,
    ):
        things: tuple[Any, ...] = (pool, percpu, queue, wq, Job(print), Task(print), DelayedTask(print), Work(1))
        for thing in things:
            for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(TypeError, match="can't be copied or pickled: make another one"):
                    attempt(thing)


def test_a_call_keeps_nothing_while_the_next_one_runs() -> None:
    """Its function and arguments go when it is over."""

    class Thing:
        """Can be referred to weakly."""

    with TaskQueue("q") as queue:
        inside, go = threading.Event(), threading.Event()
        held = threading.Event()
        queue.call(held.wait, LIMIT)  # so that one executor takes both
        thing: Any = Thing()
        ref = weakref.ref(thing)
        queue.call(id, thing)
        del thing
        queue.schedule(Task(lambda task: (inside.set(), go.wait(LIMIT))))
        held.set()
        assert inside.wait(LIMIT)
        assert wait_until(lambda: ref() is None)
        go.set()


def test_a_periodic_task_has_its_context_and_is_started_only() -> None:
    """`schedule` on a queue would be one run and no period."""
    context = copy_context()
    periodic = PeriodicTask(lambda task: None, 1.0, context=context)
    assert periodic.context is context
    with TaskQueue("q") as queue:
        with pytest.raises(TypeError, match="has a period: start"):
            queue.schedule(periodic)
        assert not periodic.pending


def test_a_queue_that_is_dropped_says_what_it_has_cancelled() -> None:
    """Its tasks still run, but not those that were delayed."""
    queues = [TaskQueue("dropped")]
    queues[0].schedule_delayed(DelayedTask(lambda task: None), 1000)
    queues[0].drain(LIMIT)

    def drop() -> None:
        queues.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="but 1 that were delayed are cancelled"):
        drop()


def test_what_does_nothing_when_it_is_called_is_no_function() -> None:
    """However it is wrapped."""

    async def wait(*args: object) -> None:
        """Never called here."""

    class Waiter:
        async def __call__(self, *args: object) -> None:
            """Never called here."""

    class Fine:
        def __call__(self, *args: object) -> None:
            """Never called here."""

    for fn in (wait, functools.partial(functools.partial(wait), 1), Waiter(), functools.partial(Waiter())):
        for unit in (Job, Task):
            with pytest.raises(TypeError, match="is an async function"):
                unit(fn)
    for other in (Fine(), functools.partial(Fine()), Fine, print, "".join, str.join):
        Job(other)
        Task(other)


def test_a_job_that_was_not_initialised_is_named() -> None:
    """At once, by what takes it."""

    class Forgetful(Job):
        def __init__(self) -> None:
            """Without that of the base class."""

    with threadpool9.get(PRI) as pool:
        for call in (pool.post, pool.schedule):
            with pytest.raises(TypeError, match=r"Forgetful.__init__ did not call super\(\).__init__\(\)"):
                call(Forgetful())


# --- pools


def test_a_drain_waits_for_what_was_posted_to_a_running_job() -> None:
    """It was scheduled before the drain; also if the run that it waits behind is another pool's."""
    for other in (PRI, PRI + 1):
        with threadpool9.get(PRI) as pool, threadpool9.get(other) as where:
            runs: list[int] = []
            entered, go = threading.Semaphore(0), threading.Event()

            def hold(job: Job, runs: list[int] = runs, entered: Any = entered, go: Any = go) -> None:
                entered.release()
                go.wait(LIMIT)
                time.sleep(0.01)  # so that a drain that does not wait is seen
                runs.append(1)
                with job.interlock:
                    job.done()

            job = Job(hold)
            where.post(job)
            assert entered.acquire(timeout=LIMIT)
            assert not pool.post(job)
            with pytest.raises(threadpool9.WaitTimeout):
                pool.drain(0.01)
            go.set()
            pool.drain(LIMIT)
            assert len(runs) == 2


def test_a_job_can_not_wait_for_its_own_next_run() -> None:
    """Neither by a drain of the pool that it was posted to."""
    errors: list[BaseException] = []

    def drain(job: Job) -> None:
        if not errors:
            other.post(job)
            try:
                other.drain(LIMIT)
            except threadpool9.UsageError as error:
                errors.append(error)
        with job.interlock:
            job.done()

    with threadpool9.get(PRI) as pool, threadpool9.get(PRI + 1) as other:
        pool.post(Job(drain))
        pool.drain(LIMIT)
        other.drain(LIMIT)
    assert "can't wait for that run" in str(errors[0])


def test_a_pool_is_not_released_more_often_than_got() -> None:
    """The references of others are theirs."""
    pool = threadpool9.get(PRI)
    pool.put(LIMIT)
    with pytest.raises(threadpool9.UsageError, match=r"one put\(\) too many"):
        pool.release()
    assert pool.references == 0


# --- figures


@pytest.mark.filterwarnings("ignore:This process .*fork:DeprecationWarning")  # Python 3.12 and later
def test_in_a_fork_child_what_was_in_flight_was_never_begun() -> None:
    """So nothing is in flight there, and not less than nothing either."""
    if FREE_THREADED:
        pytest.skip("a free-threaded CPython 3.13 does not stop other threads before it forks")
    with threadpool9.get(PRI) as pool:
        go = threading.Event()
        entered = threading.Semaphore(0)

        def hold(job: Job) -> None:
            entered.release()
            go.wait(LIMIT)
            with job.interlock:
                job.done()

        def nothing(job: Job) -> None:
            with job.interlock:
                job.done()

        for _ in range(20):
            pool.post(Job(nothing))
        pool.drain(LIMIT)
        pool.post(Job(hold))
        assert entered.acquire(timeout=LIMIT)
        child = os.fork()
        if child == 0:
            counters = next(record.counters for record in threadpool9.snapshot().pools if record.pri == PRI)
            os._exit(0 if counters.started == counters.completed == counters.scheduled == 20 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go.set()


@pytest.mark.alone
def test_nothing_is_stalled_where_there_is_no_limit() -> None:
    """Once `stall_ms` is 0 again."""
    go, entered = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        entered.set()
        go.wait(LIMIT)
        with job.interlock:
            job.done()

    def stalled() -> bool:
        return any(worker.stalled for worker in threadpool9.snapshot().workers)

    try:
        threadpool9.tunables.stall_ms = 1
        with pytest.MonkeyPatch.context() as patch, threadpool9.get(PRI) as pool:
            patch.setattr(threading, "excepthook", lambda report: None)
            pool.post(Job(hold))
            assert entered.wait(LIMIT)
            assert wait_until(stalled)
            threadpool9.tunables.stall_ms = 0
            pool.post(Job(lambda job: job.done()))
            assert wait_until(lambda: not stalled())
            go.set()
    finally:
        threadpool9.tunables.stall_ms = 0


def test_completed_is_never_more_than_started() -> None:
    """By several who look at the same time."""
    over, odd = threading.Event(), []

    with WorkQueue[Any, Any]("busy", lambda work, arg: None, max_active=4) as queue:

        def look() -> None:
            last = 0
            while not over.is_set():
                stats = queue.stats()
                if stats.completed > stats.started or stats.completed < last:
                    odd.append(stats)
                last = stats.completed

        lookers = [threading.Thread(target=look) for _ in range(3)]
        for looker in lookers:
            looker.start()
        for _ in range(3000):
            queue.enqueue(Work())
        queue.flush(LIMIT)
        over.set()
        for looker in lookers:
            looker.join(LIMIT)
    assert not odd


def test_the_time_of_a_report_is_nobodys_run() -> None:
    """Neither of the work that raised nor of the next one."""
    slept: list[float] = []

    def on_error(error: BaseException, work: Work[Any]) -> None:
        began = time.monotonic()
        time.sleep(0.05)
        slept.append(time.monotonic() - began)

    with WorkQueue[Any, Any]("raises", lambda work, arg: 1 // 0, on_error=on_error) as queue:
        for _ in range(3):
            queue.enqueue(Work())
        queue.flush(LIMIT)
        assert queue.stats().run_seconds < sum(slept) / 3


# --- work queues


def test_a_work_that_is_moved_to_now_keeps_its_place() -> None:
    """`modify(work, 0)` is no way past max_pending."""
    with WorkQueue[Any, Any]("full", lambda work, arg: None, max_pending=1) as queue:
        queue.freeze()
        work = Work[Any]()
        queue.enqueue(work)
        assert queue.modify(work, 0)
        with pytest.raises(Full):
            queue.enqueue(Work(), block=False)


def test_a_key_is_a_str() -> None:
    """Else it would fail at the cluster."""
    with pytest.raises(TypeError, match="the key of a work is a str, not 5"):
        KeyedWork(1, 5)  # type: ignore[arg-type]  # that is the point


@pytest.mark.alone
def test_probes_are_given_the_function_of_a_giant_queue() -> None:
    """Not what takes the lock around it."""
    given: list[object] = []

    class Listener:
        @hookimpl
        def workqueue9_entry(self, func: Callable[..., object]) -> None:
            given.append(func)

    def function(work: Work[Any], arg: Any) -> None:
        """Nothing."""

    listener = Listener()
    threadpool9.register(listener)
    try:
        with WorkQueue[Any, Any]("giant", function, flags=workqueue9.WQ_GIANT) as queue:
            queue.enqueue(Work())
    finally:
        threadpool9.unregister(listener)
    assert given == [function]


class Packing:
    """A back end that runs nothing."""

    def __init__(self) -> None:
        self.calls: list[workqueue9.RemoteCall] = []

    def open(self, queue: object) -> None:
        """As `Backend.open`."""

    def ready(self) -> bool:
        """As `Backend.ready`."""
        return True

    def close(self, queue: object) -> None:
        """As `Backend.close`."""

    def pack(self, queue: object, work: Work[Any]) -> Any:
        """As `Backend.pack`."""
        return ("packed", work.payload)

    def start(self, call: workqueue9.RemoteCall) -> None:
        """As `Backend.start`."""
        call.leaving()
        self.calls.append(call)
        call.ended(None)


def test_two_enqueues_of_one_work_are_two_calls_with_what_was_packed() -> None:
    """Also if the first has packed it when the second is sent."""
    backend = Packing()
    interrupts: list[Callable[[], object]] = []

    class Interrupted(Work[Any]):
        def claim(self, hand: list[None]) -> bool:
            while interrupts:
                interrupts.pop()()
            return super().claim(hand)

    with WorkQueue[Any, Any]("far", print, backend=backend, max_pending=2) as queue:
        work = Interrupted(1)

        def enqueue_and_wait() -> None:
            queue.enqueue(work)
            assert wait_until(lambda: len(backend.calls) == 1)

        interrupts.append(enqueue_and_wait)
        assert queue.enqueue(work)
        queue.flush(LIMIT)
    assert [call.parcel for call in backend.calls] == [("packed", 1)] * 2


def test_a_back_end_that_is_named_has_plugins_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no pool was asked for before; and what keeps it from being made is the caller's to see."""
    from workqueue9 import _backend

    loaded: list[bool] = []
    monkeypatch.setattr(_backend, "load_plugins", lambda: loaded.append(True))

    class Plugin:
        @hookimpl
        def workqueue9_backend(self, name: str) -> Any:
            if name == "absent":
                raise OSError("nobody answers")

    plugin = Plugin()
    threadpool9.register(plugin)
    try:
        with pytest.raises(OSError, match="nobody answers"):
            WorkQueue("far", print, backend="absent")
        with pytest.raises(ValueError, match="no plugin knows a back end 'other'"):
            WorkQueue("far", print, backend="other")
    finally:
        threadpool9.unregister(plugin)
    assert loaded == [True, True]


def test_a_time_limit_in_the_place_of_the_interlock_is_refused() -> None:
    """``task.cancel(0.1)``: at once, not only where the task happens to run."""
    with TaskQueue("q", PRI) as queue:
        task = Task(lambda task: None)
        with pytest.raises(TypeError, match=r"interlock must be a lock .* not 0\.1"):
            task.cancel(0.1)
        assert queue.schedule(task)
