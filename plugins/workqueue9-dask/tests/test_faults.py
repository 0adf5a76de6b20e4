"""Faults (WQ-15): what dies, leaves, or stalls is a process of its own, and nothing of the queue's is lost."""

# ruff: noqa: E402  # what needs Dask comes after the question whether it is there
from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

distributed = pytest.importorskip("distributed", reason="distributed is not installed here")

import works
from grid import LIMIT, Grid, queue_on, until

from threadpool9 import UsageError, WaitTimeout
from workqueue9 import KeyedWork, Work
from workqueue9_dask import Cluster

pytestmark = [pytest.mark.once, pytest.mark.long]


class Place:
    """Where the works leave their lines, and the file that keeps them waiting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.wait = path / "wait"

    def runs(self, payload: Any) -> list[int]:
        """The processes in which it ran."""
        file = self.path / f"run-{payload}"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A directory for the works."""
    return Place(tmp_path / "works")


def worker_of(grid: Grid, pid: int) -> str:
    """The name of the worker that is process `pid`."""
    return next(name for name, process in grid.processes.items() if process.pid == pid)


def test_a_worker_dies_in_mid_work(grid: Grid, client: Any, place: Place) -> None:
    """Nothing is lost; the rerun is counted."""
    grid.start_workers(2, client)
    place.wait.touch()
    cluster = Cluster(client)
    with queue_on(cluster, works.note, str(place.path), max_active=2) as queue:
        futures = [queue.submit(number) for number in range(6)]
        until(lambda: place.runs(0) and place.runs(1))
        until(lambda: all(call.where for call in queue.group.in_flight))  # type: ignore[attr-defined]  # a RemoteGroup
        victim = place.runs(0)[0]
        grid.kill(worker_of(grid, victim))
        until(lambda: client.nthreads().__len__() == 1)
        place.wait.unlink()
        results = [future.result(LIMIT) for future in futures]
        assert [number for number, _ in results] == list(range(6))
        assert results[0][1] != victim
        assert len(place.runs(0)) == 2
        assert sum(len(place.runs(number)) for number in range(6)) == 7
        assert queue.stats().reruns == 1


def test_all_workers_die(grid: Grid, client: Any, place: Place, reports: list[Any]) -> None:
    """The queue waits, which is reported once, and goes on when a worker comes."""
    names = grid.start_workers(2, client)
    place.wait.touch()
    cluster = Cluster(client)
    with queue_on(cluster, works.note, str(place.path), max_active=4) as queue:
        futures = [queue.submit(number) for number in range(8)]
        until(lambda: place.runs(0) and place.runs(1))
        for name in names:
            grid.kill(name)
        until(lambda: reports)
        place.wait.unlink()
        with pytest.raises(WaitTimeout):
            queue.drain(0.1)
        grid.start_workers(1, client)
        assert [future.result(LIMIT)[0] for future in futures] == list(range(8))
        (report,) = reports
        assert f"there is no worker at the Dask scheduler {grid.address}" in str(report.exc_value)


def test_the_scheduler_dies(grid: Grid, client: Any, place: Place, reports: list[Any]) -> None:
    """What was under way and what waits is kept, in order; `reconnect` goes on, at another address if need be."""
    grid.start_workers(1, client)
    place.wait.touch()
    cluster = Cluster(client)
    queue = queue_on(cluster, works.note, str(place.path), max_active=2)
    futures = [queue.submit(number) for number in range(5)]
    until(lambda: place.runs(0))
    former = grid.address
    grid.kill("scheduler")
    until(lambda: reports)
    assert f"the Dask scheduler at {former} is lost; 2 works that were under way are kept" in str(reports[0].exc_value)
    assert not cluster.ready()
    later = Work("cancelled")
    queue.enqueue(later)
    assert queue.cancel(later), "it was not sent"
    with pytest.raises(WaitTimeout):
        queue.drain(0.1)
    # A queue that has to send is halted, and says so.
    other = queue_on(cluster, works.note, str(place.path), name="other")
    kept = other.submit("kept")
    until(lambda: len(reports) == 2)
    assert "queue 'other' keeps its works until Cluster.reconnect()" in str(reports[1].exc_value)
    assert not kept.running()
    with pytest.raises(Exception, match=r"no Dask scheduler answers|the Dask client is"):
        cluster.reconnect()
    place.wait.unlink()
    grid.address = grid.start_scheduler(0)
    grid.start_worker()
    assert cluster.reconnect(grid.address) == 2
    assert [future.result(LIMIT)[0] for future in futures] == list(range(5))
    assert kept.result(LIMIT)[0] == "kept"
    queue.close(LIMIT)
    other.close(LIMIT)
    assert all("there is no worker" in str(report.exc_value) for report in reports[2:]), "the worker came late"
    assert cluster.reconnect() == 0
    cluster.close_client()


