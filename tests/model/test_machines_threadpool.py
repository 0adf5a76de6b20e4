"""threadpool9 against a sequential model: references of pools, and the states of jobs (TP-1, TP-2, TP-20 to TP-27)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import threadpool9
from threadpool9 import Job, UsageError

LIMIT = 30.0
PRIORITIES = st.sampled_from([0, 5, 63])  # not -1: the timer keeps a reference to that one


class References(RuleBasedStateMachine):
    """get and put of both kinds: one object while anybody holds it, a fresh one after the last put, an error beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, int], list[Any]] = {}
        self.gone: list[Any] = []

    def _get(self, kind: str, pri: int) -> None:
        fresh = threadpool9.get(pri) if kind == "unbound" else threadpool9.percpu_get(pri)
        held = self.held.setdefault((kind, pri), [])
        assert all(fresh is other for other in held)
        assert all(fresh is not other for other in self.gone)
        held.append(fresh)

    @rule(pri=PRIORITIES)
    def get(self, pri: int) -> None:
        """TP-1."""
        self._get("unbound", pri)

    @rule(pri=PRIORITIES)
    def percpu_get(self, pri: int) -> None:
        """TP-1 for the per-CPU kind; a member of it can't be put."""
        self._get("percpu", pri)
        [percpu] = set(self.held["percpu", pri])
        for cpu in percpu.cpus:
            assert percpu.ref_remote(cpu).cpu == cpu
            with pytest.raises(UsageError):
                percpu.ref_remote(cpu).put()

    @rule(data=st.data(), kind=st.sampled_from(["unbound", "percpu"]))
    def put(self, data: Any, kind: str) -> None:
        """TP-9: the last put ends it; one more is an error."""
        able = sorted(pri for (k, pri), held in self.held.items() if k == kind and held)
        if not able:
            return
        held = self.held[kind, data.draw(st.sampled_from(able))]
        pool = held.pop()
        pool.put()
        if not held:
            self.gone.append(pool)
            with pytest.raises(UsageError):
                pool.put()

    @rule(pri=st.sampled_from([-2, 224, True, 1.0, "0", None]), kind=st.sampled_from(["get", "percpu_get"]))
    def bad_priority(self, pri: Any, kind: str) -> None:
        """TP-2."""
        with pytest.raises((TypeError, ValueError)):
            getattr(threadpool9, kind)(pri)

    @invariant()
    def snapshot_agrees(self) -> None:
        """TP-34: the references that the snapshot tells are those of the model."""
        records = threadpool9.snapshot().pools
        for (kind, pri), held in self.held.items():
            told = {r.references for r in records if r.pri == pri and (r.cpu is None) == (kind == "unbound")}
            assert len(held) in told if held else not told & {1, 2, 3}, (kind, pri, held, told)

    def teardown(self) -> None:
        """Give everything back."""
        for held in self.held.values():
            for pool in held:
                pool.put()


class Gated:
    """A job whose function waits at a gate, and what the model knows of it."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.gate = threading.Semaphore(0)
        self.over = threading.Event()
        self.runs = 0
        self.running = False
        self.posted = False
        self.job = Job(self._run)

    def _run(self, job: Job) -> None:
        self.runs += 1
        self.entered.set()
        self.gate.acquire()
        with job.interlock:
            job.done()
        self.over.set()


NUMBERS = st.integers(0, 1)


class Jobs(RuleBasedStateMachine):
    """schedule, post, cancel, destroy in any order on jobs that are idle or running, against what the clauses say."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = threadpool9.get(7)
        self.wrong = threadpool9.get(8)
        self.all = [Gated(), Gated()]
        self.runs = self.expected_runs = 0

    @rule(number=NUMBERS, how=st.sampled_from(["schedule", "post"]))
    def schedule(self, number: int, how: str) -> None:
        """TP-21, TP-28."""
        gated = self.all[number]
        job = gated.job
        with job.interlock:
            new = getattr(self.pool, how)(job)
        assert new is not gated.running
        if new:
            gated.running = True
            self.expected_runs += 1
            assert gated.entered.wait(LIMIT)
        elif how == "post" and not gated.posted:
            gated.posted = True

    @rule(number=NUMBERS)
    def schedule_without_the_interlock(self, number: int) -> None:
        """TP-20: an error that changes nothing."""
        gated = self.all[number]
        with pytest.raises(UsageError):
            self.pool.schedule(gated.job)

    @rule(number=NUMBERS)
    def let_it_finish(self, number: int) -> None:
        """done(): idle again, or running again if a post had come."""
        gated = self.all[number]
        if not gated.running:
            return
        gated.entered.clear()
        gated.over.clear()
        gated.gate.release()
        assert gated.over.wait(LIMIT)
        if gated.posted:
            self.expected_runs += 1
            gated.posted = False
            assert gated.entered.wait(LIMIT)
        else:
            gated.running = False

    @rule(number=NUMBERS)
    def cancel_async(self, number: int) -> None:
        """TP-25: True exactly if the function was not entered; withdraws a post that waits for done()."""
        gated = self.all[number]
        with gated.job.interlock:
            assert self.pool.cancel_async(gated.job) is not gated.running
        gated.posted = False

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        """TP-26: waits for a run under way."""
        gated = self.all[number]
        with gated.job.interlock:
            if gated.running:
                with pytest.raises(threadpool9.WaitTimeout):
                    self.pool.cancel(gated.job, timeout=0)
                gated.gate.release()
                assert self.pool.cancel(gated.job, timeout=LIMIT) is False
                gated.running = gated.posted = False
                gated.entered.clear()
            else:
                assert self.pool.cancel(gated.job) is True

    @rule(number=NUMBERS)
    def cancel_on_another_pool(self, number: int) -> None:
        """TP-27: an error if it is scheduled, and nothing changes."""
        gated = self.all[number]
        if gated.running:
            with gated.job.interlock, pytest.raises(UsageError):
                self.wrong.cancel_async(gated.job)

    @rule(number=NUMBERS)
    def done_by_a_stranger(self, number: int) -> None:
        """TP-23."""
        gated = self.all[number]
        with gated.job.interlock, pytest.raises(UsageError):
            gated.job.done()

    @rule(number=NUMBERS)
    def destroy(self, number: int) -> None:
        """TP-27: for idle jobs only, once; what is dead takes nothing any more. Another one comes in its place."""
        gated = self.all[number]
        if gated.running:
            with pytest.raises(UsageError):
                gated.job.destroy()
            return
        gated.job.destroy()
        for refused in (
            gated.job.destroy,
            lambda: self.pool.post(gated.job),
            lambda: self.pool.cancel_async(gated.job),
        ):
            with gated.job.interlock, pytest.raises(UsageError):
                refused()
        self.runs += gated.runs
        self.all[number] = Gated()

    @invariant()
    def runs_agree(self) -> None:
        """Not one run too many or too few."""
        assert self.runs + sum(gated.runs for gated in self.all) == self.expected_runs

    def teardown(self) -> None:
        """Open every gate; the last put waits for all."""
        for gated in self.all:
            gated.posted = False
            with gated.job.interlock:
                self.pool.cancel_async(gated.job)
            gated.gate.release(2)
        self.pool.put(LIMIT)
        self.wrong.put(LIMIT)


SETTINGS = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
TestReferences = References.TestCase
TestReferences.settings = SETTINGS
TestJobs = Jobs.TestCase
TestJobs.settings = SETTINGS
