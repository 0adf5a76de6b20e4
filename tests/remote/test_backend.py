"""A queue whose works run elsewhere (WQ-15), on a back end that a test turns by hand and on real processes."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from pace import patience
from processes import Processes

import threadpool9
import workqueue9
from conformance9.suite.tools import wait_until
from threadpool9 import WaitTimeout, hookimpl
from workqueue9 import BackendDown, Full, KeyedWork, RemoteCall, RemoteGroup, Work, WorkQueue

LIMIT = patience(30.0)
PRI = 53  # nobody else's


class ByHand:
    """A back end that runs what a test says, when it says so."""

    def __init__(self) -> None:
        self.calls: list[RemoteCall] = []
        self.up = True
        self.closed: list[str] = []
        self.queue: RemoteGroup | None = None
        self.arrived = threading.Condition()

    def open(self, queue: RemoteGroup) -> None:
        """As `Backend.open`."""
        self.queue = queue

    def pack(self, queue: RemoteGroup, work: Work[Any]) -> Any:
        """As `Backend.pack`."""
        if isinstance(work.payload, threading.Thread):
            raise TypeError(f"{work!r} can't cross")
        return ("packed", work.payload)

    def start(self, call: RemoteCall) -> None:
        """As `Backend.start`."""
        if not self.up:
            raise BackendDown("the test has pulled the plug")
        if call.parcel == ("packed", "refused"):
            raise ZeroDivisionError("refused")
        with self.arrived:
            self.calls.append(call)
            self.arrived.notify_all()

    def ready(self) -> bool:
        """As `Backend.ready`."""
        return self.up

    def close(self, queue: RemoteGroup) -> None:
        """As `Backend.close`."""
        self.closed.append(queue.name)

    def wait(self, count: int) -> list[RemoteCall]:
        """The calls, once so many have arrived."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.calls) >= count, LIMIT), self.calls
            return self.calls[:]


@pytest.fixture
def backend() -> ByHand:
    """A back end, for one queue."""
    return ByHand()


def function(work: Work[Any], arg: Any) -> Any:
    """Never called here."""
    raise AssertionError


def queue_on(backend: ByHand, **kwargs: Any) -> WorkQueue[Any, Any]:
    """A queue whose works run there."""
    return WorkQueue("far", function, "arg", pri=PRI, backend=backend, **kwargs)