def test_the_scheduler_comes_back_at_its_address(grid: Grid, client: Any, place: Place, reports: list[Any]) -> None:
    """Dask's client finds it by itself; the queue waits for `reconnect` all the same."""
    grid.start_workers(1, client)
    cluster = Cluster(client)
    with queue_on(cluster, works.note, str(place.path), max_active=2) as queue:
        place.wait.touch()
        futures = [queue.submit(number) for number in range(3)]
        until(lambda: place.runs(0))
        grid.kill("scheduler")
        until(lambda: reports)
        place.wait.unlink()
        assert grid.start_scheduler(int(grid.address.rpartition(":")[2])) == grid.address
        grid.start_worker()
        until(lambda: client.status == "running")
        assert not cluster.ready()
        assert cluster.reconnect() == 2
        assert [future.result(LIMIT)[0] for future in futures] == list(range(3))
        assert cluster.ready()


def test_a_worker_stalls(grid: Grid, client: Any, place: Place, reports: list[Any]) -> None:
    """Stopped and continued: its works end late, and once."""
    (name,) = grid.start_workers(1, client)
    cluster = Cluster(client)
    place.wait.touch()
    with queue_on(cluster, works.note, str(place.path), max_active=2) as queue:
        futures = [queue.submit(number) for number in range(4)]
        until(lambda: place.runs(0))
        grid.kill(name, signal.SIGSTOP)
        place.wait.unlink()
        with pytest.raises(WaitTimeout):
            queue.drain(1.0)
        grid.kill(name, signal.SIGCONT)
        assert [future.result(LIMIT)[0] for future in futures] == list(range(4))
        assert [len(place.runs(number)) for number in range(4)] == [1] * 4
        assert queue.stats().reruns == 0
    assert not reports


def test_a_worker_that_stalls_for_too_long(tmp_path: Path, place: Place) -> None:
    """Dask gives it up and runs its work elsewhere; when it goes on, that changes nothing."""
    grid = Grid(tmp_path, scheduler__worker_ttl="2s")
    try:
        with distributed.Client(grid.address, set_as_default=False) as client:
            grid.start_workers(2, client)
            cluster = Cluster(client)
            place.wait.touch()
            with queue_on(cluster, works.note, str(place.path), max_active=1) as queue:
                futures = [queue.submit(number) for number in range(3)]
                until(lambda: place.runs(0))
                until(lambda: all(call.where for call in queue.group.in_flight))  # type: ignore[attr-defined]
                victim = worker_of(grid, place.runs(0)[0])
                grid.kill(victim, signal.SIGSTOP)
                until(lambda: len(place.runs(0)) == 2)
                place.wait.unlink()
                assert [future.result(LIMIT)[0] for future in futures] == list(range(3))
                grid.kill(victim, signal.SIGCONT)
                assert queue.submit("after").result(LIMIT)[0] == "after"
                assert queue.stats().reruns == 1
                assert queue.stats().completed == 4
    finally:
        grid.close()


def test_a_worker_leaves_politely(grid: Grid, client: Any, place: Place) -> None:
    """`retire_workers` with works in the middle of it: each completes, and is accounted for."""
    grid.start_workers(2, client)
    cluster = Cluster(client)
    with queue_on(cluster, works.short, 0.02, max_active=8) as queue:
        futures = [queue.submit(number) for number in range(100)]
        futures[10].result(LIMIT)
        client.retire_workers(workers=[next(iter(client.nthreads()))])
        assert [future.result(LIMIT) for future in futures] == list(range(100))
        queue.drain(LIMIT)
        assert queue.stats().completed == 100


def test_a_work_that_kills_workers(tmp_path: Path, reports: list[Any]) -> None:
    """Dask gives up after `allowed-failures`; the error says what that means, and the queue goes on."""
    grid = Grid(tmp_path, scheduler__allowed_failures=1)
    try:
        with distributed.Client(grid.address, set_as_default=False) as client:
            grid.start_workers(2, client)
            with queue_on(Cluster(client), works.die) as queue:
                with pytest.raises(Exception, match="all those workers died") as info:
                    queue.submit("poison").result(LIMIT)
                assert type(info.value).__name__ == "KilledWorker"
                notes = "\n".join(info.value.__notes__)
                assert "<Submitted 'poison'" in notes
                assert "of queue 'far'" in notes
                assert "it may be what kills them" in notes
                assert queue.stats().reruns == 1
    finally:
        grid.close()


def test_a_key_survives_the_worker_that_completed_it(grid: Grid, client: Any, place: Place) -> None:
    """The worker dies after the end, before Dask knows of it: the second run finds the result at the scheduler."""
    grid.start_workers(2, client)
    cluster = Cluster(client)

    def complete_and_die(work: Any, path: str) -> Any:
        from pathlib import Path

        with (Path(path) / "run-once").open("a") as lines:
            lines.write(f"{os.getpid()}\n")
        return os.getpid()

    def kill_at_the_end(pid_of_client: int) -> None:
        """At each worker: the next end of a keyed work is remembered, and then the worker dies."""
        import distributed.utils

        plain = distributed.utils.sync

        def sync(loop: Any, func: Any, **kwargs: Any) -> Any:
            result = plain(loop, func, **kwargs)
            if "result" in kwargs:
                os._exit(1)
            return result

        distributed.utils.sync = sync

    client.run(kill_at_the_end, os.getpid())
    with queue_on(cluster, complete_and_die, str(place.path)) as queue:
        queue.enqueue(KeyedWork("payload", key="order-1"))
        future = queue.submit("behind it", timeout=LIMIT)
        assert future.result(LIMIT)
        queue.drain(LIMIT)
        assert len(place.runs("once")) == 2, "the keyed one once, the other one once"
        assert queue.stats().reruns == 1


