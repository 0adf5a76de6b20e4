"""The contract of a queue on Dask (WQ-15), on a cluster in this process: what crosses, order, ends, errors, keys."""

# ruff: noqa: E402  # what needs Dask comes after the question whether it is there
from __future__ import annotations

import contextlib
import gc
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

distributed = pytest.importorskip("distributed", reason="distributed is not installed here")

import works
from grid import LIMIT, PRI, queue_on, until

import task9.futures
import threadpool9
from threadpool9 import hookimpl
from workqueue9 import BackendDown, KeyedWork, Work, WorkQueue
from workqueue9_dask import Cluster, _cluster, _scheduler

pytestmark = pytest.mark.once

gates: dict[str, threading.Event] = {}
entered: list[Any] = []


def pass_gate(work: Any, name: str) -> Any:
    """At a worker in this process: say that it is here, and wait."""
    entered.append(work.payload)
    assert gates[name].wait(LIMIT)
    return work.payload


@pytest.fixture
def gate(request: pytest.FixtureRequest) -> Any:
    """A gate, by the name of the test."""
    entered.clear()
    name = request.node.name
    gates[name] = gate = threading.Event()
    gate.name = name  # type: ignore[attr-defined]
    yield gate
    gate.set()


@contextlib.contextmanager
def opened(gate: Any) -> Iterator[None]:
    """The gate is open at the end, however that comes: or the queue would wait for what stands there, each for long."""
    try:
        yield
    finally:
        gate.set()


def test_results_come_home(cluster: Cluster) -> None:
    """Small ones in the message, large ones from the worker; None; for plain works nobody asks."""
    with queue_on(cluster, works.square, 1, max_active=8) as queue:
        assert [future.result(LIMIT) for future in [queue.submit(number) for number in range(12)]] == [
            number**2 + 1 for number in range(12)
        ]
    with queue_on(cluster, works.echo, max_active=8) as queue:
        large = b"x" * 100_000
        assert queue.submit(large).result(LIMIT) == ("workqueue9._work", large, None)
        assert queue.submit(None).result(LIMIT)[1] is None
        work = Work("plain")
        assert queue.enqueue(work)
        queue.wait(work, LIMIT)
        queue.drain(LIMIT)
        stats = queue.stats()
        assert (stats.completed, stats.errors, stats.reruns, stats.running) == (3, 0, 0, 0)
    assert not cluster._flights


def test_works_run_on_an_executor_of_the_workers(local: Any) -> None:
    """By its name: on our pools, for example; where there is none of that name the error says so."""
    with contextlib.ExitStack() as stack:
        for worker in local.cluster.workers.values():
            executor = stack.enter_context(task9.futures.ThreadPoolExecutor(2, pri=PRI))
            worker.executors["pools"] = executor
            stack.callback(worker.executors.pop, "pools")
        with queue_on(Cluster(local, executor="pools"), works.thread_name, max_active=4) as queue:
            names = {queue.submit(number).result(LIMIT) for number in range(8)}
            assert all(name.startswith("poolthread") and name.partition("-")[0].endswith(f"@{PRI}") for name in names)
        with queue_on(Cluster(local), works.thread_name, max_active=4) as queue:
            assert "Dask-Default-Threads" in queue.submit(0).result(LIMIT)
        with queue_on(Cluster(local, executor="nowhere"), works.thread_name) as queue:
            with pytest.raises(ValueError, match="nowhere"):
                queue.submit(0).result(LIMIT)


def test_a_payload_is_what_it_was_at_the_enqueue(cluster: Cluster, gate: Any) -> None:
    """And a string that is another task's key stays a string."""
    payload = ["before"]
    with queue_on(cluster, pass_gate, gate.name) as queue, opened(gate):
        first, second = queue.submit("first"), queue.submit(payload)
        payload.append("after")
        gate.set()
        assert (first.result(LIMIT), second.result(LIMIT)) == ("first", ["before"])
    other = cluster.client.submit(lambda: "its result", key="a-key")
    assert other.result(LIMIT) == "its result"
    with queue_on(cluster, works.echo, "a-key") as queue:
        assert queue.submit("a-key").result(LIMIT)[1:] == ("a-key", "a-key")
        assert queue.submit(("a-key", ["a-key"])).result(LIMIT)[1] == ("a-key", ["a-key"])


