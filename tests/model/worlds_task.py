"""Worlds of task9: lanes, executors, cancel, drain, and the timer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore9.gallery import exhibit
from explore9.search import World
from worlds_threadpool import WAITER_LOOKS_FIRST

EXECUTOR_DOES_NOT_LOOK_AGAIN = (
    "task9._executor",
    "if not items or (halts and group.halted()):\n                break\n",
    "break\n",
)

QUIET_LOOKS_AT_ITEMS_ONLY = (
    "task9._lane",
    " and all(\n            e.current is None and not e.deferred for e in self.executors\n        )",
    "",
)

PUT_DOES_NOT_LOOK_AGAIN = (
    "task9._lane",
    "                self.kick()\n            if self.group.halts:\n                self.group.look_closed()\n"
    "        except BaseException as error:\n            if not claimed",
    "                self.kick()\n        except BaseException as error:\n            if not claimed",
)
CALL_DOES_NOT_LOOK_AGAIN = (
    "task9._lane",
    "                self.kick()\n            if self.group.halts:\n                self.group.look_closed()\n"
    "        except BaseException as error:\n            try",
    "                self.kick()\n        except BaseException as error:\n            try",
)
CANCEL_DOES_NOT_CLAIM = (
    "task9._item",
    "            del ticket[0]; taken = True; hand += FREE; in_hands[self] = None",
    "            del ticket[:1]; taken = True; hand += FREE; in_hands[self] = None",
)
EXPIRY_PUTS_A_TICKET_OF_ITS_OWN = (
    "task9._timed",
    "            lane.put_ticket(ticket)\n",
    "            lane.put_ticket([self])\n",
)
NO_OTHER_EXECUTOR_IS_KICKED = (
    "task9._executor",
    "                        if items and lane.idle and not lane.promise:\n                            lane.kick_another()\n",
    "",
)
ARMED_BEFORE_ITS_TIMING = (
    "task9._timed",
    "            self.item_lane, self.item_timing = lane, timing\n"
    "            armed[timing] = self; del in_hands[self], hand[0]; self.item_ticket = ticket  # fmt: skip\n",
    "            self.item_lane = lane\n            armed[timing] = self; del in_hands[self], hand[0]\n"
    "            self.item_ticket = ticket; self.item_timing = timing\n",
)
HANDS_ARE_EMPTIED_TOO_LATE = (
    "task9._lane",
    "            del in_hands[item], hand[0]; item.item_ticket = ticket; items.append(ticket)",
    "            item.item_ticket = ticket; items.append(ticket); del in_hands[item], hand[0]",
)
TAKES_NOTHING_BACK = (
    "task9._executor",
    "                if deferred:\n                    self._take_deferred()\n",
    "",
)


def pool_of(queue: Any) -> Any:
    """The pool of a private queue."""
    return queue._reference.pool


def close_at_the_end(queue: Any) -> None:
    """What a world's check does with its queue: nothing may be left in it."""
    assert all(lane.quiet() for lane in queue.group.lanes), "something was left in the queue"
    assert not any(ticket for lane in queue.group.lanes for ticket in lane.items), "something was left in the queue"
    assert all(set(lane.idle) == set(lane.executors) for lane in queue.group.lanes), "an executor is not idle"
    assert all(len(lane.idle) == len(lane.executors) for lane in queue.group.lanes), "an executor is idle twice"
    assert not queue.group.halts or list(queue.group.halts) == ["closed"], "an entry was left in halts"
    assert not queue.group.armed
    assert not queue.group.sleepers


