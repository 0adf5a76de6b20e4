"""Of the clauses WQ-1 to WQ-13 what the conformance suite can't see: types and texts of errors, bad arguments."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest
from pace import patience

import task9
import threadpool9
import workqueue9
from conformance9.suite.tools import wait_until
from task9.lanes import Lane
from workqueue9 import (
    WQ_FPU,
    WQ_MPSAFE,
    WQ_PERCPU,
    Work,
    WorkPending,
    WorkQueue,
)

LIMIT = patience(10.0)


class Blocker:
    """A queue function that waits, for works whose payload is "block"."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self.seen: list[object] = []

    def __call__(self, work: Work, arg: object) -> None:
        """Note the work; wait if it says so."""
        if work.payload == "block":
            self.started.set()
            assert self.go.wait(LIMIT)
        self.seen.append(work.payload)


def blocked(name: str, **options: object) -> tuple[WorkQueue, Blocker]:
    """A queue whose first work is in the function and stays there."""
    blocker = Blocker()
    wq = WorkQueue(name, blocker, **options)  # type: ignore[arg-type]  # options of WorkQueue
    wq.enqueue(Work("block"))
    assert blocker.started.wait(LIMIT)
    return wq, blocker


@pytest.mark.parallel
def test_wq3_a_work_may_be_enqueued_again_once_its_function_was_called() -> None:
    """WQ-3: from the function, yes; while pending, here or elsewhere, an error that changes nothing."""
    runs: list[int] = []

    def again(work: Work, arg: object) -> None:
        runs.append(1)
        if len(runs) < 5:
            wq.enqueue(work)

    with WorkQueue("again", again) as wq:
        wq.enqueue(Work())
        wq.drain(LIMIT)
        assert len(runs) == 5
        other, blocker = blocked("blocked")
        work = Work("pending")
        other.enqueue(work)
        for queue in (other, wq):
            with pytest.raises(WorkPending, match="'blocked'"):
                queue.enqueue(work)
        with pytest.raises(TypeError):
            wq.enqueue(object())  # type: ignore[arg-type]  # the mistake under test
        with task9.TaskQueue("tasks") as tasks, pytest.raises(TypeError, match="takes tasks"):
            tasks.schedule(work)  # type: ignore[arg-type]  # the mistake under test
        blocker.go.set()
        other.drain(LIMIT)
        other.destroy()
        assert blocker.seen == ["block", "pending"]


def test_wq11_errors_name_queue_and_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """WQ-11: to the hook, or to on_error; the queue goes on."""
    hooked: list[BaseException] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: hooked.append(args.exc_value))
    own: list[object] = []
    with WorkQueue("bad", lambda work, arg: 1 / work.payload) as wq:
        wq.enqueue(Work(0))
        wq.enqueue(Work(1))
        wq.flush(LIMIT)
        assert (wq.stats().errors, wq.stats().completed) == (1, 2)
    assert "'bad'" in hooked[0].__notes__[0]
    with WorkQueue("own", lambda work, arg: 1 / 0, on_error=lambda error, work: own.append((type(error), work))) as wq:
        work = Work()
        wq.enqueue(work)
    assert own == [(ZeroDivisionError, work)]
    assert len(hooked) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [({"max_active": 0}, ValueError), ({"max_active": True}, TypeError), ({"max_pending": 0}, ValueError),
     ({"flags": 0x100}, ValueError), ({"flags": WQ_PERCPU, "max_active": 2}, ValueError), ({"pri": 224}, ValueError),
     ({"func": None}, TypeError), ({"name": 3}, TypeError), ({"on_error": 3}, TypeError)],
)  # fmt: skip
def test_a_queue_that_cannot_be_is_not_made(options: dict[str, object], error: type[Exception]) -> None:
    """Bad arguments are errors that leave nothing behind."""
    before = len(threadpool9.snapshot().pools)
    with pytest.raises(error):
        WorkQueue(**{"name": "bad", "func": print, **options})  # type: ignore[arg-type]  # the mistake under test
    assert len(threadpool9.snapshot().pools) == before
    WorkQueue("good", print, flags=WQ_MPSAFE | WQ_FPU).destroy()


class HeldItems(deque[Any]):
    """What waits in a lane, of which the first one who takes is held: before it takes, or with it in hand."""

    def __init__(self, lane: Lane, taken: bool) -> None:
        super().__init__()
        self.taken = taken
        self.entered, self.go = threading.Event(), threading.Event()
        lane.items = self

    def popleft(self) -> Any:
        """As a deque's, and held."""
        if not self.taken:
            self.hold()
            return super().popleft()
        item = super().popleft()
        self.hold()
        return item

    def hold(self) -> None:
        """Only who comes first waits."""
        if not self.entered.is_set():
            self.entered.set()
            assert self.go.wait(LIMIT)