def test_equal_works_are_not_merged(cluster: Cluster, gate: Any) -> None:
    """Each enqueue is a run."""
    with queue_on(cluster, pass_gate, gate.name, max_active=4) as queue, opened(gate):
        futures = [queue.submit("same") for _ in range(4)]
        until(lambda: len(entered) == 4)
        gate.set()
        assert [future.result(LIMIT) for future in futures] == ["same"] * 4


def test_what_cannot_be_pickled_is_refused_at_enqueue(cluster: Cluster) -> None:
    """By name; the work is as it was."""
    with queue_on(cluster, works.echo) as queue:
        work: Work[Any] = Work(threading.Lock(), name="thumb-7")
        with pytest.raises(TypeError, match=r"payload of <.*>, a lock, can't be pickled: cannot pickle '_thread.lock'"):
            queue.enqueue(work)
        assert not work.pending
        work.payload = 1
        assert queue.enqueue(work)
        queue.drain(LIMIT)
        assert not queue.group.parcels  # type: ignore[attr-defined]  # it is a RemoteGroup
    lock = threading.Lock()
    with pytest.raises(TypeError, match="function of queue 'far', or its argument, can't be pickled"):
        queue_on(cluster, lambda work, arg: lock)


def test_a_result_that_cannot_be_pickled_is_the_works_error(cluster: Cluster) -> None:
    """As if the function had raised it."""
    with queue_on(cluster, lambda work, arg: threading.Lock()) as queue:
        with pytest.raises(TypeError, match="what the function of queue 'far' returned can't be pickled"):
            queue.submit(1).result(LIMIT)


def test_exceptions_come_home(cluster: Cluster) -> None:
    """With the remote traceback, the work, the queue and the worker; to the future or to on_error."""
    errors: list[Any] = []
    with queue_on(cluster, works.square, 1, on_error=lambda error, work: errors.append((error, work))) as queue:
        future = queue.submit(13)
        with pytest.raises(ValueError, match="13 is refused") as info:
            future.result(LIMIT)
        assert "square" in [entry.name for entry in info.traceback]
        (note,) = [note for note in info.value.__notes__ if "Dask" in note]
        assert "<Submitted 13" in note
        assert "of queue 'far'" in note
        assert "at worker inproc://" in note
        work = Work(13)
        queue.enqueue(work)
        queue.drain(LIMIT)
        assert [(type(error), failed) for error, failed in errors] == [(ValueError, work)]
        assert queue.stats().errors == 1


class Interrupts:
    """Unpickling it raises what is no Exception."""

    def __reduce__(self) -> Any:
        return interrupt, ()


def interrupt() -> None:
    """What an `Interrupts` is unpickled by."""
    raise KeyboardInterrupt("while unpickling")


class Noteless(Exception):
    """It refuses every note."""

    def add_note(self, note: str) -> None:
        """No."""
        raise RuntimeError("no notes")


class Cursed(Exception):
    """It does not take the remote traceback either."""

    def with_traceback(self, traceback: Any) -> Any:
        """No."""
        raise TypeError("no traceback")


def test_a_result_whose_loading_raises_anything_is_an_error(cluster: Cluster) -> None:
    """The work ends with it, and the client goes on."""
    with queue_on(cluster, lambda work, arg: Interrupts() if work.payload else work.payload) as queue:
        with pytest.raises(KeyboardInterrupt, match="while unpickling"):
            queue.submit(1).result(LIMIT)
        assert queue.submit(0).result(LIMIT) == 0


