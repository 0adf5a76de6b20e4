"""What only we can see of a CPU that is taken away and given back: looks that are past when they are told (TP-8)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import threadpool9
from threadpool9 import _osthread, _topology, _worker
from threadpool9._worker import Worker

LIMIT = 10.0
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
        self.worker = Worker(self.pool, None)
        self.told: list[str] = []
        self.looks: list[Callable[[], frozenset[int]]] = []
        patch.setattr(_worker, "refresh", self.refresh)

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
    it.in_a_thread(it.worker._rebind)
    threadpool9.unregister(it)
    it.percpu.put(LIMIT)


def test_tp8_a_look_that_is_past_tells_of_no_loss(bound: Bound) -> None:
    """A worker has told that the CPU is gone and is back while another one was about to tell that it is gone."""

    def meanwhile() -> frozenset[int]:
        bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
        bound.pool._note_bound(list(bound.pool._unbound))
        return bound.taken()

    bound.looks.append(meanwhile)
    assert bound.in_a_thread(bound.worker._rebind) == {bound.cpu}
    assert bound.told == ["lost", "restored"]
    assert bound.worker.bound


def test_tp8_a_look_that_is_past_tells_of_no_return(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same the other way round: lost once more after this worker had bound itself and before it said so."""
    bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
    still = Worker._bound_still

    def meanwhile(worker: Worker) -> bool:
        answer = still(worker)
        if bound.told == ["lost"]:
            bound.pool._note_bound(list(bound.pool._unbound))
            bound.pool._note_unbound(list(bound.pool._bound), OSError(22, "taken"))
        return answer

    monkeypatch.setattr(Worker, "_bound_still", meanwhile)
    bound.in_a_thread(bound.worker._rebind)
    assert bound.told == ["lost", "restored", "lost"]
    assert threadpool9.snapshot().pools


def test_tp8_a_cpu_that_comes_back_while_its_loss_is_told_is_used(bound: Bound) -> None:
    """Nobody who saw it come back before the loss was told had anything to tell, so who told the loss looks again."""
    bound.looks.append(bound.taken)
    assert bound.in_a_thread(bound.worker._rebind) == {bound.cpu}
    assert bound.told == ["lost", "restored"]
    assert bound.worker.bound
    assert not bound.pool._unbound


def test_tp8_the_starter_takes_a_bind_back_that_came_too_late(bound: Bound) -> None:
    """The CPU is taken between its look and its bind: then the worker must not stay there."""
    worker = bound.worker
    worker.bound = False

    def call() -> None:
        worker.ident, worker.tid = threading.get_ident(), threading.get_native_id()
        bound.looks.append(bound.taken)
        worker.bind_from_outside()

    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("one CPU cannot be taken from one")
    assert bound.in_a_thread(call) == before - {bound.cpu}
    assert not worker.bound
    assert bound.told == []


def test_tp8_the_starter_binds_no_worker_without_a_thread(bound: Bound) -> None:
    """Of one that is not born yet the thread id is 0, which is the caller, whose CPUs tell what is allowed."""
    bound.worker.bound = False
    before = os.sched_getaffinity(0)
    assert bound.in_a_thread(bound.worker.bind_from_outside) == before
    assert not bound.worker.bound
