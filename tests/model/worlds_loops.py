"""Worlds of all layers with an event loop in them: hand-overs, tasks that await and are cancelled, queues in loops."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from explore9.gallery import exhibit
from explore9.search import World
from turned import AsyncioTask, Awaiter, Loop
from worlds_task import close_at_the_end, pool_of

CANCELLED_STAYS_ENTERED = (
    "threadpool9._waiting",
    "        except BaseException:\n            discard(self.locks, mine)\n            raise\n",
    "        except BaseException:\n            raise\n",
)
ROOM_IS_LOST = (
    "task9._slots",
    "                self.offer()  # we may have been woken for a slot that we do not take: let another have it\n",
    "",
)
RELEASE_RAISES = (
    "threadpool9._loops",
    "        except RuntimeError as error:  # trio's RunFinishedError\n",
    "        except ZeroDivisionError as error:\n",
)
ANNOUNCED_BEFORE_SETTLED = (
    "task9._future",
    "        self._value = value; self._settled = FINISHED  # fmt: skip\n"
    "        if self._first is not None or self._audience is not None:\n            self.announce()\n\n    def fail",
    "        if self._first is not None or self._audience is not None:\n            self.announce()\n"
    "        self._value = value; self._settled = FINISHED  # fmt: skip\n\n    def fail",
)
WAKES_ONE_ONLY = (
    "threadpool9._waiting",
    "        for _ in range(len(locks)):\n",
    "        for _ in range(min(1, len(locks))):\n",
)
NO_OTHER_TURN = (
    "task9._loop",
    "        if lane.items and lane.idle and not self.promise:\n            lane.kick_another()\n",
    "        pass\n",
)
PROMISE_LASTS_TOO_LONG = (
    "task9._loop",
    "            yield\n            promise.clear()\n            if not self.ident:"
    "  # else this is a loop inside of an item's call, and the turn outside goes on later\n"
    "                self._take_turn(interrupts)\n            self._go_on()\n",
    "            yield\n            self._take_turn(interrupts)\n            self._go_on()\n            promise.clear()\n",
)
WAITER_DOES_NOT_LOOK_AT_THE_LOOP = ("task9._loop", "        pool: Any = self.pool\n        pool.check()\n", "")
REFUSED_AND_PENDING = (
    "task9._lane",
    "                del ticket[0]; undone = True; item.item_ticket = blank",
    "                undone = True",
)
A_CLOSED_LOOP_IS_NOT_SEEN = (
    "task9._loop",
    "            raise LoopClosed(f",
    "            return\n            raise LoopClosed(f",
)


def blocking(w: World) -> Any:
    """A `Wait` of the copies for a thread."""
    return w.copies.module("threadpool9._waiting").Blocking(None)


def run(w: World, steps: Any) -> Any:
    """Run steps on a thread."""
    return w.copies.module("threadpool9._waiting").run(steps)


class Places:
    """One slot, which is taken; who gets it later gives it back at once."""

    def __init__(self, w: World) -> None:
        self.slots = w.copies.module("task9._slots").Slots(1)
        self.hand: list[None] = []
        run(w, self.slots.take(self.hand, None, AssertionError))

    def take(self, wait: Any) -> Generator[Any, Any, None]:
        """Take it and give it back."""
        hand: list[None] = []
        yield from self.slots.take(hand, wait, AssertionError)
        self.slots.give(hand)

    def check(self) -> None:
        """The slot is there, and nobody is entered."""
        assert len(self.slots.free) == 1, "a slot was lost"
        assert not self.slots.space.locks, "somebody is entered who does not wait"


@exhibit("AW-2", cancelled_stays_entered=CANCELLED_STAYS_ENTERED, room_is_lost=ROOM_IS_LOST)
def slot_against_a_cancelled_waiter(w: World) -> Callable[[], None]:
    """A task and a thread wait for one slot; it is given back while the task is cancelled: the thread gets it."""
    places, loop = Places(w), Loop(w)
    task = Awaiter(w, loop, places.take)
    w.thread("waiter", lambda: run(w, places.take(blocking(w))))
    w.thread("giver", lambda: places.slots.give(places.hand))
    w.thread("canceller", lambda: loop.post(task.cancel))

    def check() -> None:
        assert len(task.outcome) == 1, task.outcome
        places.check()

    return check


@exhibit("AW-2, AW-3", room_is_lost=ROOM_IS_LOST, release_raises=RELEASE_RAISES)
def slot_against_a_loop_that_closes(w: World) -> Callable[[], None]:
    """The same, and the loop is closed with the task in it, which is collected: the thread gets the slot."""
    places, loop = Places(w), Loop(w)
    Awaiter(w, loop, places.take)
    w.thread("waiter", lambda: run(w, places.take(blocking(w))))
    w.thread("giver", lambda: places.slots.give(places.hand))
    w.thread("closer", lambda: loop.inbox.put(loop.close))
    return places.check


@exhibit(
    "AW-2, AW-4, TK-18",
    announced_before_settled=ANNOUNCED_BEFORE_SETTLED,
    wakes_one_only=WAKES_ONE_ONLY,
)
def settle_against_a_cancelled_await(w: World) -> Callable[[], None]:
    """A task and a thread wait for a future; it is settled while the task is cancelled: each is over, the call made."""
    queue, loop, runs = w.task9.TaskQueue("q"), Loop(w), w.cell(0, "runs")
    w.staff(pool_of(queue))
    gate = w.lock()
    gate.acquire()

    def fn() -> int:
        with gate:
            return int(runs.add())

    future, got = queue.submit(fn), []
    task = Awaiter(w, loop, future._finish)
    w.thread("waiter", lambda: got.append(future.result()))
    w.thread("settler", gate.release)
    w.thread("canceller", lambda: loop.post(task.cancel))

    def check() -> None:
        assert len(task.outcome) == 1, task.outcome
        assert got == [1], got
        assert runs.get() == 1
        audience = future._audience
        assert audience is None or not audience.sleepers.locks, "somebody is entered who does not wait"
        close_at_the_end(queue)

    return check


@exhibit("AW-3, AW-4, TK-18", wakes_one_only=WAKES_ONE_ONLY, release_raises=RELEASE_RAISES)
def settle_against_a_loop_that_closes(w: World) -> Callable[[], None]:
    """A future is cancelled while a loop closes with a task that awaits it: the thread that waits too is woken."""
    queue, loop = w.task9.TaskQueue("q"), Loop(w)
    busy = w.lock()
    busy.acquire()
    w.staff(pool_of(queue))
    queue.call(busy.acquire)
    future, outcome = queue.submit(int), []
    Awaiter(w, loop, future._finish)

    def wait() -> None:
        try:
            future.result()
        except Exception as error:
            outcome.append(type(error).__name__)

    w.thread("waiter", wait)
    w.thread("canceller", future.cancel)
    w.thread("closer", lambda: loop.inbox.put(loop.close))

    def check() -> None:
        assert outcome == ["CancelledError"], outcome
        assert not future._audience.sleepers.locks, "somebody is entered who does not wait"

    return check


# --- queues in loops


@exhibit("TK-19, TK-1", no_other_turn=NO_OTHER_TURN, promise_lasts_too_long=PROMISE_LASTS_TOO_LONG)
def loop_schedule_against_the_turn(w: World) -> Callable[[], None]:
    """Two threads schedule on a loop's queue beside a turn that ends: all run, in the loop, one at a time."""
    loop = Loop(w)
    queue = w.task9.TaskQueue("home", on=loop)
    inside, runs = w.cell(0, "inside"), []

    def make(name: str) -> Any:
        def run(task: Any) -> None:
            assert inside.add() == 1, "two tasks of a queue at once"
            runs.append(name)
            inside.add(-1)

        return w.task9.Task(run)

    one, two = make("one"), make("two")
    w.thread("A", lambda: queue.schedule(one))
    w.thread("B", lambda: queue.schedule(two))

    def check() -> None:
        assert sorted(runs) == ["one", "two"], runs
        assert loop.turns <= 3, "more turns than there were schedules, and one that came meanwhile"
        close_at_the_end(queue)

    return check


