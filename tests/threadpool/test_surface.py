"""Names, tunables, hooks and probes: the edges of the layer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from pace import patience

import threadpool9
from conformance9.suite.tools import wait_until
from threadpool9 import CPU, ErrorReport, Job, Scheduling, TunableError, hookimpl
from threadpool9._probes import probes

LIMIT = patience(10.0)


def test_every_public_name_exists_and_is_documented() -> None:
    """Everything in __all__ is there; classes and functions have docstrings."""
    for name in threadpool9.__all__:
        thing = getattr(threadpool9, name)
        assert not callable(thing) or thing.__doc__, name


@pytest.mark.parametrize(
    ("name", "value"),
    [("idle_ms", 0), ("idle_ms", float("nan")), ("idle_ms", "soon"), ("idle_ms", True), ("job_names", 2),
     ("exit_policy", "hang"), ("exit_policy", -1), ("stall_ms", -1)],
)  # fmt: skip
def test_a_bad_tunable_is_refused_and_changes_nothing(name: str, value: object) -> None:
    """The error names the tunable and what it takes."""
    before = getattr(threadpool9.tunables, name)
    with pytest.raises(TunableError, match=f"tunable {name} takes"):
        setattr(threadpool9.tunables, name, value)
    assert getattr(threadpool9.tunables, name) == before
    with pytest.raises(AttributeError, match="idle_ms"):
        threadpool9.tunables.idle_sm = 1  # type: ignore[attr-defined]  # the mistake under test


def test_a_bad_environment_value_warns_and_leaves_the_default() -> None:
    """A bad THREADPOOL9_IDLE_MS does not stop the program."""
    run = subprocess.run(
        [sys.executable, "-c", "import threadpool9; print(threadpool9.tunables.idle_ms)"],
        env={"PYTHONPATH": ":".join(sys.path), "THREADPOOL9_IDLE_MS": "soon"},
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert run.stdout.strip() == "30000.0"
    assert "THREADPOOL9_IDLE_MS" in run.stderr


@pytest.mark.alone
def test_hk4_a_listener_takes_errors_and_a_raising_one_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """HK-4, TP-30: the error hook gets the exception and the job; the worker lives on whatever the hook does."""
    reports: list[ErrorReport] = []
    second: list[object] = []
    monkeypatch.setattr(threading, "excepthook", second.append)

    class Listener:
        @hookimpl
        def threadpool9_error(self, error: ErrorReport) -> bool:
            reports.append(error)
            if len(reports) == 2:
                raise LookupError("the listener is broken")
            return True

    listener = Listener()
    threadpool9.register(listener)
    try:
        with threadpool9.get() as pool:
            for number in range(3):
                over = threading.Event()

                def fn(job: Job, over: threading.Event = over) -> None:
                    over.set()
                    raise ValueError("on purpose")

                job = Job(fn, name=f"bad {number}")
                pool.post(job)
                assert over.wait(LIMIT)
                with job.interlock:
                    pool.cancel(job, LIMIT)
    finally:
        threadpool9.unregister(listener)
    assert [report.exc_type for report in reports] == [ValueError] * 3
    assert isinstance(reports[0].origin, Job)
    assert len(second) == 2, "the broken listener's error and the one that it did not take"


def test_hk2_a_priority_map_is_asked_and_nonsense_is_refused() -> None:
    """HK-2: the first answer counts; an answer that no OS knows is an error that says so."""

    class Map:
        answer: object = Scheduling("other", nice=3)

        @hookimpl
        def threadpool9_map_priority(self, pri: int) -> object:
            return self.answer

    plugin = Map()
    threadpool9.register(plugin)
    try:
        with threadpool9.get(77):
            (record,) = (r for r in threadpool9.snapshot().pools if r.pri == 77)
            assert record.policy == "nice 3"
        plugin.answer = Scheduling("other", nice=99)
        with pytest.raises(ValueError, match=r"nice -20\.\.19"):
            threadpool9.get(78)
    finally:
        threadpool9.unregister(plugin)


def test_hk1_topology_is_asked_and_checked() -> None:
    """HK-1: a hook's CPUs are taken; none, or one twice, is an error."""

    class Machine:
        cpus: tuple[CPU, ...] = (CPU(0, core=0), CPU(5, core=2))

        @hookimpl
        def threadpool9_topology(self) -> tuple[CPU, ...]:
            return self.cpus

    plugin = Machine()
    assert threadpool9.topology()
    threadpool9.register(plugin)
    try:
        assert [cpu.cpu for cpu in threadpool9.topology()] == [0, 5]
        for bad in ((), (CPU(1), CPU(1))):
            plugin.cpus = bad
            with pytest.raises(ValueError, match="threadpool9_topology of plugin"):
                threadpool9.topology()
    finally:
        threadpool9.unregister(plugin)


def test_hk5_probe_slots_are_where_netbsd_has_probes(
    on_pool: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HK-5: 29 probes under NetBSD's names, with as many arguments as declared."""
    ours = {"thread__job__done", "thread__job__error", "cancel__job", "bind__lost", "bind__restored"}
    assert len(probes.arguments.keys() - ours) == 29
    fired: dict[str, int] = {}
    for name, arguments in probes.arguments.items():

        def listener(*args: object, name: str = name, count: int = len(arguments)) -> None:
            assert len(args) == count, name
            fired[name] = fired.get(name, 0) + 1

        monkeypatch.setattr(probes, name, listener)
    with threadpool9.get(90) as pool:
        on_pool(pool, lambda: None)
        on_pool(pool, lambda: None)
    expected = """get get__create create create__success schedule__job dispatcher__spawn thread__start thread__job
        thread__job__done put put__destroy destroy thread__exit"""
    for name in expected.split():
        assert name in fired, name
    assert fired["thread__job"] == fired["thread__job__done"] == 2


def test_tp34_a_job_that_runs_is_started_and_not_completed() -> None:
    """Four started, one of them under way: three are completed."""
    over, inside, go = threading.Semaphore(0), threading.Event(), threading.Event()

    def fn(job: Job) -> None:
        if job.name == "stays":
            inside.set()
            assert go.wait(LIMIT)
        with job.interlock:
            job.done()
        over.release()

    def completed() -> int:
        (record,) = [record for record in threadpool9.snapshot().pools if record.pri == 123]
        return record.counters.completed

    with threadpool9.get(123) as pool:
        for name in ("a", "b", "c", "stays"):
            pool.post(Job(fn, name=name))
        for _ in range(3):
            assert over.acquire(timeout=LIMIT)
        assert inside.wait(LIMIT)
        assert wait_until(lambda: completed() == 3)  # their functions have yet to return
        (record,) = [record for record in threadpool9.snapshot().pools if record.pri == 123]
        go.set()
    assert (record.counters.scheduled, record.counters.started, record.counters.completed) == (4, 4, 3)
