"""Tests that are written to be run by several threads at once, on the same objects, and that count exactly.

With ``--parallel-threads=N`` pytest-run-parallel runs each of them on N threads at once, which
``tools/test_everywhere.py`` asks for on free-threaded interpreters. What a fixture gives is the same for all threads
and iterations: so what they share is made by one of the threads of a `Team`, anew each time. Without the option one
thread runs a test, and it says little.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TypeVar

import pytest

import task9
import threadpool9
import workqueue9
from task9 import DelayedTask, PeriodicTask, Task, TaskQueue
from threadpool9 import Job, Pool, UsageError, hookimpl
from workqueue9 import Work, WorkPending, WorkQueue

LIMIT = 60.0
PATIENCE = 90.0  # of the others with one who waits so long
PRI = 63

numbers = itertools.count()

T = TypeVar("T")


class Team:
    """The threads that run one test at once. In a ``with`` statement, so that the others hear of a failure."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size, timeout=PATIENCE)
        self._box: list[Any] = []
        self._failure: BaseException | None = None

    def meet(self) -> int:
        """Wait for the others; each thread is told another number, from 0."""
        try:
            return self._barrier.wait()
        except threading.BrokenBarrierError:
            raise AssertionError(f"another thread failed, or did not come within {PATIENCE:g} s") from self._failure

    def share(self, make: Callable[[], T]) -> T:
        """What one of the threads makes, for all of them."""
        if self.meet() == 0:
            self._box = [make()]
        self.meet()
        found: T = self._box[0]
        return found

    def gather(self, value: T) -> list[T]:
        """What each of the threads has come to, in no order."""
        found: list[T] = self.share(list)
        found.append(value)
        self.meet()
        return found

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is not None:
            self._failure = self._failure or exc
            self._barrier.abort()


class Watched:
    """A function that counts its runs, sees whether it runs beside itself, and notes how much was produced by then."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._inside = threading.Lock()
        self.produced = self.seen = self.runs = self.beside = 0

    def produce(self) -> None:
        """One more that a later run has to see."""
        with self.lock:
            self.produced += 1

    def __call__(self, *args: object) -> None:
        """One run."""
        alone = self._inside.acquire(False)
        with self.lock:
            self.runs += 1
            self.beside += not alone
            self.seen = self.produced
        if alone:
            self._inside.release()


@pytest.fixture
def team(num_parallel_threads: int) -> Team:
    """The threads that run the test: one, unless pytest-run-parallel is asked for more."""
    return Team(num_parallel_threads)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Other tests count threads."""
    yield
    threadpool9.retire_idle()


def the_pool(team: Team) -> Pool:
    """A reference to the pool of all: nobody goes on, and puts the last one, before all have theirs."""
    pool = threadpool9.get(PRI)
    team.meet()
    return pool


def private(kind: str) -> TaskQueue:
    """A private queue of a kind."""
    return TaskQueue(kind, percpu=kind == "percpu", concurrency=3 if kind == "concurrency" else 1)


def works(kind: str, function: Callable[[Any, Any], object], **options: Any) -> WorkQueue:
    """A work queue of a kind."""
    flags = workqueue9.WQ_PERCPU if kind == "percpu" else 0
    return WorkQueue(kind, function, flags=flags, max_active=3 if kind == "concurrency" else 1, **options)


def settle(queue: TaskQueue, *tasks: Task) -> None:
    """Wait until what the timer has fired has run: it may be on its way to `queue`, where a drain would not see it."""
    end = time.monotonic() + LIMIT
    while any(task.pending or task.running for task in tasks):
        queue.drain(LIMIT)
        assert time.monotonic() < end, "a delayed task that is due does not run"


kinds = pytest.mark.parametrize("kind", ["serial", "percpu", "concurrency"])


# --- threadpool9


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
                stats = workqueue9.snapshot()[name]
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


# --- task9


