"""Awaiting (AW-1 to AW-4): every call that waits, on each kind of loop; cancelled, timed out, from several loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from flow import Flows, pause, until
from loops import LIMIT, LOOPS, run_on

import task9
import threadpool9
from task9 import Task, TaskQueue
from threadpool9 import Job, UsageError, WaitTimeout
from workqueue9 import Full, Work, WorkQueue

PRI = 52  # nobody else's

Run = Callable[[Any], Any]


class Gate:
    """A function that is kept from ending."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.runs = 0

    def __call__(self, *args: Any) -> str:
        """Until it is opened."""
        self.entered.set()
        assert self.open.wait(LIMIT)
        self.runs += 1
        return "through"

    def job(self) -> Job:
        """A job that is kept from its done()."""

        def fn(job: Job) -> None:
            self()
            with job.interlock:
                job.done()

        return Job(fn)


# --- AW-1: twins


def test_aw1_a_future_is_awaited(run: Run) -> None:
    """Its value, its exception, its cancellation."""

    async def main() -> None:
        async with TaskQueue("q") as queue:
            assert await queue.submit(lambda: 41 + 1) == 42
            with pytest.raises(ZeroDivisionError):
                await queue.submit(lambda: 1 // 0)
            settled = queue.submit(int)
            await until(settled.done)
            assert await settled == 0
            gate = Gate()
            busy, waiting = queue.submit(gate), queue.submit(int)
            async with Flows() as flows:
                flow = await flows.start(lambda: _result(waiting))
                assert waiting.cancel()
                await flow.wait()
                assert isinstance(flow.error[0], CancelledError)
            gate.open.set()
            assert await busy == "through"

    run(main)


@pytest.mark.parametrize("settled", [False, True])
def test_aw1_an_awaited_exception_goes_when_it_was_handled(run: Run, settled: bool) -> None:
    """Without the garbage collector: no frame of ours keeps the future that holds it."""

    class Raised(Exception):
        """Can be referred to weakly."""

    def fail() -> None:
        raise Raised

    async def main() -> None:
        async with TaskQueue("q") as queue:
            futures = [queue.submit(fail)]
            if settled:
                await until(futures[0].done)
            try:
                await futures.pop()
            except Raised as error:
                ref = weakref.ref(error)

            def gone() -> bool:
                queue.call(int)  # without a GIL, what a thread has made goes when that thread runs
                return ref() is None

            await until(gone)

    gc.collect()
    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


async def _result(future: Any) -> Any:
    return await future


def _waits() -> dict[str, Any]:
    """Each call that waits: made with an open gate, its call, and what it returns when the gate is opened."""

    def on_pool(call: Callable[[threadpool9.Pool, Job], Any]) -> Any:
        def make(gate: Gate) -> Any:
            pool, job = threadpool9.get(PRI), gate.job()
            pool.post(job)
            return lambda: call(pool, job), pool.put

        return make

    async def cancel(pool: threadpool9.Pool, job: Job) -> Any:
        with job.interlock:
            return await pool.aio.cancel(job)

    def on_percpu(gate: Gate) -> Any:
        percpu = threadpool9.percpu_get(PRI)
        percpu.ref().post(gate.job())
        return percpu.aio.put, lambda: None

    def on_queue(call: Callable[[TaskQueue, Task], Any]) -> Any:
        def make(gate: Gate) -> Any:
            queue, task = TaskQueue("q", PRI), Task(gate)
            queue.schedule(task)
            return lambda: call(queue, task), queue.close

        return make

    def on_shared(gate: Gate) -> Any:
        queue = task9.get(PRI)
        queue.call(gate)
        return queue.aio.put, lambda: None

    def on_work(call: Callable[[WorkQueue[Any, Any], Work[Any]], Any], **kwargs: Any) -> Any:
        def make(gate: Gate) -> Any:
            queue: WorkQueue[Any, Any] = WorkQueue("w", gate, pri=PRI, **kwargs)
            work: Work[Any] = Work()
            queue.enqueue(work)
            return lambda: call(queue, work), queue.close

        return make

    async def enqueue(queue: WorkQueue[Any, Any], work: Work[Any]) -> Any:
        await queue.aio.enqueue(Work())  # the one that runs takes no place any more
        return await queue.aio.enqueue(Work())

    async def submit(queue: WorkQueue[Any, Any], work: Work[Any]) -> Any:
        await queue.aio.submit(None)
        return await (await queue.aio.submit(None))

    return {
        "Job.wait": (on_pool(lambda pool, job: job.aio.wait()), None),
        "Pool.cancel": (on_pool(cancel), False),
        "Pool.drain": (on_pool(lambda pool, job: pool.aio.drain()), None),
        "PerCPU.put": (on_percpu, None),
        "Task.cancel": (on_queue(lambda queue, task: task.aio.cancel()), False),
        "TaskQueue.drain": (on_queue(lambda queue, task: queue.aio.drain()), None),
        "TaskQueue.close": (on_queue(lambda queue, task: queue.aio.close()), ()),
        "SharedQueue.put": (on_shared, None),
        "WorkQueue.wait": (on_work(lambda queue, work: queue.aio.wait(work)), None),
        "WorkQueue.cancel": (on_work(lambda queue, work: queue.aio.cancel(work)), False),
        "WorkQueue.disable": (on_work(lambda queue, work: queue.aio.disable(work)), False),
        "WorkQueue.flush": (on_work(lambda queue, work: queue.aio.flush()), None),
        "WorkQueue.drain": (on_work(lambda queue, work: queue.aio.drain()), None),
        "WorkQueue.close": (on_work(lambda queue, work: queue.aio.close()), ()),
        "WorkQueue.enqueue": (on_work(enqueue, max_pending=1), True),
        "WorkQueue.submit": (on_work(submit, max_pending=1), "through"),
    }


WAITS = _waits()


@pytest.mark.parametrize("name", WAITS)
def test_aw1_a_call_that_waits_lets_the_loop_go_on(run: Run, name: str) -> None:
    """It ends when what it waits for has, with the result of the call that blocks; no thread waits for it."""
    make, result = WAITS[name]

    async def main() -> None:
        gate = Gate()
        call, finish = make(gate)
        await until(gate.entered.is_set)
        threads = threading.active_count()
        async with Flows() as flows:
            flow = await flows.start(call)
            for _ in range(5):
                await pause()
            assert not flow.result, "it did not wait"
            assert threading.active_count() == threads
            gate.open.set()
            await flow.wait()
        assert not flow.error, flow.error
        assert flow.result == [result]
        finish()

    run(main)


@pytest.mark.parametrize("name", WAITS)
def test_aw2_a_cancelled_wait_ends_the_waiting_only(run: Run, name: str) -> None:
    """What ran goes on, what is called then works as ever, and nobody is left who would be woken."""
    make, _ = WAITS[name]

    async def main() -> None:
        gate = Gate()
        call, finish = make(gate)
        await until(gate.entered.is_set)
        async with Flows() as flows:
            flow = await flows.start(call)
            await flows.cancel(flow)
            assert flow.cancelled
            gate.open.set()
            await until(lambda: gate.runs)
        finish()
        assert gate.runs == (2 if name in ("WorkQueue.enqueue", "WorkQueue.submit") else 1)

    run(main)
    assert not [p for p in threadpool9.snapshot().pools if p.pri == PRI and p.references]


@pytest.mark.parametrize("name", [name for name in WAITS if name not in ("WorkQueue.enqueue", "WorkQueue.submit")])
def test_aw1_time_limits_are_those_of_the_call_that_blocks(run: Run, name: str) -> None:
    """WaitTimeout, and waiting on is possible."""
    what, method = name.split(".")

    async def main() -> None:
        gate = Gate()
        queue: Any
        match what:
            case "Job" | "Pool":
                job, queue = gate.job(), threadpool9.get(PRI)
                queue.post(job)
                await until(gate.entered.is_set)
                target, args = (job, ()) if what == "Job" else (queue, (job,) if method == "cancel" else ())
            case "PerCPU":
                queue = target = threadpool9.percpu_get(PRI)
                queue.ref().post(gate.job())
                args = ()
            case "Task" | "TaskQueue" | "SharedQueue":
                task = Task(gate)
                queue = task9.get(PRI) if what == "SharedQueue" else TaskQueue("q", PRI)
                queue.schedule(task)
                target, args = (task, ()) if what == "Task" else (queue, ())
            case _:
                queue = target = WorkQueue("w", gate, pri=PRI)
                work: Work[Any] = Work()
                queue.enqueue(work)
                args = (work,) if method in ("wait", "cancel", "disable") else ()
        await until(gate.entered.is_set)
        with contextlib.ExitStack() as stack:
            if name == "Pool.cancel":
                stack.enter_context(args[0].interlock)
            with pytest.raises(WaitTimeout):
                await getattr(target.aio, method)(*args, timeout=0.01)
        gate.open.set()
        if method != "put":
            finish = getattr(queue, "close", None) or queue.put
            finish()

    run(main)


def test_aw1_a_full_queue_times_out_and_says_how_long(run: Run) -> None:
    """Full, with the limit in its text; the work was not enqueued."""

    async def main() -> None:
        gate = Gate()
        async with WorkQueue("narrow", gate, max_pending=1) as queue:
            queue.enqueue(Work())
            await until(gate.entered.is_set)
            queue.enqueue(Work())
            work: Work[Any] = Work()
            with pytest.raises(Full, match=r"was full for 0\.01 s"):
                await queue.aio.enqueue(work, timeout=0.01)
            assert not work.pending
            gate.open.set()

    run(main)


def test_aw1_without_a_loop_it_is_an_error() -> None:
    """Which names the way out."""
    queue = TaskQueue("q")
    with pytest.raises(UsageError, match=r"no event loop runs here.*without \.aio"):
        queue.aio.drain().send(None)
    queue.close()


def test_aw1_nothing_to_wait_for_is_a_checkpoint_on_trio() -> None:
    """As its users expect of every async function."""
    import trio

    async def main() -> None:
        async with TaskQueue("q") as queue:
            with trio.CancelScope() as scope:
                scope.cancel()
                await queue.aio.drain()
                pytest.fail("it was no checkpoint")
            with trio.testing.assert_checkpoints():
                await queue.aio.drain()
            for settled in (True, False):
                gate = Gate()
                future = queue.submit(gate)
                if settled:
                    gate.open.set()
                    await until(future.done)
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await future
                    pytest.fail("it was no checkpoint")
                gate.open.set()
                with trio.testing.assert_checkpoints():
                    assert await future == "through"

    import trio.testing

    trio.run(main)


@pytest.mark.parametrize("stand_in", [None, ModuleType("trio")])
def test_aw1_trio_that_is_being_imported_is_not_asked(monkeypatch: pytest.MonkeyPatch, stand_in: Any) -> None:
    """Another thread may be in the middle of its import, or None keep it from being imported."""
    monkeypatch.setitem(sys.modules, "trio", stand_in)

    async def main() -> None:
        async with TaskQueue("q", on=asyncio.get_running_loop()) as home, TaskQueue("q") as queue:
            assert await queue.submit(int) == 0
            assert await home.submit(int) == 0
            await queue.aio.drain()

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_aw1_an_eager_task_that_an_item_begins_may_await_its_own_queue() -> None:
    """On a queue in a loop: it begins within the item's call, but that does not wait for it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        tasks: list[asyncio.Task[Any]] = []
        queue = TaskQueue("home", on=loop)

        async def wait() -> Any:
            await queue.aio.drain()
            return await queue.submit(lambda: 7)

        queue.call(lambda: tasks.append(asyncio.ensure_future(wait())))
        await until(lambda: tasks)
        assert await tasks[0] == 7
        with pytest.raises(UsageError, match="lives in the event loop of this thread"):
            queue.submit(int).result()
        await queue.aio.close()

    asyncio.run(main())


@pytest.mark.parametrize("loop_name", ["asyncio", "trio"])
def test_aw3_a_wake_up_near_the_recursion_limit_is_not_lost(loop_name: str) -> None:
    """Whoever cancels there gets a RecursionError or has woken the task; a second cancel makes up for it."""

    async def main() -> None:
        async with TaskQueue("q") as queue, Flows() as flows:
            gate = Gate()
            queue.submit(gate)
            for spare in range(5, 80):
                waiting = queue.submit(int)
                flow = await flows.start(lambda waiting=waiting: _result(waiting))
                await pause()
                other = threading.Thread(target=cancel_with, args=(spare, waiting))
                other.start()
                other.join(LIMIT)
                waiting.cancel()
                await flow.wait()
            gate.open.set()

    def cancel_with(spare: int, waiting: Any) -> None:
        def deep(frames: int) -> object:
            return deep(frames - 1) if frames else waiting.cancel()

        with contextlib.suppress(RecursionError):
            deep(sys.getrecursionlimit() - spare)

    run_on(loop_name, main)


def test_aw3_on_trio_an_await_that_was_interrupted_is_not_woken_later() -> None:
    """KeyboardInterrupt at any line of it, just when the answer has come: a task that does not sleep is not woken."""
    import trio

    layers = str(Path(threadpool9.__file__).parent), str(Path(task9.__file__).parent)

    async def interrupted_at(number: int, future: Any, gate: Gate) -> bool:
        lines = 0

        def line(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal lines
            if event == "line":
                lines += 1
                if lines == number:
                    gate.open.set()
                    while not future.done():
                        time.sleep(0)
                    raise KeyboardInterrupt
            return line

        def call(frame: FrameType, event: str, arg: object) -> Any:
            if frame.f_code.co_name in ("_ring", "_abort"):
                return None  # called by trio, which protects its own steps from KeyboardInterrupt
            return line if frame.f_code.co_filename.startswith(layers) else None

        before = sys.gettrace()
        sys.settrace(call)
        try:
            await future
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False

    async def main() -> None:
        async with TaskQueue("q") as queue, trio.open_nursery() as nursery:
            for number in range(1, 1000):
                gate = Gate()
                future = queue.submit(gate)
                nursery.start_soon(open_later, gate)
                if not await interrupted_at(number, future, gate):
                    break
                await trio.sleep(0.001)  # asleep for this, and only this may wake it
            assert 10 < number < 999

    async def open_later(gate: Gate) -> None:
        await trio.lowlevel.checkpoint()
        gate.open.set()

    trio.run(main)


# --- AW-2


def test_aw2_a_slot_given_to_who_is_cancelled_goes_to_the_next(run: Run) -> None:
    """Several wait for one place; the first is cancelled at the moment when it is woken. No place is lost."""

    async def main() -> None:
        for _ in range(20):
            gate = Gate()
            async with WorkQueue("narrow", gate, max_pending=1) as queue, Flows() as flows:
                queue.enqueue(Work())
                await until(gate.entered.is_set)
                queue.enqueue(Work())
                waiting = [await flows.start(lambda: queue.aio.enqueue(Work())) for _ in range(3)]
                gate.open.set()
                (waiting[0].scope or waiting[0].task).cancel()
                for flow in waiting:
                    await flow.wait()
                assert [flow.result for flow in waiting[1:]] == [[True], [True]]
            assert gate.runs in (4, 5)

    run(main)


@pytest.mark.parametrize("loop_name", LOOPS)
def test_aw2_anyio_knows_its_own_cancellations(loop_name: str) -> None:
    """Its scopes and time limits end what waits for us, on each of its loops; asyncio's message is how it knows."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")

    async def main() -> None:
        gate = Gate()
        async with TaskQueue("q") as queue:
            future = queue.submit(gate)
            for wait in (lambda: _result(future), queue.aio.drain):
                with anyio.move_on_after(0.01) as scope:
                    await wait()
                assert scope.cancelled_caught
                with pytest.raises(TimeoutError):
                    with anyio.fail_after(0.01):
                        await wait()
            gate.open.set()
            assert await future == "through"

    if loop_name == "trio":
        anyio.run(main, backend="trio")
    else:
        anyio.run(main, backend="asyncio", backend_options={"use_uvloop": loop_name == "uvloop"})


def test_aw2_the_message_of_a_cancellation_arrives() -> None:
    """As it does where a future of asyncio is awaited."""

    async def main() -> None:
        gate = Gate()
        async with TaskQueue("q") as queue:
            for wait in (lambda: _result(queue.submit(gate)), queue.aio.drain):
                for args in (("why",), ()):
                    task = asyncio.ensure_future(wait())
                    await pause()
                    task.cancel(*args)
                    with pytest.raises(asyncio.CancelledError) as caught:
                        await task
                    assert caught.value.args == args
            gate.open.set()

    asyncio.run(main())


def test_aw2_a_cancelled_drain_reopens_the_queue(run: Run) -> None:
    """While it drains outsiders are refused, and afterwards not."""

    async def main() -> None:
        gate = Gate()
        async with WorkQueue("w", gate) as queue, Flows() as flows:
            queue.enqueue(Work())
            flow = await flows.start(queue.aio.drain)
            with pytest.raises(UsageError, match="is being drained"):
                queue.enqueue(Work())
            await flows.cancel(flow)
            queue.enqueue(Work())
            gate.open.set()

    run(main)


# --- AW-3


def test_aw3_a_closed_loop_is_passed_over(loop_name: str) -> None:
    """A loop ends while one of its tasks waits for a place; the place goes to a thread that waits, too."""
    if loop_name == "trio":
        pytest.skip("a run of trio ends only when its tasks have")
    gate = Gate()
    with WorkQueue("narrow", gate, max_pending=1) as queue:
        queue.enqueue(Work())
        assert gate.entered.wait(LIMIT)
        queue.enqueue(Work())
        loop = asyncio.new_event_loop() if loop_name == "asyncio" else __import__("uvloop").new_event_loop()
        waiting = loop.create_task(queue.aio.enqueue(Work()))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        thread = threading.Thread(target=queue.enqueue, args=(Work(),))
        thread.start()
        while len(queue.group.slots.space.locks) < 2:  # type: ignore[union-attr]  # it has some
            time.sleep(0.001)
        gate.open.set()
        thread.join(LIMIT)
        assert not thread.is_alive()
        waiting._log_destroy_pending = False  # type: ignore[attr-defined]  # it was meant
        del waiting
        gc.collect()


def test_aw3_a_handler_on_the_loop_s_own_thread_settles(run: Run) -> None:
    """A signal handler cancels what the loop awaits."""

    async def main() -> None:
        gate = Gate()
        async with TaskQueue("q") as queue, Flows() as flows:
            queue.call(gate)
            future = queue.submit(int)
            old = signal.signal(signal.SIGUSR1, lambda *args: future.cancel())
            try:
                flow = await flows.start(lambda: _result(future))
                signal.raise_signal(signal.SIGUSR1)
                await flow.wait()
            finally:
                signal.signal(signal.SIGUSR1, old)
            assert isinstance(flow.error[0], CancelledError)
            gate.open.set()

    run(main)


def test_aw3_an_interlock_is_released_by_who_collects_a_coroutine_of_a_dead_loop() -> None:
    """Its loop is closed and its thread has ended while `cancel` waits with the interlock released; nobody keeps it."""
    gate, pool, kept = Gate(), threadpool9.get(PRI), []
    job = gate.job()
    pool.post(job)
    assert gate.entered.wait(LIMIT)

    async def cancel() -> None:
        with job.interlock, job.interlock:
            await pool.aio.cancel(job)

    def in_a_loop() -> None:
        loop = asyncio.new_event_loop()
        task = loop.create_task(cancel())
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it was meant
        kept.append(task)

    thread = threading.Thread(target=in_a_loop)
    thread.start()
    thread.join(LIMIT)
    with job.interlock:  # held by who collects, too
        kept.clear()
        gc.collect()
    taken: list[bool] = []

    def take() -> None:
        taken.append(job.interlock.acquire(timeout=LIMIT))
        job.interlock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(LIMIT)
    assert taken == [True]
    gate.open.set()
    pool.put(LIMIT)


# --- AW-4


def test_aw4_two_loops_and_a_thread_wait_for_one_thing(loop_name: str) -> None:
    """Each is woken."""
    gate = Gate()
    queue = TaskQueue("q")
    future = queue.submit(gate)
    results: list[str] = []

    async def main() -> None:
        results.append(await future)
        await queue.aio.drain()

    threads = [threading.Thread(target=run_on, args=(loop_name, main)) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: results.append(future.result(LIMIT))))
    for thread in threads:
        thread.start()
    assert gate.entered.wait(LIMIT)
    gate.open.set()
    for thread in threads:
        thread.join(LIMIT)
    assert results == ["through"] * 3
    queue.close()


