"""Of the clauses WQ-1 to WQ-13 what the conformance suite can't see: types and texts of errors, bad arguments."""

from __future__ import annotations

import threading

import pytest

import threadpool9
from workqueue9 import (
    WQ_FPU,
    WQ_MPSAFE,
    WQ_PERCPU,
    Work,
    WorkPending,
    WorkQueue,
)

LIMIT = 10.0


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
        with pytest.raises(TypeError, match="enqueue"):
            work.schedule()
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
