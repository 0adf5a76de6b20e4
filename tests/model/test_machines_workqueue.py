"""workqueue9 against a sequential model: enqueue, cancel, flush, freeze, disable, counters (WQ-1 to WQ-12)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from threadpool9 import UsageError
from workqueue9 import Full, Work, WorkPending, WorkQueue

LIMIT = 30.0
FAR = 36000.0
WORKS = 6


class Works(RuleBasedStateMachine):
    """One ordered queue, held at a gate or frozen or neither; the model is a list of what is pending."""

    @initialize(max_pending=st.sampled_from([None, 1, 2]))
    def begin(self, max_pending: int | None) -> None:
        """An idle queue and idle works."""
        self.max_pending = max_pending
        self.wq = WorkQueue("model", self._func, max_pending=max_pending)
        self.works = [Work(number) for number in range(WORKS)]
        self.ran: list[Any] = []
        self.expected: list[Any] = []
        self.pending: list[int] = []
        self.armed: set[int] = set()
        self.disabled = [0] * WORKS
        self.frozen = False
        self.held: threading.Semaphore | None = None
        self.enqueued = self.cancelled = 0

    def _func(self, work: Any, arg: Any) -> None:
        if callable(work.payload):
            work.payload()
        else:
            self.ran.append(work.payload)

    def _settle(self) -> None:
        """If nothing holds the queue, everything pending has run after a flush."""
        if self.held is None and not self.frozen:
            self.wq.flush(LIMIT)
            self.expected += self.pending
            self.pending.clear()
            assert self.ran == self.expected

    @precondition(lambda self: self.held is None and not self.frozen)
    @rule()
    def hold(self) -> None:
        """The function waits at a gate, in a work that takes no slot any more."""
        gate, entered = threading.Semaphore(0), threading.Event()
        self.gate = Work(lambda: (entered.set(), gate.acquire()))
        self.wq.enqueue(self.gate)
        self.enqueued += 1
        assert entered.wait(LIMIT)
        self.held = gate

    @precondition(lambda self: self.held is not None)
    @rule()
    def let_go(self) -> None:
        """What is pending runs, unless frozen."""
        assert self.held is not None
        self.held.release()
        self.held = None
        self.wq.wait(self.gate, LIMIT)
        self._settle()

    @rule(number=st.integers(0, WORKS - 1))
    def enqueue(self, number: int) -> None:
        """WQ-3, WQ-9, WQ-10: accepted, refused because disabled, pending or full."""
        work = self.works[number]
        if self.disabled[number]:
            assert self.wq.enqueue(work, block=False) is False
        elif number in self.pending or number in self.armed:
            with pytest.raises(WorkPending):
                self.wq.enqueue(work, block=False)
        elif self.max_pending is not None and len(self.pending) >= self.max_pending:
            with pytest.raises(Full):
                self.wq.enqueue(work, block=False)
        else:
            assert self.wq.enqueue(work, block=False) is True
            self.enqueued += 1
            self.pending.append(number)
            self._settle()

    @precondition(lambda self: len(self.armed) < WORKS // 2)
    @rule(number=st.integers(0, WORKS - 1))
    def enqueue_delayed(self, number: int) -> None:
        """WQ-7: takes no slot."""
        work = self.works[number]
        if self.disabled[number]:
            assert self.wq.enqueue_delayed(work, FAR) is False
        elif number in self.pending or number in self.armed:
            with pytest.raises(WorkPending):
                self.wq.enqueue_delayed(work, FAR)
        else:
            assert self.wq.enqueue_delayed(work, FAR) is True
            self.enqueued += 1
            self.armed.add(number)

    @precondition(lambda self: len(self.armed) < WORKS // 2)
    @rule(number=st.integers(0, WORKS - 1))
    def modify(self, number: int) -> None:
        """WQ-7: what is pending moves; what is not is armed, unless disabled."""
        was = number in self.pending or number in self.armed
        if not was and self.disabled[number]:
            assert self.wq.modify(self.works[number], FAR) is False
            return
        assert self.wq.modify(self.works[number], FAR) is was
        if number in self.pending:
            self.pending.remove(number)
        if not was:
            self.enqueued += 1
        self.armed.add(number)

    @rule(number=st.integers(0, WORKS - 1))
    def cancel(self, number: int) -> None:
        """WQ-5: True if it was withdrawn."""
        was = number in self.pending or number in self.armed
        assert self.wq.cancel(self.works[number], LIMIT) is was
        self._withdrawn(number, was)

    def _withdrawn(self, number: int, was: bool) -> None:
        if number in self.pending:
            self.pending.remove(number)
        self.armed.discard(number)
        self.cancelled += was

    @precondition(lambda self: sum(self.disabled) < 2)  # else soon nothing can be enqueued any more
    @rule(number=st.integers(0, WORKS - 1))
    def disable(self, number: int) -> None:
        """WQ-10: counted, cancels."""
        was = number in self.pending or number in self.armed
        assert self.wq.disable(self.works[number], LIMIT) is was
        self._withdrawn(number, was)
        self.disabled[number] += 1

    @rule(number=st.integers(0, WORKS - 1))
    def enable(self, number: int) -> None:
        """WQ-10: one too many is an error."""
        if not self.disabled[number]:
            with pytest.raises(UsageError):
                self.wq.enable(self.works[number])
        else:
            self.disabled[number] -= 1
            assert self.wq.enable(self.works[number]) is (self.disabled[number] == 0)

    @precondition(lambda self: not self.frozen)
    @rule()
    def freeze(self) -> None:
        """WQ-10: accepts and holds."""
        self.wq.freeze()
        self.frozen = True

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        """WQ-10: all that was held runs, in order."""
        self.wq.thaw()
        self.frozen = False
        self._settle()

    @precondition(lambda self: bool(self.pending))
    @rule()
    def destroy_too_early(self) -> None:
        """WQ-6: an error with works pending, which changes nothing."""
        with pytest.raises(UsageError):
            self.wq.destroy()

    @precondition(lambda self: self.held is None and not self.frozen)
    @rule(number=st.integers(0, WORKS - 1))
    def wait(self, number: int) -> None:
        """WQ-4: nothing is pending here but what is armed, so it returns at once."""
        if number not in self.armed:
            self.wq.wait(self.works[number], LIMIT)

    @invariant()
    def counters_agree(self) -> None:
        """WQ-12: when nothing but the gate is going on, the counters are exact."""
        if not hasattr(self, "wq"):
            return
        stats = self.wq.stats()
        running = self.held is not None
        waiting = len(self.pending) + len(self.armed)
        assert stats.enqueued == self.enqueued
        assert stats.pending == waiting
        assert stats.cancelled == self.cancelled
        assert stats.running == running
        assert stats.started == self.enqueued - self.cancelled - waiting
        assert stats.completed == stats.started - running

    def teardown(self) -> None:
        """Let everything go; destroy tells what was armed."""
        if not hasattr(self, "wq"):
            return
        if self.held is not None:
            self.held.release()
        self.wq.thaw()
        self.wq.drain(LIMIT)
        assert {work.payload for work in self.wq.destroy(LIMIT)} == self.armed


TestWorks = Works.TestCase
TestWorks.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