def test_tk1_of_all_who_schedule_an_idle_task_one_is_told_true(team: Team) -> None:
    """TK-1, TK-2: on a queue that is held up, scheduled by all in the same order: each True once, and one run."""
    # Who is behind finds nothing to do and so catches up: the threads stay close to each other.
    with team:
        go, runs, queue = team.share(threading.Event), team.share(list[Task]), team.share(lambda: TaskQueue("held up"))
        if team.meet() == 0:
            queue.schedule(Task(lambda task: go.wait(LIMIT)))
        tasks = team.share(lambda: [Task(runs.append) for _ in range(500)])
        told = team.gather([queue.schedule(task) for task in tasks])
        go.set()
        assert [sum(each) for each in zip(*told, strict=True)] == [1] * len(tasks)
        queue.drain(LIMIT)
        team.meet()
        assert sorted(map(id, runs)) == sorted(map(id, tasks))
        queue.close(LIMIT)


def test_tk11_of_all_who_arm_and_disarm_one_is_told_true(team: Team) -> None:
    """TK-11: delayed tasks, armed by all in the same order, then cancelled: each True once, and no run."""
    with team:
        runs, queue = team.share(list[Task]), team.share(lambda: TaskQueue("armed"))
        tasks = team.share(lambda: [DelayedTask(runs.append) for _ in range(300)])
        for operation in (lambda task: task.schedule(3600, queue=queue), DelayedTask.disarm):
            team.meet()
            told = team.gather([operation(task) for task in tasks])
            assert [sum(each) for each in zip(*told, strict=True)] == [1] * len(tasks)
        team.meet()
        assert queue.close(LIMIT) == ()
        assert runs == []


@kinds
def test_tk1_tk2_tk3_one_task_of_all_runs_once_for_each_true(team: Team, kind: str) -> None:
    """TK-1, TK-2, TK-3: as many runs as schedules said True, never beside each other; the last sees everything."""
    with team:
        watched, queue = team.share(Watched), team.share(lambda: private(kind))
        task, told = team.share(lambda: Task(watched)), 0
        for _ in range(300):
            watched.produce()
            told += queue.schedule(task)
        queue.drain(LIMIT)
        trues = sum(team.gather(told))
        queue.drain(LIMIT)
        team.meet()
        assert (watched.runs, watched.beside) == (trues, 0)
        assert watched.seen == watched.produced == 300 * team.size
        queue.close(LIMIT)


@kinds
def test_tk6_cancel_tells_whether_it_ran(team: Team, kind: str) -> None:
    """TK-6: of a task of one's own among those of others: True is no run, False is one, and it is over."""
    with team:
        queue, runs = team.share(lambda: private(kind)), 0
        watched = Watched()
        task = Task(watched)
        for _ in range(150):
            assert queue.schedule(task) is True
            told = task.cancel(timeout=LIMIT)
            assert not task.pending
            assert not task.running
            # It may have been over already: nothing to wait for, and True then.
            assert watched.runs in ((runs, runs + 1) if told else (runs + 1,))
            runs = watched.runs
        team.meet()
        assert watched.beside == 0
        queue.close(LIMIT)
        assert watched.runs == runs, "ran after cancel"


@kinds
def test_tk6_after_the_cancels_of_all_nothing_runs(team: Team, kind: str) -> None:
    """TK-6: one task, scheduled and cancelled by all, and by itself: at the end it is idle and stays so."""
    with team:
        watched, queue = team.share(Watched), team.share(lambda: private(kind))

        def again(task: Task) -> None:
            watched()
            queue.schedule(task)

        task, told = team.share(lambda: Task(again)), 0
        for _ in range(60):
            told += queue.schedule(task)
            task.cancel(timeout=LIMIT)
        team.meet()
        task.cancel(timeout=LIMIT)
        team.meet()
        runs = watched.runs
        assert not task.pending
        assert not task.running
        team.meet()
        queue.drain(LIMIT)
        assert (watched.runs, watched.beside) == (runs, 0)
        team.meet()
        queue.close(LIMIT)


@kinds
def test_tk7_drain_waits_for_what_was_before_and_is_bounded(team: Team, kind: str) -> None:
    """TK-7, TK-8: all drain one queue beside tasks that reschedule themselves: one's own have run, and all return."""
    with team:
        queue, stop, mine = team.share(lambda: private(kind)), team.share(threading.Event), Watched()

        def again(task: Task) -> None:
            if not stop.is_set():
                queue.schedule(task)

        queue.schedule(Task(again))
        for number in range(1, 4):
            for _ in range(3):
                assert queue.schedule(Task(mine)) is True
            queue.drain(LIMIT)
            assert mine.runs == 3 * number
        team.meet()
        stop.set()
        queue.drain(LIMIT)  # of who looked just before
        team.meet()
        assert queue.close(LIMIT) == ()


