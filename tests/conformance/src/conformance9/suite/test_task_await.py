"""Awaiting tasks, queues and futures (AW-1 to AW-4)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import signal
import threading
import time
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.loops import (
    Waiting,
    awaited,
    begun,
    cancelled,
    ends_the_waiting_only,
    every_waiter_is_woken,
    in_loop,
    lets_the_loop_go_on,
    looks_again_after_a_closed_loop,
    settles_once,
    soon,
    times_out,
)
from conformance9.suite.tasks import a_queue
from conformance9.suite.tools import Log, Stage, holds, need, timing, within

pytestmark = pytest.mark.capability("await")

#: A priority that nobody else in the process is likely to use.
PRI = 61
#: What can be awaited, and the capability that it needs.
NEEDS = {"cancel()": None, "drain()": None, "close()": None, "put()": "shared", "result()": "submit"}
#: Of these what many may wait for at once.
OFTEN = ["cancel()", "drain()", "result()"]


def a_waiting(kind: str, adapter: TaskAdapter, stage: Stage) -> Waiting:
    """A task or call at a gate, and somebody who could wait for it."""
    if (capability := NEEDS[kind]) is not None:
        need(adapter, capability)
    gate, log, name = stage.gate(), Log(), kind.removesuffix("()")
    queue: Any = adapter.shared(PRI) if kind == "put()" else adapter.queue("awaited")
    if kind not in ("put()", "close()"):
        stage.at_end(lambda: queue.close(timing.limit))
    task: Any = adapter.task(gate)
    if kind == "result()":
        future = queue.submit(gate)
    else:
        queue.schedule(task)
    assert gate.entered(), "TK-1: a scheduled task did not run"

    def call(timeout: float | None) -> Any:
        if kind == "result()":
            return future
        return getattr(adapter.awaiting(task if kind == "cancel()" else queue), name)(timeout=timeout)

    def blocking() -> Any:
        if kind == "result()":
            return future.result(timing.limit)
        return getattr(task if kind == "cancel()" else queue, name)(timeout=timing.limit)

    def afterwards() -> None:
        if kind == "close()":
            within("AW-2", "close()", blocking)
            return
        again = a_queue(adapter, stage) if kind == "put()" else queue
        within("AW-2", "cancel()", lambda: task.cancel(timeout=timing.limit))  # it may be on its way out still
        within("AW-2", "drain()", lambda: again.drain(timing.limit))
        for each in (adapter.task(log.add), task):
            holds("AW-2", again.schedule(each) is not False, f"after an awaited {kind} a task is refused")
        within("AW-2", "drain()", lambda: again.drain(timing.limit))
        holds("AW-2", len(log.entries) == 1, f"after an awaited {kind} a task did not run")

    result = {"cancel()": False, "close()": ()}.get(kind)
    return Waiting(kind, gate, call, blocking, result, afterwards, kind in OFTEN)


@pytest.mark.clause("AW-1")
@pytest.mark.parametrize("kind", NEEDS)
def test_awaiting_lets_the_loop_go_on(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-1: no thread waits, and the result is that of the call that blocks."""
    lets_the_loop_go_on(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-1")
@pytest.mark.capability("timeouts")
@pytest.mark.parametrize("kind", ["cancel()", "drain()"])
def test_awaiting_has_the_time_limit_of_the_call_that_blocks(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-1: the same error."""
    times_out(a_waiting(kind, adapter, stage), adapter.timeout_error)


@pytest.mark.clause("AW-1")
@pytest.mark.capability("submit")
def test_an_awaited_future_has_what_became_of_the_call(adapter: TaskAdapter, stage: Stage) -> None:
    """AW-1: its result, its exception, its cancellation; before and after it is settled."""
    queue, gate, what = a_queue(adapter, stage), stage.gate(), "an awaited future"
    queue.submit(gate)
    assert gate.entered(), "TK-18: a submitted call was not made"
    good, bad, gone = queue.submit(lambda: 42), queue.submit(lambda: 1 // 0), queue.submit(int)

    async def outcome(future: Any) -> Any:
        try:
            return await future
        except (ZeroDivisionError, concurrent.futures.CancelledError) as error:
            return type(error)

    async def main() -> None:
        tasks = [await begun("AW-1", what, functools.partial(outcome, future)) for future in (good, bad, gone)]
        gone.cancel()
        gate.go.set()
        found = [await soon("AW-1", what, task) for task in tasks]
        due = [42, ZeroDivisionError, concurrent.futures.CancelledError]
        holds("AW-1", found == due, f"three awaited futures gave {found}, not {due}")
        found = [await soon("AW-1", what, outcome(future)) for future in (good, bad, gone)]
        holds("AW-1", found == due, f"three settled futures, awaited, gave {found}, not {due}")

    in_loop("AW-1", what, main)


@pytest.mark.clause("AW-2")
@pytest.mark.parametrize("kind", NEEDS)
def test_cancelling_the_await_ends_the_waiting_only(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-2: the task goes on, and may be scheduled again."""
    ends_the_waiting_only(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-2")
@pytest.mark.capability("submit")
def test_a_call_whose_await_was_cancelled_is_made_all_the_same(adapter: TaskAdapter, stage: Stage) -> None:
    """AW-2: also one that had not begun: others may want its result."""
    queue, gate = a_queue(adapter, stage), stage.gate()
    queue.submit(gate)
    assert gate.entered(), "TK-18: a submitted call was not made"
    future = queue.submit(lambda: "made")

    async def main() -> None:
        task = await begun("AW-2", "an awaited future", functools.partial(_value, future))
        other = await begun("AW-2", "an awaited future", functools.partial(_value, future))
        await cancelled("an awaited future", task)
        holds("AW-2", not future.cancelled(), "to cancel the await of a call that waits cancels the call")
        gate.go.set()
        holds("AW-2", await soon("AW-2", "the other one's await", other) == "made", "another one's await was spoiled")

    in_loop("AW-2", "an awaited future", main)


async def _value(future: Any) -> Any:
    return await future


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", OFTEN)
def test_a_hand_over_settles_once(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-3: what is waited for comes to pass and the await is cancelled, before the loop has come round."""
    settles_once(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", OFTEN)
def test_a_closed_loop_is_passed_over(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-3: the others who wait are woken, and nothing is raised where the task ends."""
    waiting = a_waiting(kind, adapter, stage)
    waiting.afterwards = lambda: None  # the task of the closed loop may keep a cancel() under way
    looks_again_after_a_closed_loop(stage, waiting)


@pytest.mark.clause("AW-4")
@pytest.mark.parametrize("kind", OFTEN)
def test_loops_and_threads_wait_for_one_thing(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """AW-4: each is woken."""
    every_waiter_is_woken(a_waiting(kind, adapter, stage))


@pytest.mark.clause("AW-3", "AW-4")
@pytest.mark.capability("submit", "any context")
def test_a_handler_in_the_loop_s_own_thread_settles(adapter: TaskAdapter, stage: Stage) -> None:
    """AW-4: a signal comes while the loop sleeps, and its handler cancels what a task of that loop awaits."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signal handlers run in the main thread")
    queue, gate = a_queue(adapter, stage), stage.gate()
    queue.submit(gate)
    assert gate.entered(), "TK-18: a submitted call was not made"
    me, said = threading.get_ident(), Log()

    async def main() -> None:
        for _ in range(5):
            future = queue.submit(int)
            sent.append(future)
            task = await begun("AW-4", "an awaited future", functools.partial(_value, future))
            since = time.monotonic()
            sender = stage.thread(send)
            try:
                await soon("AW-4", "the awaited future of a call that a handler has cancelled", task)
            except concurrent.futures.CancelledError:
                pass
            late = time.monotonic() - since
            holds("AW-4", late < timing.limit / 2, f"a handler's cancel() reached its loop {late:.1f} s later")
            sender.join(timing.limit)
            holds("AW-4", said.entries[-1] is True, "cancel() of a call that waits said False to a handler")

    def send() -> None:
        threading.Event().wait(timing.moment / 5)  # the loop has nothing to do, and sleeps
        signal.pthread_kill(me, signal.SIGUSR1)

    sent: list[Any] = []
    before = signal.signal(signal.SIGUSR1, lambda *args: said.add(sent[-1].cancel()))
    try:
        asyncio.run(awaited(main))
    finally:
        signal.signal(signal.SIGUSR1, before)
    gate.go.set()
