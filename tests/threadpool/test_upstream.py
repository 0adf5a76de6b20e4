"""NetBSD's own tests of threadpool(9), with their parameters, and the numbers that our design promises."""

from __future__ import annotations

import os
import threading
import time

import pytest

import threadpool9
from threadpool9 import PRI_KERNEL_RT, PRI_NONE, Job, Pool

LIMIT = 2.0  # seconds that upstream allows each wait
GOAL = 12345


@pytest.mark.parametrize("getter", [threadpool9.get, threadpool9.percpu_get])
def test_tp1_lifecycle(getter: object) -> None:
    """TP-1: PRI_NONE twice gives the same object, PRI_KERNEL_RT another; all can be put."""
    first, second, third = (getter(pri) for pri in (PRI_NONE, PRI_NONE, PRI_KERNEL_RT))  # type: ignore[operator]
    assert first is second
    assert first is not third
    for reference in (first, second, third):
        reference.put(10)


@pytest.mark.parametrize("kind", ["unbound", "percpu"])
def test_tp21_schedule_until_12345(kind: str) -> None:
    """TP-21: each schedule of an idle job is one run, to 12345, no wait longer than 2 s."""
    condition = threading.Condition()
    count = 0

    def fn(job: Job) -> None:
        nonlocal count
        with condition:
            assert count != GOAL
            count += 1
            condition.notify_all()
            job.done()

    job = Job(fn, condition)
    owner = threadpool9.get() if kind == "unbound" else threadpool9.percpu_get()
    pool: Pool = owner if isinstance(owner, Pool) else owner.ref()
    with owner, condition:
        while count < GOAL:
            seen = count
            assert pool.schedule(job)
            assert condition.wait_for(lambda seen=seen: count > seen, LIMIT)


def test_tp26_cancel_waits_for_a_running_job() -> None:
    """TP-25, TP-26: async cancel says False while it runs; cancel releases the interlock and waits for done."""
    condition = threading.Condition()
    value = 0

    def fn(job: Job) -> None:
        nonlocal value
        with condition:
            value = 1
            condition.notify_all()
            assert condition.wait_for(lambda: value == 12344, LIMIT)
            value = 12345
            job.done()

    job = Job(fn, condition)
    with threadpool9.get() as pool, condition:
        pool.schedule(job)
        assert condition.wait_for(lambda: value == 1, LIMIT)
        assert pool.cancel_async(job) is False
        value = 12344
        condition.notify_all()
        assert pool.cancel(job, LIMIT) is False
        assert value == 12345
        assert pool.cancel(job) is True


def test_tp25_cancel_thrash_ten_thousand_times() -> None:
    """TP-25: a job is cancelled before it was entered, or has finished when cancel returns; nothing in between."""
    lock = threading.RLock()
    value = 0

    def fn(job: Job) -> None:
        nonlocal value
        with lock:
            value = 12345
            job.done()

    job = Job(fn, lock)
    entered = 0
    with threadpool9.get(61) as pool:  # nobody else's, so that the put at the end waits
        for number in range(10_000):
            with lock:
                value = 12344
                assert pool.schedule(job)
            if number % 3 == 0:
                time.sleep(0)  # yields, as upstream does: either outcome is right
            with lock:
                never_entered = pool.cancel(job, LIMIT)
                assert value in (12344, 12345)
                if value == 12344:
                    assert never_entered
                entered += value == 12345
                value = 0
    counters = threadpool9.snapshot().counters
    assert counters.started == counters.completed
    assert entered <= 10_000


def test_module_test_of_priority_5() -> None:
    """The kernel module's test: two references are one pool; run, run, cancel on every pool is harmless when idle."""
    over = threading.Event()
    value = 0

    def fn(job: Job) -> None:
        nonlocal value
        with job.interlock:
            value += 1
            job.done()
        over.set()

    job = Job(fn)
    pool, again = threadpool9.get(5), threadpool9.get(5)
    assert pool is again
    again.put()
    for expected in (1, 2):
        over.clear()
        with job.interlock:
            pool.schedule(job)
        assert over.wait(LIMIT)
        assert value == expected
    with job.interlock:
        for pri in range(-1, 224):
            with threadpool9.get(pri) as any_pool:
                assert any_pool.cancel_async(job)
    pool.put(10)


