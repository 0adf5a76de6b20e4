"""Tasks and their queues that several threads use at once."""

from __future__ import annotations

import random
import threading

import pytest
from crowd import LIMIT, PRI, Team, Watched, kinds, private, settle

import task9
from task9 import DelayedTask, PeriodicTask, Task, TaskQueue
from threadpool9 import UsageError


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