def test_a_forked_child(grid: Grid, client: Any, place: Place) -> None:
    """Has an error that says what to do; the parent's works go on."""
    grid.start_workers(1, client)
    cluster = Cluster(client)
    place.wait.touch()
    with queue_on(cluster, works.note, str(place.path)) as queue:
        future = queue.submit("parent")
        until(lambda: place.runs("parent"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        if child == 0:
            status = 1
            try:
                for use in (
                    lambda: queue.enqueue(Work(1)),
                    lambda: queue_on(cluster, works.note),
                    lambda: cluster.reconnect(),
                ):
                    with pytest.raises(UsageError, match="was forked from it: make a Cluster and its queues here"):
                        use()
                status = 0 if not cluster.ready() else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        place.wait.unlink()
        assert future.result(LIMIT)[0] == "parent"


PROGRAM = """
    import sys
    from pathlib import Path

    import threadpool9, works
    from workqueue9 import Work, WorkQueue
    from workqueue9_dask import Cluster

    address, place, policy = sys.argv[1:]
    threadpool9.tunables.exit_policy = policy if policy.isalpha() else float(policy)
    queue = WorkQueue("far", works.note, place, max_active=2, backend=Cluster(address))
    for number in range(6):
        queue.enqueue(Work(number))
    while len(list(Path(place).glob("run-*"))) < 2:
        pass
    print("end of main")
"""


@pytest.mark.parametrize(("policy", "completed"), [("drain", 6), ("cancel", 2), ("0.5", 2)])
def test_exit_with_works_in_the_cluster(grid: Grid, client: Any, place: Place, policy: str, completed: int) -> None:
    """As the policy says: all of them are waited for, or what was sent, or for so long."""
    grid.start_workers(2, client)
    place.wait.touch()
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), grid.address, str(place.path), policy],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    grid.processes["program"] = program
    assert program.stdout is not None
    assert program.stdout.readline() == "end of main\n"
    if policy == "0.5":
        _, errors = program.communicate(timeout=LIMIT)
        assert place.wait.exists(), "it did not wait for what was in the cluster"
    else:
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.5)
        place.wait.unlink()
        _, errors = program.communicate(timeout=LIMIT)
    assert program.returncode == 0, errors
    assert "Traceback" not in errors
    assert sum(bool(place.runs(number)) for number in range(6)) == completed


def storm(grid: Grid, client: Any, works_count: int, seconds: float) -> str:
    """Works of some milliseconds on four workers, of which one is killed every `seconds`, and replaced."""
    grid.start_workers(4, client)
    cluster = Cluster(client)
    ended: list[Any] = []
    over = threading.Event()
    kills = 0

    def workers() -> list[str]:
        """Who is known to the scheduler, and not killed already."""
        known = [str(info["name"]) for info in client.scheduler_info(n_workers=-1)["workers"].values()]
        return [name for name in known if name in grid.processes]

    def kill() -> None:
        nonlocal kills
        while not over.wait(seconds):
            # A new worker takes seconds to start where there are few CPUs; two that work are left alone.
            if len(alive := workers()) > 2:
                grid.kill(random.choice(alive))
                kills += 1
                grid.start_worker()

    killer = threading.Thread(target=kill)
    errors: list[Any] = []
    queue = queue_on(
        cluster, works.short, 0.02, max_active=16, on_error=lambda error, work: errors.append((error, work))
    )
    killer.start()
    began = time.monotonic()
    try:
        for number in range(works_count):
            queue.submit(number, timeout=LIMIT).add_done_callback(lambda future: ended.append(future))
        queue.drain(LIMIT + works_count)
    finally:
        over.set()
        killer.join()
    stats = queue.stats()
    results = [future.result(0) for future in ended if future.exception(0) is None]
    given_up = [error for future in ended if (error := future.exception(0)) is not None]
    assert (stats.enqueued, stats.started, stats.completed) == (works_count,) * 3
    assert len(ended) == works_count
    # Dask blames a death on all that was at the worker: the few that were beside four of them are errors, by name.
    assert all(type(error).__name__ == "KilledWorker" for error in given_up), given_up
    assert len(set(results)) == len(results), "one for another"
    assert len(results) + len(given_up) == works_count
    assert not errors
    queue.close(LIMIT)
    return (
        f"{works_count} works in {time.monotonic() - began:.1f} s, {kills} workers killed, {stats.reruns} reruns "
        f"counted, {len(given_up)} given up by Dask"
    )


@pytest.mark.parametrize("works_count", [1000, pytest.param(10_000, marks=pytest.mark.thorough)])
def test_works_with_a_worker_killed_every_second(grid: Grid, client: Any, works_count: int) -> None:
    """Each completes at least once, and is reported once."""
    print(storm(grid, client, works_count, 1.0))
