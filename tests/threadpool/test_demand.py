"""How many workers the starter makes: who of them is blocked, and what follows (TP-3, TP-6)."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from pace import patience

from conformance9.suite.tools import wait_until
from threadpool9 import _demand, _osthread
from threadpool9._seam import FREE_THREADED

LIMIT = patience(30.0)
pytestmark = pytest.mark.skipif(not _osthread.LINUX, reason="only Linux tells who is blocked")


@pytest.fixture(params=["the call", "the state", "what is left"])
def told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the kernel tells: the call that a thread sleeps in; or that it sleeps; or only that, by now."""
    read = _osthread._reader()
    if request.param == "the state":
        monkeypatch.setattr(_osthread, "_FUTEX_HERE", None)
    elif request.param == "what is left":
        monkeypatch.setattr(_osthread, "_reader", lambda: lambda path: b"" if path.endswith("syscall") else read(path))
    elif not _osthread._FUTEX_HERE or not read("/proc/thread-self/syscall"):
        pytest.skip("this kernel doesn't tell in which call a thread sleeps")
    return str(request.param)


def test_who_is_blocked(told_by: str) -> None:
    """Each thread is asked for alone: what was read of the one before it must not be taken for its own."""
    lock = threading.Lock()
    lock.acquire()
    over = threading.Event()

    def hash_until_over() -> None:
        block = bytes(10_000_000)
        while not over.is_set():
            hashlib.sha256(block)

    def wait() -> None:
        with lock:
            pass

    def wait_in_time() -> None:
        if lock.acquire(True, LIMIT):
            lock.release()

    works = [wait, wait_in_time, hash_until_over]
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    waits, waits_in_time, hashes = [thread.native_id or 0 for thread in threads]
    unsure = True if FREE_THREADED else None
    try:
        assert wait_until(lambda: _osthread.is_blocked(waits) is (True if told_by == "the call" else unsure), LIMIT)
        assert wait_until(lambda: _osthread.is_blocked(waits_in_time) is unsure, LIMIT)
        for _ in range(10):
            # It may be seen waiting for the GIL between two blocks.
            assert wait_until(lambda: _osthread.is_blocked(hashes) is False, LIMIT)
            assert _osthread.is_blocked(waits_in_time) is unsure
    finally:
        over.set()
        lock.release()  # either of them may be the first to get it
        for thread in threads:
            thread.join()
    assert wait_until(lambda: _osthread.is_blocked(hashes) is None, LIMIT)  # it is gone


class Worker:
    """One that has begun a job."""

    def __init__(self, tid: int) -> None:
        self.tid, self.started = tid, 1
        self.job: object = self  # whatever it runs
        self.away = False


class Pool:
    """What `Demand` looks at."""

    def __init__(self, workers: int, jobs: int) -> None:
        self.cpu = None
        self._workers: dict[Worker, None] = {}
        self._idle = ()
        self._jobs = deque([object()] for _ in range(jobs))
        self.add(workers)

    def add(self, number: int) -> None:
        """Workers that have begun a job."""
        for _ in range(number):
            self._workers[Worker(len(self._workers) + 1)] = None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Says of all threads the same; two CPUs."""
    says = SimpleNamespace(blocked=True)
    monkeypatch.setattr(_osthread, "is_blocked", lambda tid: says.blocked)
    monkeypatch.setattr(_demand, "allowed", SimpleNamespace(cpus=frozenset((0, 1))))
    monkeypatch.setattr(_demand.Demand, "lateness", 0.0)
    return says


def wanted(pool: Pool, demand: Any) -> int:
    """At one look of the starter's."""
    return int(demand.workers_wanted(pool._jobs[0]))


def demand_of(pool: Any) -> _demand.Demand:
    """Of a pool that is a stand-in."""
    return _demand.Demand(pool)


@pytest.mark.parametrize(("jobs", "number"), [(1, 1), (5, 2)])
def test_a_cold_pool_gets_a_worker_for_each_cpu(kernel: SimpleNamespace, jobs: int, number: int) -> None:
    """If so many jobs wait."""
    pool = Pool(0, jobs)
    assert wanted(pool, demand_of(pool)) == number


def test_workers_that_sleep_in_short_jobs_are_blocked(kernel: SimpleNamespace) -> None:
    """Though each has begun a further job since the last look; and the more at once, the longer it goes on."""
    pool = Pool(2, 400)
    demand = demand_of(pool)
    made = []
    for _ in range(4):
        made.append(wanted(pool, demand))
        pool.add(made[-1])
        for worker in pool._workers:
            worker.started += 1
    assert made == sorted(made)
    assert made[0] >= 2
    assert sum(made) >= 20


def test_workers_that_run_are_enough(kernel: SimpleNamespace) -> None:
    """One for each CPU."""
    kernel.blocked = False
    pool = Pool(2, 400)
    demand = demand_of(pool)
    assert [wanted(pool, demand) for _ in range(3)] == [0, 0, 0]
    pool = Pool(1, 400)
    assert wanted(pool, demand_of(pool)) == 1


def test_workers_that_may_wait_for_the_gil_are_blocked_if_they_do_not_go_on(kernel: SimpleNamespace) -> None:
    """The kernel can't tell this from other waiting."""
    kernel.blocked = None
    pool = Pool(2, 400)
    demand = demand_of(pool)
    wanted(pool, demand)
    for _ in range(3):
        for worker in pool._workers:
            worker.started += 1
        assert wanted(pool, demand) == 0
    assert wanted(pool, demand) == 2


def test_workers_on_their_way_take_a_job_each(kernel: SimpleNamespace) -> None:
    """No further ones for these jobs."""
    pool = Pool(0, 2)
    demand = demand_of(pool)
    assert wanted(pool, demand) == 2
    pool.add(2)
    for worker in pool._workers:
        worker.started, worker.job = 0, None
    assert wanted(pool, demand) == 0


def test_no_worker_is_made_for_a_job_that_one_comes_for(kernel: SimpleNamespace) -> None:
    """Workers that were woken and get no CPU: however often the starter looks, and whoever is blocked meanwhile."""
    pool = Pool(10, 5)
    demand = demand_of(pool)
    woken = list(pool._workers)[:6]
    for worker in woken:
        worker.job = None
    assert [wanted(pool, demand) for _ in range(20)] == [0] * 20
    woken[0].away = woken[1].away = True  # they come for nothing
    assert wanted(pool, demand) == 1
    woken[2].job = woken[3].job = object()
    assert wanted(pool, demand) == 3