def only_lane(wq: WorkQueue) -> Lane:
    """The lane of a queue that has one."""
    (lane,) = wq.group.lanes
    return lane


@pytest.mark.parametrize("max_active", [1, 2])
def test_wq10_what_comes_after_a_freeze_is_held_whatever_an_executor_was_about_to_take(max_active: int) -> None:
    """It has seen that something waits, which is then withdrawn: so it gets what was enqueued on the frozen queue."""
    runs: list[int] = []
    with WorkQueue("freeze", lambda work, arg: runs.append(work.payload), max_active=max_active) as wq:
        lane = only_lane(wq)
        items = HeldItems(lane, taken=False)
        first = Work(0)
        wq.enqueue(first)
        assert items.entered.wait(LIMIT)
        assert wq.cancel_async(first)
        wq.freeze()
        for number in (1, 2, 3):
            wq.enqueue(Work(number))
        items.go.set()
        assert wait_until(lambda: lane.idle and all(executor.current is None for executor in lane.executors))
        assert runs == []
        assert [work.payload for work in lane.pending()] == [1, 2, 3]
        wq.thaw()
        wq.flush(LIMIT)
        assert sorted(runs) == [1, 2, 3]
        assert max_active > 1 or runs == [1, 2, 3]


def test_wq10_a_flush_of_a_frozen_queue_waits_for_what_is_about_to_be_put_back() -> None:
    """Nothing is in the lane, nothing runs, and yet there is a work that waits for the thaw."""
    runs: list[int] = []
    with WorkQueue("freeze", lambda work, arg: runs.append(work.payload)) as wq:
        items = HeldItems(only_lane(wq), taken=True)
        wq.enqueue(Work(1))
        assert items.entered.wait(LIMIT)
        wq.freeze()
        with pytest.raises(threadpool9.WaitTimeout):
            wq.flush(0.01)
        items.go.set()
        with pytest.raises(threadpool9.WaitTimeout):
            wq.flush(0.01)
        assert runs == []
        wq.thaw()
        wq.flush(LIMIT)
        assert runs == [1]


def test_wq6_the_end_of_the_block_thaws() -> None:
    """An exception between freeze and thaw does not make the end of the with statement wait for ever."""
    runs: list[int] = []

    def block() -> None:
        with WorkQueue("freeze", lambda work, arg: runs.append(work.payload)) as wq:
            wq.freeze()
            wq.enqueue(Work(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        block()
    assert runs == [1]


def test_wq6_destroy_beside_an_executor_that_takes_from_a_frozen_queue_ends() -> None:
    """What it has in hand when the queue is frozen counts as taken before: it is called without a thaw."""
    runs: list[int] = []
    wq = WorkQueue("freeze", lambda work, arg: runs.append(work.payload))
    items = HeldItems(only_lane(wq), taken=True)
    wq.enqueue(Work(1))
    assert items.entered.wait(LIMIT)
    wq.freeze()
    threading.Timer(0.05, items.go.set).start()
    wq.destroy(LIMIT)
    assert runs == [1]


def test_hk5_the_probes_of_a_run_are_nested() -> None:
    """HK-5: those of the layer below are around this layer's; an enqueue is this layer's alone."""
    seen: list[str] = []

    def noting(probe: str) -> Any:
        def note(self: object) -> None:
            seen.append(probe)

        return threadpool9.hookimpl(note)

    inner = ["workqueue9_entry", "function", "workqueue9_return"]
    expected = ["workqueue9_enqueue", "task9_entry", *inner, "task9_return"]
    probes = {"task9_schedule", *expected} - {"function"}
    listener = type("Listener", (), {probe: noting(probe) for probe in probes})()
    with WorkQueue[None, None]("nested", lambda work, arg: seen.append("function")) as wq:
        threadpool9.register(listener)
        try:
            wq.enqueue(Work(None))
            wq.drain(LIMIT)
        finally:
            threadpool9.unregister(listener)
    assert seen == expected


def test_wq12_the_snapshot_has_queues_of_the_same_name() -> None:
    """WQ-12: each by itself, until it is destroyed."""

    def shown() -> list[int]:
        return sorted(stats.completed for stats in workqueue9.snapshot() if stats.name == "namesake")

    with WorkQueue[None, None]("namesake", lambda work, arg: None) as one:
        with WorkQueue[None, None]("namesake", lambda work, arg: None) as other:
            other.enqueue(Work(None))
            other.drain(LIMIT)
            assert one.stats().completed == 0
            assert shown() == [0, 1]
        assert shown() == [0]
    assert shown() == []