@pytest.mark.xdist_group("threads")
def test_tp6_a_thousand_blocked_jobs_and_one_more() -> None:
    """TP-6, TP-4: 1000 blocked jobs run at once; number 1001 starts; all threads leave after the idle time."""
    threadpool9.tunables.idle_ms = 200
    go, last = threading.Event(), threading.Event()
    entered = threading.Semaphore(0)

    def blocked(job: Job) -> None:
        entered.release()
        go.wait(60)
        with job.interlock:
            job.done()

    def one_more(job: Job) -> None:
        with job.interlock:
            job.done()
        last.set()

    with threadpool9.get() as pool:
        for _ in range(1000):
            pool.post(Job(blocked))
        for _ in range(1000):
            assert entered.acquire(timeout=30)
        pool.post(Job(one_more))
        assert last.wait(10), "job 1001 did not start"
        go.set()
        deadline = time.monotonic() + 30
        while threadpool9.snapshot().workers or threadpool9.snapshot().starter:
            assert time.monotonic() < deadline, "workers do not leave"
        names = [name for name in our_comms() if name.startswith("pool")]
    assert names == [] or time.monotonic() < deadline


def our_comms() -> list[str]:
    """OS names of this process's threads."""
    names = []
    for tid in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{tid}/comm") as file:
                names.append(file.read().strip())
        except OSError:
            continue
    return names


def test_tp4_idle_workers_are_reused_last_in_first_out() -> None:
    """TP-4: after a burst of three a light load uses one thread, the last that went idle."""
    barrier = threading.Barrier(4)
    idents: list[int] = []
    over = threading.Semaphore(0)

    def burst(job: Job) -> None:
        barrier.wait(LIMIT)
        with job.interlock:
            job.done()

    def light(job: Job) -> None:
        idents.append(threading.get_ident())
        with job.interlock:
            job.done()
        over.release()

    with threadpool9.get(9) as pool:
        for _ in range(3):
            pool.post(Job(burst))
        barrier.wait(LIMIT)
        job = Job(light)
        for _ in range(20):
            while sum(record.idle for record in threadpool9.snapshot().pools if record.pri == 9) < 3:
                pass
            pool.post(job)
            assert over.acquire(timeout=LIMIT)
    assert len(set(idents)) == 1


def test_tp7_a_bound_worker_is_bound_before_the_first_bytecode() -> None:
    """TP-7: the OS says so, for each CPU, and again from outside the thread."""
    with threadpool9.percpu_get() as percpu:
        for cpu in percpu.cpus:
            seen: list[object] = []
            over = threading.Event()

            def fn(job: Job, seen: list[object] = seen, over: threading.Event = over) -> None:
                seen.append(os.sched_getaffinity(0))
                tid = threading.get_native_id()
                with open(f"/proc/self/task/{tid}/status") as file:
                    seen.extend(line.split()[1] for line in file if line.startswith("Cpus_allowed_list"))
                seen.append(threadpool9.current_cpu())
                with job.interlock:
                    job.done()
                over.set()

            percpu.ref_remote(cpu).post(Job(fn))
            assert over.wait(LIMIT)
            assert seen == [{cpu}, str(cpu), cpu]


def test_tp29_jobs_that_waited_start_in_the_order_scheduled() -> None:
    """TP-29: what one worker takes from the queue is in the order scheduled, whatever other workers take beside it."""
    taken: list[tuple[int, int]] = []
    over = threading.Semaphore(0)
    lock = threading.RLock()

    def run(job: Job, number: int) -> None:
        taken.append((threading.get_ident(), number))
        with lock:
            job.done()
        over.release()

    with threadpool9.get() as pool:
        for number in range(200):
            pool.post(Job(lambda job, number=number: run(job, number), lock))
        for _ in range(200):
            assert over.acquire(timeout=LIMIT)
    assert sorted(number for _, number in taken) == list(range(200))
    for worker in {ident for ident, _ in taken}:
        mine = [number for ident, number in taken if ident == worker]
        assert mine == sorted(mine)
