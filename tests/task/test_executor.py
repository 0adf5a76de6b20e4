"""TK-20: the executor, beyond what CPython's own tests ask of it (`test_cpython_futures`)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures.thread import BrokenThreadPool
from pathlib import Path
from typing import Any

import pytest
from pace import patience
from programs import output
from submitted import Gate

import task9
import threadpool9
from conformance9.suite.tools import wait_until
from task9 import Future
from task9.futures import Full, ThreadPoolExecutor

LIMIT = patience(10.0)
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


@pytest.fixture
def narrow() -> Iterator[ThreadPoolExecutor]:
    """One worker, one call may wait."""
    with ThreadPoolExecutor(1, max_pending=1) as executor:
        yield executor


def test_tk20_is_the_standard_class() -> None:
    """By isinstance, by name, and by what its futures are."""
    with ThreadPoolExecutor(3, "named") as executor:
        assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        assert "ThreadPoolExecutor" in str(type(executor))
        assert executor._max_workers == 3
        assert executor.queue.name == "named"
        assert isinstance(executor.submit(int), Future)
        assert executor.submit(lambda **kwargs: kwargs, fn=1, self=2, context=3).result(LIMIT) == {
            "fn": 1,
            "self": 2,
            "context": 3,
        }
    with concurrent.futures.ThreadPoolExecutor() as standard, ThreadPoolExecutor() as ours:
        assert ours._max_workers == standard._max_workers


def test_tk20_not_more_workers_than_asked_for() -> None:
    """And as many as that, if they are needed."""
    running: list[int] = []
    most: list[int] = []
    barrier = threading.Barrier(3)

    def fn(number: int) -> None:
        running.append(number)
        most.append(len(running))
        if number < 3:
            barrier.wait(LIMIT)
        running.remove(number)

    with ThreadPoolExecutor(3) as executor:
        list(executor.map(fn, range(100)))
    assert max(most) == 3


def test_tk20_priority_and_cpus() -> None:
    """Calls run on threads of that priority; one on each CPU, on the CPU they were submitted on."""
    with ThreadPoolExecutor(2, pri=7) as executor:
        assert [lane.pri for lane in executor.queue.group.lanes] == [7]
    with ThreadPoolExecutor(percpu=True) as executor:
        assert executor._max_workers == len(threadpool9_cpus(executor))
        assert len(executor.submit(os.sched_getaffinity, 0).result(LIMIT)) == 1
    with pytest.raises(ValueError, match="percpu"):
        ThreadPoolExecutor(2, percpu=True)


def threadpool9_cpus(executor: ThreadPoolExecutor) -> set[int | None]:
    """The CPUs of its lanes."""
    return {lane.cpu for lane in executor.queue.group.lanes}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"initializer": 1}, TypeError),
        ({"max_pending": 0}, ValueError),
        ({"max_pending": 1.0}, TypeError),
        ({"max_pending": True}, TypeError),
        ({"when_full": "drop"}, ValueError),
        ({"pri": 1000}, ValueError),
    ],
)
def test_tk20_wrong_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    """At once, not when the first call is submitted."""
    with pytest.raises(error):
        ThreadPoolExecutor(**arguments)


def test_tk20_context_of_the_submitter() -> None:
    """Copied at submit, for map too."""
    with ThreadPoolExecutor(2) as executor:
        token = variable.set("mine")
        future = executor.submit(variable.get)
        results = executor.map(lambda n: variable.get(), range(3))
        variable.reset(token)
        assert future.result(LIMIT) == "mine"
        assert list(results) == ["mine"] * 3


# --- initializers


def test_tk20_initializer_once_for_each_thread_and_executor() -> None:
    """Threads are shared, so one may serve two executors: it is initialised for both."""
    done: list[tuple[str, int]] = []

    def initialise(name: str) -> None:
        done.append((name, threading.get_ident()))

    ran: set[tuple[str, int]] = set()
    with (
        ThreadPoolExecutor(2, initializer=initialise, initargs=("a",)) as a,
        ThreadPoolExecutor(2, initializer=initialise, initargs=("b",)) as b,
    ):
        for _ in range(50):
            for name, executor in (("a", a), ("b", b)):
                ran.add((name, executor.submit(threading.get_ident).result(LIMIT)))
    assert len(done) == len(set(done))
    assert ran == set(done)


def test_tk20_a_caller_that_runs_the_call_is_initialised_too() -> None:
    """`when_full="run"`: once, whatever the context of the caller."""
    local, go = threading.local(), threading.Event()
    done: list[int] = []

    def initialise() -> None:
        local.ready = True
        done.append(threading.get_ident())

    with ThreadPoolExecutor(1, initializer=initialise, max_pending=1, when_full="run") as executor:
        begun = threading.Event()
        executor.submit(lambda: (begun.set(), go.wait(LIMIT)))
        assert begun.wait(LIMIT)
        executor.submit(int)
        for _ in range(2):
            future = contextvars.copy_context().run(executor.submit, lambda: (local.ready, threading.get_ident()))
            assert future.result(0) == (True, threading.get_ident())
        go.set()
    assert done.count(threading.get_ident()) == 1


def test_tk20_any_number_of_workers() -> None:
    """As the standard class takes them."""
    for number in (True, 1.5):
        with ThreadPoolExecutor(number) as executor:  # type: ignore[arg-type]  # that is the point
            assert executor.submit(int).result(LIMIT) == 0


def test_tk20_a_thread_that_has_gone_is_no_thread_that_was_initialised() -> None:
    """A new one is initialised, although it may have the ident of an old one."""
    done: list[int] = []
    with ThreadPoolExecutor(1, initializer=lambda: done.append(1)) as executor:
        for number in range(3):
            tid = executor.submit(threading.get_native_id).result(LIMIT)

            def gone(tid: int = tid) -> bool:
                threadpool9.retire_idle()
                return tid not in {worker.tid for worker in threadpool9.snapshot().workers}

            assert wait_until(gone)
            assert len(done) == number + 1


def test_tk20_initializer_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """What was submitted, what waits and what comes gets BrokenThreadPool; the log has the reason."""
    ready = threading.Event()

    def initialise() -> None:
        ready.wait(LIMIT)
        raise ValueError("no")

    with (
        caplog.at_level(logging.CRITICAL, "concurrent.futures"),
        ThreadPoolExecutor(1, initializer=initialise) as broken,
    ):
        futures = [broken.submit(int) for _ in range(3)]
        ready.set()
        assert [type(future.exception(LIMIT)) for future in futures] == [BrokenThreadPool] * 3
        with pytest.raises(BrokenThreadPool):
            broken.submit(int)
    assert "Exception in initializer" in caplog.text
    assert "ValueError: no" in caplog.text


def test_tk20_initializer_that_fails_wakes_a_blocked_submit() -> None:
    """Nobody waits for room in an executor that runs nothing any more."""
    ready = threading.Event()

    def initialise() -> None:
        ready.wait(LIMIT)
        raise ValueError("no")

    logging.getLogger("concurrent.futures").disabled = True
    try:
        with ThreadPoolExecutor(1, initializer=initialise, max_pending=1) as broken:
            broken.submit(int)
            outcomes: list[type] = []

            def submit() -> None:
                for _ in range(3):
                    try:
                        broken.submit(int)
                    except BrokenThreadPool as error:
                        outcomes.append(type(error))

            thread = threading.Thread(target=submit)
            thread.start()
            assert wait_until(lambda: broken._crew.slots.space.locks)
            ready.set()
            thread.join(LIMIT)
            assert outcomes[-1] is BrokenThreadPool
            assert not thread.is_alive()
    finally:
        logging.getLogger("concurrent.futures").disabled = False


# --- bounded


def test_tk20_a_full_executor_raises_or_runs() -> None:
    """Nothing is submitted; or the caller runs it, with all that a future has."""
    for when_full in ("raise", "run"):
        with ThreadPoolExecutor(1, max_pending=2, when_full=when_full) as executor:  # type: ignore[arg-type]
            gate = Gate(executor)
            waiting = [executor.submit(threading.get_ident) for _ in range(2)]
            if when_full == "raise":
                with pytest.raises(Full, match="holds 2"):
                    executor.submit(int)
            else:
                assert executor.submit(threading.get_ident).result(0) == threading.get_ident()
                assert isinstance(executor.submit(divmod, 1, 0).exception(0), ZeroDivisionError)
                with pytest.raises(KeyboardInterrupt):
                    executor.submit(raise_interrupt)
            assert waiting[0].cancel()
            again = executor.submit(int)  # its place is free
            gate.go.set()
            assert again.result(LIMIT) == 0
            assert waiting[1].result(LIMIT) != threading.get_ident()


def raise_interrupt() -> None:
    """As Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", ["begins", "cancelled", "cancel_pending"])
