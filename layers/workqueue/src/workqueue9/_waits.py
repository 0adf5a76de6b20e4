"""Waiting for works, cancelling them, and the end of a work queue (WQ-4 to WQ-6, WQ-10)."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from task9 import TaskQueue
from task9.lanes import FREEZE, drain_until_quiet
from threadpool9 import UsageError, WaitTimeout
from threadpool9.lowlevel import Blocking, RLock, Steps, Wait, run

from ._group import WorkGroup
from ._probes import probes
from ._work import Work

W = TypeVar("W", bound="Work[Any]")


class Waits(Generic[W]):
    """The half of a work queue that waits; `WorkQueue` is the other one."""

    name: str
    state: str
    group: WorkGroup
    _queue: TaskQueue

    def _check_work(self, work: object) -> None:
        if not isinstance(work, Work):
            hint = ": make one, Work(payload)" if isinstance(work, type) else ": enqueue(Work(it)), or submit(it)"
            raise TypeError(f"{self!r} takes works, not {work!r}{hint}")
        if not hasattr(work, "item_ticket"):
            raise TypeError(f"{type(work).__name__}.__init__ did not call super().__init__(): it is no work yet")

    # --- waiting and cancelling

    def wait(self, work: W, timeout: float | None = None) -> None:
        """Wait until `work` is neither pending on this queue nor in its function (WQ-4). Thread context.

        Bounded: runs that are enqueued later are not awaited. From the queue's own function: returns at once, as
        it would wait for itself (probe ``wait__self``). Raises WaitTimeout after `timeout` seconds.
        """
        run(self.wait_steps(work, Blocking(timeout)))

    def wait_steps(self, work: W, wait: Wait) -> Steps[None]:
        """`wait`, by a thread or by a task of an event loop."""
        self._check_work(work)
        if (probe := probes.wait__start) is not None:
            probe(self, work)
        try:
            if self.group.is_own_thread():
                if (probe := probes.wait__self) is not None:
                    probe(self, work)
            else:
                if self.group.pending_here(work) and (probe := probes.wait__hit) is not None:
                    probe(self, work)
                yield from self.group.wait(work, wait)
        finally:
            if (probe := probes.wait__done) is not None:
                probe(self, work)

    def cancel_async(self, work: W) -> bool:
        """Withdraw `work` without waiting: True if it is then neither pending here nor in the function. Any context."""
        self._check_work(work)
        self._withdraw(work)
        return not (self.group.pending_here(work) or self.group.in_function(work))

    def _withdraw(self, work: W) -> bool:
        """Withdraw `work` if it is pending here; True then. Any context."""
        ticket = None
        while ticket is not work.item_ticket:  # else somebody has it in hand, or has just taken it
            ticket = work.item_ticket
            # Looked after the ticket was read: if that one is full, it is full here.
            if self.group.pending_here(work) and self.group.withdraw(work, ticket):
                return True
        return False

    def cancel_pending(self) -> int:
        """Withdraw everything that waits or is armed; returns how many works. Any context."""
        return self._queue.cancel_pending()

    def cancel(self, work: W, timeout: float | None = None) -> bool:
        """Withdraw `work`; True if it was withdrawn before running, False if it had run or was waited for (WQ-5).

        Thread context; waits for a run under way. Meanwhile every enqueue of it, by the function too, returns False.
        From the queue's own function: withdraws, does not wait. Raises WaitTimeout.
        """
        return run(self.cancel_steps(work, Blocking(timeout)))

    def cancel_steps(self, work: W, wait: Wait) -> Steps[bool]:
        """`cancel`, by a thread or by a task of an event loop."""
        self._check_work(work)
        mark = object()
        try:
            with disable_lock:
                cancelling[mark] = work; work.barred += 1  # fmt: skip  # see threadpool9's _atomic
            withdrawn = yield from self._cancel(work, wait)
            with disable_lock:
                if mark in cancelling:  # else this is a fork child
                    work.barred -= 1; del cancelling[mark]  # fmt: skip
        except BaseException:
            with disable_lock:
                if mark in cancelling:
                    work.barred -= 1; del cancelling[mark]  # fmt: skip
            raise
        return withdrawn

    def _cancel(self, work: W, wait: Wait) -> Steps[bool]:
        group = self.group
        withdrawn = waited = False
        what = f"{work!r} is still pending or running on queue {self.name!r}"
        while True:
            if self._withdraw(work):
                withdrawn = True
            if group.is_own_thread():
                return withdrawn
            running = group.in_function(work)
            for executor in running:
                waited = True
                if not (yield from executor.wait_end(work, wait)):
                    raise WaitTimeout(f"{work!r} is still running on queue {self.name!r}")
            if not running:
                # Enqueues are refused meanwhile. But one that had begun before may be about to put it here. And without
                # a GIL an executor may have been about to show that it has it: it shows that before it makes it idle,
                # so who finds it idle looks for the executor once more.
                if not group.pending_here(work) and not group.in_function(work):
                    return withdrawn and not waited
                yield from wait.pause(what)

    def disable(self, work: W, timeout: float | None = None) -> bool:
        """Cancel `work` and let every enqueue of it return False until `enable` (WQ-10). Counted. Thread context.

        Returns and raises as `cancel`; after a WaitTimeout it is disabled all the same.
        """
        return run(self.disable_steps(work, Blocking(timeout)))

    def disable_steps(self, work: W, wait: Wait) -> Steps[bool]:
        """`disable`, by a thread or by a task of an event loop."""
        self._check_work(work)
        with disable_lock:
            work.barred += 1
        return (yield from self.cancel_steps(work, wait))

    def enable(self, work: W) -> bool:
        """Undo one `disable`; True if the work may be enqueued again now. Refused enqueues are not made up for."""
        self._check_work(work)
        with disable_lock:
            disabled = work.barred - sum(other is work for other in cancelling.values())
            if disabled == 0:
                raise UsageError(f"{work!r} is not disabled: one enable() too many")
            work.barred -= 1
            return disabled == 1

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything that was enqueued before has completed (WQ-6); timers are not awaited (WQ-7).

        Thread context. On a frozen queue with works it waits for the thaw. From the queue's own function:
        UsageError. Raises WaitTimeout.
        """
        run(self.flush_steps(Blocking(timeout)))

    def flush_steps(self, wait: Wait) -> Steps[None]:
        """`flush`, by a thread or by a task of an event loop."""
        if self.group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't wait for its own queue to be flushed")
        yield from self._queue.drain_steps(wait)

    def drain(self, timeout: float | None = None) -> None:
        """Wait until the queue is empty, works enqueued by its own function included (WQ-6). Thread context.

        Meanwhile everybody else's enqueue is a UsageError. Raises WaitTimeout; UsageError from its own function.
        """
        run(self.drain_steps(Blocking(timeout)))

    def drain_steps(self, wait: Wait) -> Steps[None]:
        """`drain`, by a thread or by a task of an event loop."""
        if self.group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't wait for its own queue to drain")
        if self.state == "destroyed":
            self.group.refuse_closed()
        yield from self._drain(wait)

    def _drain(self, wait: Wait) -> Steps[None]:
        mark = object()
        try:
            with disable_lock:
                draining[mark] = self
                if self.state == "open":
                    self.state = "draining"
            yield from drain_until_quiet(self.group, wait, f"draining queue {self.name!r}")
            self._reopen(mark)
        except BaseException:
            self._reopen(mark)
            raise

    def _reopen(self, mark: object) -> None:
        """The drain of that mark is over. May be repeated."""
        with disable_lock:
            draining.pop(mark, None)
            if self.state == "draining" and self not in draining.values():
                self.state = "open"

    def close(self, timeout: float | None = None) -> tuple[W, ...]:
        """Complete what is pending, then end the queue, as `drain` and `destroy` do; cancels what is armed, returns it.

        A frozen queue is thawed. Meanwhile, and after a close that was cut short, only the queue's own function may
        enqueue. A second close does nothing. Thread context; WaitTimeout after `timeout` seconds: call it again to wait
        on. UsageError from its own function.
        """
        return run(self.close_steps(Blocking(timeout)))

    def close_steps(self, wait: Wait) -> Steps[tuple[W, ...]]:
        """`close`, by a thread or by a task of an event loop."""
        if self.group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't close its own queue")
        self.thaw()  # what is held would keep us here for ever
        if self.state not in ("ending", "destroyed"):
            with disable_lock:
                if self.state in ("open", "draining"):
                    self.state = "closing"  # and stays so if this is cut short
            yield from self._drain(wait)
        return (yield from self._end(wait))  # what was enqueued since then is completed too

    def destroy(self, timeout: float | None = None) -> tuple[W, ...]:
        """End the queue (WQ-6, WQ-7): after a drain; a running function is waited for. Thread context.

        Cancels works that are armed for later and returns them. With a work pending, from its own function, or
        a second time: UsageError, and nothing was changed.
        """
        return run(self.destroy_steps(Blocking(timeout)))

    def destroy_steps(self, wait: Wait) -> Steps[tuple[W, ...]]:
        """`destroy`, by a thread or by a task of an event loop."""
        if self.state == "destroyed":
            raise UsageError(f"queue {self.name!r} is destroyed already")
        if self.group.is_own_thread():
            raise UsageError(f"the function of queue {self.name!r} can't destroy its own queue")
        waiting = sum(len(lane.pending()) for lane in list(self.group.lanes))
        if waiting and self.state != "ending":
            raise UsageError(f"queue {self.name!r} has {waiting} works pending; drain() it before destroy()")
        return (yield from self._end(wait))

    def _end(self, wait: Wait) -> Steps[tuple[W, ...]]:
        if self.state == "destroyed":  # by a close before this one, or meanwhile
            self.group.ended()  # if that was cut short
            return ()
        if (probe := probes.exit__start) is not None:
            probe(self)
        with disable_lock:
            self.state = "ending"  # a destroy that was cut short may be called again
        self.thaw()  # nothing is pending, but an executor may be about to put back what it was taking
        cancelled: tuple[Any, ...] = yield from self._queue.close_steps(wait)
        with disable_lock:
            self.state = "destroyed"
        self.group.ended()
        if (probe := probes.destroy) is not None:
            probe(self)
        if (probe := probes.exit__done) is not None:
            probe(self)
        return cancelled

    # --- freezing and looking

    def freeze(self) -> None:
        """Hold what is enqueued from now on and what waits; running works go on (WQ-10). Any context."""
        self.group.halts[FREEZE] = None

    def thaw(self) -> None:
        """Run what was held, in order (WQ-10). Any context."""
        self.group.let_go(FREEZE)


#: Guards the counts of disable, cancel and drain; held for a few lines only, by thread context only.
disable_lock = RLock()
#: Works that a cancel bars, by that cancel: for fork children. Written under the lock.
cancelling: dict[object, Work[Any]] = {}
#: Queues that are being drained, by the drain. Likewise.
draining: dict[object, Waits[Any]] = {}