def test_tk4_the_last_put_of_a_shared_queue_completes_what_is_scheduled(team: Team) -> None:
    """TK-4: who gets at once gets the same; when all have put, all has run; a put more is an error."""
    with team:
        watched = team.share(Watched)
        for number in range(1, 11):
            team.meet()
            queue = task9.get(PRI)
            assert all(each is queue for each in team.gather(queue))
            for _ in range(5):
                assert queue.schedule(Task(watched)) is True
            queue.put(LIMIT)
            team.meet()
            assert watched.runs == 5 * team.size * number
            with pytest.raises(UsageError, match="one put"):
                queue.put(LIMIT)


def test_tk11_a_delayed_task_of_all_is_armed_once_and_runs_or_is_cancelled(team: Team) -> None:
    """TK-11: of all who arm one is told True; whoever moves and cancels it, each arming ends as a run or a cancel."""
    with team:
        queue, draw = team.share(lambda: TaskQueue("delayed")), random.Random(threading.get_ident())
        for _ in range(20):
            watched = team.share(Watched)
            task = team.share(lambda watched=watched: DelayedTask(watched))  # type: ignore[misc]
            assert sum(team.gather(task.schedule(3600, queue=queue))) == 1
            moved = team.gather(task.reschedule(draw.random() * 1e-3, queue=queue))
            withdrawn = sum(team.gather(task.disarm()))
            settle(queue, task)
            # Who finds it neither armed nor queued arms it anew, and is told False.
            assert watched.runs + withdrawn == 1 + moved.count(False)
            team.meet()
        queue.close(LIMIT)


def test_tk11_expiry_or_cancel(team: Team) -> None:
    """TK-11: tasks that fire at any moment, each cancelled by all: exactly one of cancelled and ran happens."""
    with team:
        queue, runs = team.share(lambda: TaskQueue("expiry")), team.share(list[Task])
        tasks = team.share(lambda: [DelayedTask(runs.append) for _ in range(100)])
        fired = team.share(threading.Event)
        if team.meet() == 0:
            for number, task in enumerate(tasks):
                assert queue.schedule_delayed(task, 1e-3 + 1e-5 * number) is True
            DelayedTask(lambda task: fired.set()).schedule(1e-3, queue=queue)
        assert fired.wait(LIMIT)
        withdrawn = [task.disarm() for task in reversed(tasks)]
        withdrawn.reverse()
        cancelled = [sum(each) for each in zip(*team.gather(withdrawn), strict=True)]
        settle(queue, *tasks)
        assert [runs.count(task) for task in tasks] == [1 - each for each in cancelled]
        team.meet()
        queue.close(LIMIT)


def test_tk13_a_period_that_all_start_begins_once_and_all_go_on(team: Team) -> None:
    """TK-13: one of all who start it is told True; it runs until it is cancelled; one's own go on beside it."""
    with team, TaskQueue("own") as own:
        queue = team.share(lambda: TaskQueue("of all"))
        for _ in range(3):
            watched, ran = team.share(Watched), threading.Semaphore(0)
            mine = PeriodicTask(lambda task, ran=ran: ran.release(), 0.001)  # type: ignore[misc]
            task = team.share(lambda watched=watched: PeriodicTask(watched, 0.0005))  # type: ignore[misc]
            assert sum(team.gather(task.start(3600, queue=queue))) == 1
            assert task.cancel(timeout=LIMIT) is True
            assert mine.start(queue=own) is True
            team.meet()
            task.start(queue=queue)
            for _ in range(10):
                assert ran.acquire(timeout=LIMIT), "a periodic task has stopped"
            mine.cancel(timeout=LIMIT)
            assert not mine.pending
            team.meet()
            task.cancel(timeout=LIMIT)
            team.meet()
            runs = watched.runs
            assert (task.pending, task.running, watched.beside) == (False, False, 0)
            team.meet()
            assert watched.runs == runs
        team.meet()
        queue.close(LIMIT)