def test_tk20_a_full_executor_blocks(narrow: ThreadPoolExecutor, how: str) -> None:
    """Until a call that waits begins, or is withdrawn."""
    gate = Gate(narrow)
    first = narrow.submit(int)
    came: list[Future[int]] = []
    thread = threading.Thread(target=lambda: came.append(narrow.submit(int)))
    thread.start()
    assert wait_until(lambda: narrow._crew.slots.space.locks)
    assert not came
    match how:
        case "begins":
            gate.go.set()
        case "cancelled":
            assert first.cancel()
        case _:
            assert narrow.queue.cancel_pending() == 1
    thread.join(LIMIT)
    assert len(came) == 1
    gate.go.set()
    assert came[0].result(LIMIT) == 0


def test_tk20_shutdown_wakes_a_blocked_submit() -> None:
    """It is refused."""
    executor = ThreadPoolExecutor(1, max_pending=1)
    gate = Gate(executor)
    executor.submit(int)
    outcomes: list[str] = []

    def submit() -> None:
        try:
            executor.submit(int)
        except RuntimeError as error:
            outcomes.append(str(error))

    thread = threading.Thread(target=submit)
    thread.start()
    assert wait_until(lambda: executor._crew.slots.space.locks)
    executor.shutdown(wait=False)
    thread.join(LIMIT)
    gate.go.set()
    executor.shutdown()
    assert "cannot schedule new futures after shutdown" in outcomes[0]