@exhibit("TK-19, TK-2", no_other_turn=NO_OTHER_TURN, promise_lasts_too_long=PROMISE_LASTS_TOO_LONG)
def loop_reschedule_against_the_run(w: World) -> Callable[[], None]:
    """A task of a loop's queue is scheduled again while it runs: as many runs as were new, the last one sees all."""
    loop = Loop(w)
    queue = w.task9.TaskQueue("home", on=loop)
    data, seen, new = w.cell(0, "data"), [], []
    task = w.task9.Task(lambda task: seen.append(data.get()))

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


@exhibit("TK-19", refused_and_pending=REFUSED_AND_PENDING, a_closed_loop_is_not_seen=A_CLOSED_LOOP_IS_NOT_SEEN)
def loop_closes_against_schedule(w: World) -> Callable[[], None]:
    """Two threads schedule while the loop closes: what was refused is idle, what was taken has run or is there."""
    loop = Loop(w)
    queue = w.task9.TaskQueue("home", on=loop)
    runs: list[Any] = []
    said: dict[Any, bool] = {}

    def schedule(task: Any) -> None:
        try:
            said[task] = queue.schedule(task)
        except w.task9.LoopClosed:
            said[task] = False

    tasks = [w.task9.Task(runs.append) for _ in range(2)]
    for name, task in zip("AB", tasks, strict=True):
        w.thread(name, lambda task=task: schedule(task))
    w.thread("closer", lambda: loop.inbox.put(loop.close))

    def check() -> None:
        for task in tasks:
            assert (task in runs) + task.pending == said[task], "refused and there, or taken and lost"
        if any(task.pending for task in tasks):
            try:
                queue._lane.pool.check()
            except w.task9.LoopClosed:
                pass
            else:
                raise AssertionError("who waits would believe in a loop that is closed")
        loop.collect()
        late = w.task9.Task(runs.append)
        try:
            assert not queue.schedule(late) or any(task.pending for task in tasks), "taken by a loop that is closed"
        except w.task9.LoopClosed:
            assert not late.pending

    return check