@exhibit("TK-1, TK-2", executor_does_not_look_again=EXECUTOR_DOES_NOT_LOOK_AGAIN)
def task_schedule_schedule(w: World) -> Callable[[], None]:
    """Two threads schedule one task: a run begins after each schedule, and as many runs as were said to be new."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    inside = w.cell(0, "inside")
    seen: list[int] = []
    new: list[bool] = []

    def run(task: Any) -> None:
        assert inside.add() == 1, "a task runs beside itself"
        seen.append(data.get())
        inside.add(-1)

    task = w.task9.Task(run)

    def produce() -> None:
        data.add()
        new.append(queue.schedule(task))

    w.thread("A", produce)
    w.thread("B", produce)

    def check() -> None:
        assert seen[-1] == 2, f"the last run saw {seen[-1]} of 2: a schedule was lost"
        assert len(seen) == sum(new), (seen, new)
        close_at_the_end(queue)

    return check


@exhibit("TK-1, TK-5", executor_does_not_look_again=EXECUTOR_DOES_NOT_LOOK_AGAIN)
def lane_idle_against_schedule(w: World) -> Callable[[], None]:
    """Two tasks of one queue, scheduled while the executor goes idle: both run, in one order, one at a time."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    inside = w.cell(0, "inside")
    runs: list[str] = []

    def make(name: str) -> Any:
        def run(task: Any) -> None:
            assert inside.add() == 1, "two tasks of a queue at once"
            runs.append(name)
            inside.add(-1)

        return w.task9.Task(run)

    one, two = make("one"), make("two")
    queue.schedule(one)
    w.thread("A", lambda: queue.schedule(two))

    def check() -> None:
        assert runs == ["one", "two"], runs
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-2, TK-6",
    cancel_does_not_wait=(
        "task9._task",
        "                waited = True\n                yield from self._wait_for(executor, interlock, wait)\n",
        "                return False\n",
    ),
    waiter_looks_before_it_enters=WAITER_LOOKS_FIRST,
    cancel_does_not_keep_the_task=(
        "task9._task",
        "                waited = True\n                yield from self._wait_for(executor, interlock, wait)\n",
        "                self.give_back(hand)\n"
        "                yield from self._wait_for(executor, interlock, wait)\n                return False\n",
    ),
)
def task_reschedule_run_cancel(w: World) -> Callable[[], None]:
    """A task that schedules itself again, against cancel: nothing runs after the cancel has returned."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    runs = w.cell(0, "runs")

    def run(task: Any) -> None:
        if runs.add() < 3:
            queue.schedule(task)

    task = w.task9.Task(run)
    queue.schedule(task)
    at_return: list[int] = []

    def cancel() -> None:
        task.cancel()
        at_return.append(runs.get())

    w.thread("A", cancel)

    def check() -> None:
        assert at_return == [runs.get()], f"{runs.get()} runs, {at_return} of them before cancel returned"
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-6",
    withdraws_what_an_executor_has=CANCEL_DOES_NOT_CLAIM,
    executor_does_not_claim=(
        "task9._executor",
        "                            del ticket[0]; self.current = item; item.item_executor = self",
        "                            del ticket[:1]; self.current = item; item.item_executor = self",
    ),
)
def task_schedule_cancel_async(w: World) -> Callable[[], None]:
    """cancel_async beside a schedule and the executor: True leaves nothing, each new schedule is run or withdrawn."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    runs: list[int] = []
    withdrawn: list[int] = []
    new: list[bool] = []
    w.copies.listen("task9", "cancel", lambda task: withdrawn.append(1))
    task = w.task9.Task(lambda task: runs.append(1))
    queue.schedule(task)
    w.thread("A", task.cancel_async)
    w.thread("B", lambda: new.append(queue.schedule(task)))

    def check() -> None:
        assert len(runs) + len(withdrawn) == 1 + sum(new), (runs, withdrawn, new)
        assert len(task.item_ticket) == 2, "it is not idle"
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-7, TK-8",
    drain_waits_for_nothing=("task9._drain", "            yield from marker.wait(wait, what)\n", "            pass\n"),
    quiet_looks_at_items_only=QUIET_LOOKS_AT_ITEMS_ONLY,
)
def drain_self_reschedule(w: World) -> Callable[[], None]:
    """drain beside a task that schedules itself: what was scheduled before has run, and drain returns."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    turns = w.cell(0, "turns")
    done = w.cell(0, "done")

    def again(task: Any) -> None:
        if turns.add() < 3:
            queue.schedule(task)

    queue.schedule(w.task9.Task(again))
    awaited = w.task9.Task(lambda task: done.set(1))

    def drain() -> None:
        queue.schedule(awaited)
        queue.drain()
        assert done.get() == 1, "drain returned before what was scheduled had run"

    w.thread("A", drain)

    def check() -> None:
        assert turns.get() == 3
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-3",
    takes_over_what_runs=(
        "task9._executor",
        "if item.exclusive and other.current is item:",
        "if False:",
    ),
    takes_nothing_back=TAKES_NOTHING_BACK,
)
def never_beside_itself(w: World) -> Callable[[], None]:
    """A task that runs on one CPU is scheduled on another: it runs again, but not beside itself."""
    queue = w.task9.TaskQueue("q", percpu=True)
    w.staff(*(lane.pool for lane in queue.group.lanes))
    inside = w.cell(0, "inside")
    runs: list[int] = []

    def run(task: Any) -> None:
        assert inside.add() == 1, "a task runs beside itself"
        runs.append(1)
        inside.add(-1)

    task = w.task9.Task(run)
    new = [queue.schedule_on(0, task)]
    w.thread("A", lambda: new.append(queue.schedule_on(1, task)))

    def check() -> None:
        assert len(runs) == sum(new), (runs, new)
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-11",
    cancel_does_not_claim=CANCEL_DOES_NOT_CLAIM,
    expiry_puts_a_ticket_of_its_own=EXPIRY_PUTS_A_TICKET_OF_ITS_OWN,
)
def delayed_expiry_cancel(w: World) -> Callable[[], None]:
    """Expiry against cancel_async: exactly one of run and withdrawn."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    runs = w.cell(0, "runs")
    task = w.task9.DelayedTask(lambda task: runs.add())
    task.schedule(1.0, queue=queue)
    said: list[tuple[bool, int]] = []

    def cancel() -> None:
        quiet = task.cancel_async()
        said.append((quiet, runs.get()))

    w.thread("A", cancel)

    def check() -> None:
        [(quiet, before)] = said
        if quiet:
            assert runs.get() == before, "it ran after cancel_async had said that it is neither pending nor running"
        else:
            assert runs.get() == 1, "neither run nor withdrawn"
        assert not task.pending
        assert not queue.group.armed
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-11",
    expiry_puts_a_ticket_of_its_own=EXPIRY_PUTS_A_TICKET_OF_ITS_OWN,
    reschedule_does_not_claim=CANCEL_DOES_NOT_CLAIM,
)
def delayed_expiry_reschedule(w: World) -> Callable[[], None]:
    """Expiry against a reschedule to a later time: moved and run once, or fired and run once more (or in that run)."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    clock = w.task9._timer.monotonic
    start = clock()
    runs: list[float] = []
    task = w.task9.DelayedTask(lambda task: runs.append(clock() - start))
    task.schedule(1.0, queue=queue)
    moved: list[bool] = []
    w.thread("A", lambda: moved.append(task.reschedule(3.0, queue=queue)))

    def check() -> None:
        assert len(runs) == 1 or (len(runs) == 2 and moved == [False]), (runs, moved)
        assert runs[0] >= 1.0, "early"
        assert moved == [True] or runs[-1] >= 3.0, "armed anew for later, and run early"
        assert not queue.group.armed
        assert not task.pending
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-6, TK-11",
    cancel_does_not_claim=CANCEL_DOES_NOT_CLAIM,
    armed_before_its_timing=ARMED_BEFORE_ITS_TIMING,
    looks_at_the_timing_before_it_takes=(
        "task9._timed",
        "            taken = super().take_back(hand, ticket)\n            if taken:\n                self._leave_the_timer()\n",
        "            timing, lane = self.item_timing, self.item_lane\n            taken = super().take_back(hand, ticket)\n"
        "            if taken and timing is not None and timing.ticket is not None:\n"
        "                lane.group.armed.pop(timing, None)\n                self.item_timing = None\n",
    ),
)
def delayed_cancel_reschedule(w: World) -> Callable[[], None]:
    """cancel_async against a reschedule that arms anew or moves: one has the last word, and the task is not lost."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    runs: list[int] = []
    task = w.task9.DelayedTask(lambda task: runs.append(1))
    task.schedule(2e5, queue=queue)  # never
    w.run.settle()
    said: list[bool] = []
    moved: list[bool] = []
    w.thread("A", lambda: said.append(task.cancel_async()))
    w.thread("B", lambda: moved.append(task.reschedule(2e5, queue=queue)))

    def check() -> None:
        armed = w.task9._timer.timer.armed()
        assert not runs
        assert armed <= 1, "armed twice"
        assert armed == len(queue.group.armed) == int(task.pending)
        assert armed == 1 or moved == [True], "what the reschedule armed anew was withdrawn by an earlier cancel"
        task.cancel_async()
        assert len(task.item_ticket) == 2, "it is not idle"
        task.destroy()

    return check