def test_tk20_its_own_calls_do_not_wait_for_room(narrow: ThreadPoolExecutor) -> None:
    """They would wait for themselves: `Full`."""
    go = threading.Event()

    def fn() -> None:
        go.wait(LIMIT)
        narrow.submit(int)

    future = narrow.submit(fn)
    assert wait_until(future.running)
    narrow.submit(int)
    go.set()
    assert isinstance(future.exception(LIMIT), Full)


def test_tk20_places_are_neither_lost_nor_doubled() -> None:
    """Cancels against the workers, while others submit."""
    with ThreadPoolExecutor(2, max_pending=8) as executor:

        def submit() -> None:
            for number in range(500):
                future = executor.submit(int)
                if number % 2:
                    future.cancel()

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT * 3)
        executor.queue.drain(LIMIT)
        assert len(executor._crew.slots.free) == 8


# --- shutdown


def test_tk20_shutdown() -> None:
    """Waits; cancels what waits if asked to; refuses what comes; may be repeated."""
    executor = ThreadPoolExecutor(1)
    gate = Gate(executor)
    waiting = [executor.submit(int) for _ in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)
    assert not gate.future.done()
    threading.Timer(0.01, gate.go.set).start()
    executor.shutdown()
    assert gate.future.done()
    executor.shutdown()


def test_tk20_shutdown_does_not_wait_for_another_executor() -> None:
    """Although that runs on the same threads, and was not waited for itself."""
    other, executor = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    gate = Gate(other)
    other.shutdown(wait=False)
    assert executor.submit(int).result(LIMIT) == 0
    thread = threading.Thread(target=executor.shutdown)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()
    gate.go.set()
    other.shutdown()


def test_tk20_shutdown_by_its_own_call() -> None:
    """A clear error, where it would wait for itself; and it takes no calls any more."""
    executor = ThreadPoolExecutor(1)
    assert isinstance(executor.submit(executor.shutdown).exception(LIMIT), RuntimeError)
    with pytest.raises(RuntimeError):
        executor.submit(int)
    executor.shutdown()


def test_tk20_dropped_without_shutdown() -> None:
    """What was submitted still runs, and nobody complains: programs do it with the standard one."""
    executor: Any = ThreadPoolExecutor(2)
    ref = weakref.ref(executor)
    futures = [executor.submit(pow, n, 2) for n in range(100)]
    del executor
    gc.collect()
    assert [future.result(LIMIT) for future in futures] == [n * n for n in range(100)]
    assert ref() is None


def test_tk20_idle_executors_own_no_thread() -> None:
    """A hundred of them, after use."""
    executors = [ThreadPoolExecutor(4) for _ in range(100)]
    for executor in executors:
        executor.submit(int).result(LIMIT)
    assert wait_until(lambda: threadpool9.retire_idle() or not threadpool9.snapshot().workers)
    for executor in executors:
        executor.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_tk20_fork() -> None:
    """The child's executor is empty, has all its places, and works; the standard one would be dead."""
    out = output(
        """
        import os, threading
        from task9.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(1, max_pending=2, when_full="raise", initializer=int)
        begun, go = threading.Event(), threading.Event()
        running = executor.submit(lambda: (begun.set(), go.wait(60)))
        begun.wait(60)
        waiting = [executor.submit(int) for _ in range(2)]
        if (pid := os.fork()) == 0:
            print([future.cancelled() for future in waiting], len(executor._crew.slots.free))
            print(executor.submit(int).result(60), flush=True)
            executor.shutdown()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        print([future.result(60) for future in waiting])
        """
    )
    assert out.splitlines() == ["[True, True] 2", "0", "[0, 0]"]


