"""Worlds of workqueue9: enqueue and wait, freezing, flush, back-pressure, cancel."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from explore9.gallery import exhibit
from explore9.search import World
from worlds_task import PUT_DOES_NOT_LOOK_AGAIN, QUIET_LOOKS_AT_ITEMS_ONLY, close_at_the_end, pool_of
from worlds_threadpool import WAITER_LOOKS_FIRST

PUT_TAKEN_DOES_NOT_LOOK = (
    "task9._lane",
    "            if item.barred and self.group.withdraw(item, ticket):  # as in `put`\n                return False\n",
    "",
)


@exhibit(
    "WQ-3, WQ-4",
    call_does_not_tell_the_waiters=(
        "workqueue9._group",
        "            if waiting:\n                insist(self.sleepers.wake, work)\n",
        "",
    ),
    waiter_looks_before_it_enters=WAITER_LOOKS_FIRST,
)
def enqueue_wait_free_inside_the_function(w: World) -> Callable[[], None]:
    """The function enqueues its work again and lets go of it; wait returns after the run that was pending."""
    finished = w.cell(0, "finished")

    def func(work: Any, arg: Any) -> None:
        if finished.get() == 0:
            wq.enqueue(work)
        finished.add()

    wq = w.workqueue9.WorkQueue("wq", func)
    w.staff(pool_of(wq._queue))
    work = w.workqueue9.Work()
    wq.enqueue(work)

    def wait() -> None:
        wq.wait(work)
        assert finished.get() >= 1, "wait returned before the run"

    w.thread("A", wait)

    def check() -> None:
        assert finished.get() == 2
        assert not wq.group.sleepers
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-10",
    thaw_does_not_kick=(
        "task9._group",
        "            if lane.items and lane.idle:\n                lane.kick()\n",
        "            pass\n",
    ),
    executor_ignores_the_thaw=(
        "task9._executor",
        "            if not items or (halts and group.halted()):\n                break\n",
        "            break\n",
    ),
)
def freeze_enqueue(w: World) -> Callable[[], None]:
    """Freeze and thaw beside enqueues and the executor: nothing is left behind, and the order is kept."""
    runs: list[Any] = []
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.append(work.payload))
    w.staff(pool_of(wq._queue))
    one, two = w.workqueue9.Work(1), w.workqueue9.Work(2)

    def enqueue() -> None:
        wq.enqueue(one)
        wq.enqueue(two)

    def freeze() -> None:
        wq.freeze()
        wq.thaw()

    w.thread("A", enqueue)
    w.thread("B", freeze)

    def check() -> None:
        assert runs == [1, 2], runs
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-10",
    halts_are_not_looked_at_afterwards=(
        "task9._executor",
        "                        if halts and group.halted():  # what was put here after",
        "                        if False:  # what was put here after",
    ),
    what_was_put_back_is_forgotten=(
        "task9._executor",
        "            if not items or (halts and group.halted()):\n                break\n",
        "            break\n",
    ),
)
def freeze_while_an_executor_takes(w: World) -> Callable[[], None]:
    """What an executor was about to take is withdrawn, and it finds what comes after a freeze: that waits for the thaw."""
    runs: list[Any] = []
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.append(work.payload))
    w.staff(pool_of(wq._queue))
    said: list[bool] = []

    def produce() -> None:
        first = w.workqueue9.Work(0)
        wq.enqueue(first)
        said.append(wq.cancel(first))
        wq.freeze()
        wq.enqueue(w.workqueue9.Work(1))
        assert 1 not in runs, "a frozen queue called what was enqueued after the freeze"
        wq.thaw()

    w.thread("A", produce)

    def check() -> None:
        assert runs == ([1] if said == [True] else [0, 1]), (runs, said)
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-6",
    drain_waits_for_nothing=("task9._drain", "            yield from marker.wait(wait, what)\n", "            pass\n"),
)
def flush_enqueue(w: World) -> Callable[[], None]:
    """flush beside another enqueue: what was enqueued before has completed."""
    done = w.cell((), "done")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: done.add((work.payload,)))
    w.staff(pool_of(wq._queue))

    def flush() -> None:
        wq.enqueue(w.workqueue9.Work(1))
        wq.flush()
        assert 1 in done.get(), "flush returned before what was enqueued had completed"

    w.thread("A", flush)
    w.thread("B", lambda: wq.enqueue(w.workqueue9.Work(2)))

    def check() -> None:
        assert sorted(done.get()) == [1, 2]
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-1, WQ-6",
    quick=0,
    drain_forgets_the_others=(
        "task9._drain",
        "for executor, item, run in self._others:",
        "for executor, item, run in ():",
    ),
)
def flush_with_two_executors(w: World) -> Callable[[], None]:
    """max_active=2: flush also waits for what the other executor has in hand."""
    done = w.cell((), "done")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: done.add((work.payload,)), max_active=2)
    w.staff(pool_of(wq._queue), pool_of(wq._queue))
    wq.enqueue(w.workqueue9.Work(1))

    def flush() -> None:
        wq.flush()
        assert done.get() == (1,), "flush returned before what was enqueued had completed"

    w.thread("A", flush)

    def check() -> None:
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-9",
    slot_is_given_silently=(
        "workqueue9._group",
        "# see threadpool9's _atomic\n            self.slots.offer()\n",
        "# see threadpool9's _atomic\n",
    ),
)
def back_pressure(w: World) -> Callable[[], None]:
    """max_pending=1: two enqueuers, one waits for space; both works run and the slot is there again."""
    runs: list[Any] = []
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.append(work.payload), max_pending=1)
    w.staff(pool_of(wq._queue))
    w.thread("A", lambda: wq.enqueue(w.workqueue9.Work(1)))
    w.thread("B", lambda: wq.enqueue(w.workqueue9.Work(2)))

    def check() -> None:
        assert sorted(runs) == [1, 2]
        assert len(wq.group.slots.free) == 1
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-5",
    cancel_does_not_wait=(
        "workqueue9._waits",
        "            running = group.in_function(work)\n",
        "            return withdrawn\n",
    ),
    cancel_lets_enqueue=(
        "workqueue9._waits",
        "cancelling[mark] = work; work.barred += 1",
        "cancelling[mark] = work",
    ),
)
def work_cancel_against_the_function(w: World) -> Callable[[], None]:
    """cancel beside the function, which enqueues again: withdrawn and never run, or over at return."""
    runs = w.cell(0, "runs")
    again: list[bool] = []
    inside = w.cell(False, "inside a cancel")

    def func(work: Any, arg: Any) -> None:
        if runs.add() == 1:
            cancelling = inside.get()  # and stays so while it waits for us
            again.append(wq.enqueue(work))
            assert not (cancelling and again[0]), "enqueued while it is being cancelled"

    wq = w.workqueue9.WorkQueue("wq", func)
    w.staff(pool_of(wq._queue))
    work = w.workqueue9.Work()
    wq.enqueue(work)
    at_return: list[tuple[bool, int]] = []
    original = wq._cancel

    def spied(work: Any, wait: Any) -> Generator[Any, Any, bool]:
        inside.set(True)
        try:
            return (yield from original(work, wait))
        finally:
            inside.set(False)

    wq._cancel = spied

    def cancel() -> None:
        withdrawn = wq.cancel(work)
        at_return.append((withdrawn, runs.get()))

    w.thread("A", cancel)

    def check() -> None:
        [(withdrawn, before)] = at_return
        assert runs.get() == before, f"{runs.get()} runs, {before} of them before cancel returned"
        stats = wq.stats()
        # An enqueue that met the cancel, and was withdrawn by itself, is counted as both.
        assert 1 + sum(again) <= stats.started + stats.cancelled <= 1 + len(again), (stats, again)
        assert not withdrawn or stats.cancelled >= 1
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-10",
    nobody_waits_for_the_enqueuer=(
        "workqueue9._waits",
        "if not group.pending_here(work) and not",
        "if True or not",
    ),
    enqueuer_looks_before_only=PUT_TAKEN_DOES_NOT_LOOK,
)
def disable_against_enqueue(w: World) -> Callable[[], None]:
    """disable beside an enqueue: nothing begins after disable has returned."""
    return disabled_beside(w, lambda wq, work: wq.enqueue(work, block=False), workers=1)


@exhibit(
    "WQ-7, WQ-10",
    enqueuer_looks_before_only=(
        "task9._timed",
        "            if self.barred and lane.group.withdraw(self, ticket):  # as in `Lane.put`\n                return False\n",
        "",
    ),
)
def disable_against_enqueue_for_later(w: World) -> Callable[[], None]:
    """disable beside an enqueue for later: nothing is armed and nothing begins after disable has returned."""
    return disabled_beside(w, lambda wq, work: wq.enqueue_delayed(work, 1.0), workers=2)


@exhibit(
    "WQ-10",
    put_does_not_look=(
        "task9._lane",
        "            if item.barred and self.group.withdraw(item, ticket):  # publish",
        "            if False:  # publish",
    ),
    executors_are_not_looked_at_again=(
        "workqueue9._waits",
        "if not group.pending_here(work) and not",
        "if not group.pending_here(work) or False and not",
    ),
)
def disable_against_plain_enqueue(w: World) -> Callable[[], None]:
    """The same on a queue without a bound."""
    return disabled_beside(w, lambda wq, work: wq.enqueue(work), workers=1, max_pending=None)


def disabled_beside(
    w: World, enqueue: Callable[[Any, Any], bool], workers: int, max_pending: int | None = 1
) -> Callable[[], None]:
    """One thread enqueues, another disables."""
    runs = w.cell(0, "runs")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.add(), max_pending=max_pending)
    w.staff(pool_of(wq._queue))
    if workers > 1:
        w.staff_timer()
    work = w.workqueue9.Work()
    new: list[bool] = []
    at_return: list[int] = []

    def disable() -> None:
        wq.disable(work)
        at_return.append(runs.get())

    w.thread("A", lambda: new.append(enqueue(wq, work)))
    w.thread("B", disable)

    def check() -> None:
        assert [runs.get()] == at_return, f"{runs.get()} runs, {at_return} of them before disable returned"
        stats = wq.stats()
        # One that the disable met on its way is refused, or was withdrawn and counts.
        assert sum(new) <= stats.started + stats.cancelled <= len(new), (stats, new)
        assert not work.pending
        assert not wq.group.armed
        slots = wq.group.slots
        assert slots is None or len(slots.free) + len(slots._portions) == 1, "a slot was lost"
        assert wq.enable(work)
        close_at_the_end(wq)

    return check


@exhibit("WQ-10", enqueuer_does_not_look_again=PUT_TAKEN_DOES_NOT_LOOK)
def disable_by_the_function_against_enqueue(w: World) -> Callable[[], None]:
    """The queue's function disables a work that another thread is enqueuing, for which it can't wait."""
    return disabled_by_the_function(w, lambda wq, other: wq.enqueue(other, block=False))


@exhibit("WQ-7, WQ-10", who_moves_does_not_look_again=PUT_TAKEN_DOES_NOT_LOOK)
def disable_by_the_function_against_modify(w: World) -> Callable[[], None]:
    """The same beside a modify: the work is in nobody's reach between its old time and its new place."""
    return disabled_by_the_function(w, lambda wq, other: wq.modify(other, 0.0), armed=True)