@exhibit(
    "TK-11",
    armed_before_its_timing=ARMED_BEFORE_ITS_TIMING,
)
def delayed_reschedule(w: World) -> Callable[[], None]:
    """Two reschedules of what sleeps: never early, at least one run, and one more only if it had fired before."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    clock = w.task9._timer.monotonic
    start = clock()
    runs: list[float] = []
    task = w.task9.DelayedTask(lambda task: runs.append(clock() - start))
    task.schedule(2e5, queue=queue)  # never
    w.run.settle()
    w.thread("A", lambda: task.reschedule(1.0, queue=queue))
    w.thread("B", lambda: task.reschedule(3.0, queue=queue))

    def check() -> None:
        assert 1 <= len(runs) <= 2, runs
        assert runs[0] >= 1.0, "early"
        assert not queue.group.armed
        assert not task.pending

    return check


@exhibit(
    "TK-13",
    quick=0,
    start_takes_the_period_over=(
        "task9._periodic",
        "            if self._arm_next(hand):  # a run",
        "            if False:  # a run",
    ),
    run_forgets_what_fired=(
        "task9._periodic",
        "            if self.claim(hand):\n                if timing",
        "            if not self.claim(hand):\n                self.item_timing = None\n"
        "            else:\n                if timing",
    ),
    destroy_ends_the_period=(
        "task9._periodic",
        "        if self.item_timing is not None:  # else",
        "        if False:  # else",
    ),
)
def period_start_against_run(w: World) -> Callable[[], None]:
    """A start, and a destroy that is refused, while the first run of a period begins: it goes on and keeps its phase."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    clock = w.task9._timer.monotonic
    start = clock()
    runs: list[float] = []

    def run(task: Any) -> None:
        runs.append(clock() - start)

    task = w.task9.PeriodicTask(run, 2e5)
    assert task.start(first=1.0, queue=queue)
    again: list[bool] = []
    refused: list[Exception] = []

    def begin() -> None:
        w.pause(1.0)
        again.append(task.start(first=5.0, queue=queue))

    def destroy() -> None:
        w.pause(1.0)
        try:
            task.destroy()
        except w.threadpool9.UsageError as error:
            refused.append(error)

    w.thread("A", begin)
    w.thread("B", destroy)

    def check() -> None:
        assert refused, "it is started all the time"
        assert again == [False], "it is started already"
        assert len(runs) == 1, runs
        assert task.armed, "the period has ended"
        assert round(task._due - start) == 1 + 2e5, "another phase"
        assert task.cancel_async()
        assert not queue.group.armed
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-11, TK-12",
    timer_sleeps_for_the_old_time=("task9._timer", "elif due < self.next_wake or", "elif"),
    timer_does_not_look_again=(
        "task9._timer",
        "        if intake or not heap[0][3]:\n            return True\n",
        "",
    ),
)
def arm_while_the_timer_goes_to_sleep(w: World) -> Callable[[], None]:
    """A second timer, due before the first, is armed while the timer's job goes to sleep: both fire in time."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    clock = w.task9._timer.monotonic
    start = clock()
    fired: list[tuple[str, float]] = []
    late = w.task9.DelayedTask(lambda task: fired.append(("late", clock() - start)))
    soon = w.task9.DelayedTask(lambda task: fired.append(("soon", clock() - start)))
    late.schedule(2e5, queue=queue)  # further away than the explorer's patience: only a wake-up ends that sleep
    box = w.task9._timer.timer

    def arm() -> None:
        soon.schedule(1.0, queue=queue)

    w.thread("A", arm)

    def check() -> None:
        assert "soon" in dict(fired), "the timer sleeps until the later time"
        assert dict(fired)["soon"] >= 1.0, "early"
        assert box.armed() == 2 - len(fired)

    return check


@exhibit(
    "TK-1, any context",
    it_is_waited_for=(
        "task9._lane",
        "        if len(ticket) < 2:\n            return item.coalesce(self.group)\n        if (lane",
        "        while len(item.item_ticket) < 2:\n            pass\n        if (lane",
    ),
)
def task_schedule_interrupted_by_schedule(w: World) -> Callable[[], None]:
    """A handler schedules the same task and another one at any step of a schedule, on the same thread."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    runs: list[int] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))
    other = w.task9.Task(lambda task: runs.append(1))

    def schedule() -> None:
        data.add()
        queue.schedule(task)

    def handler() -> None:
        schedule()
        queue.schedule(other)

    w.thread("A", schedule)
    w.interrupt("A", handler)

    def check() -> None:
        fired = w.run.interrupts[0].fired
        assert seen[-1] == (2 if fired else 1), seen
        assert len(runs) == (1 if fired else 0), runs
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-3, done()",
    quick=0,
    done_wakes_nobody=(
        "task9._executor",
        "        self.current = TAKING\n"
        "        if self.lane.group.sleepers:\n"
        "            insist(self.lane.group.sleepers.wake, self)\n",
        "        self.current = TAKING\n",
    ),
)
def done_done_on_two_executors(w: World) -> Callable[[], None]:
    """Two executors, a task that calls done() and is scheduled again before it returns; a canceller waits for it."""
    queue = w.task9.TaskQueue("q", concurrency=2)
    w.staff(pool_of(queue), pool_of(queue))
    inside = w.cell(0, "inside")
    runs = w.cell(0, "runs")
    gate = w.lock()
    gate.acquire()

    def run(task: Any) -> None:
        assert inside.add() == 1, "a task runs beside itself"
        first = runs.add() == 1
        inside.add(-1)
        task.done()
        if first:
            gate.acquire()  # the function goes on after done(); the canceller must not wait for that

    task = w.task9.Task(run)
    queue.schedule(task)

    def cancel() -> None:
        task.cancel()
        gate.release()

    w.thread("A", cancel)
    w.thread("B", lambda: queue.schedule(task))

    def check() -> None:
        assert runs.get() <= 2
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-16",
    who_puts_does_not_look_again=PUT_DOES_NOT_LOOK_AGAIN,
)
def close_against_schedule(w: World) -> Callable[[], None]:
    """close beside a schedule: refused, or run before close has returned."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())  # one more reference: no worker has to leave, and the pool takes what comes late
    runs = w.cell(0, "runs")
    task = w.task9.Task(lambda task: runs.add())
    refused: list[int] = []
    at_return: list[int] = []

    def schedule() -> None:
        try:
            queue.schedule(task)
        except w.threadpool9.UsageError:
            refused.append(1)

    def close() -> None:
        queue.schedule(w.task9.Task(lambda task: runs.add()))
        queue.close()
        at_return.append(runs.get())

    w.thread("A", schedule)
    w.thread("B", close)

    def check() -> None:
        assert runs.get() + len(refused) == 2, (runs.get(), refused)
        assert at_return == [runs.get()], "a run after close had returned"
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-2, TK-16",
    quick=0,
    who_coalesced_withdraws=(
        "task9._queue",
        "            return lane.put(task)\n",
        "            new = lane.put(task)\n"
        "            if self.closed and self.group.withdraw(task):\n                self.group.refuse_closed()\n"
        "            return new\n",
    ),
)
def close_against_coalescing(w: World) -> Callable[[], None]:
    """close beside a schedule that coalesces with one that was accepted before: that one runs."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
    runs = w.cell(0, "runs")
    task = w.task9.Task(lambda task: runs.add())
    at_return: list[int] = []
    new: list[bool] = []
    refused: list[int] = []

    def schedule() -> None:
        try:
            queue.schedule(task)
        except w.threadpool9.UsageError:
            refused.append(1)

    def close() -> None:
        new.append(queue.schedule(task))
        queue.close()
        at_return.append(runs.get())

    w.thread("A", schedule)
    w.thread("B", close)

    def check() -> None:
        assert at_return == [runs.get()], "a run after close had returned"
        # Not promised: what coalesced with a schedule that the close then refuses.
        assert runs.get() >= 1 or (refused and new == [False]), "what was scheduled before the close was lost"
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-11, TK-16",
    expiry_puts_a_ticket_of_its_own=EXPIRY_PUTS_A_TICKET_OF_ITS_OWN,
    close_returns_what_has_fired=(
        "task9._drain",
        "        if ticket and group.withdraw(item, ticket):\n            cancelled.append(item)\n",
        "        group.withdraw(item, ticket or None)\n        cancelled.append(item)\n",
    ),
)
def close_against_expiry(w: World) -> Callable[[], None]:
    """close while the timer fires: the task was cancelled, and close says so, or it has run when close returns."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
    w.staff_timer()
    runs = w.cell(0, "runs")
    task = w.task9.DelayedTask(lambda task: runs.add())
    task.schedule(1.0, queue=queue)
    cancelled: list[object] = []
    at_return: list[int] = []

    def close() -> None:
        cancelled.extend(queue.close())
        at_return.append(runs.get())

    w.thread("A", close)

    def check() -> None:
        assert at_return == [runs.get()], "a run after close had returned"
        assert len(cancelled) + runs.get() == 1, (cancelled, runs.get())
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-13, TK-16",
    quick=0,
    close_forgets_what_is_armed=(
        "task9._drain",
        "            disarm_all(group, cancelled)  # a period that was beginning has armed its next one\n"
        "            if not any(item.armed for item in list(group.armed.values())) and group.quiet():",
        "            if group.quiet():",
    ),
)
def close_against_period(w: World) -> Callable[[], None]:
    """close while the run of a period begins and arms the next one: that one is cancelled, or never armed."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
    w.staff_timer()
    runs = w.cell(0, "runs")
    task = w.task9.PeriodicTask(lambda task: runs.add(), 2e5)
    assert task.start(first=0.0, queue=queue)
    cancelled: list[object] = []
    at_return: list[int] = []

    def close() -> None:
        cancelled.extend(queue.close())
        at_return.append(runs.get())

    w.thread("A", close)

    def check() -> None:
        assert at_return == [runs.get()], "a run after close had returned"
        assert 1 <= len(cancelled) + runs.get() <= 2, (cancelled, runs.get())
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-3, TK-16",
    takes_nothing_back=TAKES_NOTHING_BACK,
    quiet_looks_at_items_only=QUIET_LOOKS_AT_ITEMS_ONLY,
)
def close_while_a_task_is_set_aside(w: World) -> Callable[[], None]:
    """close while a task goes from one CPU's executor, which it runs on, to the lane where it was scheduled again."""
    percpu = w.threadpool9.percpu_get()  # one more reference: no worker has to leave
    w.staff(*(percpu.ref_remote(cpu) for cpu in (0, 1)))
    queue = w.task9.TaskQueue("q", percpu=True)
    runs = w.cell(0, "runs")
    task = w.task9.Task(lambda task: runs.add())
    at_return: list[int] = []

    def close() -> None:
        new = [queue.schedule_on(1, task), queue.schedule_on(0, task)]
        queue.close()
        at_return.append(runs.get())
        assert at_return == [sum(new)], (at_return, new)

    w.thread("A", close)

    def check() -> None:
        assert at_return == [runs.get()], "a run after close had returned"
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-16",
    quick=0,
    who_puts_does_not_look_again=PUT_DOES_NOT_LOOK_AGAIN,
)
def close_against_close(w: World) -> Callable[[], None]:
    """Two threads close, the one after a schedule: nothing runs after either has returned."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
    runs = w.cell(0, "runs")
    task = w.task9.Task(lambda task: runs.add())
    at_return: list[int] = []
    accepted: list[bool] = []

    def close() -> None:
        queue.close()
        at_return.append(runs.get())

    def schedule_and_close() -> None:
        try:
            accepted.append(queue.schedule(task))
        except w.threadpool9.UsageError:
            pass
        close()

    w.thread("A", close)
    w.thread("B", schedule_and_close)

    def check() -> None:
        assert at_return == [runs.get()] * 2, "a run after a close had returned"
        assert runs.get() == len(accepted)
        assert not task.pending
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-7, WQ-10",
    does_not_look_again=(
        "task9._drain",
        "                    continue  # without a GIL",
        "                    break  # without a GIL",
    ),
    quick=0,
)
def drain_beside_a_freeze(w: World) -> Callable[[], None]:
    """A drain of a queue that is frozen while its executor takes: what was scheduled has run, or is held till the thaw."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    over = w.cell(0, "over")
    task = w.task9.Task(lambda task: over.set(1))
    queue.schedule(task)
    frozen = w.copies.module("threadpool9._seam").SimpleQueue()

    def drain() -> None:
        queue.group.halts["freeze"] = None
        frozen.put(None)
        queue.drain()
        assert over.get(), "drain returned before what was scheduled had run"

    def thaw() -> None:
        frozen.get()
        queue.group.let_go("freeze")

    w.thread("A", drain)
    w.thread("B", thaw)

    def check() -> None:
        assert over.get()
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-1, TK-6",
    nothing_is_undone=(
        "task9._lane",
        "                del ticket[0]; undone = True; item.item_ticket = blank",
        "                del ticket[0]",
    ),
    signals=True,
    quick=0,
)
def keyboardinterrupt_inside_task_schedule(w: World) -> Callable[[], None]:
    """Ctrl-C, twice, wherever the interpreter looks for signals in schedule: the task will run, or is as it was."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))
    schedule_or_not = w.broken_off("A", lambda: queue.schedule(task), 2)

    def schedule() -> None:
        schedule_or_not()
        data.set(1)
        queue.schedule(task)

    w.thread("A", schedule)

    def check() -> None:
        assert seen
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-1",
    it_is_undone=(
        "task9._lane",
        "        if None in ticket or isinstance(error, (Error, MemoryError, RecursionError)):\n            return False\n",
        "        return False\n",
    ),
    nobody_sees_to_it=(
        "task9._lane",
        "                self.items.append(ticket)  # twice would do no harm\n            self.see_to_it()\n",
        "                self.items.append(ticket)\n",
    ),
    signals=True,
    quick=0,
)
def keyboardinterrupt_beside_a_schedule_that_coalesces(w: World) -> Callable[[], None]:
    """Ctrl-C in a schedule while another thread schedules the task: that one's run comes in any case."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))
    schedule_or_not = w.broken_off("A", lambda: queue.schedule(task))

    def schedule_too() -> None:
        data.set(1)
        queue.schedule(task)

    w.thread("A", schedule_or_not)
    w.thread("B", schedule_too)

    def check() -> None:
        assert 1 in seen, "the schedule that was not interrupted was lost"
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-6",
    nothing_is_undone=(
        "task9._group",
        "            self.free(item, hand)  # once more, or for nothing, does no harm\n",
        "",
    ),
    signals=True,
    quick=0,
)
def keyboardinterrupt_inside_task_cancel(w: World) -> Callable[[], None]:
    """Ctrl-C wherever the interpreter looks for signals in cancel_async: the task is withdrawn, or runs."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))
    queue.schedule(task)
    cancel_or_not = w.broken_off("A", task.cancel_async)

    def cancel() -> None:
        cancel_or_not()
        data.set(1)
        queue.schedule(task)

    w.thread("A", cancel)

    def check() -> None:
        assert seen
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        close_at_the_end(queue)
        task.destroy()

    return check


@exhibit(
    "TK-3, TK-5",
    no_other_executor_is_kicked=NO_OTHER_EXECUTOR_IS_KICKED,
    executors_make_no_other=(
        "task9._executor",
        "                if not lane.idle and len(lane.executors) < lane.limit:\n",
        "                if False:\n",
    ),
    promise_is_never_looked_at_again=(
        "task9._lane",
        "        self.pool.post(executor)\n        self.promise = executor.promise\n",
        "        self.promise = [executor]\n        self.pool.post(executor)\n",
    ),
)
def second_executor_on_demand(w: World) -> Callable[[], None]:
    """concurrency=2, two threads schedule; one task waits for the other: a second executor is made and started."""
    queue = w.task9.TaskQueue("q", concurrency=2)
    w.staff(pool_of(queue), pool_of(queue))
    gate = w.lock()
    gate.acquire()
    runs: list[str] = []
    waits = w.task9.Task(lambda task: (gate.acquire(), runs.append("waits")))
    opens = w.task9.Task(lambda task: (gate.release(), runs.append("opens")))
    w.thread("A", lambda: queue.schedule(waits))
    w.thread("B", lambda: queue.schedule(opens))

    def check() -> None:
        assert sorted(runs) == ["opens", "waits"], f"only {runs} ran: nobody was started for the other"
        assert len(queue.group.lanes[0].executors) == 2
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-1, TK-5, TK-6",
    quick=0,
    sweep_is_taken_for_a_close=("task9._group", "is CLOSED or isinstance(why, Closing):", "is not FREEZE:"),
    sweep_loses_the_kick=(
        "task9._lane",
        "            self.swept += 1; sweeper.append(None)  # fmt: skip\n        self.group.let_go(self)\n",
        "            self.swept += 1; sweeper.append(None)  # fmt: skip\n        self.group.halts.pop(self)\n",
    ),
)
def sweep_against_put(w: World) -> Callable[[], None]:
    """A cancel throws withdrawn tickets out of the lane, beside a put and the executor: nothing is lost, in order."""
    return swept(w, 3, 1, besides=lambda queue, task, runs: queue.schedule(task))


@exhibit(
    "TK-1, TK-5, TK-6",
    executor_looks_afterwards_only=(
        "task9._executor",
        "                        if halts and group.halted():  # shown TAKING, then looked",
        "                        if False:  # shown TAKING, then looked",
    ),
    sweep_halts_nobody=("task9._lane", "self.swept += 1; self.group.halts[self] = None", "self.swept += 1"),
    sweep_does_not_look_at_executors=(
        "task9._lane",
        "            if not any(executor.current is TAKING for executor in self.executors):\n",
        "            if True:\n",
    ),
)
def sweep_against_executor(w: World) -> Callable[[], None]:
    """The same without a put, while a run ends, and what is thrown away is in the middle of what comes next."""
    return swept(w, 4, 2)


@exhibit(
    "TK-7",
    quick=0,
    who_is_quiet_ignores_the_sweep=("task9._lane", " and not swept % 2 and swept == self.swept\n", "\n"),
)
def sweep_against_drain(w: World) -> Callable[[], None]:
    """The same beside a drain, which must not take the lane for empty while its tickets are in the sweeper's hands."""

    def drain(queue: Any, task: Any, runs: list[int]) -> None:
        queue.drain()
        assert 0 in runs, "drain returned before what was scheduled had run"

    return swept(w, 2, 1, besides=drain)