def test_tk20_exit() -> None:
    """Calls that were submitted run; those of exit functions too."""
    out = output(
        """
        import atexit, os, time
        from task9.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor(2)
        atexit.register(lambda: executor.submit(os.write, 1, b"late "))
        for n in range(3): executor.submit(lambda n=n: (time.sleep(0.05), os.write(1, f"{n} ".encode())))
        """
    )
    assert sorted(out.split()) == ["0", "1", "2", "late"]


# --- with the real ones


def test_tk20_asyncio() -> None:
    """As the default executor, which must be an instance of the standard class; closed with the loop."""

    async def program() -> None:
        asyncio.get_running_loop().set_default_executor(executor)
        assert await asyncio.to_thread(pow, 2, 5) == 32
        assert await asyncio.get_running_loop().run_in_executor(None, variable.get) == "none"
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)

    executor = ThreadPoolExecutor(2)
    asyncio.run(program())
    with pytest.raises(RuntimeError):
        executor.submit(int)


@pytest.mark.once
def test_tk20_dask_threaded_scheduler() -> None:
    """``dask.threaded.get`` on a pool that it is given."""
    pytest.importorskip("dask", reason="dask is not installed")
    from dask.threaded import get

    graph = {"x": 1, "y": (sum, ["x", 2]), **{f"z{n}": (pow, "y", n) for n in range(50)}}
    with ThreadPoolExecutor(4) as executor:
        assert get(graph, [f"z{n}" for n in range(50)], pool=executor) == tuple(3**n for n in range(50))


@pytest.mark.once
def test_tk20_distributed_worker(tmp_path: Path) -> None:
    """A worker of a loopback cluster runs its tasks on ours, and shuts it down when it closes."""
    pytest.importorskip("distributed", reason="distributed is not installed")
    out = output(
        f"""
        import asyncio, dask, threading
        dask.config.set({{"logging.distributed": "critical"}})  # it is noisy about each start and end
        from distributed import Client, Scheduler, Worker
        from task9.futures import ThreadPoolExecutor

        def square(n): return n * n, threading.current_thread().name
        options = {{"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}}

        async def main():
            async with (
                Scheduler(**options) as scheduler,
                Worker(scheduler.address, nthreads=2, executor=executor, local_directory={str(tmp_path)!r}, **options),
                Client(scheduler.address, asynchronous=True) as client,
            ):
                results = await client.gather(client.map(square, range(50)))
                print([result for result, _ in results] == [n * n for n in range(50)])
                print({{name.rstrip("0123456789") for _, name in results}})
                print(repr(await client.submit(divmod, 1, 0).exception()))

        executor = ThreadPoolExecutor(2)
        asyncio.run(asyncio.wait_for(main(), {LIMIT}))
        try:
            executor.submit(int)
        except RuntimeError:
            print("shut down")
        """
    )
    assert out.splitlines() == [
        "True",
        "{'poolthread-'}",
        "ZeroDivisionError('integer division or modulo by zero')",
        "shut down",
    ]


@pytest.mark.once
def test_tk20_anyio() -> None:
    """``run_in_executor`` of the loop that anyio runs on, and its portal's futures beside ours."""
    anyio = pytest.importorskip("anyio", reason="anyio is not installed")
    from anyio.from_thread import start_blocking_portal

    async def program() -> int:
        async with anyio.create_task_group():
            return await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 5)

    with ThreadPoolExecutor(2) as executor:
        assert anyio.run(program) == 32
        with start_blocking_portal() as portal:
            theirs, ours = portal.start_task_soon(anyio.sleep, 0), executor.submit(int)
            assert concurrent.futures.wait([theirs, ours], LIMIT).not_done == set()
            assert executor.submit(portal.call, anyio.sleep, 0).result(LIMIT) is None


def test_tk20_errors_are_what_programs_catch() -> None:
    """By class, where the standard library has one."""
    assert issubclass(Full, task9.Error)
    with ThreadPoolExecutor(1) as executor:
        gate = Gate(executor)
        with pytest.raises(concurrent.futures.TimeoutError):
            executor.submit(int).result(0)
        gate.go.set()