@pytest.mark.parametrize(("kind", "refusal"), [(Noteless, "no notes"), (Cursed, "no traceback")])
def test_an_error_that_refuses_what_is_added_ends_its_work(
    cluster: Cluster, reports: list[Any], kind: type[Exception], refusal: str
) -> None:
    """That is reported, and the error comes home as it is."""

    def fail(work: Any, arg: Any) -> None:
        raise kind("of the user's making")

    with queue_on(cluster, fail) as queue:
        with pytest.raises(kind, match="of the user's making"):
            queue.submit(1).result(LIMIT)
    assert [str(report.exc_value) for report in reports] == [refusal]


def test_two_on_one_client_both_know_the_workers(local: Any) -> None:
    """Dask keeps one handler for a topic of a client."""
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as small:
        with distributed.Client(small, set_as_default=False) as client:
            both = [Cluster(client), Cluster(client)]
            # A subscription is on its way by itself: until it is there, the scheduler says nothing.
            until(lambda: small.scheduler._broker._topics[_scheduler.TOPIC].subscribers)
            client.retire_workers()
            until(lambda: [each._workers for each in both] == [0, 0])


def test_a_client_of_the_callers_is_left_as_it_was(local: Any) -> None:
    """No subscription of ours is left, and nothing in it keeps us alive, closed or not."""

    def subscriptions(topic: str) -> list[Any]:
        return list(local.cluster.scheduler._broker._topics[topic].subscribers)

    with Cluster(local) as closed, queue_on(closed, works.square, 1) as queue:
        topic = closed._topic
        assert queue.submit(2).result(LIMIT) == 5
        assert subscriptions(topic)
    until(lambda: not subscriptions(topic))
    assert local.status == "running"
    assert closed.reconnect() == 0, "nothing was under way"
    with queue_on(closed, works.square, 1) as queue:
        assert queue.submit(3).result(LIMIT) == 10
    closed.close_client()
    dropped = Cluster(local)
    refs = [weakref.ref(closed), weakref.ref(dropped)]
    del closed, dropped, queue

    def gone() -> bool:
        threadpool9.retire_idle()
        gc.collect()
        return [ref() for ref in refs] == [None, None]

    until(gone)


def test_what_is_under_way_when_a_callers_client_is_left_is_kept(local: Any, gate: Any, reports: list[Any]) -> None:
    """As if the scheduler had been lost."""
    cluster = Cluster(local)
    with queue_on(cluster, pass_gate, gate.name) as queue, opened(gate):
        future = queue.submit("kept")
        until(lambda: entered == ["kept"])
        cluster.close_client()
        assert "1 works that were under way are kept" in str(reports[0].exc_value)
        gate.set()
        assert cluster.reconnect() == 1
        assert future.result(LIMIT) == "kept"


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the queue, that nobody has closed it
def test_a_queue_that_was_dropped_is_not_kept(cluster: Cluster) -> None:
    """Nor its function, though nobody has closed it."""
    queue = queue_on(cluster, works.square, 1)
    assert queue.submit(2).result(LIMIT) == 5
    queue.drain(LIMIT)
    assert len(cluster._queues) == 1
    del queue

    def forgotten() -> bool:
        threadpool9.retire_idle()
        gc.collect()
        return not cluster._queues

    until(forgotten)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the queue, that nobody has closed it
def test_a_queue_that_was_dropped_while_it_has_to_wait_goes_on(local: Any, gate: Any, reports: list[Any]) -> None:
    """Its works are kept until `reconnect`, as those of any queue."""
    cluster = Cluster(local)
    cluster.close_client()
    queue_on(cluster, pass_gate, gate.name).enqueue(Work("kept"))
    until(lambda: reports)
    threadpool9.retire_idle()
    gc.collect()
    gate.set()
    cluster.reconnect()
    until(lambda: entered == ["kept"])


