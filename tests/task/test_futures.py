"""TK-18: results of calls, mostly on a queue that runs one at a time: what it promises the others do too."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import copy
import functools
import gc
import os
import pickle
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience
from programs import output
from stormkit.benches import interrupted_at
from submitted import Gate

import task9
import threadpool9
from conformance9.suite.tools import wait_until
from task9 import Future, TaskQueue
from threadpool9.lowlevel import FREE_THREADED

LIMIT = patience(10.0)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.fixture
def queue() -> Iterator[TaskQueue]:
    """A queue that runs one call at a time."""
    with TaskQueue("answers") as made:
        yield made


def fail(error: BaseException) -> None:
    """Raise it."""
    raise error


# --- results


def test_tk18_what_the_function_returns_and_raises(queue: TaskQueue) -> None:
    """By result() and exception(), again and again."""
    future = queue.submit(divmod, 7, 2)
    assert future.result(LIMIT) == future.result() == (3, 1)
    assert future.exception() is None
    assert queue.submit(lambda *args, **kwargs: (args, kwargs), 1, fn=2).result(LIMIT) == ((1,), {"fn": 2})
    failed = queue.submit(divmod, 1, 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            failed.result(LIMIT)
    assert isinstance(failed.exception(), ZeroDivisionError)
    assert isinstance(failed, concurrent.futures.Future)
    assert "raised ZeroDivisionError" in repr(failed)
    assert "returned tuple" in repr(future)


@pytest.mark.parametrize("options", [{"concurrency": 3}, {"percpu": True}, {"pri": 5}])
def test_tk18_on_any_queue(options: dict[str, Any]) -> None:
    """Several at once, per CPU, by priority, shared."""
    with TaskQueue("any", **options) as queue, task9.get() as shared:
        for one in (queue, shared):
            futures = [one.submit(pow, n, 2) for n in range(100)]
            assert [future.result(LIMIT) for future in futures] == [n * n for n in range(100)]


def test_tk18_a_result_that_is_there_makes_nothing(queue: TaskQueue) -> None:
    """No condition, no lock, no list."""
    future = queue.submit(int)
    queue.drain(LIMIT)
    assert future.result() == 0
    assert future.done()
    assert not future.running()
    assert vars(future) == {}


def test_tk18_states(queue: TaskQueue) -> None:
    """Pending, running, finished; as the standard functions see them too."""
    gate = Gate(queue)
    waiting = queue.submit(int)
    assert (gate.future.running(), gate.future.done(), waiting.running(), waiting.done()) == (True, False, False, False)
    assert (gate.future._state, waiting._state) == ("RUNNING", "PENDING")
    with pytest.raises(TimeoutError):
        waiting.result(0.01)
    with pytest.raises(TimeoutError):
        waiting.exception(-1)
    gate.go.set()
    assert gate.future.result(LIMIT) is True
    assert waiting.result(LIMIT) == 0
    assert waiting._state == "FINISHED"


def test_tk18_errors_of_the_caller(queue: TaskQueue) -> None:
    """As those of `call`."""

    async def coroutine() -> None:
        """Nobody would await it."""

    for wrong in (None, coroutine):
        with pytest.raises(TypeError):
            queue.submit(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="context"):
        queue.submit(int, context=1)  # type: ignore[arg-type]
    future = queue.submit(int)
    future.result(LIMIT)
    for method in (future.set_result, future.set_exception, future.set_running_or_notify_cancel):
        with pytest.raises(concurrent.futures.InvalidStateError):
            method(None)  # type: ignore[operator]
    queue.close()
    with pytest.raises(task9.QueueClosed):
        queue.submit(int)


def test_tk18_who_would_wait_for_itself_is_told_so(queue: TaskQueue) -> None:
    """The one place where a queue in order can't do what it is asked, and a call that asks for its own result."""
    error = queue.submit(lambda: queue.submit(int).result()).exception(LIMIT)
    assert isinstance(error, task9.UsageError)
    own: list[Future[Any]] = []
    ready = threading.Event()
    with TaskQueue("wide", concurrency=2) as wide:
        own.append(wide.submit(lambda: ready.wait(LIMIT) and own[0].result()))
        ready.set()
        assert isinstance(own[0].exception(LIMIT), task9.UsageError)
        assert wide.submit(lambda: wide.submit(int).result(LIMIT)).result(LIMIT) == 0