def test_wq15_works_are_sent_in_order_and_one_at_a_time(backend: ByHand) -> None:
    """As `max_active` says; a sent work is in the function, for whoever asks."""
    queue = queue_on(backend)
    works = [Work(number) for number in range(5)]
    for work in works:
        assert queue.enqueue(work)
    for number, work in enumerate(works):
        calls = backend.wait(number + 1)
        assert len(calls) == number + 1
        call = calls[number]
        assert (call.parcel, call.queue.func, call.queue.arg) == (("packed", number), function, "arg")
        assert wait_until(lambda w=work: not w.pending)
        assert queue.stats().running == 1
        assert not queue.cancel_async(work)
        call.started("here")
        call.ended(None)
    queue.drain(LIMIT)
    stats = queue.stats()
    assert (stats.enqueued, stats.started, stats.completed, stats.errors) == (5, 5, 5, 0)
    least = sum(count * 2**n // 2 for n, count in enumerate(stats.wait_histogram)) / 1e9
    assert least <= stats.wait_seconds < 2 * least, "the waits are not those of the histogram"
    queue.destroy()
    assert backend.closed == ["far"]


def test_wq15_no_thread_waits_for_what_is_under_way(backend: ByHand) -> None:
    """Three hundred at once; the queue's own threads idle out."""
    threadpool9.tunables.idle_ms = 50
    try:
        queue = queue_on(backend, max_active=300)
        for number in range(400):
            queue.enqueue(Work(number))
        calls = backend.wait(300)
        assert len(calls) == 300
        assert [call.parcel[1] for call in calls] == list(range(300)), "not in order"
        assert len(queue.group.in_flight) == 300  # type: ignore[attr-defined]  # it is a RemoteGroup
        assert wait_until(lambda: not [w for w in threadpool9.snapshot().workers if w.pool_pri == PRI])
        for call in calls:
            call.ended(None)
        for call in backend.wait(400)[300:]:
            call.ended(None)
        queue.close(LIMIT)
        assert queue.stats().completed == 400
    finally:
        threadpool9.tunables.idle_ms = 5000


def test_wq15_results_and_errors_come_home(backend: ByHand) -> None:
    """To the future, or to on_error; the first report counts."""
    errors: list[Any] = []
    with queue_on(backend, max_active=4, on_error=lambda error, work: errors.append((error, work))) as queue:
        future, failing, plain = queue.submit("a"), queue.submit("b"), Work("c")
        queue.enqueue(plain)
        first, second, third = backend.wait(3)
        assert future.running()
        assert not future.cancel()
        first.ended("answer")
        first.failed(ValueError())
        first.ended("another")
        second.failed(ValueError("far away"))
        third.failed(KeyError("c"))
        assert future.result(LIMIT) == "answer"
        with pytest.raises(ValueError, match="far away"):
            failing.result(LIMIT)
        queue.wait(plain, LIMIT)
        assert [(type(error), work) for error, work in errors] == [(KeyError, plain)]
        assert "in work queue 'far'" in errors[0][0].__notes__[0]
        assert queue.stats().errors == 1

        async def main() -> Any:
            pending = queue.submit("d")
            waiting = asyncio.create_task(queue.aio.drain())
            await asyncio.to_thread(backend.wait, 4)
            backend.calls[3].ended(4)
            await waiting
            return await pending

        assert asyncio.run(main()) == 4


def test_wq15_what_cannot_cross_is_refused_at_enqueue(backend: ByHand) -> None:
    """And the work is as it was, in every way of enqueuing."""
    with queue_on(backend, max_pending=2) as queue:
        work: Work[Any] = Work(threading.current_thread())
        for enqueue in (
            lambda: queue.enqueue(work),
            lambda: queue.enqueue_delayed(work, 1),
            lambda: queue.modify(work, 1),
            lambda: queue.submit(threading.current_thread()),
        ):
            with pytest.raises(TypeError, match="can't cross"):
                enqueue()
        assert not work.pending
        work.payload = 1
        assert queue.enqueue(work)
        backend.wait(1)[0].ended(None)
        assert not queue.group.parcels  # type: ignore[attr-defined]
        queue.wait(work, LIMIT)


def test_wq15_what_start_raises_is_what_became_of_the_work(backend: ByHand) -> None:
    """And the queue goes on."""
    with queue_on(backend) as queue:
        future = queue.submit("refused")
        with pytest.raises(ZeroDivisionError):
            future.result(LIMIT)
        after = queue.submit("fine")
        backend.wait(1)[0].ended(1)
        assert after.result(LIMIT) == 1


def test_wq15_cancel_is_exact_and_waits(backend: ByHand) -> None:
    """True for what was not sent; False, after the end, for what was."""
    with queue_on(backend) as queue:
        sent, waiting = Work(1), Work(2)
        queue.enqueue(sent)
        queue.enqueue(waiting)
        (call,) = backend.wait(1)
        assert queue.cancel(waiting)
        with pytest.raises(WaitTimeout):
            queue.cancel(sent, 0.01)
        sleepers = queue.group.sleepers
        thread = threading.Thread(target=lambda: wait_until(lambda: sleepers) and call.ended(None))
        thread.start()
        assert queue.cancel(sent, LIMIT) is False
        thread.join()
        assert not queue.group.parcels  # type: ignore[attr-defined]
        assert queue.stats().cancelled == 1


def test_wq15_delays_freezes_and_bounds_are_kept_here(backend: ByHand) -> None:
    """As on every queue."""
    with queue_on(backend, max_pending=1) as queue:
        queue.freeze()
        queue.enqueue(Work(1))
        with pytest.raises(Full):
            queue.enqueue(Work(2), block=False)
        assert not backend.calls
        queue.thaw()
        backend.wait(1)
        later = Work(3)
        queue.enqueue_delayed(later, 0.01)
        assert wait_until(lambda: later.timed_out)
        assert len(backend.calls) == 1, "one too many at once"
        backend.calls[0].ended(None)
        backend.wait(2)[1].ended(None)
        armed = Work(4)
        queue.enqueue_delayed(armed, 1000)
        assert queue.close(LIMIT) == (armed,)


def test_wq15_a_back_end_that_is_down_halts_the_queue(backend: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, the order is kept, it is reported once, and `resume` goes on."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    queue = queue_on(backend)
    backend.up = False
    works = [Work(number) for number in range(3)]
    for work in works:
        queue.enqueue(work)
    assert wait_until(lambda: "down" in queue.group.halts)
    assert works[0].pending
    assert queue.cancel(works[1])
    with pytest.raises(WaitTimeout):
        queue.drain(0.01)
    backend.up = True
    assert backend.queue is not None
    backend.queue.resume()
    backend.wait(1)[0].ended(None)
    backend.wait(2)[1].ended(None)
    assert [call.parcel[1] for call in backend.calls] == [0, 2]
    queue.close(LIMIT)
    assert [report.exc_type for report in reports] == [BackendDown]
    assert queue.stats().started == 2


def test_wq15_reruns_are_counted_and_probed(backend: ByHand) -> None:
    """A second "started" is one; keys and places are there to see."""
    seen: list[Any] = []

    class Listener:
        @hookimpl
        def workqueue9_started(self, wq: Any, wk: Any, where: str) -> None:
            seen.append(("started", wk, where))

        @hookimpl
        def workqueue9_rerun(self, wq: Any, wk: Any, where: str) -> None:
            seen.append(("rerun", wk, where))

    listener = Listener()
    threadpool9.register(listener)
    try:
        with queue_on(backend) as queue:
            work = KeyedWork("payload", key="order-1")
            queue.enqueue(work)
            (call,) = backend.wait(1)
            assert call.key == "order-1"
            call.started("a")
            call.started("b")
            assert call.where == "b"
            call.ended(None)
            queue.drain(LIMIT)
            assert queue.stats().reruns == 1
    finally:
        threadpool9.unregister(listener)
    assert seen == [("started", work, "a"), ("rerun", work, "b")]


def test_wq15_a_fork_child_starts_empty(backend: ByHand) -> None:
    """What was sent is the parent's."""
    if not getattr(__import__("sys"), "_is_gil_enabled", lambda: True)():
        pytest.skip("a free-threaded CPython 3.13 does not stop other threads before it forks")
    queue = queue_on(backend, max_active=2)
    sent, halted = Work(1), Work(2)
    queue.enqueue(sent)
    (call,) = backend.wait(1)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        good = not sent.pending and not queue.group.in_flight and queue.enqueue(sent) and queue.enqueue(halted)  # type: ignore[attr-defined]
        deadline = time.monotonic() + LIMIT
        while len(backend.calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        for again in backend.calls[1:]:
            again.ended(None)
        queue.close(LIMIT)
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    call.ended(None)
    queue.close(LIMIT)


EXITING = """
import sys, threading, time
from queue import SimpleQueue
import threadpool9
from workqueue9 import Work, WorkQueue

class Slow:
    up = True
    def open(self, queue):
        self.calls = SimpleQueue()  # one thread for all, made now: Python 3.12 makes none any more at exit
        threading.Thread(target=self.run, daemon=True).start()
    def pack(self, queue, work): return work.payload
    def start(self, call): self.calls.put(call)
    def run(self):
        while True:
            call = self.calls.get()
            sent.set()
            time.sleep(0.2)  # far away, where nobody can be waited for
            if self.up:
                print(call.parcel, flush=True)
                call.ended(None)
    def ready(self): return self.up
    def close(self, queue): pass

policy = sys.argv[1]
threadpool9.tunables.exit_policy = float(policy) if policy[0].isdigit() else policy.removesuffix("-down")
sent = threading.Event()
queue = WorkQueue("far", print, backend=Slow())
for number in range(3):
    queue.enqueue(Work(number))
sent.wait()
Slow.up = not policy.endswith("down")
"""


@pytest.mark.parametrize(
    ("policy", "ended", "said"),
    [
        ("drain", "0\n1\n2\n", ""),
        ("cancel", "0\n", ""),
        ("0.01", "", ""),
        ("drain-down", "", "the back end of queue 'far' is down: 3 works have not ended"),
    ],
)
def test_wq15_exit_waits_for_what_was_sent(policy: str, ended: str, said: str) -> None:
    """As the policy says (TP-32); but not for a back end that is down."""
    program = subprocess.run([sys.executable, "-c", EXITING, policy], capture_output=True, text=True, timeout=LIMIT)
    assert program.returncode == 0
    assert program.stdout == ended
    assert said in program.stderr
    assert bool(program.stderr) == bool(said)


def test_wq15_bad_back_ends() -> None:
    """Each error names what is wrong."""
    with pytest.raises(TypeError, match="has no open"):
        WorkQueue("q", function, backend=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no plugin knows a back end 'nowhere'"):
        WorkQueue("q", function, backend="nowhere")
    for flag in (workqueue9.WQ_PERCPU, workqueue9.WQ_GIANT):
        with pytest.raises(ValueError, match="about local threads"):
            WorkQueue("q", function, flags=flag, backend=ByHand())


def test_wq15_a_work_that_leaves_is_not_pending(backend: ByHand) -> None:
    """WQ-3: a function may be called before `start` has returned, and who learns of that may enqueue its work again."""
    work, found, start = Work("again"), [], backend.start

    def at_once(call: RemoteCall) -> None:
        call.leaving()
        found.append((work.pending, queue.stats().running, not found and queue.enqueue(work)))
        start(call)
        call.ended(len(found))

    backend.start = at_once  # type: ignore[method-assign]
    queue = queue_on(backend)
    queue.enqueue(work)
    backend.wait(2)
    queue.drain(LIMIT)
    assert found == [(False, 1, True), (False, 1, False)]
    assert queue.stats().completed == 2
    queue.destroy()


def test_wq15_a_back_end_that_goes_down_late_counts_a_work_once(
    backend: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked while the work was put back had it as started and as pending, for ever."""
    monkeypatch.setattr(threading, "excepthook", lambda report: None)
    seen = []

    def late(call: RemoteCall) -> None:
        raise BackendDown("late")

    class Items(deque[Any]):
        def appendleft(self, ticket: Any) -> None:
            super().appendleft(ticket)
            seen.append(queue.stats())

    backend.start = late  # type: ignore[method-assign]
    queue = queue_on(backend)
    queue.freeze()
    work = Work(1)
    queue.enqueue(work)
    (lane,) = queue.group.lanes
    lane.items = Items(lane.items)
    backend.up = False
    queue.thaw()
    assert wait_until(lambda: seen and queue.group.halts)
    assert queue.stats().enqueued == 1
    assert [stats.enqueued for stats in seen] == [1]
    assert queue.cancel(work)
    queue.close(LIMIT)


def test_wq15_a_back_end_is_closed_once(backend: ByHand, plugged: Callable[[object], None]) -> None:
    """By two closes at once, too: each has found that the queue has not ended."""
    queue = queue_on(backend)
    both = threading.Barrier(2)

    class Meeting:
        @hookimpl
        def workqueue9_exit__start(self) -> None:
            both.wait(LIMIT)

    plugged(Meeting())
    threads = [threading.Thread(target=queue.close, args=(LIMIT,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    queue.close(LIMIT)
    assert backend.closed == ["far"]


def test_wq15_a_close_that_is_cut_short_is_made_up_for(backend: ByHand) -> None:
    """The back end's own close may raise."""
    queue, close = queue_on(backend), backend.close

    def refuse(queue: RemoteGroup) -> None:
        backend.close = close  # type: ignore[method-assign]
        raise ZeroDivisionError

    backend.close = refuse  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        queue.close(LIMIT)
    queue.close(LIMIT)
    assert backend.closed == ["far"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_wq15_a_back_end_hears_of_a_queue_that_is_dropped(backend: ByHand) -> None:
    """When the last work has ended, or been withdrawn; at once if there is none."""
    queue_on(backend)
    gc.collect()
    assert backend.closed == ["far"]

    queue = queue_on(backend)
    waiting = Work(2)
    queue.enqueue(Work(1))
    queue.enqueue(waiting)
    (call,) = backend.wait(1)
    del queue
    gc.collect()
    call.ended(None)
    backend.wait(2)[1].ended(None)
    assert wait_until(lambda: backend.closed == ["far"] * 2)


def test_wq15_a_back_end_hears_of_a_queue_that_could_not_be_made(
    backend: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads were refused after it was opened there."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise threadpool9.PriorityRefused("strict")

    monkeypatch.setattr("workqueue9._workqueue.TaskQueue", refuse)
    with pytest.raises(threadpool9.PriorityRefused):
        queue_on(backend)
    assert backend.closed == ["far"]


def test_wq15_a_callback_that_raises_does_not_stop_the_queue(backend: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SystemExit, say: the work counted as running for ever, and nothing was sent any more."""
    monkeypatch.setattr(threading, "excepthook", lambda report: None)

    def leave(future: object) -> None:
        raise SystemExit

    queue = queue_on(backend)
    queue.submit(1).add_done_callback(leave)
    second = queue.submit(2)
    backend.wait(1)[0].ended(None)
    backend.wait(2)[1].ended("done")
    assert second.result(LIMIT) == "done"
    queue.close(LIMIT)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_wq15_a_close_that_raises_does_not_reach_who_withdraws_the_last_work(
    backend: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a queue that was dropped; whoever waited for the future slept on."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    backend.up = False

    def refuse(queue: RemoteGroup) -> None:
        raise ZeroDivisionError

    backend.close = refuse  # type: ignore[method-assign]
    queue = queue_on(backend)
    future, halts = queue.submit(1), queue.group.halts
    assert wait_until(lambda: bool(halts))
    del queue
    gc.collect()
    assert future.cancel()
    assert future.cancelled()
    assert ZeroDivisionError in [report.exc_type for report in reports]


def test_wq15_what_has_left_is_not_put_back(backend: ByHand) -> None:
    """`BackendDown` after `leaving` is what became of the work, and the queue goes on."""
    start, errors = backend.start, list[BaseException]()

    def too_late(call: RemoteCall) -> None:
        call.leaving()
        start(call)

    backend.start, backend.up = too_late, False  # type: ignore[method-assign]
    queue = queue_on(backend, on_error=lambda error, work: errors.append(error))
    queue.enqueue(Work(1))
    queue.flush(LIMIT)
    assert [type(error) for error in errors] == [BackendDown]
    backend.up = True
    queue.enqueue(Work(2))
    backend.wait(1)[0].ended(None)
    queue.drain(LIMIT)
    queue.destroy()


def test_wq15_a_context_is_refused(backend: ByHand) -> None:
    """Given with a work, or to either submit(): a TypeError, and nothing is sent. Without one there is none."""
    queue, context = queue_on(backend), contextvars.Context()
    with pytest.raises(TypeError, match="has a context, which can't run elsewhere"):
        queue.enqueue(Work(1, context))
    with pytest.raises(TypeError, match="queue 'far' has a back end: a context can't run elsewhere"):
        queue.submit(1, context=context)
    with pytest.raises(TypeError, match="a context can't run elsewhere"):
        asyncio.run(queue.aio.submit(1, context=context))
    assert queue.stats().enqueued == 0
    future = queue.submit(2)
    backend.wait(1)[0].ended(3)
    assert future.result(LIMIT) == 3
    queue.drain(LIMIT)
    queue.destroy()


def test_hk6_a_plugin_answers_with_a_back_end(backend: ByHand) -> None:
    """By name."""

    class Plugin:
        @hookimpl
        def workqueue9_backend(self, name: str) -> object:
            return backend if name == "by-hand" else None

    plugin = Plugin()
    threadpool9.register(plugin)
    try:
        with WorkQueue[Any, Any]("q", function, backend="by-hand") as queue:
            future = queue.submit(1)
            backend.wait(1)[0].ended(2)
            assert future.result(LIMIT) == 2
    finally:
        threadpool9.unregister(plugin)


# --- real processes


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Two, spawned."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield Processes(executor)


def square(work: Work[int], arg: int) -> int:
    """In a process."""
    if work.payload == 13:
        raise ValueError(f"{work.payload} in {os.getpid()}")
    return work.payload**2 + arg


def test_wq15_real_processes(processes: Processes) -> None:
    """Results, errors, order of the futures; pids that are not ours."""
    with WorkQueue[Any, Any]("squares", square, 1, max_active=2, backend=processes) as queue:
        futures = [queue.submit(number) for number in range(13)]
        assert [future.result(LIMIT) for future in futures] == [number**2 + 1 for number in range(13)]
        with pytest.raises(ValueError, match="13 in"):
            queue.submit(13).result(LIMIT)
        with pytest.raises(TypeError, match="can't be pickled"):
            queue.submit(threading.Lock())