def test_works_start_in_order(cluster: Cluster, gate: Any) -> None:
    """Of one queue as they were enqueued, though many are sent at once; a queue of higher priority goes first."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as small, distributed.Client(small, set_as_default=False) as client:  # fmt: skip
        narrow = Cluster(client)
        with queue_on(narrow, pass_gate, gate.name, max_active=30, pri=1) as low:
            with queue_on(narrow, pass_gate, gate.name, max_active=30, pri=50, name="high") as high, opened(gate):
                low.submit("first")
                until(lambda: entered == ["first"])
                low.submit("at the worker")  # Dask has one more at the worker than it has threads
                for number in range(20):
                    low.enqueue(Work(number))
                until(lambda: len(narrow._flights) == 22)
                until(lambda: len(client.cluster.scheduler.tasks) >= 22)
                urgent = high.submit("urgent")
                until(lambda: len(client.cluster.scheduler.tasks) >= 23)
                gate.set()
                urgent.result(LIMIT)
                low.drain(LIMIT)
    order = [payload for payload in entered if isinstance(payload, int)]
    assert order == list(range(20))
    assert entered.index("urgent") <= 2, entered


def test_no_more_than_max_active_are_in_the_cluster(cluster: Cluster, gate: Any) -> None:
    """Cancelling is exact for the rest, and waits for what was sent."""
    with queue_on(cluster, pass_gate, gate.name, max_active=2) as queue, opened(gate):
        kept = [Work(number) for number in range(4)]
        for work in kept:
            queue.enqueue(work)
        until(lambda: sorted(entered) == [0, 1])
        assert len(cluster._flights) == 2
        assert queue.cancel(kept[3])
        with pytest.raises(threadpool9.WaitTimeout):
            queue.cancel(kept[0], 0.01)
        gate.set()
        assert queue.cancel(kept[0], LIMIT) is False
        queue.drain(LIMIT)
    assert sorted(entered) == [0, 1, 2]


def test_a_thousand_under_way_hold_no_thread(cluster: Cluster, gate: Any) -> None:
    """But those that the client has, and of ours none once they are sent."""
    cluster.client.gather(cluster.client.map(abs, range(8)))
    threadpool9.retire_idle()
    before = set(threading.enumerate())
    with queue_on(cluster, pass_gate, gate.name, max_active=1000) as queue, opened(gate):
        for number in range(1000):
            queue.enqueue(Work(number))
        until(lambda: len(cluster._flights) == 1000)

        def ours() -> list[Any]:
            threadpool9.retire_idle()  # again and again: who has sent the last work may not be idle yet
            return [worker for worker in threadpool9.snapshot().workers if worker.pool_pri == PRI]

        until(lambda: not ours())
        new = {thread.name for thread in set(threading.enumerate()) - before}
        # The workers of this cluster are in this process: their threads run the works.
        assert not {name for name in new if not name.startswith(("Dask-Default-Threads", "Dask-Offload"))}, new
        gate.set()
        queue.drain(LIMIT)
        assert queue.stats().completed == 1000


def test_a_worker_reports_what_it_starts(cluster: Cluster) -> None:
    """The probe has its address."""
    seen: list[Any] = []

    class Listener:
        @hookimpl
        def workqueue9_started(self, wq: Any, wk: Any, where: str) -> None:
            seen.append((wk, where))

    listener = Listener()
    threadpool9.register(listener)
    try:
        with queue_on(cluster, works.echo) as queue:
            work = Work(1)
            queue.enqueue(work)
            queue.drain(LIMIT)
    finally:
        threadpool9.unregister(listener)
    ((started, where),) = seen
    assert started is work
    assert where in cluster.client.nthreads()


def test_a_key_makes_a_rerun_a_no_op(cluster: Cluster, gate: Any) -> None:
    """The scheduler remembers the result, for a queue of that name; an error is no completion."""
    gate.set()
    with queue_on(cluster, pass_gate, gate.name) as queue:
        for _ in range(3):
            queue.enqueue(KeyedWork("once", key="order-1"))
        queue.enqueue(KeyedWork("another", key="order-2"))
        queue.drain(LIMIT)
    assert entered == ["once", "another"]
    with queue_on(cluster, pass_gate, gate.name, name="other") as queue:
        queue.enqueue(KeyedWork("once", key="order-1"))
        queue.drain(LIMIT)
    assert entered == ["once", "another", "once"]
    errors: list[Any] = []
    with queue_on(cluster, works.square, 0, name="squares", on_error=lambda *error: errors.append(error)) as queue:
        for _ in range(2):
            queue.enqueue(KeyedWork(13, key="thirteen"))
        queue.drain(LIMIT)
    assert len(errors) == 2


def test_what_is_remembered_is_bounded() -> None:
    """The oldest goes first; what is large is not kept; the first result counts."""
    import asyncio

    async def main() -> None:
        memory = _scheduler.Memory(100_000)
        for number in range(1000):
            await memory.remember("q", str(number), b"x" * 100)
        assert memory.size <= 100_000
        assert memory.size == sum(_scheduler._cost(*key, result) for key, result in memory.results.items())
        assert await memory.recall("q", "0") is None
        assert await memory.recall("q", "999") == b"x" * 100
        assert await memory.remember("q", "999", b"y") == b"x" * 100
        assert await memory.remember("q", "large", b"y" * 1000) == b"y" * 1000
        assert await memory.recall("q", "large") is None

    asyncio.run(main())


def test_a_worker_without_workqueue9_has_a_stand_in(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a payload and a key."""
    monkeypatch.setitem(__import__("sys").modules, "workqueue9", None)
    with queue_on(cluster, works.echo) as queue:
        module, payload, _ = queue.submit("payload").result(LIMIT)
    assert (module, payload) == ("workqueue9_dask._worker", "payload")