# --- what the standard library does with them


def test_tk18_wait_and_as_completed(queue: TaskQueue) -> None:
    """Before, during and after; with failures and cancelled ones among them."""
    gate = Gate(queue)
    futures = [queue.submit(int), queue.submit(divmod, 1, 0), queue.submit(int)]
    assert futures[2].cancel()
    done, pending = concurrent.futures.wait(futures, 0)
    assert (done, len(pending)) == ({futures[2]}, 2)
    assert concurrent.futures.wait(futures, LIMIT, concurrent.futures.FIRST_COMPLETED).done == {futures[2]}
    threading.Timer(0.01, gate.go.set).start()
    assert concurrent.futures.wait(futures[:2], LIMIT, concurrent.futures.FIRST_EXCEPTION).done >= {futures[1]}
    assert set(concurrent.futures.as_completed(futures, LIMIT)) == set(futures)
    assert concurrent.futures.wait(futures, LIMIT).not_done == set()
    assert futures[1].exception() is not None


@pytest.mark.alone
def test_tk18_callbacks(queue: TaskQueue, reports: list[BaseException]) -> None:
    """In order, once, with the future; also if it is settled already; an exception is reported."""
    called: list[Any] = []
    gate = Gate(queue)
    for number in range(3):
        gate.future.add_done_callback(lambda future, number=number: called.append((number, future)))
    gate.future.add_done_callback(lambda future: fail(IndexError("callback")))
    gate.future.add_done_callback(lambda future: called.append("after"))
    gate.go.set()
    queue.drain(LIMIT)
    assert called == [(0, gate.future), (1, gate.future), (2, gate.future), "after"]
    assert [str(error) for error in reports] == ["callback"]
    gate.future.add_done_callback(called.append)
    assert called[-1] is gate.future


def test_tk18_asyncio_wraps_it(queue: TaskQueue) -> None:
    """Results, exceptions, and a cancelled await that cancels what has not begun."""

    async def program() -> None:
        assert await asyncio.wrap_future(queue.submit(pow, 2, 5)) == 32
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(queue.submit(divmod, 1, 0))
        gate = Gate(queue)
        waiting = queue.submit(int)
        wrapped = asyncio.wrap_future(waiting)
        wrapped.cancel()
        await asyncio.sleep(0)
        assert waiting.cancelled()
        gate.go.set()

    asyncio.run(program())


# --- cancelling


def test_tk18_cancel_is_exact(queue: TaskQueue) -> None:
    """True: it never runs. False: it has begun, or is over. Again: as before."""
    gate = Gate(queue)
    entered: list[int] = []
    first, second = queue.submit(entered.append, 1), queue.submit(entered.append, 2)
    assert first.cancel()
    assert first.cancel()
    assert first.cancelled()
    assert first.done()
    assert not first.running()
    assert not gate.future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        first.result()
    with pytest.raises(concurrent.futures.CancelledError):
        first.exception()
    gate.go.set()
    assert second.result(LIMIT) is None
    assert not second.cancel()
    assert entered == [2]


def test_tk18_cancel_wakes_whoever_waits(queue: TaskQueue) -> None:
    """In result(), in wait(), and callbacks; by cancel() and by cancel_pending()."""
    gate = Gate(queue)
    for cancel in (lambda future: future.cancel(), lambda future: queue.cancel_pending()):
        future = queue.submit(int)
        outcomes: list[Any] = []

        def ask(future: Future[int] = future, outcomes: list[Any] = outcomes) -> None:
            try:
                future.result(LIMIT)
            except concurrent.futures.CancelledError:
                outcomes.append("cancelled")

        def watch(future: Future[int] = future, outcomes: list[Any] = outcomes) -> None:
            outcomes.append(len(concurrent.futures.wait([future], LIMIT).done))

        future.add_done_callback(lambda future, outcomes=outcomes: outcomes.append("called"))
        threads = [threading.Thread(target=ask), threading.Thread(target=watch)]
        for thread in threads:
            thread.start()
        assert wait_until(lambda f=future: f._attended().sleepers.locks and f._waiters)
        assert cancel(future)
        for thread in threads:
            thread.join(LIMIT)
        assert sorted(map(str, outcomes)) == ["1", "called", "cancelled"]
    gate.go.set()


