"""A queue that lives in an event loop (TK-19)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flow import Flows, pause, until
from loops import LIMIT
from stormkit.benches import interrupted_at

import task9
from task9 import DelayedTask, LoopClosed, PeriodicTask, Task, TaskQueue
from threadpool9 import UsageError, WaitTimeout
from threadpool9.lowlevel import poster_here

Run = Callable[[Any], Any]


class ByHand:
    """A loop that a test turns."""

    def __init__(self) -> None:
        self.posted: list[Callable[[], object]] = []
        self.closed = False

    def post(self, fn: Callable[[], object]) -> None:
        """As a poster does."""
        if self.closed:
            raise RuntimeError("closed")
        self.posted.append(fn)

    def turn(self) -> int:
        """Call what was posted before; how much that was."""
        posted, self.posted = self.posted, []
        for fn in posted:
            fn()
        return len(posted)


def here() -> TaskQueue:
    """A queue in the running loop."""
    return TaskQueue("home", on=poster_here())


def test_tk19_tasks_run_in_the_loop_s_thread_in_order(run: Run) -> None:
    """From whichever thread they are scheduled."""

    async def main() -> None:
        seen: list[tuple[int, int]] = []
        async with here() as queue:

            def schedule() -> None:
                for number in range(100):
                    queue.call(lambda n=number: seen.append((n, threading.get_ident())))

            thread = threading.Thread(target=schedule)
            thread.start()
            await until(lambda: not thread.is_alive())
            await queue.aio.drain()
            assert seen == [(number, threading.get_ident()) for number in range(100)]

    run(main)


def test_tk19_schedules_between_two_turns_are_one_run_and_one_hand_over() -> None:
    """A thousand schedules of one task; and of many tasks."""
    loop, runs = ByHand(), []
    queue = TaskQueue("home", on=loop)
    task = Task(runs.append)
    for _ in range(1000):
        queue.schedule(task)
    others = [Task(runs.append) for _ in range(100)]
    for other in others:
        queue.schedule(other)
    assert len(loop.posted) == 1
    assert not runs
    loop.turn()
    assert runs == [task, *others]
    assert queue.schedule(task)
    loop.turn()
    assert len(runs) == 102
    queue.close()


def test_tk19_a_turn_runs_what_waits_when_it_begins() -> None:
    """So what schedules itself lets the loop go on."""
    loop = ByHand()
    runs: list[Task] = []

    def again(task: Task) -> None:
        runs.append(task)
        queue.schedule(task)

    queue = TaskQueue("home", on=loop)
    task = Task(again)
    queue.schedule(task)
    for turn in range(1, 5):
        assert loop.turn() == 1
        assert len(runs) == turn
    assert task.cancel()
    loop.turn()
    assert len(runs) == 4
    queue.close()


def test_tk19_the_contract_of_a_queue_holds(run: Run) -> None:
    """Results, errors, cancelling, delays, periods, freezing by close, snapshots."""

    async def main() -> None:
        queue = here()
        assert await queue.submit(lambda: 42) == 42
        with pytest.raises(ZeroDivisionError):
            await queue.submit(lambda: 1 // 0)
        future = queue.submit(int)
        assert future.cancel()
        assert future.cancelled()
        times: list[float] = []
        begun = time.monotonic()
        queue.schedule_delayed(DelayedTask(lambda task: times.append(time.monotonic())), 0.02)
        periodic = PeriodicTask(lambda task: times.append(0.0), 0.005)
        periodic.start(queue=queue)
        await until(lambda: len(times) > 3 and any(times))
        await periodic.aio.cancel()
        assert max(times) - begun >= 0.02
        records = [record for record in task9.snapshot().queues if record.name == "home"]
        assert max(record.lanes[0].started for record in records) >= 5
        armed = DelayedTask(lambda task: None)
        queue.schedule_delayed(armed, 1000)
        assert await queue.aio.close() == (armed,)
        with pytest.raises(task9.QueueClosed):
            queue.call(int)

    run(main)


def test_tk19_an_error_is_reported_and_the_loop_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every queue."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)

    async def main() -> None:
        async with here() as queue:
            queue.call(lambda: 1 // 0)
            assert await queue.submit(int) == 0

    run(main)
    (report,) = reports
    assert report.exc_type is ZeroDivisionError
    assert "in queue 'home'" in report.exc_value.__notes__[0]


def test_tk19_blocking_in_the_loop_s_thread_is_refused(run: Run) -> None:
    """It would wait for itself; the error names the way out. From another thread it is allowed."""

    async def main() -> None:
        async with here() as queue:
            future = queue.submit(int)
            for call in (future.result, future.exception, queue.drain, queue.close):
                with pytest.raises(UsageError, match="await it"):
                    call()
            assert await future == 0
            with TaskQueue("worker") as worker:
                assert await worker.submit(lambda: queue.submit(lambda: 7).result(LIMIT)) == 7
                await worker.submit(queue.drain, LIMIT)

    run(main)


def test_tk19_a_closed_loop_is_an_error_and_no_hang() -> None:
    """For who schedules, waits, drains or closes; the task is as it was."""
    loop = ByHand()
    queue = TaskQueue("home", on=loop)
    waiting = queue.submit(int)
    loop.closed = True
    failures: list[BaseException] = []

    def ask() -> None:
        for call in (waiting.result, queue.drain, queue.close):
            try:
                call()
            except LoopClosed as error:
                failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(LIMIT)
    assert len(failures) == 3
    assert "1 that waited were withdrawn" in str(failures[2])
    assert waiting.cancelled()

    other = TaskQueue("home", on=loop)
    task = Task(lambda task: None)
    with pytest.raises(LoopClosed):
        other.schedule(task)
    assert not task.pending
    with TaskQueue("elsewhere") as elsewhere:
        assert elsewhere.schedule(task)
    other.close()


def test_tk19_an_asyncio_loop_that_is_closed() -> None:
    """The real one; a coroutine of another loop is told, too."""
    loop = asyncio.new_event_loop()
    queue = TaskQueue("home", on=loop)
    future = queue.submit(int)
    loop.close()

    async def main() -> None:
        with pytest.raises(LoopClosed):
            await future
        with pytest.raises(LoopClosed):
            await queue.aio.drain()
        with pytest.raises(LoopClosed):
            await queue.aio.close()

    asyncio.run(main())


def test_tk19_a_loop_that_has_ended_is_no_loop_of_this_thread() -> None:
    """After it, its own thread may close the queue, and is told what was not run."""

    async def main() -> TaskQueue:
        queue = here()
        await queue.submit(int)
        queue.call(int)  # for the next turn, which does not come
        return queue

    queue = asyncio.run(main())
    if task9.snapshot().queues[-1].lanes[0].pending:
        with pytest.raises(LoopClosed, match="1 that waited were withdrawn"):
            queue.close()
    queue.close()


def test_tk19_time_limits(run: Run) -> None:
    """WaitTimeout while the loop does something else."""
    loop = ByHand()
    queue = TaskQueue("home", on=loop)
    queue.call(int)

    async def main() -> None:
        with pytest.raises(WaitTimeout):
            await queue.aio.drain(0.01)

    run(main)
    with pytest.raises(WaitTimeout):
        queue.drain(0.01)
    loop.turn()
    queue.close()


def test_tk19_a_loop_inside_of_a_task_runs_nothing_beside_it() -> None:
    """As a dialog's: a task never runs beside another one of its queue; what came meanwhile comes afterwards."""
    loop, runs = ByHand(), []

    def modal(task: Task) -> None:
        queue.call(runs.append, "inside")
        loop.turn()
        runs.append("modal")

    queue = TaskQueue("home", on=loop)
    queue.schedule(Task(modal))
    loop.turn()
    assert runs == ["modal"]
    loop.turn()
    assert runs == ["modal", "inside"]
    queue.close()