def test_aw1_ten_thousand_pending_awaits_hold_no_thread(run: Run) -> None:
    """Beyond the worker."""

    async def main() -> None:
        gate = Gate()
        async with TaskQueue("q", PRI) as queue, Flows() as flows:
            queue.call(gate)
            futures = [queue.submit(int, number) for number in range(10_000)]

            async def all_of(share: list[Any]) -> int:
                return sum([await future for future in share])

            flowing = [await flows.start(lambda n=n: all_of(futures[n::100])) for n in range(100)]
            assert len([w for w in threadpool9.snapshot().workers if w.pool_pri == PRI]) == 1
            gate.open.set()
            for flow in flowing:
                await flow.wait()
            assert sum(flow.result[0] for flow in flowing) == sum(range(10_000))

    run(main)


@pytest.mark.long
def test_aw1_a_hundred_thousand_awaits_leave_nothing(run: Run) -> None:
    """No object of ours or of the loop's stays."""

    async def main() -> None:
        async with TaskQueue("q") as queue:

            async def some(count: int) -> None:
                for _ in range(count):
                    await queue.submit(int)
                    await queue.aio.drain()

            await some(1000)
            gc.collect()
            before = len(gc.get_objects())
            await some(50_000)
            gc.collect()
            assert len(gc.get_objects()) < before + 5000  # an object left by each await would be twenty times that

    run(main)
