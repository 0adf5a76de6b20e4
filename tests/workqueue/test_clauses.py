"""What the clauses WQ-1 to WQ-13 say, one by one, bad input included."""

from __future__ import annotations

import os
import threading
import time

import pytest

import threadpool9
from workqueue9 import (
    WQ_FPU,
    WQ_GIANT,
    WQ_MPSAFE,
    WQ_PERCPU,
    CPUError,
    Full,
    UsageError,
    WaitTimeout,
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


def test_upstream_12435_enqueues_of_one_work_each_waited_for() -> None:
    """NetBSD's workqueue1 at PRI_SOFTNET: every enqueue is one run, within 2 s."""
    condition = threading.Condition()
    count = 0

    def fn(work: Work, arg: object) -> None:
        nonlocal count
        with condition:
            count += 1
            condition.notify_all()

    work = Work()
    with WorkQueue("test", fn, pri=threadpool9.PRI_SOFTNET if os.geteuid() == 0 else -1, flags=WQ_MPSAFE) as wq:
        with condition:
            for number in range(12_435):
                wq.enqueue(work)
                assert condition.wait_for(lambda number=number: count > number, 2)
    assert count == 12_435


def test_wq1_first_in_first_out_one_at_a_time() -> None:
    """WQ-1: an ordered queue by default, func(work, arg)."""
    seen: list[object] = []
    with WorkQueue("fifo", lambda work, arg: seen.append((work.payload, arg)), arg="arg") as wq:
        for number in range(1000):
            assert wq.enqueue(Work(number)) is True
    assert seen == [(number, "arg") for number in range(1000)]


def test_wq1_max_active_runs_that_many_and_no_more() -> None:
    """WQ-1: n at once, exactly."""
    entered = threading.Semaphore(0)
    go = threading.Event()

    def fn(work: Work, arg: object) -> None:
        entered.release()
        assert go.wait(LIMIT)

    with WorkQueue("three", fn, max_active=3) as wq:
        for number in range(6):
            wq.enqueue(Work(number))
        for _ in range(3):
            assert entered.acquire(timeout=LIMIT)
        assert not entered.acquire(timeout=0.05)
        assert (wq.stats().running, wq.stats().pending) == (3, 3)
        go.set()


def test_wq2_percpu_works_are_bound_and_ordered() -> None:
    """WQ-2: the OS says where; cpu=None is the caller's CPU; cpu without WQ_PERCPU is an error."""
    seen: list[object] = []
    with WorkQueue(
        "percpu", lambda work, arg: seen.append((work.payload, os.sched_getaffinity(0))), flags=WQ_PERCPU
    ) as wq:
        for cpu in threadpool9.allowed_cpus():
            for number in range(20):
                wq.enqueue(Work((cpu, number)), cpu=cpu)
            wq.flush(LIMIT)
        with pytest.raises(CPUError, match="may use"):
            wq.enqueue(Work(), cpu=99999)
    assert seen == [((cpu, number), {cpu}) for cpu in threadpool9.allowed_cpus() for number in range(20)]
    with WorkQueue("plain", lambda work, arg: None) as plain:
        work = Work()
        with pytest.raises(UsageError, match="WQ_PERCPU"):
            plain.enqueue(work, cpu=0)
        assert not work.pending


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


def test_wq4_wait_is_for_the_one_work() -> None:
    """WQ-4: many waiters; a timeout; from the queue's own function it returns at once."""
    wq, blocker = blocked("wait")
    work = Work("later")
    wq.enqueue(work)
    with pytest.raises(WaitTimeout):
        wq.wait(work, 0.01)
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(wq.wait(work, LIMIT))) for _ in range(5)]
    for thread in threads:
        thread.start()
    blocker.go.set()
    for thread in threads:
        thread.join(LIMIT)
    assert results == [None] * 5
    assert blocker.seen[:2] == ["block", "later"]
    wq.wait(Work(), LIMIT)  # never enqueued: returns
    inside: list[object] = []
    with WorkQueue("self", lambda work, arg: inside.append(own.wait(work))) as own:
        own.enqueue(Work())
    assert inside == [None]
    wq.destroy()


def test_wq5_cancel_says_whether_it_withdrew() -> None:
    """WQ-5: True if withdrawn before running, else False."""
    wq, blocker = blocked("cancel")
    work = Work("never")
    assert wq.cancel(work) is False
    wq.enqueue(work)
    assert wq.cancel(work) is True
    assert wq.cancel(work) is False
    blocker.go.set()
    wq.drain(LIMIT)
    assert blocker.seen == ["block"]
    wq.destroy()


def test_wq6_drain_refuses_outsiders_and_destroy_refuses_pending_works() -> None:
    """WQ-6: drain lets the function enqueue and nobody else; destroy with works pending is an error; then the end."""
    wq, blocker = blocked("end")
    work = Work("pending")
    wq.enqueue(work)
    with pytest.raises(UsageError, match="1 works pending"):
        wq.destroy()
    drainer = threading.Thread(target=wq.drain, args=(LIMIT,))
    drainer.start()
    while wq._state != "draining":
        pass
    with pytest.raises(UsageError, match="draining"):
        wq.enqueue(Work())
    blocker.go.set()
    drainer.join(LIMIT)
    assert blocker.seen == ["block", "pending"]
    assert wq.enqueue(Work("after"))
    wq.flush(LIMIT)
    assert wq.destroy() == ()
    for call in (lambda: wq.enqueue(Work()), wq.destroy, wq.drain):
        with pytest.raises(UsageError, match="destroyed"):
            call()