def test_tk18_a_handler_cancels_what_its_own_thread_waits_for(queue: TaskQueue) -> None:
    """The standard future would lose this wake-up."""
    gate = Gate(queue)
    future = queue.submit(int)
    old = signal.signal(signal.SIGALRM, lambda number, frame: future.cancel())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(LIMIT)
    finally:
        signal.signal(signal.SIGALRM, old)
        gate.go.set()


def race(rounds: int, step: Callable[[Future[Any]], Any]) -> list[tuple[Future[Any], Any, bool]]:
    """For each round: a future, what `step` made of it while the executor came to it, and whether the call ran."""
    entered: set[int] = set()
    found = []
    with TaskQueue("race", concurrency=2) as queue:
        for number in range(rounds):
            future = queue.submit(entered.add, number)
            found.append((future, step(future), number))
        queue.drain(LIMIT * 10)
    return [(future, answer, number in entered) for future, answer, number in found]


def test_tk18_cancel_against_the_executor() -> None:
    """Each call is either entered or cancelled, and cancel() says which."""
    for future, cancelled, entered in race(5000, lambda future: future.cancel()):
        assert cancelled is not entered
        assert future.cancelled() is cancelled
        assert future.done()


def test_tk18_settling_against_the_first_wait() -> None:
    """Whoever comes while the result is being written is not forgotten."""
    for _, answer, entered in race(1500, lambda future: future.exception(LIMIT)):
        assert (answer, entered) == (None, True)
    for future, answer, _ in race(1500, lambda future: concurrent.futures.wait([future], LIMIT).done):
        assert answer == {future}
    called: list[Future[Any]] = []
    rounds = race(1500, lambda future: future.add_done_callback(called.append))
    assert len(called) == len(set(called)) == len(rounds)


def test_tk18_wait_sees_each_future_settled_once() -> None:
    """The waiters count: one that is informed of a future that it has seen settled would return too early."""
    with TaskQueue("count", concurrency=2) as queue:
        for _ in range(300):
            futures = [queue.submit(int) for _ in range(8)]
            assert concurrent.futures.wait(futures, LIMIT).not_done == set()
            futures = [queue.submit(int) for _ in range(8)]
            assert len(list(concurrent.futures.as_completed(futures, LIMIT))) == 8


def test_tk18_what_wait_looks_at_stands_still_while_it_looks(queue: TaskQueue) -> None:
    """Whoever holds the condition sees no future become final under his hands, nor miss its waiter."""
    gate = Gate(queue)
    informed = threading.Event()

    class Waiter:
        def add_result(self, future: Future[Any]) -> None:
            informed.set()

    with gate.future._condition:
        gate.go.set()
        assert wait_until(gate.future.done)
        assert gate.future._state == "RUNNING"
        gate.future._waiters.append(Waiter())
    assert informed.wait(LIMIT)
    assert gate.future._state == "FINISHED"


# --- contexts


def test_tk18_contexts(queue: TaskQueue) -> None:
    """The submitter's, copied at submit; or the one that is given."""
    token = variable.set("submitter")
    gate = Gate(queue)
    inherited = queue.submit(lambda: (variable.get(), variable.set("changed"))[0])
    given = contextvars.Context()
    given.run(variable.set, "given")
    other = queue.submit(variable.get, context=given)
    changing = queue.submit(variable.set, "kept", context=given)
    variable.set("later")
    gate.go.set()
    assert inherited.result(LIMIT) == "submitter"
    assert other.result(LIMIT) == "given"
    changing.result(LIMIT)
    assert given[variable] == "kept"
    assert variable.get() == "later"
    variable.reset(token)


