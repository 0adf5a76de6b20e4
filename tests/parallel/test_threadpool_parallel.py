"""Pools and jobs that several threads use at once."""

from __future__ import annotations

import random
import threading

import pytest
from crowd import LIMIT, PRI, Team, Watched, numbers, the_pool

import task9
import threadpool9
import workqueue9
from task9 import Task, TaskQueue
from threadpool9 import Job, UsageError, hookimpl
from workqueue9 import Work, WorkQueue


def test_tp1_tp9_all_get_one_pool_and_the_last_put_waits_for_every_job(team: Team) -> None:
    """TP-1, TP-9: who gets at once gets the same; when all have put, all jobs have run; a put more is an error."""
    with team:
        ran = team.share(Watched)

        def fn(job: Job) -> None:
            ran()
            with job.interlock:
                job.done()

        for number in range(1, 21):
            team.meet()
            pool, percpu = threadpool9.get(PRI), threadpool9.percpu_get(PRI)
            assert all(each is pool for each in team.gather(pool))
            assert all(each is percpu for each in team.gather(percpu))
            for each in (pool, percpu.ref()):
                assert each.post(Job(fn)) is True
            pool.put(LIMIT)
            percpu.put(LIMIT)
            team.meet()
            assert ran.runs == 2 * team.size * number
            for holder in (pool, percpu):
                with pytest.raises(UsageError, match="one put"):
                    holder.put()
        assert not [pool for pool in threadpool9.snapshot().pools if pool.pri == PRI]


def test_tp21_tp22_one_job_of_all_runs_once_for_each_true_and_loses_no_item(team: Team) -> None:
    """TP-21, TP-22: produced and scheduled under the interlock, consumed until nothing is left: each item once."""
    with team:
        items, consumed, inside = team.share(list[int]), team.share(list[int]), team.share(threading.Lock)
        runs, rounds, told = team.share(list[bool]), 200, 0

        def fn(job: Job) -> None:
            runs.append(inside.acquire(False))
            while True:
                with job.interlock:
                    if not items:
                        inside.release()
                        job.done()
                        return
                    consumed.append(items.pop())

        job, pool = team.share(lambda: Job(fn)), the_pool(team)
        for number in range(rounds):
            with job.interlock:
                items.append(number)
                told += pool.schedule(job)
        pool.put(LIMIT)
        trues = sum(team.gather(told))
        assert sorted(consumed) == sorted([*range(rounds)] * team.size)
        assert runs == [True] * trues


def test_tp25_each_schedule_is_a_run_or_a_cancel(team: Team) -> None:
    """TP-25: cancel_async is True exactly if the function never runs for that schedule, whoever asks."""
    with team:
        counts, live = team.share(lambda: {"told": 0, "ran": 0, "withdrawn": 0}), team.share(list[None])
        draw = random.Random(threading.get_ident())

        def fn(job: Job) -> None:
            with job.interlock:
                counts["ran"] += 1
                live.pop()  # an IndexError fails the test: the run of a schedule that was withdrawn
                job.done()

        job, pool = team.share(lambda: Job(fn)), the_pool(team)
        for _ in range(300):
            with job.interlock:
                if draw.random() < 0.5:
                    if pool.schedule(job):
                        counts["told"] += 1
                        live.append(None)
                elif pool.cancel_async(job):
                    counts["withdrawn"] += len(live)
                    live.clear()
                else:
                    assert live, "cancel_async says that an idle job runs"
        pool.put(LIMIT)
        team.meet()
        assert not live
        assert counts["told"] == counts["ran"] + counts["withdrawn"]


def test_tp26_after_cancel_nobody_sees_it_running(team: Team) -> None:
    """TP-26: on return, and until someone schedules it again, the job is not running, whoever cancels beside us."""
    with team:
        running, counts = team.share(list[None]), team.share(lambda: {"told": 0, "ran": 0})

        def fn(job: Job) -> None:
            running.append(None)
            with job.interlock:
                counts["ran"] += 1
                running.pop()
                job.done()

        job, pool = team.share(lambda: Job(fn)), the_pool(team)
        for _ in range(150):
            with job.interlock:
                counts["told"] += pool.schedule(job)
            with job.interlock:
                before = counts["told"]
                pool.cancel(job, LIMIT)  # while it waits another one may schedule again
                assert not running or counts["told"] > before, "cancel returned beside a run"
        pool.put(LIMIT)
        team.meet()
        assert counts["ran"] <= counts["told"]
        assert not running