def swept(
    w: World, number: int, victim: int, besides: Callable[[Any, Any, list[int]], object] | None = None
) -> Callable[[], None]:
    """One thread cancels the task `victim` of `number`, another one does something, perhaps with a further task.

    If there is no other one, the first task runs already.
    """
    w.copies.set("task9._lane._SHORT", 0)
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    runs: list[int] = []
    gate = w.lock()

    def make(number: int) -> Any:
        return w.task9.Task(lambda task: ((not number and gate.acquire()), runs.append(number)))

    *tasks, further = [make(number) for number in range(number + 1)]
    for task in tasks:
        queue.schedule(task)
    if besides is None:
        gate.acquire()
        w.run.settle()
    queue.group.lanes[0].unused = 100  # there have been many of them
    said: list[bool] = []

    def cancel() -> None:
        if besides is None:
            gate.release()
        said.append(tasks[victim].cancel_async())

    w.thread("A", cancel)
    if besides is not None:
        w.thread("B", lambda: besides(queue, further, runs))

    def check() -> None:
        withdrawn = victim not in runs
        assert said == [True] or not withdrawn, "it was withdrawn, and the cancel does not know"
        put = range(number + (further.item_lane is not None))
        assert runs == [n for n in put if n != victim or not withdrawn], f"{runs}: lost, or out of order"
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-16, TK-17",
    quick=0,
    who_calls_does_not_look_again=CALL_DOES_NOT_LOOK_AGAIN,
    refused_although_it_was_called=(
        "task9._lane",
        "                if isinstance(error, Error):\n                    return  # an executor has it: all is well\n",
        "                pass\n",
    ),
)
def close_against_call(w: World) -> Callable[[], None]:
    """close beside a call: refused, or made before close has returned; no call is both."""
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
    runs = w.cell(0, "runs")
    refused: list[int] = []
    at_return: list[int] = []

    def call() -> None:
        try:
            queue.call(runs.add)
        except w.threadpool9.UsageError:
            refused.append(1)

    def close() -> None:
        queue.call(runs.add)
        queue.close()
        at_return.append(runs.get())

    w.thread("A", call)
    w.thread("B", close)

    def check() -> None:
        assert runs.get() + len(refused) == 2, (runs.get(), refused)
        assert at_return == [runs.get()], "a call after close had returned"
        close_at_the_end(queue)

    return check


@exhibit(
    "TK-6, TK-11",
    cancel_does_not_claim=CANCEL_DOES_NOT_CLAIM,
    hands_are_emptied_too_late=HANDS_ARE_EMPTIED_TOO_LATE,
)
def reschedule_to_now_against_cancel(w: World) -> Callable[[], None]:
    """A reschedule that puts an armed task on its lane, against the executor and cancel: one run at most, and it is idle then."""
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    w.staff_timer()
    runs = w.cell(0, "runs")
    task = w.task9.DelayedTask(lambda task: runs.add())
    task.schedule(2e5, queue=queue)  # never
    w.run.settle()
    moved: list[bool] = []
    at_return: list[int] = []

    def cancel() -> None:
        task.cancel()
        at_return.append(runs.get())

    w.thread("A", lambda: moved.append(task.reschedule(0, queue=queue)))
    w.thread("B", cancel)

    def check() -> None:
        # A cancel that meets a reschedule which has the task in its hands has come before it.
        assert at_return[0] <= runs.get() <= 1
        assert not task.pending
        assert not w.copies.in_hands, "it is in nobody's hands any more"
        assert len(task.item_ticket) == 2, "it is not idle"
        close_at_the_end(queue)
        task.destroy()

    return check