def test_tk16_of_all_who_close_each_armed_task_is_told_to_one(team: Team) -> None:
    """TK-16: close completes what is scheduled and says what it cancelled; a second one does nothing."""
    with team:
        for _ in range(20):
            watched, queue = team.share(Watched), team.share(lambda: TaskQueue("closed"))
            for _ in range(5):
                assert queue.schedule(Task(watched)) is True
                assert queue.schedule_delayed(DelayedTask(watched), 3600) is True
            team.meet()
            told = [task for each in team.gather(queue.close(LIMIT)) for task in each]
            assert watched.runs == 5 * team.size
            assert len(set(told)) == len(told) == 5 * team.size
            with pytest.raises(task9.QueueClosed):
                queue.schedule(Task(watched))


# --- workqueue9


def test_wq3_wq5_of_all_who_enqueue_and_cancel_one_is_told_true(team: Team) -> None:
    """WQ-3, WQ-5: on a frozen queue, each work by all in the same order: one True and else refused; then cancelled."""
    with team:
        watched = team.share(Watched)
        wq, shared = team.share(lambda: works("serial", watched)), team.share(lambda: [Work() for _ in range(300)])
        wq.freeze()

        def enqueue(work: Work) -> bool:
            try:
                return not work.pending and wq.enqueue(work)  # to be refused takes long: who is behind has to catch up
            except WorkPending:
                return False

        for operation in (enqueue, lambda work: wq.cancel(work, LIMIT), enqueue):
            team.meet()
            told = team.gather([operation(work) for work in shared])
            assert [sum(each) for each in zip(*told, strict=True)] == [1] * len(shared)
        team.meet()
        wq.thaw()
        wq.flush(LIMIT)
        stats = wq.stats()
        assert (stats.enqueued, stats.cancelled, stats.completed, watched.runs) == (600, 300, 300, 300)
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq3_a_work_of_all_is_called_once_for_each_true(team: Team, kind: str) -> None:
    """WQ-3, WQ-12: who comes while it is pending is refused; each True is one call, and all is counted."""
    with team:
        watched = team.share(Watched)
        wq, work, told = team.share(lambda: works(kind, watched)), team.share(Work), 0
        for _ in range(200):
            try:
                told += wq.enqueue(work)
            except WorkPending:
                pass
        wq.flush(LIMIT)
        trues = sum(team.gather(told))
        wq.flush(LIMIT)
        team.meet()
        stats = wq.stats()
        assert watched.runs == trues
        assert (stats.enqueued, stats.completed, stats.cancelled, stats.pending) == (trues, trues, 0, 0)
        if kind == "serial":
            assert watched.beside == 0
        team.meet()
        if team.meet() == 0:
            assert wq.destroy(LIMIT) == ()