def test_tp28_a_post_is_followed_by_a_run(team: Team) -> None:
    """TP-28: what was written before a post is seen by a run, also if the post met a run at its end."""
    with team:
        watched = team.share(Watched)

        def fn(job: Job) -> None:
            watched()
            with job.interlock:
                job.done()

        job, pool, told = team.share(lambda: Job(fn)), the_pool(team), 0
        for _ in range(300):
            watched.produce()
            told += pool.post(job)
        pool.put(LIMIT)
        trues = sum(team.gather(told))
        assert watched.seen == watched.produced == 300 * team.size
        assert watched.beside == 0
        assert trues <= watched.runs <= watched.produced


def test_tp34_snapshots_beside_everything_and_exact_at_the_end(team: Team) -> None:
    """TP-34, WQ-12: snapshots of all layers while queues come and go; when nothing is going on they add up."""
    with team:
        before = team.share(lambda: threadpool9.snapshot().counters)
        for _ in range(4):
            name = f"{threading.get_ident()} {next(numbers)}"  # queues that are gone may be known until a collection
            with WorkQueue(name, lambda work, arg: None) as wq, TaskQueue(f"{name} tasks") as queue:
                for each in range(20):
                    assert wq.enqueue(Work())
                    assert queue.schedule(Task(lambda task: None))
                    if each % 4 == 0:
                        threadpool9.snapshot()
                queue.drain(LIMIT)
                wq.drain(LIMIT)
                (record,) = [each for each in task9.snapshot().queues if each.name == queue.name]
                (lane,) = record.lanes
                assert (lane.started, lane.pending, lane.running, lane.errors) == (20, 0, (), 0)
                (stats,) = [each for each in workqueue9.snapshot() if each.name == name]
                assert (stats.enqueued, stats.started, stats.completed, stats.pending) == (20, 20, 20, 0)
                assert sum(stats.wait_histogram) == 20
        team.meet()
        if team.meet() == 0:
            threadpool9.retire_idle(LIMIT)
            now = threadpool9.snapshot().counters
            assert now.errors == before.errors
            assert now.scheduled - now.cancelled == now.started == now.completed
        team.meet()


def test_hk7_plugins_come_and_go_while_others_schedule(team: Team) -> None:
    """HK-7: from register to unregister a listener hears of each event, and of none before and after."""

    class Listener:
        def __init__(self) -> None:
            self.mine: set[Task] = set()
            self.heard: list[Task] = []

        @hookimpl
        def task9_schedule(self, lane: object, task: Task) -> None:
            if task in self.mine:
                self.heard.append(task)

    with team:
        queue = team.share(lambda: TaskQueue("plugins"))
        for _ in range(10):
            listener, tasks = Listener(), [Task(lambda task: None) for _ in range(15)]
            listener.mine.update(tasks)
            for task in tasks[:5]:
                assert queue.schedule(task)
            threadpool9.register(listener)
            for task in tasks[5:10]:
                assert queue.schedule(task)
            threadpool9.unregister(listener)
            for task in tasks[10:]:
                assert queue.schedule(task)
            assert listener.heard == tasks[5:10]
        queue.drain(LIMIT)
        team.meet()
        queue.close(LIMIT)


def test_tp28_of_all_who_post_an_idle_job_one_is_told_true(team: Team) -> None:
    """TP-21, TP-28: jobs that stay in their function, posted by all in the same order: each True once."""
    with team:
        go, pool = team.share(threading.Event), the_pool(team)

        def fn(job: Job) -> None:
            assert go.wait(LIMIT)
            with job.interlock:
                job.done()

        jobs = team.share(lambda: [Job(fn) for _ in range(50)])
        team.meet()
        told = team.gather([pool.post(job) for job in jobs])
        go.set()
        assert [sum(each) for each in zip(*told, strict=True)] == [1] * len(jobs)
        pool.put(LIMIT)