def disabled_by_the_function(w: World, enqueue: Callable[[Any, Any], bool], armed: bool = False) -> Callable[[], None]:
    """One work disables another one, which a thread enqueues; no run of it begins after disable has returned."""
    over = w.cell(False, "over")
    first, other = w.workqueue9.Work(), w.workqueue9.Work()
    begun: list[bool] = []

    def function(work: Any, arg: object) -> None:
        if work is first:
            wq.disable(other)
            over.set(True)
        else:
            begun.append(over.get())

    wq = w.workqueue9.WorkQueue("wq", function, max_pending=3)
    w.staff(pool_of(wq._queue))
    if armed:
        w.staff_timer()
        wq.enqueue_delayed(other, 1000.0)
    wq.enqueue(first)
    w.thread("A", lambda: enqueue(wq, other))

    def check() -> None:
        assert over.get()
        assert begun in ([], [False]), "it began after disable had returned"
        assert not other.pending
        assert wq.enable(other)
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-4, WQ-5",
    quick=0,
    what_is_refused_wakes_nobody=(
        "task9._lane",
        "            if item.barred and self.group.withdraw(item, ticket):  # publish",
        "            if item.barred and item.take_back([], ticket) and not setattr(item, 'item_ticket', [None, None]):  # publish",
    ),
)
def wait_for_an_enqueue_that_is_refused(w: World) -> Callable[[], None]:
    """A wait that has met an enqueue in its middle ends, though the enqueue is refused for a cancel that came between."""
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: None)
    w.staff(pool_of(wq._queue))
    work = w.workqueue9.Work()
    w.thread("A", lambda: wq.enqueue(work))
    w.thread("B", lambda: wq.wait(work))
    w.thread("C", lambda: wq.cancel(work))

    def check() -> None:
        assert not work.pending
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-7",
    quick=0,
    faster_one_is_an_error=(
        "workqueue9._workqueue",
        "            except WorkPending:\n                pass  # somebody",
        "            except ZeroDivisionError:\n                pass  # somebody",
    ),
)
def modify_against_modify(w: World) -> Callable[[], None]:
    """Two threads modify an idle work: neither is refused, one enqueues it, and it runs once, or once more if it had run."""
    runs = w.cell(0, "runs")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.add())
    w.staff(pool_of(wq._queue))
    w.staff_timer()
    work = w.workqueue9.Work()
    was_pending: list[bool] = []
    w.thread("A", lambda: was_pending.append(wq.modify(work, 0.0)))
    w.thread("B", lambda: was_pending.append(wq.modify(work, 1.0)))

    def check() -> None:
        assert runs.get() == was_pending.count(False) > 0, (runs.get(), was_pending)
        assert not work.pending
        assert not wq.group.armed
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-3, WQ-6",
    who_puts_does_not_look_again=PUT_DOES_NOT_LOOK_AGAIN,
)
def destroy_against_enqueue(w: World) -> Callable[[], None]:
    """destroy beside an enqueue: the one or the other is refused, or it was called when destroy returned."""
    calls = w.cell(0, "calls")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: calls.add())
    w.staff(w.threadpool9.get())
    work = w.workqueue9.Work()
    accepted: list[bool] = []
    at_return: list[int] = []

    def enqueue() -> None:
        try:
            accepted.append(wq.enqueue(work))
        except w.threadpool9.UsageError:
            pass

    def destroy() -> None:
        try:
            wq.destroy()
        except w.threadpool9.UsageError:
            return
        at_return.append(calls.get())

    w.thread("A", enqueue)
    w.thread("B", destroy)

    def check() -> None:
        assert calls.get() == len(accepted)
        assert at_return in ([], [calls.get()]), "a call after destroy had returned"
        assert not work.pending
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-6",
    quick=0,
    quiet_looks_at_items_only=QUIET_LOOKS_AT_ITEMS_ONLY,
)
def drain_against_enqueue(w: World) -> Callable[[], None]:
    """drain beside an enqueue and a function that enqueues its work once more: all of it was called, or was refused."""
    calls = w.cell(0, "calls")

    def func(work: Any, arg: Any) -> None:
        if work is own and calls.get() == 0:
            wq.enqueue(work)
        calls.add()

    wq = w.workqueue9.WorkQueue("wq", func)
    w.staff(pool_of(wq._queue))
    own, other = w.workqueue9.Work(), w.workqueue9.Work()
    accepted: list[bool] = []

    def enqueue() -> None:
        try:
            accepted.append(wq.enqueue(other))
        except w.threadpool9.UsageError:
            pass

    def drain() -> None:
        wq.enqueue(own)
        wq.drain()
        assert not own.pending
        assert calls.get() >= 1

    w.thread("A", enqueue)
    w.thread("B", drain)

    def check() -> None:
        assert calls.get() >= 1 + len(accepted)
        assert wq.state == "open"
        assert not own.pending
        assert not other.pending
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-3, any context",
    it_is_waited_for=(
        "task9._lane",
        "        if len(ticket) < 2:\n            return item.coalesce(self.group)\n        if (lane",
        "        while len(item.item_ticket) < 2:\n            pass\n        if (lane",
    ),
)
def enqueue_interrupted_by_enqueue(w: World) -> Callable[[], None]:
    """A handler enqueues the same and another work at any step of an enqueue: pending is refused, nothing is lost."""
    runs: list[Any] = []
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.append(work.payload))
    w.staff(pool_of(wq._queue))
    one, two = w.workqueue9.Work(1), w.workqueue9.Work(2)
    accepted: list[int] = []

    def enqueue() -> None:
        try:
            if wq.enqueue(one):
                accepted.append(1)
        except w.workqueue9.WorkPending:
            pass

    def handler() -> None:
        enqueue()
        assert wq.enqueue(two)

    w.thread("A", enqueue)
    w.interrupt("A", handler)

    def check() -> None:
        assert runs.count(1) == len(accepted) >= 1, (runs, accepted)
        assert runs.count(2) == (1 if w.run.interrupts[0].fired else 0)
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-9",
    portion_is_taken_in_two_steps=(
        "task9._slots",
        "for portion in map(self._portions.pop, _LAST): self.free.extend(portion); break",
        "self.free.extend(self._portions[-1]); self._portions.pop()",
    ),
)
def slots_in_portions(w: World) -> Callable[[], None]:
    """Two enqueuers find no slot made, of which there are to be two in two portions: both get one, and there are two."""
    w.copies.set("task9._slots._FIRST_PORTION", 1)
    runs: list[Any] = []
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: runs.append(work.payload), max_pending=2)
    w.staff(pool_of(wq._queue))
    slots = wq.group.slots
    assert len(slots._portions) == 2
    w.thread("A", lambda: wq.enqueue(w.workqueue9.Work(1), block=False))
    w.thread("B", lambda: wq.enqueue(w.workqueue9.Work(2), block=False))

    def check() -> None:
        assert sorted(runs) == [1, 2]
        assert len(slots.free) + len(slots._portions) == 2, "there are more slots, or fewer"
        assert not slots.space.locks
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-3, WQ-6",
    quick=0,
    who_puts_does_not_look_again=PUT_DOES_NOT_LOOK_AGAIN,
    close_is_a_drain_and_a_destroy=(
        "workqueue9._waits",
        "        return (yield from self._end(wait))  # what was enqueued since then is completed too",
        "        return (yield from self.destroy_steps(wait))",
    ),
)
def wq_close_against_enqueue(w: World) -> Callable[[], None]:
    """close beside an enqueue, and one before it: refused, or called before close has returned."""
    calls = w.cell(0, "calls")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: calls.add())
    w.staff(w.threadpool9.get())
    accepted: list[bool] = []
    at_return: list[int] = []
    work = w.workqueue9.Work()

    def enqueue() -> None:
        try:
            accepted.append(wq.enqueue(work))
        except w.threadpool9.UsageError:
            pass

    def close() -> None:
        wq.enqueue(w.workqueue9.Work())
        wq.close()
        at_return.append(calls.get())

    w.thread("A", enqueue)
    w.thread("B", close)

    def check() -> None:
        assert calls.get() == 1 + len(accepted), (calls.get(), accepted)
        assert at_return == [calls.get()], "a call after close had returned"
        assert not work.pending
        assert wq.state == "destroyed"
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-12",
    completed_may_go_back=(
        "workqueue9._stats",
        "    queue.reported_completed = max(queue.reported_completed, started - running)\n",
        "    queue.reported_completed = started - running\n",
    ),
    enqueued_may_go_back=(
        "workqueue9._stats",
        "    queue.reported = max(queue.reported, started + cancelled + waiting + armed)\n",
        "    queue.reported = started + cancelled + waiting + armed\n",
    ),
)
def counters_beside_the_executor(w: World) -> Callable[[], None]:
    """Two looks at the counters while works are called: no counter goes back."""
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: None)
    w.staff(pool_of(wq._queue))
    wq.enqueue(w.workqueue9.Work(1))
    wq.enqueue(w.workqueue9.Work(2))

    def look() -> None:
        one = wq.stats()
        two = wq.stats()
        for name in ("enqueued", "started", "completed", "cancelled", "errors"):
            assert getattr(one, name) <= getattr(two, name), f"{name} has gone back: {one}, {two}"
        assert two.enqueued <= 2
        assert two.started <= two.enqueued
        assert two.completed <= two.started

    w.thread("A", look)

    def check() -> None:
        stats = wq.stats()
        assert stats.enqueued == stats.started == stats.completed == 2, stats
        close_at_the_end(wq)

    return check


@exhibit(
    "WQ-6",
    quick=0,
    second_close_is_refused=(
        "workqueue9._waits",
        "            self.group.ended()  # if that was cut short\n",
        '            raise UsageError(f"queue {self.name!r} is destroyed already")\n',
    ),
)
def wq_close_against_close(w: World) -> Callable[[], None]:
    """Two threads close: both return, and what was pending has been called by then."""
    calls = w.cell(0, "calls")
    wq = w.workqueue9.WorkQueue("wq", lambda work, arg: calls.add())
    w.staff(w.threadpool9.get())
    wq.enqueue(w.workqueue9.Work())
    at_return: list[int] = []

    def close() -> None:
        wq.close()
        at_return.append(calls.get())

    w.thread("A", close)
    w.thread("B", close)

    def check() -> None:
        assert at_return == [1, 1], "a close returned before the call"
        assert wq.state == "destroyed"
        close_at_the_end(wq)

    return check
