"""task9 against a sequential model: a queue that is held at a gate, and what must run when it is let go (TK-1 on)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from task9 import DelayedTask, QueueClosed, Task, TaskQueue
from threadpool9 import UsageError

LIMIT = 30.0
FAR = 36000.0
TASKS = 5


class Queue(RuleBasedStateMachine):
    """One private queue and its tasks, all but the first delayed ones; the model is a list of what is pending."""

    @initialize(concurrency=st.sampled_from([1, 2]))
    def begin(self, concurrency: int) -> None:
        """A queue whose executors all wait at the gate, if it is held."""
        self.concurrency = concurrency
        self.queue = TaskQueue("model", concurrency=concurrency)
        self.other = TaskQueue("other")
        self.ran: list[int] = []
        self.expected: list[int] = []
        self.pending: list[int] = []
        self.armed: set[int] = set()
        self.held: threading.Semaphore | None = None
        self.tasks = [self._make(number) for number in range(TASKS)]

    def _make(self, number: int) -> Any:
        return DelayedTask(self._run) if number else Task(self._run)

    def _run(self, task: Any) -> None:
        self.ran.append(self.tasks.index(task))

    @precondition(lambda self: self.held is None)
    @rule()
    def hold(self) -> None:
        """All executors wait inside a task."""
        gate, entered = threading.Semaphore(0), threading.Semaphore(0)
        for _ in range(self.concurrency):
            self.queue.schedule(Task(lambda task: (entered.release(), gate.acquire())))
            assert entered.acquire(timeout=LIMIT)
        self.held = gate

    @precondition(lambda self: self.held is not None)
    @rule()
    def let_go(self) -> None:
        """What is pending runs, in order; drain returns when it has."""
        assert self.held is not None
        self.held.release(self.concurrency)
        self.held = None
        self.queue.drain(LIMIT)
        self._all_ran()

    def _all_ran(self) -> None:
        self.expected += self.pending
        self.pending.clear()
        if self.concurrency == 1:
            assert self.ran == self.expected
        assert sorted(self.ran) == sorted(self.expected)

    @rule(number=st.integers(0, TASKS - 1), delayed=st.booleans())
    def schedule(self, number: int, delayed: bool) -> None:
        """TK-1, TK-2: new, or coalesced."""
        task = self.tasks[number]

        def call() -> bool:
            if delayed and number:
                return task.schedule(FAR, queue=self.queue)
            return self.queue.schedule(task)

        new = call()
        assert new is (number not in self.pending and number not in self.armed)
        if new and delayed and number:
            self.armed.add(number)
        elif new:
            self.pending.append(number)
            if self.held is None:
                self.queue.drain(LIMIT)
                self._all_ran()

    @rule(number=st.integers(1, TASKS - 1), now=st.booleans())
    def reschedule(self, number: int, now: bool) -> None:
        """TK-11: moves it and says whether it was pending."""
        task = self.tasks[number]
        was = task.reschedule(0 if now else FAR, queue=self.queue)
        assert was is (number in self.pending or number in self.armed)
        if number in self.pending:
            self.pending.remove(number)
        self.armed.discard(number)
        if now:
            self.pending.append(number)
            if self.held is None:
                self.queue.drain(LIMIT)
                self._all_ran()
        else:
            self.armed.add(number)

    @precondition(lambda self: self.held is None)
    @rule(numbers=st.lists(st.integers(0, TASKS - 1), min_size=2, max_size=5, unique=True))
    def burst(self, numbers: list[int]) -> None:
        """TK-5: several that wait together run in the order in which they were scheduled."""
        self.hold()
        for number in numbers:
            self.schedule(number, False)
        self.let_go()

    @rule(number=st.integers(0, TASKS - 1))
    def schedule_elsewhere(self, number: int) -> None:
        """TK-10: what is pending here is refused there."""
        if number in self.pending or number in self.armed:
            with pytest.raises(UsageError):
                self.other.schedule(self.tasks[number])

    @rule(number=st.integers(0, TASKS - 1), wait=st.booleans())
    def cancel(self, number: int, wait: bool) -> None:
        """TK-6: nothing here runs at this moment, so both withdraw and say True."""
        task = self.tasks[number]
        assert (task.cancel(timeout=LIMIT) if wait else task.cancel_async()) is True
        if number in self.pending:
            self.pending.remove(number)
        self.armed.discard(number)

    @rule(number=st.integers(0, TASKS - 1))
    def destroy(self, number: int) -> None:
        """TK-10: of an idle one only; what is dead takes nothing any more. Another one comes in its place."""
        task = self.tasks[number]
        if number in self.pending or number in self.armed:
            with pytest.raises(UsageError):
                task.destroy()
            return
        task.destroy()
        for refused in (task.destroy, task.cancel_async, lambda: self.queue.schedule(task)):
            with pytest.raises(UsageError):
                refused()
        self.ran = [-1 if ran == number else ran for ran in self.ran]
        self.expected = [-1 if ran == number else ran for ran in self.expected]
        self.tasks[number] = self._make(number)

    @precondition(lambda self: self.held is None)
    @rule()
    def close(self) -> None:
        """TK-16: says what was armed, and refuses from then on; a second close does nothing. Another queue follows."""
        cancelled = self.queue.close(LIMIT)
        assert {self.tasks.index(task) for task in cancelled} == self.armed
        self.armed.clear()
        assert not self.queue.close(LIMIT)
        with pytest.raises(QueueClosed):
            self.queue.schedule(self.tasks[0])
        self.queue = TaskQueue("model", concurrency=self.concurrency)

    @invariant()
    def states_agree(self) -> None:
        """pending and armed as in the model."""
        if not hasattr(self, "tasks"):
            return
        for number, task in enumerate(self.tasks):
            assert task.pending is (number in self.pending or number in self.armed)
            assert getattr(task, "armed", False) is (number in self.armed)
            assert not task.running

    def teardown(self) -> None:
        """Everything is let go and closed."""
        if hasattr(self, "queue"):
            if self.held is not None:
                self.held.release(self.concurrency)
            self.queue.close(LIMIT)
            self.other.close(LIMIT)


TestQueue = Queue.TestCase
TestQueue.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
