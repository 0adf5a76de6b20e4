"""Worlds of task9 and workqueue9 where somebody listens to schedules: `Lane._put_watched`, and what it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore9.gallery import exhibit
from explore9.search import World
from worlds_task import CANCEL_DOES_NOT_CLAIM, HANDS_ARE_EMPTIED_TOO_LATE, close_at_the_end, pool_of
from worlds_workqueue import PUT_TAKEN_DOES_NOT_LOOK, disabled_beside

PUT_TAKEN_DOES_NOT_LOOK_AGAIN = (
    "task9._lane",
    "            self.see_to_it()\n        except BaseException as error:\n            begun",
    "            if self.idle and not self.promise:\n                self.kick()\n"
    "        except BaseException as error:\n            begun",
)


def listener(w: World) -> Any:
    """Somebody who listens to schedules from now on, and counts them."""
    fired = w.cell(0, "fired")
    w.copies.listen("task9", "schedule", lambda lane, task: fired.add())
    return fired


@exhibit(
    "TK-1, TK-2, HK-5",
    kicks_before_it_has_put=(
        "task9._lane",
        "item.item_ticket = ticket; items.append(ticket)  # fmt: skip\n"
        "            if item.barred and self.group.withdraw(item, ticket):  # as in `put`\n                return False\n"
        "            self.see_to_it()\n",
        "item.item_ticket = ticket; self.see_to_it()\n            items.append(ticket)\n",
    ),
    who_was_slower_puts_it_again=(
        "task9._lane",
        "            if not item.claim(hand):\n                return item.coalesce(self.group)\n",
        "            if not item.claim(hand):\n                hand.append(None); in_hands[item] = None\n",
    ),
)
def watched_put_against_executor(w: World) -> Callable[[], None]:
    """Two threads schedule one task: a run begins after each, as many as were said to be new and were reported."""
    fired = listener(w)
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    new: list[bool] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))

    def produce() -> None:
        data.add()
        new.append(queue.schedule(task))

    w.thread("A", produce)
    w.thread("B", produce)

    def check() -> None:
        assert seen[-1] == 2, f"the last run saw {seen[-1]} of 2: a schedule was lost"
        assert len(seen) == sum(new) == fired.get(), (seen, new, fired.get())
        at_rest(w, queue, task)

    return check


@exhibit(
    "TK-6, HK-5",
    hands_are_emptied_too_late=HANDS_ARE_EMPTIED_TOO_LATE,
    cancel_does_not_claim=CANCEL_DOES_NOT_CLAIM,
)
def watched_put_against_cancel(w: World) -> Callable[[], None]:
    """A schedule beside a cancel: withdrawn, or run once; a cancel that meets the put in its middle came before it."""
    fired = listener(w)
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    runs = w.cell(0, "runs")
    task = w.task9.Task(lambda task: runs.add())
    over = w.cell(False, "over")
    said: list[tuple[bool, int]] = []

    def schedule() -> None:
        queue.schedule(task)
        over.set(True)

    def cancel() -> None:
        before = over.get()
        task.cancel()
        said.append((before, runs.get()))

    w.thread("A", schedule)
    w.thread("B", cancel)

    def check() -> None:
        [(before, at_return)] = said
        assert at_return <= runs.get() <= fired.get() <= 1, (at_return, runs.get(), fired.get())
        assert not before or at_return == runs.get(), "a run after cancel had returned"
        at_rest(w, queue, task)

    return check


@exhibit(
    "TK-16, HK-5",
    who_puts_does_not_look_again=PUT_TAKEN_DOES_NOT_LOOK_AGAIN,
)
def watched_put_against_close(w: World) -> Callable[[], None]:
    """A schedule beside a close: refused and idle again, or run before close has returned."""
    listener(w)
    queue = w.task9.TaskQueue("q")
    w.staff(w.threadpool9.get())
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
        queue.close()
        at_return.append(runs.get())

    w.thread("A", schedule)
    w.thread("B", close)

    def check() -> None:
        assert runs.get() + len(refused) == 1, (runs.get(), refused)
        assert at_return == [runs.get()], "a run after close had returned"
        at_rest(w, queue, task)

    return check


@exhibit(
    "WQ-10, HK-5",
    put_does_not_look=PUT_TAKEN_DOES_NOT_LOOK,
    looks_before_it_can_be_found=(
        "task9._lane",
        "            item.item_lane, items = self, self.items\n"
        "            del in_hands[item], hand[0]; item.item_ticket = ticket; items.append(ticket)  # fmt: skip\n"
        "            if item.barred and self.group.withdraw(item, ticket):  # as in `put`\n                return False\n",
        "            if item.barred:\n                return bool(self.group.free(item, hand))\n"
        "            item.item_lane, items = self, self.items\n"
        "            del in_hands[item], hand[0]; item.item_ticket = ticket; items.append(ticket)\n",
    ),
)
def watched_put_against_disable(w: World) -> Callable[[], None]:
    """An enqueue of a work beside a disable: nothing begins after disable has returned."""
    listener(w)
    return disabled_beside(w, lambda wq, work: wq.enqueue(work), workers=1, max_pending=None)


@exhibit(
    "TK-1, HK-5, any context",
    it_is_waited_for=(
        "task9._lane",
        "        if len(ticket) < 2:\n            return item.coalesce(self.group)\n        if (lane",
        "        while len(item.item_ticket) < 2:\n            pass\n        if (lane",
    ),
)
def watched_put_interrupted_by_put(w: World) -> Callable[[], None]:
    """A handler schedules the same task and another one at any step of a schedule, on the same thread."""
    fired = listener(w)
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
        interrupted = int(w.run.interrupts[0].fired)
        assert seen[-1] == 1 + interrupted, seen
        assert len(runs) == interrupted, runs
        assert fired.get() == len(seen) + len(runs)
        at_rest(w, queue, task)

    return check


@exhibit(
    "TK-1, TK-6, HK-5",
    nothing_is_undone=(
        "task9._lane",
        "            if hand:\n                self.group.free(item, hand)\n            raise\n",
        "            raise\n",
    ),
    nobody_sees_to_it=(
        "task9._lane",
        "                self.items.append(ticket)  # twice would do no harm\n            self.see_to_it()\n",
        "                self.items.append(ticket)\n",
    ),
    signals=True,
    quick=0,
)
def keyboardinterrupt_inside_a_watched_put(w: World) -> Callable[[], None]:
    """Ctrl-C wherever the interpreter looks for signals in schedule: the task has a run to come, or is as it was."""
    listener(w)
    queue = w.task9.TaskQueue("q")
    w.staff(pool_of(queue))
    data = w.cell(0, "data")
    seen: list[int] = []
    task = w.task9.Task(lambda task: seen.append(data.get()))
    schedule_or_not = w.broken_off("A", lambda: queue.schedule(task))

    def schedule() -> None:
        schedule_or_not()
        data.set(1)
        queue.schedule(task)

    w.thread("A", schedule)

    def check() -> None:
        assert seen
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        at_rest(w, queue, task)

    return check


def at_rest(w: World, queue: Any, task: Any) -> None:
    """Nothing is left in the queue, and `task` is idle and in nobody's hands."""
    assert not task.pending
    assert not w.copies.in_hands, "it is in nobody's hands any more"
    assert len(task.item_ticket) == 2, "it is not idle"
    close_at_the_end(queue)
    task.destroy()