def test_wq7_delayed_works() -> None:
    """WQ-7: never early; modify tells; flush does not wait for them; destroy cancels and says which."""
    fired: list[float] = []
    wq = WorkQueue("delayed", lambda work, arg: fired.append(time.monotonic()))
    work = Work()
    began = time.monotonic()
    assert wq.enqueue_delayed(work, 30)
    wq.flush(LIMIT)
    assert fired == []
    with pytest.raises(WorkPending):
        wq.enqueue(work)
    assert wq.modify(work, 0.02) is True
    wq.wait(work, LIMIT)
    assert fired[0] - began >= 0.02
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="delay"):
            wq.enqueue_delayed(work, bad)
    assert wq.modify(work, 30) is False
    assert wq.destroy() == (work,)


def test_wq8_a_thousand_idle_queues_own_no_thread() -> None:
    """WQ-8: making them starts nothing."""
    before = threading.active_count()
    queues = [WorkQueue(f"idle {number}", print) for number in range(1000)]
    assert threading.active_count() <= before
    for wq in queues:
        wq.destroy()


def test_wq9_a_full_queue_refuses_or_blocks_and_drops_nothing() -> None:
    """WQ-9: Full at once or after the timeout; a blocked enqueuer goes on when there is room."""
    wq, blocker = blocked("full", max_pending=2)
    wq.enqueue(Work(1))
    wq.enqueue(Work(2))
    work = Work(3)
    with pytest.raises(Full):
        wq.enqueue(work, block=False)
    with pytest.raises(Full):
        wq.enqueue(work, timeout=0.01)
    assert not work.pending
    waiting = threading.Thread(target=wq.enqueue, args=(work,), kwargs={"timeout": LIMIT})
    waiting.start()
    blocker.go.set()
    waiting.join(LIMIT)
    wq.drain(LIMIT)
    assert blocker.seen == ["block", 1, 2, 3]
    wq.destroy()


def test_wq10_freeze_holds_and_disable_counts() -> None:
    """WQ-10: thaw runs all held in order; a disabled work is not enqueued until enabled as often."""
    seen: list[int] = []
    with WorkQueue("cold", lambda work, arg: seen.append(work.payload)) as wq:
        wq.freeze()
        for number in range(10):
            wq.enqueue(Work(number))
        assert seen == []
        assert wq.stats().pending == 10
        wq.thaw()
        wq.flush(LIMIT)
        assert seen == list(range(10))
        work = Work(99)
        wq.disable(work)
        wq.disable(work)
        assert wq.enqueue(work) is False
        assert wq.enable(work) is False
        assert wq.enable(work) is True
        with pytest.raises(UsageError, match="enable"):
            wq.enable(work)
        assert wq.enqueue(work) is True


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


def test_wq12_counters_add_up() -> None:
    """WQ-12: started - completed is what is in flight; the histogram counts every start."""
    wq, blocker = blocked("counters")
    works = [Work(number) for number in range(5)]
    for work in works:
        wq.enqueue(work)
    assert wq.cancel(works[0])
    stats = wq.stats()
    assert (stats.enqueued, stats.started, stats.completed, stats.cancelled, stats.pending, stats.running) == (
        6,
        1,
        0,
        1,
        4,
        1,
    )
    blocker.go.set()
    wq.drain(LIMIT)
    stats = wq.stats()
    assert (stats.enqueued, stats.started, stats.completed, stats.cancelled, stats.pending, stats.running) == (
        6,
        5,
        5,
        1,
        0,
        0,
    )
    assert sum(stats.wait_histogram) == 5
    assert stats.run_seconds > 0
    wq.destroy()


def test_wq13_giant_queues_exclude_each_other() -> None:
    """WQ-13: functions of queues with WQ_GIANT never overlap; the others do."""
    inside = threading.Lock()
    overlaps: list[int] = []

    def fn(work: Work, arg: object) -> None:
        if not inside.acquire(False):
            overlaps.append(1)
            return
        time.sleep(0)  # gives the others every chance
        inside.release()

    queues = [WorkQueue(f"giant {number}", fn, flags=WQ_GIANT) for number in range(4)]
    for number in range(200):
        for wq in queues:
            wq.enqueue(Work(number))
    for wq in queues:
        wq.drain(LIMIT)
        wq.destroy()
    assert overlaps == []
    both = threading.Barrier(2)
    with (
        WorkQueue("a", lambda work, arg: both.wait(LIMIT)) as a,
        WorkQueue("b", lambda work, arg: both.wait(LIMIT)) as b,
    ):
        a.enqueue(Work())
        b.enqueue(Work())


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


def test_gcd_32_blocked_serial_queues_all_progress_and_two_play_pingpong() -> None:
    """GCD's overcommit and pingpong tests: blocked queues hold up nobody; 20 000 bounces between two queues."""
    barrier = threading.Barrier(32)
    queues = [WorkQueue(f"serial {number}", lambda work, arg: barrier.wait(LIMIT)) for number in range(32)]
    for wq in queues:
        wq.enqueue(Work())
    for wq in queues:
        wq.drain(LIMIT)
        wq.destroy()
    over = threading.Event()
    bounces = 0

    def bounce(work: Work, other: int) -> None:
        nonlocal bounces
        bounces += 1
        if bounces == 20_000:
            over.set()
        else:
            pair[other].enqueue(work)

    pair = [WorkQueue("ping", bounce, 1), WorkQueue("pong", bounce, 0)]
    pair[0].enqueue(Work())
    assert over.wait(30)
    for wq in pair:
        wq.drain(LIMIT)
        wq.destroy()