# --- exceptions


def test_tk18_an_exception_keeps_its_traceback_and_no_frame_of_ours(queue: TaskQueue) -> None:
    """From result() down to the function, with nothing of the executor between them."""
    future = queue.submit(fail, ValueError("here"))
    with pytest.raises(ValueError, match="here") as caught:
        future.result(LIMIT)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["result", "fail"]
    wrong = queue.submit(fail)
    assert isinstance(wrong.exception(LIMIT), TypeError)
    assert wrong.exception().__traceback__ is None  # type: ignore[union-attr]


@pytest.mark.parametrize("watched", [False, True])
def test_tk18_nothing_is_left_for_the_collector(queue: TaskQueue, watched: bool) -> None:
    """Future, arguments, result and exception go with their last reference."""

    class Thing:
        """Can be referred to weakly."""

    class Listener:
        @threadpool9.hookimpl
        def task9_entry(self) -> None:
            """Have the executor go the long way round."""

    def returns(thing: Thing) -> Thing:
        return Thing()

    def raises(thing: Thing) -> None:
        raise ValueError(thing)

    listener = Listener()
    if watched:
        threadpool9.register(listener)
    gc.collect()
    gc.disable()
    try:
        for function in (returns, raises):
            gate = Gate(queue)
            thing: Any = Thing()
            future: Any = queue.submit(function, thing)
            cancelled: Any = queue.submit(function, thing)
            cancelled.cancel()
            gate.go.set()
            refs = [weakref.ref(thing), weakref.ref(future), weakref.ref(cancelled)]
            future.add_done_callback(lambda future: None)
            concurrent.futures.wait([future], LIMIT)
            try:
                refs.append(weakref.ref(future.result(LIMIT)))
            except ValueError:
                pass
            queue.drain(LIMIT)
            del thing, future, cancelled

            def gone(refs: list[Any] = refs) -> bool:
                if FREE_THREADED:
                    queue.call(int)  # what a thread has made goes when that thread runs
                return not any(ref() for ref in refs)

            assert wait_until(gone)
    finally:
        gc.enable()
        if watched:
            threadpool9.unregister(listener)


def test_tk18_arguments_are_gone_when_the_result_is_there(queue: TaskQueue) -> None:
    """Who waits for the result may rely on it."""

    class Thing:
        """Can be referred to weakly."""

    for _ in range(100):
        ref, future = (lambda thing: (weakref.ref(thing), queue.submit(id, thing)))(Thing())
        future.result(LIMIT)
        assert wait_until(lambda ref=ref: ref() is None) if FREE_THREADED else ref() is None


@pytest.mark.alone
def test_tk18_an_exception_that_nobody_asked_for_is_reported(queue: TaskQueue, reports: list[BaseException]) -> None:
    """When the future goes; once; unless the tunable says no, or somebody has asked."""
    queue.submit(fail, ValueError("forgotten"))
    asked = queue.submit(fail, ValueError("asked"))
    assert isinstance(asked.exception(LIMIT), ValueError)
    waited = queue.submit(fail, ValueError("waited for"))
    concurrent.futures.wait([waited], LIMIT)
    queue.drain(LIMIT)
    del asked, waited
    gc.collect()
    assert wait_until(lambda: len(reports) == 2)
    assert sorted(str(error) for error in reports) == ["forgotten", "waited for"]
    assert "nobody asked" in str(reports[0].__notes__)
    task9.tunables.report_unretrieved = False
    try:
        queue.submit(fail, ValueError("silent"))
        queue.drain(LIMIT)
        gc.collect()
    finally:
        task9.tunables.report_unretrieved = True
    assert len(reports) == 2


# --- any context, close, fork, exit


