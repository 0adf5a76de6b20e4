"""Results of calls, and map (TK-18)."""

from __future__ import annotations

import concurrent.futures
import contextvars
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.kit import together
from conformance9.suite.tasks import KINDS, a_queue, a_queue_of
from conformance9.suite.tools import Log, Stage, holds, interrupted_at, jitter, refuses, timing, within

pytestmark = [pytest.mark.clause("TK-18"), pytest.mark.capability("submit")]

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="nobody's")


def busy(adapter: TaskAdapter, stage: Stage) -> tuple[Any, Any]:
    """A queue whose only place is taken, and the gate of who has it."""
    queue, gate = a_queue(adapter, stage), stage.gate()
    queue.schedule(adapter.task(gate))
    assert gate.entered(), "TK-1: a scheduled task did not run"
    return queue, gate


@pytest.mark.parametrize("kind", KINDS)
def test_a_future_has_what_the_function_returned_or_raised(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """TK-18: with its arguments, also those of the name of a parameter of submit()."""
    queue = a_queue_of(kind, adapter, stage)
    error = ValueError("of a call")

    def fail() -> None:
        raise error

    def note(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    for number in range(20):
        got = queue.submit(note, number, fn=number).result(timing.limit)
        holds("TK-18", got == ((number,), {"fn": number}), f"the call {number} gave {got!r}")
        failed = queue.submit(fail)
        holds("TK-18", failed.exception(timing.limit) is error, f"exception() gave {failed.exception()!r}")
        refuses("TK-18", "result() of a call that raised", ValueError, failed.result)
        holds("TK-18", failed.done() and not failed.cancelled(), f"a call that raised: {failed!r}")


def test_a_future_is_one_of_the_standard_library(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: `concurrent.futures.wait` and `as_completed` take it, of what is settled and of what is not."""
    queue, gate = busy(adapter, stage)
    futures = [queue.submit(lambda number=number: number) for number in range(20)]
    holds("TK-18", all(isinstance(f, concurrent.futures.Future) for f in futures), "it is no concurrent.futures.Future")
    holds("TK-18", futures[3].cancel(), "cancel() of a call that had not begun said False")
    refuses("TK-18", "result(0) of a call that waits", TimeoutError, lambda: futures[0].result(0))
    done, waiting = concurrent.futures.wait(futures, 0)
    holds("TK-18", (len(done), len(waiting)) == (1, 19), f"of 20 calls, one cancelled, {len(done)} are done")

    def all_of() -> list[Any]:
        return [each for each in concurrent.futures.as_completed(futures) if not each.cancelled()]

    thread = stage.thread(lambda: [each.result() for each in all_of()])
    thread.join(timing.moment)
    gate.go.set()
    thread.join(timing.limit)
    holds("TK-18", not thread.is_alive(), "as_completed() hangs")
    due = [number for number in range(20) if number != 3]
    holds("TK-18", sorted(thread.result) == due, f"as_completed() gave {thread.result}")  # type: ignore[call-overload]  # a list
    done, waiting = concurrent.futures.wait(futures, timing.limit)
    holds("TK-18", not waiting, f"wait() says that {len(waiting)} calls are not done, though all are")


def test_cancel_is_true_exactly_if_the_function_never_runs(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: before the call, in it, after it; and once more."""
    queue, gate, log = a_queue(adapter, stage), stage.gate(), Log()
    running = queue.submit(gate)
    assert gate.entered(), "TK-18: a submitted call was not made"
    waiting, other = queue.submit(log.add, "waiting"), queue.submit(log.add, "other")
    holds("TK-18", waiting.cancel() is True, "cancel() of a call that had not begun said False")
    holds("TK-18", waiting.cancel() is True and waiting.cancelled(), "cancelled twice it says False")
    refuses("TK-18", "result() of a cancelled call", concurrent.futures.CancelledError, lambda: waiting.result(0))
    holds("TK-18", running.running() and running.cancel() is False, "cancel() of a call under way said True")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-18", log.entries == ["other"], f"one of two calls was cancelled; made were {log.entries}")
    holds("TK-18", not running.cancelled() and running.result(0) is None, "a cancel() in vain spoiled the result")
    holds("TK-18", other.cancel() is False and not other.cancelled(), "cancel() of what is over said True")


def test_a_cancel_that_races_with_the_run(adapter: TaskAdapter, stage: Stage, seed: int) -> None:
    """TK-18: each function has run, and its result is there, or its cancel() has said True."""
    queue = a_queue(adapter, stage)
    for round_number in range(5):
        log = Log()
        futures: list[Any] = []

        def submit(log: Log = log, futures: list[Any] = futures) -> None:
            for number in range(200):
                futures.append(queue.submit(log.add, number))

        def cancel(futures: list[Any] = futures) -> set[int]:
            done: set[int] = set()
            for number in range(200):
                while len(futures) <= number:
                    threading.Event().wait(1e-5)
                if futures[number].cancel():
                    done.add(number)
            return done

        with jitter(seed + round_number):
            _, said = together(stage, submit, cancel)
        queue.drain(timing.limit)
        due = [number for number in range(200) if number not in said]
        holds("TK-18", log.entries == due, f"{len(said)} of 200 were cancelled, and {len(log.entries)} run")
        lost = [number for number in due if not futures[number].done() or futures[number].cancelled()]
        holds("TK-18", not lost, f"of calls that were made {len(lost)} have no result")


def test_the_function_runs_in_the_context_of_who_submits(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: in a copy, so that what it sets stays there; or in the context that is given."""
    queue = a_queue(adapter, stage)

    def swap() -> str:
        before = VARIABLE.get()
        VARIABLE.set("the call's")
        return before

    def body() -> list[str]:
        VARIABLE.set("the caller's")
        own = contextvars.copy_context()
        own.run(VARIABLE.set, "given")
        found = [queue.submit(swap).result(timing.limit) for _ in range(2)]
        found += [queue.submit(swap, context=own).result(timing.limit) for _ in range(2)]
        return [*found, VARIABLE.get()]

    found = within("TK-18", "submit()", lambda: contextvars.Context().run(body))
    due = ["the caller's", "the caller's", "given", "the call's", "the caller's"]
    holds("TK-18", found == due, f"the calls saw {found}, not {due}")
    later = queue.submit(VARIABLE.get).result(timing.limit)
    holds("TK-18", later == "nobody's", f"a call left something in its thread's context: {later}")


def test_callbacks_are_called_once(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: in the order added, for a result, an error, a cancellation; at once if it is settled."""
    queue, gate = busy(adapter, stage)
    log = Log()
    futures = [queue.submit(int), queue.submit(lambda: 1 // 0), queue.submit(int)]
    for future in futures:
        for number in range(2):
            future.add_done_callback(lambda each, number=number: log.add((futures.index(each), number)))
    futures[2].cancel()
    holds("TK-18", log.reached(2), "after a cancel() the callbacks were not called")
    gate.go.set()
    holds("TK-18", log.reached(6), f"of six callbacks {len(log.entries)} were called")
    futures[0].add_done_callback(lambda each: log.add("late"))
    holds("TK-18", futures[1].exception(timing.limit) is not None, "a call that raised has no exception")
    queue.drain(timing.limit)
    due = [(2, 0), (2, 1), (0, 0), (0, 1), (1, 0), (1, 1), "late"]
    holds("TK-18", sorted(log.entries, key=repr) == sorted(due, key=repr), f"the callbacks were {log.entries}")
    holds("TK-18", log.entries[:2] == due[:2], f"the callbacks were not called in their order: {log.entries}")


def test_drain_and_close_wait_for_submitted_calls(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: as for tasks, in one order with them; a closed queue refuses further ones."""
    queue, gate, log = adapter.queue("queue"), stage.gate(), Log()
    queue.submit(gate)
    assert gate.entered(), "TK-18: a submitted call was not made"
    futures = []
    for number in range(0, 20, 2):
        futures.append(queue.submit(log.add, number))
        queue.schedule(adapter.task(lambda task, number=number: log.add(number + 1)))
    thread = stage.thread(lambda: queue.close(timing.limit))
    thread.join(timing.moment)
    holds("TK-18", thread.is_alive(), "close() returned though a submitted call was under way")
    gate.go.set()
    thread.join(timing.limit)
    holds("TK-18", not thread.is_alive(), "close() hangs")
    holds("TK-18", log.entries == list(range(20)), f"twenty tasks and submitted calls came as {log.entries}")
    holds("TK-18", all(future.done() for future in futures), "after close() a submitted call has no result")
    refuses("TK-18", "submit on a closed queue", adapter.closed_error, lambda: queue.submit(int))


@pytest.mark.capability("any context")
def test_a_submit_may_interrupt_a_submit(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: between any two bytecodes; both have their results."""
    queue = a_queue(adapter, stage)
    for number in range(2000):
        futures: list[Any] = []

        def submit(futures: list[Any] = futures) -> None:
            futures.append(queue.submit(int))

        met = interrupted_at(number, submit, submit)
        for future in futures:
            holds("TK-18", future.result(timing.limit) == 0, f"step {number}: a wrong result")
        holds("TK-18", len(futures) == 1 + met, f"step {number}: of {1 + met} calls there were {len(futures)}")
        queue.drain(timing.limit)  # the queue is idle again
        if not met:
            break


# --- map


@pytest.mark.parametrize("kind", KINDS)
def test_map_gives_results_in_order(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """TK-18: of one iterable and of several, the shortest of which says how many."""
    queue = a_queue_of(kind, adapter, stage)
    found = within("TK-18", "map()", lambda: list(queue.map(str, range(100))))
    holds("TK-18", found == list(map(str, range(100))), f"map() gave {found[:5]} ...")
    found = within("TK-18", "map()", lambda: list(queue.map(pow, range(10), itertools.repeat(2))))
    holds("TK-18", found == [number**2 for number in range(10)], f"map() of two iterables gave {found}")


def test_map_is_lazy(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: of an endless iterable it takes as many as the buffer holds, and one more for each result."""
    queue = a_queue(adapter, stage)
    taken: list[int] = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            holds("TK-18", number < 1000, "map() goes on and on")
            taken.append(number)
            yield number

    def body() -> None:
        results = queue.map(lambda number: -number, endless(), buffersize=5)
        holds("TK-18", len(taken) == 5, f"map(buffersize=5) begins with {len(taken)} calls")
        for number in range(50):
            holds("TK-18", next(results) == -number, "map() of an endless iterable is not in order")
            ahead = len(taken) - number
            holds("TK-18", ahead in (5, 6), f"after {number + 1} results map() has taken {len(taken)} elements")

    within("TK-18", "map() of an endless iterable", body)


def test_map_cancels_what_nobody_will_take(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: after an exception of the function the calls that have not begun are cancelled."""
    queue, log, gate = a_queue(adapter, stage), Log(), stage.gate()

    def fn(number: int) -> int:
        log.add(number)
        if number == 0:
            raise ValueError(number)
        gate()
        return number

    results = queue.map(fn, range(10), buffersize=10)
    refuses("TK-18", "the result of map() for a call that raised", ValueError, lambda: next(results))
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-18", len(log.entries) <= 2, f"after the first of ten had raised, these were called: {log.entries}")


def test_map_has_a_time_limit(adapter: TaskAdapter, stage: Stage) -> None:
    """TK-18: TimeoutError where a result is not there in time, which counts from the call of map()."""
    queue, gate = busy(adapter, stage)
    results = queue.map(str, range(3), timeout=timing.moment / 10)
    refuses("TK-18", "map() over its time limit", TimeoutError, lambda: next(results))
    gate.go.set()