@kinds
def test_wq4_wq6_wait_and_flush_return_when_the_own_have_run(team: Team, kind: str) -> None:
    """WQ-4, WQ-6: on a queue that all keep busy: after wait its work was called, after flush all before were."""
    with team:
        wq = team.share(lambda: works(kind, lambda work, arg: work.payload(work)))
        mine = Watched()
        for number in range(1, 21):
            own = [Work(mine) for _ in range(3)]
            for work in own:
                assert wq.enqueue(work) is True
            if number % 2:
                for work in own:
                    wq.wait(work, LIMIT)
            else:
                wq.flush(LIMIT)
            assert mine.runs == 3 * number
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq5_each_enqueue_is_a_call_or_a_cancel(team: Team, kind: str) -> None:
    """WQ-5, WQ-12: works that all enqueue, wait for and cancel: the counters account for each enqueue."""
    with team:
        watched, draw = team.share(Watched), random.Random(threading.get_ident())
        wq, told = team.share(lambda: works(kind, watched)), 0
        shared = team.share(lambda: [Work() for _ in range(3)])
        for _ in range(100):
            work = draw.choice(shared)
            try:
                told += wq.enqueue(work)
            except WorkPending:
                pass
            (wq.cancel if draw.random() < 0.5 else wq.wait)(draw.choice(shared), LIMIT)
        team.meet()
        for work in shared:
            wq.cancel(work, LIMIT)
        trues, stats = sum(team.gather(told)), wq.stats()
        assert not any(work.pending for work in shared)
        assert (stats.enqueued, stats.pending, stats.running) == (trues, 0, 0)
        assert stats.completed == watched.runs == trues - stats.cancelled
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq6_a_drain_refuses_or_waits(team: Team, kind: str) -> None:
    """WQ-6: beside drains of all each enqueue is refused or called; after one's drain what it took is done."""
    with team:
        watched = team.share(Watched)
        wq, mine, told = team.share(lambda: works(kind, lambda work, arg: work.payload(work))), Watched(), 0
        for number in range(60):
            try:
                told += wq.enqueue(Work(mine))
                wq.enqueue(Work(watched))
            except UsageError as error:
                assert "draining" in str(error)  # noqa: PT017 refused beside a drain, for no other reason
            if number % 4 == 0:
                wq.drain(LIMIT)
                assert mine.runs == told
        wq.drain(LIMIT)
        assert mine.runs == told
        team.meet()
        stats = wq.stats()
        assert (stats.pending, stats.running, stats.errors) == (0, 0, 0)
        team.meet()
        assert wq.enqueue(Work(mine)) is True, "the drains are over, and the queue does not open"
        wq.flush(LIMIT)
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq9_no_place_is_lost_or_made(team: Team, kind: str) -> None:
    """WQ-9: after enqueues that wait for room, are refused and cancelled, exactly max_pending fit in."""
    with team:
        watched, told = team.share(Watched), 0
        wq = team.share(lambda: works(kind, watched, max_pending=3))
        for number in range(60):
            work = Work()
            try:
                told += wq.enqueue(work, block=number % 3 > 0, timeout=LIMIT)
            except workqueue9.Full:
                assert number % 3 == 0, "there was no room for so long"
            if number % 5 == 0:
                wq.cancel(work, LIMIT)
        wq.flush(LIMIT)
        trues = sum(team.gather(told))
        stats = wq.stats()
        assert watched.runs == stats.completed == trues - stats.cancelled
        team.meet()
        if team.meet() == 0:
            wq.freeze()
            for _ in range(3):
                assert wq.enqueue(Work(), block=False) is True
            with pytest.raises(workqueue9.Full):
                wq.enqueue(Work(), block=False)
            wq.thaw()
            wq.drain(LIMIT)
            wq.destroy(LIMIT)


def test_wq10_freezes_and_disables_of_all_are_counted(team: Team) -> None:
    """WQ-10: a work is enabled when all have enabled it, one of them is told; what is frozen is called after a thaw."""
    with team:
        watched = team.share(Watched)
        wq, work = team.share(lambda: works("serial", watched)), team.share(Work)
        for number in range(1, 21):
            team.meet()
            wq.disable(work, LIMIT)
            assert wq.enqueue(work) is False
            team.meet()
            told = team.gather(wq.enable(work))
            assert sum(told) == 1
            wq.freeze()
            assert wq.enqueue(Work()) is True
            wq.thaw()
            team.meet()
            wq.thaw()  # one may have frozen it after the thaw of another
            wq.flush(LIMIT)
            team.meet()
            assert watched.runs == team.size * number
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


def test_wq7_of_all_who_delay_modify_and_cancel(team: Team) -> None:
    """WQ-7: a delayed work is called or cancelled once; flush does not wait for it; destroy says what it cancelled."""
    with team:
        watched = team.share(Watched)
        wq, told = team.share(lambda: works("serial", watched)), 0
        shared = team.share(lambda: [Work() for _ in range(3)])
        draw = random.Random(threading.get_ident())
        for _ in range(60):
            work = draw.choice(shared)
            try:
                told += wq.enqueue_delayed(work, draw.random() * 1e-4)
            except WorkPending:
                pass
            if draw.random() < 0.3:
                wq.cancel(draw.choice(shared), LIMIT)
        team.meet()
        for work in shared:
            wq.wait(work, LIMIT)
        trues, stats = sum(team.gather(told)), wq.stats()
        assert (stats.enqueued, stats.pending) == (trues, 0)
        assert stats.completed == watched.runs == trues - stats.cancelled
        team.meet()
        late = Work()
        assert wq.enqueue_delayed(late, 3600) is True
        wq.flush(LIMIT)
        lates = team.gather(late)
        if team.meet() == 0:
            assert set(wq.destroy(LIMIT)) == set(lates)