def test_tk19_bad_arguments() -> None:
    """Each names what is wrong."""
    with pytest.raises(TypeError, match="an event loop is"):
        TaskQueue("q", on=3)
    for kwargs in ({"percpu": True}, {"concurrency": 2}, {"pri": 3}):
        with pytest.raises(ValueError, match="no pri, percpu or concurrency"):
            TaskQueue("q", on=ByHand(), **kwargs)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_tk19_what_ends_a_program_gets_to_the_loop(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported, and raised in the loop; the queue goes on."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    loop, runs = ByHand(), []
    queue = TaskQueue("home", on=loop)

    def fail() -> None:
        raise error

    queue.call(fail)
    queue.call(runs.append, 1)
    with pytest.raises(error):
        loop.turn()
    loop.turn()
    assert runs == [1]
    assert [report.exc_type for report in reports] == [error]
    queue.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_tk19_what_ends_a_program_gets_to_the_loop_from_a_submitted_call_too(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a task of asyncio: the future has it, and the loop; and it is reported."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    loop = ByHand()
    queue = TaskQueue("home", on=loop)

    def fail() -> None:
        raise error

    future, other = queue.submit(fail), queue.submit(lambda: 1)
    with pytest.raises(error):
        loop.turn()
    assert isinstance(future.exception(0), error)
    assert [report.exc_type for report in reports] == [error]
    loop.turn()
    assert other.result(0) == 1
    queue.close()


@pytest.mark.parametrize("fails", [False, True])
def test_tk19_an_interrupt_at_any_line_of_a_submitted_call_settles_it(
    monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """TP-36: with what the function did, or with the interrupt; and a thread that waits for it is woken."""
    monkeypatch.setattr(threading, "excepthook", lambda report: None)
    number = 0
    while True:
        number += 1
        loop = ByHand()
        queue = TaskQueue("home", on=loop)
        future = queue.submit(divmod, 1, 0 if fails else 1)
        told: list[Any] = []
        future.add_done_callback(told.append)
        where = interrupted_at(number, loop.turn)
        for _ in range(3):
            with contextlib.suppress(KeyboardInterrupt):
                loop.turn()
        error = future.exception(0)
        assert type(error) in (KeyboardInterrupt, ZeroDivisionError if fails else type(None)), where
        assert told == [future], where
        queue.close()
        if where is None:
            break
    assert number > 20


def test_tk19_an_interrupt_at_any_line_of_a_turn_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-36: each task was run once, or its run was what the interrupt ended and reported; the queue goes on."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    number, broken = 0, 0
    while True:
        number += 1
        loop = ByHand()
        queue = TaskQueue("home", on=loop)
        runs: list[str] = []
        reports.clear()
        first, second = (
            Task(lambda task, runs=runs: runs.append("first")),
            Task(lambda task, runs=runs: runs.append("second")),
        )
        queue.schedule(first)
        queue.schedule(second)
        queue.call(runs.append, "call")
        where = interrupted_at(number, loop.turn)
        broken += where is not None
        for _ in range(3):
            with contextlib.suppress(KeyboardInterrupt):
                loop.turn()
        assert len(runs) + len(reports) == 3, f"{where}: {runs}, {reports}"
        assert len(set(runs)) == len(runs)
        assert len(reports) <= 1
        assert queue.schedule(first), where
        loop.turn()
        assert runs[-1] == "first", where
        queue.close()
        if where is None:
            break
    assert broken > 20


def test_tk19_a_storm_of_signals(run: Run) -> None:
    """A handler on the loop's thread schedules and cancels, beside threads that do."""

    async def main() -> None:
        runs: list[Task] = []
        async with here() as queue:
            task, stop = Task(runs.append), threading.Event()

            def handler(*args: object) -> None:
                queue.schedule(task)
                task.cancel_async()
                queue.schedule(task)

            def beside() -> None:
                while not stop.is_set():
                    queue.schedule(task)
                    threading.Event().wait(1e-4)

            old = signal.signal(signal.SIGUSR1, handler)
            thread = threading.Thread(target=beside)
            thread.start()
            try:
                for _ in range(300):
                    signal.raise_signal(signal.SIGUSR1)
                    await pause()
            finally:
                stop.set()
                await until(lambda: not thread.is_alive())
                signal.signal(signal.SIGUSR1, old)
            await queue.aio.drain()
            before = len(runs)
            assert queue.schedule(task)
            await queue.aio.drain()
            assert len(runs) == before + 1

    run(main)


def test_tk19_two_loops_schedule_each_other(run: Run) -> None:
    """Each on a queue of the other's."""

    async def main() -> None:
        async with here() as mine, Flows():
            ended: list[int] = []

            def other() -> None:
                async def there() -> None:
                    async with TaskQueue("there", on=asyncio.get_running_loop()) as its:
                        ended.append(await mine.submit(lambda: 1))
                        mine.call(its.call, ended.append, 2)
                        await until(lambda: len(ended) == 2)

                asyncio.run(there())

            thread = threading.Thread(target=other)
            thread.start()
            await until(lambda: not thread.is_alive())
            assert ended == [1, 2]

    run(main)


def test_tk19_exit_reports_what_its_loop_did_not_run() -> None:
    """And does not wait for it."""
    program = """
        import asyncio, task9
        loop = asyncio.new_event_loop()
        queue = task9.TaskQueue("home", on=loop)
        queue.call(print, 1)
        """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert "queue 'home' waits for its event loop: 1 were not run" in done.stderr
