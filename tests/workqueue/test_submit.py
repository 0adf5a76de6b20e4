"""WQ-16: what the queue's function returned."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from pace import patience

from conformance9.suite.tools import wait_until
from task9 import Future, UsageError
from threadpool9.lowlevel import FREE_THREADED
from workqueue9 import WQ_GIANT, WQ_PERCPU, Full, Work, WorkQueue

LIMIT = patience(10.0)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


class Thing:
    """Can be referred to weakly."""


def function(work: Work[Any], arg: Any) -> Any:
    """What is asked of the queue here: the payload says."""
    return work.payload(arg) if callable(work.payload) else (work.payload, arg)


@pytest.fixture
def wq() -> Iterator[WorkQueue[Any, Any]]:
    """An ordered queue."""
    with WorkQueue("answers", function, 7) as made:
        yield made


@pytest.mark.parametrize(
    "options", [{}, {"flags": WQ_PERCPU}, {"flags": WQ_GIANT}, {"max_active": 3}, {"max_pending": 2}]
)
def test_wq16_results(options: dict[str, Any]) -> None:
    """On any queue; an exception goes to the future, not to `on_error`."""
    errors: list[Any] = []
    with WorkQueue("any", function, 7, on_error=lambda error, work: errors.append(error), **options) as wq:
        futures = [wq.submit(number) for number in range(50)]
        assert [future.result(LIMIT) for future in futures] == [(number, 7) for number in range(50)]
        assert isinstance(futures[0], concurrent.futures.Future)
        assert isinstance(wq.submit(lambda arg: arg / 0).exception(LIMIT), ZeroDivisionError)
        wq.drain(LIMIT)
        assert wq.stats().completed == 51
    assert errors == []
    with pytest.raises(UsageError):
        wq.submit(1)


def test_wq16_a_work_that_is_called_before_submit_returns() -> None:
    """The caller gets the future even so."""

    class Slow(WorkQueue[Any, Any]):
        """Its enqueue returns when the work was called."""

        def enqueue(self, *args: Any, **kwargs: Any) -> bool:
            """As usual, but for that."""
            done = super().enqueue(*args, **kwargs)
            self.flush(LIMIT)
            return done

    with Slow("slow", function) as wq:
        assert wq.submit(1).result(LIMIT) == (1, None)


def test_wq16_cancel_is_exact_and_frees_the_place() -> None:
    """By the future, by the queue; nobody waits for what was withdrawn."""
    entered: list[Any] = []
    with WorkQueue("bounded", lambda work, arg: entered.append(work.payload), max_pending=2) as wq:
        wq.freeze()
        first, second = wq.submit(1), wq.submit(2)
        with pytest.raises(Full):
            wq.submit(3, block=False)
        assert not first.running()
        assert first.cancel()
        assert first.cancelled()
        third = wq.submit(3, block=False)
        assert wq.cancel_pending() == 2
        assert second.cancelled()
        with pytest.raises(concurrent.futures.CancelledError):
            third.result()
        last = wq.submit(4)
        wq.thaw()
        assert last.result(LIMIT) is None
        assert not last.cancel()
        assert wq.stats().cancelled == 3
    assert entered == [4]


def test_wq16_cancel_against_the_queue() -> None:
    """Each is either entered or cancelled."""
    entered: set[int] = set()
    with WorkQueue("race", lambda work, arg: entered.add(work.payload), max_active=2) as wq:
        outcomes = []
        for number in range(2000):
            future = wq.submit(number)
            outcomes.append((future, future.cancel()))
        wq.drain(LIMIT)
    for number, (future, cancelled) in enumerate(outcomes):
        assert (number in entered) is not cancelled
        assert future.cancelled() is cancelled
        assert future.done()


def test_wq16_context(wq: WorkQueue[Any, Any]) -> None:
    """The submitter's, or the one that is given."""
    token = variable.set("submitter")
    future = wq.submit(lambda arg: variable.get())
    variable.reset(token)
    assert future.result(LIMIT) == "submitter"
    assert wq.submit(lambda arg: variable.get(), context=contextvars.Context()).result(LIMIT) == "none"


def test_wq16_waiting_for_itself(wq: WorkQueue[Any, Any]) -> None:
    """A clear error in place of a hang."""
    assert isinstance(wq.submit(lambda arg: wq.submit(1).result()).exception(LIMIT), UsageError)


def test_wq16_the_function_may_enqueue_the_work_again() -> None:
    """The future has the result of the first call."""
    calls: list[Any] = []

    def again(work: Work[int], arg: None) -> int:
        calls.append(work.payload)
        if len(calls) == 1:
            wq.enqueue(work)
        return len(calls)

    with WorkQueue("again", again) as wq:
        assert wq.submit(5).result(LIMIT) == 1
        wq.drain(LIMIT)
    assert calls == [5, 5]


@pytest.mark.parametrize("what", ["returns", "raises", "cancelled"])
def test_wq16_nothing_is_left_for_the_collector(wq: WorkQueue[Any, Any], what: str) -> None:
    """Future, work and payload go with the last reference, whatever came of them."""

    class Call(Thing):
        def __call__(self, arg: Any) -> Any:
            if what == "raises":
                raise ValueError(self)
            return Thing()

    gc.collect()
    gc.disable()
    try:
        if what == "cancelled":
            wq.freeze()
        call: Any = Call()
        future: Any = wq.submit(call)
        refs = [weakref.ref(call), weakref.ref(future)]
        if what == "cancelled":
            future.cancel()
            wq.thaw()
        else:
            assert (future.exception(LIMIT) is not None) is (what == "raises")
        wq.drain(LIMIT)
        del future, call

        def gone() -> bool:
            if FREE_THREADED:
                wq.submit(int)  # what a thread has made goes when that thread runs
            return not any(ref() for ref in refs)

        assert wait_until(gone)
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_wq16_fork() -> None:
    """In the child what waited is cancelled, what another thread was in raises ResultLost; the parent's go on."""
    program = """
        import os, threading, workqueue9
        begun, go = threading.Event(), threading.Event()
        wq = workqueue9.WorkQueue("q", lambda work, arg: (begun.set(), go.wait(60))[1])
        running, waiting = wq.submit(1), wq.submit(2)
        begun.wait(60)
        if (pid := os.fork()) == 0:
            go.set()
            print(type(running.exception(60)).__name__, waiting.cancelled(), wq.submit(3).result(60), flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        print(running.result(60), waiting.result(60))
        """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT * 6, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["ResultLost True True", "True True"]


def test_wq16_wait_from_another_thread(wq: WorkQueue[Any, Any]) -> None:
    """In `concurrent.futures.wait`, with what a task queue gave."""
    begun, go = threading.Event(), threading.Event()
    future: Future[Any] = wq.submit(lambda arg: (begun.set(), go.wait(LIMIT))[1])
    assert begun.wait(LIMIT)
    assert future.running()
    assert not future.cancel()
    go.set()
    assert concurrent.futures.wait([future], LIMIT).done == {future}
    assert future.result() is True