@exhibit("TK-19", quick=0, waiter_does_not_look_at_the_loop=WAITER_DOES_NOT_LOOK_AT_THE_LOOP)
def loop_closes_against_result(w: World) -> Callable[[], None]:
    """A thread waits for a call of a loop's queue while the loop closes: the result, or the error, and no hang."""
    loop = Loop(w)
    queue = w.task9.TaskQueue("home", on=loop)
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(queue.submit(lambda: 42).result())
        except w.task9.LoopClosed:
            outcome.append("closed")

    w.thread("waiter", wait)
    w.thread("closer", lambda: loop.inbox.put(loop.close))

    def check() -> None:
        assert outcome in ([42], ["closed"]), outcome

    return check


@exhibit(
    "AW-3",
    woken_by_everybody=(
        "threadpool9._loops",
        "            for call in iter(calls.pop, None):\n",
        "            for call in tuple(calls):\n",
    ),
    task_looks_first=(
        "threadpool9._loops",
        "        self._calls.append((fn, context))\n        if self._rung:\n",
        "        rung = self._rung\n        self._calls.append((fn, context))\n        if rung:\n",
    ),
)
def ring_against_a_task_of_asyncio_that_begins_to_wait(w: World) -> Callable[[], None]:
    """A bell is rung while asyncio enters what wakes the task: that is posted once, or the task does not wait."""
    posted, waits = w.cell(0, "posted"), []

    class OfAsyncio:
        """A loop and its poster."""

        def __init__(self) -> None:
            self.loop = self

        def call_soon(self, fn: Any, *args: Any, context: Any = None) -> None:
            posted.add()

        call_soon_threadsafe = call_soon

    bell = w.copies.module("threadpool9._loops")._AsyncioBell(OfAsyncio())
    listening = bell.listen(1e6)

    def task() -> None:
        for asked in listening:
            waits.append(asked)
            asked.add_done_callback(task)
            return

    w.thread("ringer", bell.release)
    w.thread("loop", task)

    def check() -> None:
        assert posted.get() == len(waits), f"woken {posted.get()} times, waited {len(waits)} times"

    return check


def awaited(w: World, cancelled: bool = False, number: int = 1) -> Callable[[], list[object]]:
    """Tasks of asyncio await an answer that is about to come; in a check: what they ended with."""
    loop = Loop(w)
    queue = w.task9.TaskQueue("q")
    begun: list[Any] = []

    def submit() -> None:
        future = queue.submit(lambda: 42)
        begun.append(future)
        for _ in range(number):
            task = AsyncioTask(loop, future.__await__())
            begun.append(task)
            loop.post(task.step)
            if cancelled:
                loop.post(task.cancel)

    def outcomes() -> list[object]:
        future, *tasks = begun
        assert future.result() == 42
        assert future._first is None, "entered, though it waits no more"
        assert not future._attended().sleepers.locks, "entered, though it waits no more"
        return [ended for task in tasks for ended in task.outcome]

    w.thread("submitter", submit)
    return outcomes


@exhibit(
    "AW-2",
    does_not_look_once_entered=(
        "task9._future",
        "                        if self._settled is PENDING:\n                            if bell.is_future:\n",
        "                        if True:\n                            if bell.is_future:\n",
    ),
    announced_before_settled=ANNOUNCED_BEFORE_SETTLED,
)
def answer_against_a_task_of_asyncio_that_awaits_it(w: World) -> Callable[[], None]:
    """It gets the answer."""
    outcomes = awaited(w)

    def check() -> None:
        assert outcomes() == [42]

    return check


@exhibit(
    "AW-2",
    stays_entered=(
        "task9._future",
        "                    finally:\n                        self._first = None\n",
        "                    finally:\n                        pass\n",
    ),
)
def answer_against_a_task_of_asyncio_that_is_cancelled(w: World) -> Callable[[], None]:
    """It gets the answer or is cancelled, and is entered no more."""
    outcomes = awaited(w, cancelled=True)

    def check() -> None:
        assert outcomes() in ([42], ["cancelled"])

    return check


@exhibit(
    "AW-2, AW-4",
    second_takes_the_place=(
        "task9._future",
        '                if self.__dict__.setdefault("_first", bell) is bell:\n',
        "                self._first = bell\n                if True:\n",
    ),
    first_is_not_informed=("task9._audience", "            first.release()\n", "            pass\n"),
)
def answer_against_two_tasks_of_asyncio_that_await_it(w: World) -> Callable[[], None]:
    """Both get it."""
    outcomes = awaited(w, number=2)

    def check() -> None:
        assert outcomes() == [42, 42]

    return check
