"""Bugs of other systems' pools that could occur here, one test each; the table is in docs/regressions.rst."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import pytest
from pace import patience

import task9
import threadpool9
import workqueue9
from task9 import TaskQueue
from threadpool9 import Job, _seam
from workqueue9 import WorkQueue

LIMIT = patience(60.0)
MakeJob = Callable[[Callable[[Job], object]], Job]
Until = Callable[[Callable[[], object]], None]


def in_threads(*bodies: Callable[[], object]) -> None:
    """Each body on a thread of its own; the first exception fails the test."""
    errors: list[BaseException] = []

    def guarded(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a thread hangs"
    assert not errors, errors


def test_b01_no_job_is_removed_twice_when_workers_are_short(
    monkeypatch: pytest.MonkeyPatch, make_job: MakeJob, until: Until
) -> None:
    """B1: cancel against dispatch, with every other thread start refused: runs + withdrawals = schedules."""
    real_start, starts = threading.Thread.start, [0]

    def start(thread: threading.Thread) -> None:
        starts[0] += 1
        if starts[0] % 2:
            raise RuntimeError("can't start new thread")
        real_start(thread)

    monkeypatch.setattr(_seam.Thread, "start", start)
    runs: list[Job] = []
    jobs = [make_job(runs.append) for _ in range(3)]
    before = threadpool9.snapshot().counters
    with threadpool9.get(21) as pool:
        scheduled: list[None] = []  # one entry for each schedule that said True; threads append beside each other

        def thrash(seed: int) -> Callable[[], None]:
            def body() -> None:
                for number in range(800):
                    job = jobs[(number * seed) % 3]
                    with job.interlock:
                        if pool.schedule(job):
                            scheduled.append(None)
                        if number % 3:
                            pool.cancel_async(job)
                    if number % 100 == 0:
                        until(lambda job=job: job._state() == "idle")
                        threadpool9.retire_idle()

            return body

        in_threads(thrash(1), thrash(2))
        for job in jobs:
            until(lambda job=job: job._state() == "idle")
        after = threadpool9.snapshot().counters
        assert after.start_failures > before.start_failures
        assert after.scheduled - before.scheduled == len(scheduled)
        assert len(runs) + after.cancelled - before.cancelled == len(scheduled)


def test_b02_job_and_pool_may_go_right_after_done() -> None:
    """B2: done() is the last that anybody needs of a job: destroyed, dropped, its pool put, while it still runs."""
    for _ in range(50):
        go, said = threading.Event(), threading.Event()

        def fn(job: Job, go: threading.Event = go, said: threading.Event = said) -> None:
            with job.interlock:
                job.done()
            said.set()
            go.wait(LIMIT)

        pool = threadpool9.get(22)
        job = Job(fn)
        pool.post(job)
        assert said.wait(LIMIT)
        job.destroy()
        del job
        helper = threading.Thread(target=go.set)
        helper.start()
        pool.put(LIMIT)
        helper.join()
        assert 22 not in {record.pri for record in threadpool9.snapshot().pools if record.workers}


def test_b04_ref_remote_beside_the_making_of_other_sets() -> None:
    """B4: a member pool is the same object whoever makes other per-CPU sets meanwhile."""
    with threadpool9.percpu_get(23) as percpu:
        members = {cpu: percpu.ref_remote(cpu) for cpu in percpu.cpus}

        def look() -> None:
            for _ in range(300):
                for cpu, pool in members.items():
                    assert percpu.ref_remote(cpu) is pool

        def make() -> None:
            for pri in range(50, 58):
                threadpool9.percpu_get(pri).put(LIMIT)

        in_threads(look, make, make)


def test_b05_each_probe_fires_with_the_arguments_it_declares(
    monkeypatch: pytest.MonkeyPatch, make_job: MakeJob, until: Until
) -> None:
    """B5: a refused start leaves all usable, and no probe is declared with three arguments and fired with two."""
    from task9._watch import probes as task_probes
    from threadpool9._probes import probes as pool_probes
    from workqueue9._probes import probes as work_probes

    fired: dict[str, set[int]] = {}
    declared: dict[str, int] = {}
    for layer, probes in (("threadpool9", pool_probes), ("task9", task_probes), ("workqueue9", work_probes)):
        for name, arguments in probes.arguments.items():
            key = f"{layer}_{name}"
            declared[key] = len(arguments)

            def listen(*got: object, key: str = key) -> None:
                fired.setdefault(key, set()).add(len(got))

            monkeypatch.setattr(probes, name, listen)
    real_start, starts = threading.Thread.start, [0]

    def start(thread: threading.Thread) -> None:
        starts[0] += 1
        if starts[0] == 1:
            raise RuntimeError("can't start new thread")
        real_start(thread)

    monkeypatch.setattr(_seam.Thread, "start", start)
    over = threading.Event()
    with threadpool9.get(24) as pool, threadpool9.percpu_get(24) as percpu:
        job = make_job(lambda job: over.set())
        for place in (pool, percpu.ref()):
            over.clear()
            assert place.post(job)
            assert over.wait(LIMIT)
            until(lambda: job._state() == "idle")
            with job.interlock:
                place.schedule(job)
                place.cancel(job)
    with TaskQueue("probes") as queue:
        task = task9.DelayedTask(lambda task: None)
        queue.schedule(task)
        queue.drain(LIMIT)
        queue.schedule_delayed(task, 0.001)
        task.cancel()
    with WorkQueue("probes", lambda work, arg: None) as wq:
        work = workqueue9.Work()
        wq.enqueue(work)
        wq.wait(work, LIMIT)
        wq.cancel(work)
    wrong = {key: (declared[key], counts) for key, counts in fired.items() if counts != {declared[key]}}
    assert not wrong, "declared, fired"
    assert len(fired) > 25, sorted(fired)


def test_b16_and_b17_the_helper_keeps_no_reference_to_a_pool_that_is_gone(make_job: MakeJob, until: Until) -> None:
    """B16, B17: the last put while the starter has just served the pool: nothing stays, nothing crashes."""
    before = threadpool9.snapshot().counters
    gone = []
    for _ in range(40):
        pool = threadpool9.get(25)
        go = threading.Event()
        blocked = [make_job(lambda job, go=go: go.wait(LIMIT)) for _ in range(3)]
        for job in blocked:
            pool.post(job)
        go.set()
        pool.put(LIMIT)
        gone.append(weakref.ref(pool))
        del pool, job, blocked
    threadpool9.retire_idle()
    after = threadpool9.snapshot().counters
    assert after.threads_started - before.threads_started == after.threads_left - before.threads_left
    assert not [pool for pool in threadpool9.snapshot().pools if pool.pri == 25]

    def all_gone() -> bool:
        gc.collect()  # a pool and its last worker know each other
        return not any(reference() for reference in gone)

    until(all_gone)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU sets")
def test_b18_a_cpu_set_that_changes_during_a_job_is_put_right_once(make_job: MakeJob, until: Until) -> None:
    """B18: no endless repair: a job that moves its thread away leaves a bound pool that works on, bound again."""
    seen: list[set[int]] = []
    with threadpool9.percpu_get(26) as percpu:
        pool = percpu.ref_remote(percpu.cpus[0])

        def wander(job: Job) -> None:
            seen.append(os.sched_getaffinity(0))
            os.sched_setaffinity(0, set(threadpool9.allowed_cpus()))

        job = make_job(wander)
        for number in range(20):
            assert pool.post(job)
            until(lambda number=number: len(seen) == number + 1 and job._state() == "idle")
            # Parked, not only without a job: then the thread is put right. On a busy machine there may be two workers.
            until(lambda: len(pool._idle) == len(pool._workers))
        assert all(cpus == {pool.cpu} for cpus in seen), seen


def test_b22_names_are_matched_whole_and_a_failed_making_leaves_nothing() -> None:
    """B22: "drain" is not "drain_all", idle is not idle_ms; a constructor that refuses keeps no pool."""
    with pytest.raises(threadpool9.TunableError):
        threadpool9.tunables.exit_policy = "drain_all"
    with pytest.raises(AttributeError):
        threadpool9.tunables.idle = 3  # type: ignore[attr-defined]
    for bad in (
        lambda: TaskQueue("bad", 27, concurrency=0),
        lambda: TaskQueue("bad", 27, percpu=True, concurrency=2),
        lambda: WorkQueue("bad", lambda work, arg: None, pri=27, flags=workqueue9.WQ_PERCPU, max_active=2),
        lambda: WorkQueue("bad", lambda work, arg: None, pri=27, max_pending=0),
    ):
        with pytest.raises(ValueError):
            bad()
    assert not [pool for pool in threadpool9.snapshot().pools if pool.pri == 27]


def test_b32_idle_workers_are_reused_last_in_first_out(make_job: MakeJob, until: Until) -> None:
    """B32: a light load wakes the same worker again and again, so the others can leave."""
    with threadpool9.get(28) as pool:
        go = threading.Event()
        blocked = [make_job(lambda job: go.wait(LIMIT)) for _ in range(4)]
        for job in blocked:
            pool.post(job)

        def workers(state: str) -> int:
            return sum(w.pool_pri == 28 and w.state == state for w in threadpool9.snapshot().workers)

        until(lambda: workers("running") == 4)
        go.set()
        until(lambda: workers("idle") == 4)
        threads: list[int] = []
        job = make_job(lambda job: threads.append(threading.get_ident()))
        for number in range(20):
            assert pool.post(job)
            until(lambda number=number: len(threads) == number + 1 and len(pool._idle) == 4)
        assert len(set(threads)) == 1, threads


def test_b35_the_last_put_beside_a_start_of_threads(make_job: MakeJob) -> None:
    """B35: a pool that is closed while its workers are being started: every job has run, nothing crashes."""
    for number in range(60):
        pool = threadpool9.get(29)
        runs: list[Job] = []
        jobs = [make_job(runs.append) for _ in range(number % 5 + 1)]
        for job in jobs:
            pool.post(job)
        pool.put(LIMIT)
        assert len(runs) == len(jobs)


def test_b36_and_b39_jobs_that_wait_for_jobs_of_the_same_pool(make_job: MakeJob) -> None:
    """B36, B39: a chain of 70 jobs each of which waits for the next: there is no limit that they could use up."""
    with threadpool9.get(30) as pool:
        links = [threading.Event() for _ in range(71)]

        def body(number: int) -> Callable[[Job], None]:
            def wait(job: Job) -> None:
                if number < 70:
                    pool.post(make_job(body(number + 1)))
                    assert links[number + 1].wait(LIMIT)
                links[number].set()

            return wait

        pool.post(make_job(body(0)))
        assert links[0].wait(LIMIT), "the chain stands still"


def test_b37_cancel_returns_after_the_run(make_job: MakeJob) -> None:
    """B37: when cancel said that it had to wait, the function is through: what it used may be freed."""
    with threadpool9.get(32) as pool:
        for _ in range(100):
            inside, alive = threading.Event(), [True]

            def use(job: Job, inside: threading.Event = inside, alive: list[bool] = alive) -> None:
                inside.set()
                for _ in range(50):
                    assert alive[0], "what the job uses was freed"

            job = make_job(use)
            pool.post(job)
            assert inside.wait(LIMIT)
            with job.interlock:
                pool.cancel(job, LIMIT)
                alive[0] = False


def test_b38_more_blocked_jobs_than_any_usual_limit(make_job: MakeJob) -> None:
    """B38: 260 blocked jobs do not keep the next from running."""
    go, ran = threading.Event(), threading.Event()
    with threadpool9.get(33) as pool:
        blocked = [make_job(lambda job: go.wait(LIMIT)) for _ in range(260)]
        for job in blocked:
            pool.post(job)
        pool.post(make_job(lambda job: ran.set()))
        assert ran.wait(LIMIT)
        go.set()


def test_a_timed_wait_of_the_interpreters_queue_is_not_relied_on(make_job: MakeJob, until: Until) -> None:
    """Ours: up to 3.12 ``SimpleQueue.get`` with a timeout that has just passed may wait for ever (found by a storm).

    A blocked worker, a queue that stands still, and requests that come in bursts: the starter must look again.
    """
    for _ in range(100):
        go = threading.Event()
        pool = threadpool9.get(34)
        runs: list[Job] = []
        pool.post(make_job(lambda job, go=go: go.wait(LIMIT)))
        for _ in range(3):
            pool.post(make_job(runs.append))
            pool.post(make_job(lambda job, go=go: go.wait(LIMIT)))
        until(lambda runs=runs: len(runs) == 3)
        go.set()
        pool.put(LIMIT)