def test_tk18_submit_in_a_signal_handler_and_in_a_finalizer(queue: TaskQueue) -> None:
    """Between any two bytecodes of a submit."""
    futures: list[Future[int]] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: futures.append(queue.submit(int)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        mine = [queue.submit(pow, n, 2) for n in range(20000)]
        assert [future.result(LIMIT) for future in mine] == [n * n for n in range(20000)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)

    class Dropped:
        def __del__(self) -> None:
            futures.append(queue.submit(int))

    Dropped()
    assert wait_until(lambda: len(futures) > 1)
    assert [future.result(LIMIT) for future in futures] == [0] * len(futures)


def test_tk18_close_and_drain(queue: TaskQueue) -> None:
    """Both wait for submitted calls; what is withdrawn is cancelled."""
    futures = [queue.submit(pow, n, 2) for n in range(100)]
    queue.drain(LIMIT)
    assert all(future.done() for future in futures)
    gate = Gate(queue)
    futures = [queue.submit(int) for _ in range(100)]
    assert futures[50].cancel()
    assert queue.cancel_pending() == 99
    assert all(future.cancelled() for future in futures)
    gate.go.set()
    last = queue.submit(int)
    queue.close()
    assert last.done()


def test_tk18_probes_and_snapshot(queue: TaskQueue) -> None:
    """A submitted call is an item like any other."""
    seen: list[str] = []

    class Listener:
        @threadpool9.hookimpl
        def task9_schedule(self, lane: Any, task: Any) -> None:
            seen.append(f"schedule {task.task_name}")

        @threadpool9.hookimpl
        def task9_entry(self, lane: Any, task: Any) -> None:
            seen.append(f"entry {task.task_name}")

        @threadpool9.hookimpl
        def task9_return(self, lane: Any, task: Any) -> None:
            seen.append(f"return {task.task_name}")

        @threadpool9.hookimpl
        def task9_cancel(self, task: Any) -> None:
            seen.append(f"cancel {task.task_name}")

    listener = Listener()
    threadpool9.register(listener)
    try:
        gate = Gate(queue)
        running = [name for record in task9.snapshot().queues for lane in record.lanes for name in lane.running]
        assert [name for name in running if "Gate" in name]
        queue.submit(int).cancel()
        gate.go.set()
        queue.drain(LIMIT)
    finally:
        threadpool9.unregister(listener)
    names = [line for line in seen if "int" in line]
    assert names == ["schedule int", "cancel int"]
    assert [line.split()[0] for line in seen if "Gate" in line] == ["schedule", "entry", "return"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_tk18_fork() -> None:
    """In the child a call that had not begun is cancelled, one that had raises ResultLost; the parent's go on."""
    out = output(
        """
        import concurrent.futures, os, threading, task9
        queue = task9.TaskQueue("q")
        begun, go = threading.Event(), threading.Event()
        over = queue.submit(int)
        running = queue.submit(lambda: (begun.set(), go.wait(60))[1])
        waiting = queue.submit(int)
        begun.wait(60)
        threading.Thread(target=concurrent.futures.wait, args=([running, waiting],)).start()
        while not waiting._waiters: pass
        held = threading.Event()
        def hold():
            with waiting._condition: held.set(); go.wait(60)
        threading.Thread(target=hold).start()
        held.wait(60)
        if (pid := os.fork()) == 0:
            print(over.result(), waiting.cancelled(), type(running.exception(60)).__name__)
            print(len(concurrent.futures.wait([running, waiting], 60).done), queue.submit(int).result(60), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        print(running.result(60), waiting.result(60))
        """
    )
    assert out.splitlines() == ["0 True ResultLost", "2 0", "True 0"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(FREE_THREADED, reason="a free-threaded CPython 3.13 does not stop other threads before it forks")
def test_tk18_fork_while_the_probe_of_a_submit_is_fired() -> None:
    """The child's copy is cancelled: nobody would ever put it on the queue."""
    out = output(
        """
        import os, threading, task9, threadpool9
        inside, go, futures = threading.Event(), threading.Event(), []
        class Listener:
            @threadpool9.hookimpl
            def task9_schedule(self, lane, task):
                futures.append(task)
                inside.set()
                go.wait(60)
        threadpool9.register(Listener())
        queue = task9.TaskQueue("q")
        thread = threading.Thread(target=queue.submit, args=(int,))
        thread.start()
        inside.wait(60)
        if (pid := os.fork()) == 0:
            print(futures[0].cancelled(), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        thread.join()
        print(futures[0].result(60))
        """
    )
    assert out.splitlines() == ["True", "0"]


def test_tk18_exit() -> None:
    """Drained by default; with the policy "cancel" what waits is cancelled, and whoever waits for it is woken."""
    program = """
        import task9, threading, threadpool9
        threadpool9.tunables.exit_policy = POLICY
        queue = task9.TaskQueue("q")
        begun, go = threading.Event(), threading.Event()
        queue.submit(lambda: (begun.set(), go.wait(60)))
        begun.wait(60)
        queue.submit(print, "ran").add_done_callback(lambda future: (print(future.cancelled()), go.set()))
        ENDING
        """
    release = "threading._register_atexit(go.set)"
    assert output(program.replace("POLICY", "'drain'").replace("ENDING", release)) == "ran\nFalse\n"
    assert output(program.replace("POLICY", "'cancel'").replace("ENDING", "")) == "True\n"


# --- odd ones


class Nameless:
    """Its representation raises, as that of a database row that was detached."""

    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __call__(self, *args: object) -> None:
        """As a function."""
        raise ZeroDivisionError


class Wayward(Exception):
    """Lets nobody touch it."""

    def with_traceback(self, traceback: object) -> Any:
        """As of any exception."""
        raise ValueError("no traceback")

    def add_note(self, note: str) -> None:
        """As of any exception."""
        raise ValueError("no notes")


@pytest.mark.alone
@pytest.mark.parametrize("watched", [False, True])
def test_tk18_what_has_no_representation_is_settled_too(
    queue: TaskQueue, reports: list[BaseException], watched: bool
) -> None:
    """A function, its arguments, its exception: whoever waits gets the answer, and a report the real error."""

    class Listener:
        @threadpool9.hookimpl
        def task9_entry(self) -> None:
            """Have the executor go the long way round."""

    listener = Listener()
    if watched:
        threadpool9.register(listener)
    try:
        failing = queue.submit(functools.partial(fail, ZeroDivisionError()), Nameless())
        odd: Any = functools.partial(Nameless(), Nameless())
        assert isinstance(failing.exception(LIMIT), TypeError)  # it takes one argument
        assert isinstance(queue.submit(odd).exception(LIMIT), ZeroDivisionError)
        assert isinstance(queue.submit(fail, Wayward()).exception(LIMIT), Wayward)
        gate = Gate(queue)
        queue.call(odd)
        queue.schedule(task9.Task(odd))
        queue.call(fail, Wayward())
        last = queue.submit(odd)
        assert "Nameless" in repr(last) + repr(task9.snapshot()) + repr(threadpool9.snapshot())
        gate.go.set()
        queue.drain(LIMIT)
        assert isinstance(last.exception(LIMIT), ZeroDivisionError)  # else it is reported when it goes
        assert [type(error) for error in reports[:3]] == [ZeroDivisionError, ZeroDivisionError, Wayward]
    finally:
        if watched:
            threadpool9.unregister(listener)


def test_tk18_a_name_costs_little_whatever_the_arguments(queue: TaskQueue) -> None:
    """The representation of a partial function would have all of them in it."""

    class Huge(list[int]):
        def __repr__(self) -> str:
            raise AssertionError("it was asked for its representation")

    future = queue.submit(functools.partial(divmod, Huge()), 0)
    assert isinstance(future.exception(LIMIT), TypeError)
    assert task9.Task(functools.partial(divmod, Huge())).task_name == "partial(divmod)"


def test_tp36_a_cancel_that_is_interrupted_wakes_who_waits(queue: TaskQueue) -> None:
    """At each of its lines: either it is not cancelled, or a thread that waits for it is woken, at the latest by the
    next cancel."""
    number = 0
    while True:
        number += 1
        gate = Gate(queue)
        future = queue.submit(int)
        ended: list[str] = []

        def wait(future: Future[int] = future, ended: list[str] = ended) -> None:
            try:
                future.result(LIMIT)
            except concurrent.futures.CancelledError:
                ended.append("cancelled")

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert wait_until(lambda future=future: future._attended().sleepers.locks)
        where = interrupted_at(number, future.cancel)
        if future.cancelled():
            assert future.cancel()
            waiter.join(LIMIT)
            assert ended == ["cancelled"], where
        gate.go.set()
        waiter.join(LIMIT)
        assert not waiter.is_alive(), where
        if where is None:
            break
    assert number > 5


def test_tk18_it_can_not_be_copied(queue: TaskQueue) -> None:
    """A copy would wait for ever."""
    future = queue.submit(int)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="can't be copied or pickled"):
            attempt(future)
    assert future.result(LIMIT) == 0


def test_tk18_any_number_is_a_time_limit(queue: TaskQueue) -> None:
    """As for the standard class."""

    class Number(float):
        """As those of numpy."""

    gate = Gate(queue)
    future = queue.submit(int)
    for limit in (0, -1, False, Number(0.001), 0.001):
        with pytest.raises(TimeoutError):
            future.result(limit)
        with pytest.raises(TimeoutError):
            future.exception(limit)
    with pytest.raises(TypeError):
        future.result("1")  # type: ignore[arg-type]  # that is the point
    gate.go.set()


# --- map


def test_tk18_map_that_is_left_before_its_first_result_is_cancelled(queue: TaskQueue) -> None:
    """As one that is left later."""
    gate = Gate(queue)
    entered: list[int] = []
    for leave in (lambda results: results.close(), lambda results: None):
        leave(queue.map(entered.append, range(20), buffersize=20))
    gc.collect()
    gate.go.set()
    queue.drain(LIMIT)
    assert entered == []


def test_tk18_map_is_lazy_and_in_order() -> None:
    """As many calls ahead as the buffer holds."""
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    with TaskQueue("map", concurrency=3) as queue:
        results = queue.map(lambda number: number * number, numbers(), buffersize=4)
        assert len(taken) == 4
        assert [next(results) for _ in range(10)] == [n * n for n in range(10)]
        assert len(taken) <= 4 + 10
        results.close()  # type: ignore[attr-defined]
        assert len(list(queue.map(pow, range(7), [2] * 100))) == 7
        results = queue.map(int, numbers())
        del taken[:]
        assert next(results) == 0
        assert len(taken) <= 2
        assert list(queue.map(int, [])) == []


def test_tk18_map_ends_early(queue: TaskQueue) -> None:
    """An exception, a time limit, or leaving off: what has not begun is cancelled."""
    results = queue.map(divmod, [1, 1, 1], [1, 0, 1], buffersize=3)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    gate = Gate(queue)
    entered: list[int] = []
    results = queue.map(entered.append, range(5), timeout=0.01, buffersize=3)
    with pytest.raises(TimeoutError):
        next(results)
    gate.go.set()
    queue.drain(LIMIT)
    assert entered == []
    for wrong, error in ((0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)):
        with pytest.raises(error):
            queue.map(int, [1], buffersize=wrong)  # type: ignore[arg-type]


def test_tk18_map_keeps_no_exception(queue: TaskQueue) -> None:
    """It goes when it was handled, without the garbage collector: no frame of ours keeps the future that holds it."""

    class Raised(Exception):
        """Can be referred to weakly."""

    def fail_once(number: int) -> None:
        if number == 1:
            raise Raised

    gc.collect()
    gc.disable()
    try:
        try:
            list(queue.map(fail_once, range(3)))
        except Raised as error:
            ref = weakref.ref(error)

        def gone() -> bool:
            queue.call(int)  # without a GIL, what a thread has made goes when that thread runs
            return ref() is None

        assert wait_until(gone)
    finally:
        gc.enable()


def test_tk18_map_runs_in_the_context_of_its_caller(queue: TaskQueue) -> None:
    """As it was at the call, for every element."""
    token = variable.set("caller")
    results = queue.map(lambda n: (variable.get(), variable.set("other"))[0], range(5), buffersize=1)
    variable.set("later")
    assert list(results) == ["caller"] * 5
    variable.reset(token)
