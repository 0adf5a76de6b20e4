"""Bad input to the bottom layer: a clear error that changes nothing (TP-2, TP-8, TP-9, TP-20, TP-23, TP-27)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from pace import patience

import threadpool9
from threadpool9 import CPUError, Job, PriorityError, UsageError

LIMIT = patience(10.0)
MINE = 61  # a priority that nobody else in the process holds a reference to, so that our put is the last


def finish(job: Job) -> None:
    """A well-behaved function."""
    with job.interlock:
        job.done()


class Held:
    """A job that is running until it is let go."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.go = threading.Event()
        self.job = Job(self.run, name="held")

    def run(self, job: Job) -> None:
        """Wait, then finish."""
        self.started.set()
        assert self.go.wait(LIMIT)
        with job.interlock:
            job.done()


@pytest.mark.parametrize("getter", [threadpool9.get, threadpool9.percpu_get])
@pytest.mark.parametrize(
    ("pri", "error"),
    [(-2, PriorityError), (224, PriorityError), (3.0, TypeError), (True, TypeError), ("high", TypeError)],
)
def test_tp2_a_bad_priority_names_the_range(
    getter: Callable[[object], object], pri: object, error: type[Exception]
) -> None:
    """TP-2: ValueError or TypeError with the range in it, and no pool is made."""
    before = len(threadpool9.snapshot().pools)
    with pytest.raises(error, match=r"-1.*223"):
        getter(pri)
    assert len(threadpool9.snapshot().pools) == before
    assert issubclass(PriorityError, ValueError)


def test_tp8_a_cpu_that_may_not_be_used_is_an_error() -> None:
    """TP-8: the error names the CPUs that may be used."""
    with threadpool9.percpu_get() as percpu:
        for cpu in (99999, -1):
            with pytest.raises(CPUError, match="it may use"):
                percpu.ref_remote(cpu)
        with pytest.raises(TypeError):
            percpu.ref_remote("0")  # type: ignore[arg-type]  # the mistake under test
        assert set(percpu.cpus) == set(threadpool9.allowed_cpus())


@pytest.mark.parametrize("make", [threading.RLock, threading.Lock, threading.Condition])
def test_tp20_schedule_and_cancel_need_the_interlock(make: Callable[[], object]) -> None:
    """TP-20: checked for the locks that can tell."""
    job = Job(finish, make())
    with threadpool9.get(MINE) as pool:
        for call in (pool.schedule, pool.cancel_async, pool.cancel):
            with pytest.raises(UsageError, match="interlock"):
                call(job)
        assert threadpool9.snapshot().queued == ()


def test_tp23_done_is_for_the_job_itself_and_once() -> None:
    """TP-23: a stranger, an idle job and a second time are errors."""
    errors: list[BaseException] = []

    def twice(job: Job) -> None:
        with job.interlock:
            job.done()
            try:
                job.done()
            except UsageError as error:
                errors.append(error)

    held = Held()
    job = Job(twice)
    with threadpool9.get(MINE) as pool:
        with pytest.raises(UsageError, match="not running"), job.interlock:
            job.done()
        pool.post(job)
        pool.post(held.job)
        assert held.started.wait(LIMIT)
        with pytest.raises(UsageError, match="another thread"), held.job.interlock:
            held.job.done()
        held.go.set()
    assert len(errors) == 1


def test_tp24_never_done_is_reported_and_counts_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-24: the report names done(); the job is idle afterwards."""
    reports: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reports.append(args.exc_value))
    job = Job(lambda job: None, name="forgetful")
    with threadpool9.get(MINE) as pool:
        pool.post(job)
    job.destroy()
    assert "done()" in str(reports[0])


def test_tp27_the_wrong_pool_oneself_and_the_wrong_moment() -> None:
    """TP-27: cancel on another pool, self-cancel, destroy while queued or running, use after destroy."""
    held = Held()
    itself: list[BaseException] = []

    def cancel_me(job: Job) -> None:
        with job.interlock:
            try:
                pool.cancel(job)
            except UsageError as error:
                itself.append(error)
            job.done()

    with threadpool9.get(MINE) as pool, threadpool9.get(50) as other:
        pool.post(held.job)
        assert held.started.wait(LIMIT)
        with held.job.interlock, pytest.raises(UsageError, match="cancel it there"):
            other.cancel_async(held.job)
        with pytest.raises(UsageError, match="running"):
            held.job.destroy()
        with pytest.raises(UsageError, match="function"):
            held.job.fn = print
        with pytest.raises(UsageError, match="initialised already"):
            held.job.__init__(finish)  # type: ignore[misc]  # the mistake under test
        held.go.set()
        with held.job.interlock:
            pool.cancel(held.job, LIMIT)
        held.job.destroy()
        with held.job.interlock, pytest.raises(UsageError, match="destroyed"):
            pool.schedule(held.job)
        pool.post(Job(cancel_me))
    assert len(itself) == 1


def test_tp9_puts_that_are_wrong() -> None:
    """TP-9: one too many, a member of a per-CPU set, the last one from inside."""
    inside: list[BaseException] = []
    tried = threading.Event()

    def put_me(job: Job) -> None:
        try:
            pool.put()
        except UsageError as error:
            inside.append(error)
        with job.interlock:
            job.done()
        tried.set()

    pool = threadpool9.get(3)
    pool.post(Job(put_me))
    assert tried.wait(LIMIT)
    pool.put(LIMIT)
    assert "wait for itself" in str(inside[0])
    with pytest.raises(UsageError, match="one put"):
        pool.put()
    with pytest.raises(UsageError, match="last reference"):
        pool.post(Job(finish))
    percpu = threadpool9.percpu_get(3)
    with pytest.raises(UsageError, match="per-CPU"):
        percpu.ref().put()
    percpu.put(LIMIT)
    with pytest.raises(UsageError, match="one put"):
        percpu.put()


def test_a_subclass_may_not_redefine_equality() -> None:
    """Queues find jobs by identity, in interrupt context."""
    with pytest.raises(TypeError, match="eq=False"):
        type("Bad", (Job,), {"__eq__": lambda self, other: True})


@pytest.mark.parametrize("ending", ["put", "release"])
def test_a_member_of_a_set_names_the_way_out(ending: str) -> None:
    """TP-9: it has no references of its own, so one put too many is not what went wrong."""
    with threadpool9.percpu_get() as percpu:
        member = percpu.ref()
        with pytest.raises(threadpool9.UsageError, match="put\\(\\) the object that percpu_get\\(\\) gave"):
            getattr(member, ending)()