def test_what_was_cancelled_on_the_cluster_is_an_error(cluster: Cluster, gate: Any) -> None:
    """Not by the queue: by somebody with a Dask client."""
    with queue_on(cluster, pass_gate, gate.name) as queue, opened(gate):
        future = queue.submit("cut short")
        until(lambda: entered == ["cut short"])
        (flight,) = cluster._flights.values()
        until(lambda: flight.future is not None)
        cluster.client.cancel([flight.future], force=True)
        with pytest.raises(RuntimeError, match="cancelled on the cluster, not by its queue"):
            future.result(LIMIT)
        gate.set()
        assert queue.submit("goes on").result(LIMIT) == "goes on"


def test_a_name_is_enough(local: Any) -> None:
    """``backend="dask:ADDRESS"``, one back end for all queues (HK-6)."""
    from workqueue9_dask import _autoload

    with contextlib.suppress(threadpool9.PluginError):  # loaded already, if this process has loaded plugins
        threadpool9.register(_autoload)
    try:
        queues = [queue_on(f"dask:{local.scheduler.address}", works.square, 1, name=name) for name in "ab"]
        assert [queue.submit(3).result(LIMIT) for queue in queues] == [10, 10]
        assert len(_autoload._clusters) == 1
        for queue in queues:
            queue.close(LIMIT)
    finally:
        while _autoload._clusters:
            _autoload._clusters.popitem()[1].close_client()


