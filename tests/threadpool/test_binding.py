"""What only we can see of a CPU that is taken away and given back: looks that are past when they are told (TP-8)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pace import patience

import threadpool9
import threadpool9._starter
from threadpool9 import Job, _osthread, _settle, _topology
from threadpool9._settle import Settled
from threadpool9._worker import Worker

LIMIT = patience(10.0)
pytestmark = [
    pytest.mark.skipif(not _osthread.LINUX, reason="only Linux takes CPUs from a process"),
    pytest.mark.filterwarnings("ignore:.*the CPU can't be used any more:RuntimeWarning"),
]


class Bound:
    """A pool of one CPU with a worker that has no thread: what it does is done by a thread of the test."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.percpu = threadpool9.percpu_get()
        self.cpu = self.percpu.cpus[-1]
        self.pool = self.percpu.ref_remote(self.cpu)
        self.worker = Worker(self.pool)
        self.settled = self.worker.settled
        self.told: list[str] = []
        self.looks: list[Callable[[], frozenset[int]]] = []
        patch.setattr(_settle, "refresh", self.refresh)

    @threadpool9.hookimpl
    def threadpool9_bind__lost(self, pool: threadpool9.Pool) -> None:
        """A hook."""
        self.told.append("lost")

    @threadpool9.hookimpl
    def threadpool9_bind__restored(self, pool: threadpool9.Pool) -> None:
        """A hook."""
        self.told.append("restored")

    def refresh(self) -> frozenset[int]:
        """The next look of those that the test wants, then what is so."""
        return self.looks.pop(0)() if self.looks else _topology.refresh()

    def taken(self) -> frozenset[int]:
        """A look: the CPU is not among those allowed."""
        return _topology.refresh() - {self.cpu} or frozenset({self.cpu + 1})

    def in_a_thread(self, call: Callable[[], object]) -> set[int]:
        """Do it in a thread, which may be bound by it; the CPUs that it then may use."""
        seen: list[Any] = []

        def main() -> None:
            call()
            seen.append(os.sched_getaffinity(0))

        thread = threading.Thread(target=main)
        thread.start()
        thread.join(LIMIT)
        return set(*seen)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bound]:
    """One of them; afterwards everything is told to be well again."""
    it = Bound(monkeypatch)
    threadpool9.register(it)
    yield it
    it.looks.clear()
    it.in_a_thread(it.settled._rebind)
    threadpool9.unregister(it)
    it.percpu.put(LIMIT)


def test_tp8_a_look_that_is_past_tells_of_no_loss(bound: Bound) -> None:
    """A worker has told that the CPU is gone and is back while another one was about to tell that it is gone."""

    def meanwhile() -> frozenset[int]:
        bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
        bound.pool._note_bound(list(bound.pool._unbound))
        return bound.taken()

    bound.looks.append(meanwhile)
    assert bound.in_a_thread(bound.settled._rebind) == {bound.cpu}
    assert bound.told == ["lost", "restored"]
    assert bound.settled.bound


def test_tp8_a_look_that_is_past_tells_of_no_return(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same the other way round: lost once more after this worker had bound itself and before it said so."""
    bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
    still = Settled._is_bound

    def meanwhile(settled: Settled) -> bool:
        answer = still(settled)
        if bound.told == ["lost"]:
            bound.pool._note_bound(list(bound.pool._unbound))
            bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
        return answer

    monkeypatch.setattr(Settled, "_is_bound", meanwhile)
    bound.in_a_thread(bound.settled._rebind)
    assert bound.told == ["lost", "restored", "lost"]
    assert threadpool9.snapshot().pools


def test_tp8_a_cpu_that_comes_back_while_its_loss_is_told_is_used(bound: Bound) -> None:
    """Nobody who saw it come back before the loss was told had anything to tell, so who told the loss looks again."""
    bound.looks.append(bound.taken)
    assert bound.in_a_thread(bound.settled._rebind) == {bound.cpu}
    assert bound.told == ["lost", "restored"]
    assert bound.settled.bound
    assert not bound.pool._unbound


def test_tp8_the_starter_takes_a_bind_back_that_came_too_late(bound: Bound) -> None:
    """The CPU is taken between its look and its bind: then the worker must not stay there."""
    settled = bound.settled
    settled.bound = False

    def call() -> None:
        bound.looks += [_topology.refresh, bound.taken]
        settled.bind_from_outside(threading.get_native_id())

    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU cannot be taken from one")
    assert bound.in_a_thread(call) == before - {bound.cpu}
    assert not settled.bound
    assert bound.told == []


def test_tp8_the_starter_binds_no_worker_without_a_thread(bound: Bound) -> None:
    """Of one that is not born yet the thread id is 0, which is the caller, whose CPUs tell what is allowed."""
    starter = threadpool9._starter.Starter()
    bound.settled.bound = False
    starter.workers[bound.worker] = None
    bound.worker.job = Job(print)
    before = os.sched_getaffinity(0)
    assert bound.in_a_thread(starter._look_at_cpus) == before
    assert not bound.settled.bound


def test_tp8_a_busy_worker_whose_cpu_goes_and_comes_back_is_bound_again(bound: Bound) -> None:
    """It is never idle meanwhile: the starter reports the loss, and binds it."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU cannot be taken from one")

    def call() -> None:
        tid = threading.get_native_id()
        bound.settled._rebind()
        os.sched_setaffinity(0, before - {bound.cpu})  # what the kernel does when the CPU goes
        bound.looks.append(bound.taken)
        bound.settled.bind_from_outside(tid)
        assert not bound.settled.bound
        bound.settled.bind_from_outside(tid)

    assert bound.in_a_thread(call) == {bound.cpu}
    assert bound.told == ["lost", "restored"]
    assert bound.settled.bound


def test_tp8_what_two_threads_chose_says_nothing_about_the_process() -> None:
    """Two threads that bind themselves to one CPU do not take the others from the process (TP-13)."""
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU is all there is to choose")
    chosen, go = threading.Event(), threading.Event()

    def other() -> None:
        os.sched_setaffinity(0, {min(before)})
        chosen.set()
        assert go.wait(LIMIT)

    threadpool9.retire_idle()
    thread = threading.Thread(target=other)
    thread.start()
    assert chosen.wait(LIMIT)
    os.sched_setaffinity(0, {min(before)})
    try:
        with threadpool9.get(5) as pool, threadpool9.percpu_get(5) as percpu:
            seen: list[Any] = []

            def look(job: Job) -> None:
                seen.append(os.sched_getaffinity(0))
                with job.interlock:
                    job.done()

            job = Job(look)
            pool.post(job)
            job.wait(LIMIT)
            assert seen == [before]
            assert percpu.ref_remote(max(before)).cpu == max(before)
    finally:
        os.sched_setaffinity(0, before)
        go.set()
        thread.join(LIMIT)