def test_a_client_that_ends_in_the_middle_of_a_send(
    local: Any, reports: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work has left its queue by then: it is no more pending, is kept as what was under way, and sent again."""

    def end(*args: Any, **kwargs: Any) -> Any:
        assert not work.pending
        client.close()
        raise OSError("in the middle")

    with Cluster(local.scheduler.address) as cluster:
        client, work = cluster.client, Work(3)
        monkeypatch.setattr(client, "submit", end)
        with queue_on(cluster, works.square, 1) as queue:
            queue.enqueue(work)
            until(lambda: reports)
            assert "1 works that were under way are kept" in str(reports[0].exc_value)
            assert not queue.cancel_async(work)
            assert cluster.reconnect() == 1
            queue.drain(LIMIT)
            assert queue.stats().completed == 1
            assert queue.submit(4).result(LIMIT) == 17
    assert len(reports) == 1


def test_bad_arguments(local: Any) -> None:
    """Each error says what is expected."""
    with pytest.raises(TypeError, match="a Dask client that is not asynchronous, or an address"):
        Cluster(7)
    clients = set(distributed.Client._instances)
    for address in ("nonsense", "carrier-pigeon://host:1", "host:port", ""):
        with pytest.raises(ValueError, match=f"'{address}' is no address of a Dask scheduler: "):
            Cluster(address)
    assert set(distributed.Client._instances) == clients
    with Cluster(local.scheduler.address) as cluster:
        assert "2 workers, 0 works under way" in repr(cluster)
    assert cluster.client.status == "closed"
    assert isinstance(cluster._enter, _cluster._Loaded)


def leave(work: Any, arg: Any) -> Any:
    """End the program, if the payload says so."""
    if work.payload is not None:
        raise work.payload
    return "here"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_function_that_ends_its_program_ends_no_worker(cluster: Cluster, error: BaseException) -> None:
    """It took the worker along, and its neighbours; in this process the loop of all of them."""
    with queue_on(cluster, leave) as queue:
        future = queue.submit(error)
        with pytest.raises(RuntimeError, match="raised " + type(error).__name__):
            future.result(LIMIT)
        assert queue.submit(None).result(LIMIT) == "here"


def echo(work: Any, arg: Any) -> Any:
    """What came."""
    return work.payload


def test_names_and_keys_may_have_lone_surrogates(cluster: Cluster) -> None:
    """As `os.fsdecode` makes them of file names. Dask can't encode them: the connection was given up."""
    name = "caf\udce9.jpg"
    errors: list[BaseException] = []
    with WorkQueue[Any, Any](name, echo, backend=cluster, on_error=lambda error, work: errors.append(error)) as queue:
        queue.enqueue(KeyedWork(1, name))
        queue.flush(LIMIT)
        assert queue.submit(2).result(LIMIT) == 2
    assert not errors


@pytest.mark.parametrize("remember", ["64 MiB", -1, 1.5, True])
def test_remember_is_a_number_of_bytes(local: Any, remember: Any) -> None:
    """Anything else was accepted, and broke keyed works of other clients."""
    with pytest.raises(TypeError, match="remember is a number of bytes"):
        Cluster(local, remember=remember)


def test_a_function_may_be_registered_to_go_by_value(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers need not have its module."""
    cloudpickle = pytest.importorskip("cloudpickle")
    module = types.ModuleType("nowhere_else")
    exec("def twice(work, arg): return 2 * work.payload", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    cloudpickle.register_pickle_by_value(module)
    with queue_on(cluster, module.twice) as queue:
        monkeypatch.delitem(sys.modules, module.__name__)
        assert queue.submit(4).result(LIMIT) == 8


def test_what_a_scheduler_has_lost_for_good_can_be_given_up(reports: list[Any]) -> None:
    """The queue could not be ended otherwise."""
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as small:
        client = distributed.Client(small, set_as_default=False)
        cluster = Cluster(client)
        gate = threading.Event()
        gates["given up"] = gate
        with opened(gate):
            queue = WorkQueue[Any, Any]("lost", pass_gate, "given up", backend=cluster, max_active=2)
            futures = [queue.submit(number) for number in range(4)]
            until(lambda: len(queue.group.in_flight) == 2)
            client.close()
            until(lambda: not cluster.ready())
            until(lambda: cluster.give_up() == 2)
            for future in futures[:2]:
                with pytest.raises(BackendDown, match="is lost"):
                    future.result(LIMIT)
            assert queue.cancel_pending() == 2
            queue.close(LIMIT)
