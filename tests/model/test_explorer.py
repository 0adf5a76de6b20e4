"""The explorer itself: it must find seeded bugs, and must not find what is not there, before it is believed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from explore9 import Copies, Deadlock, Livelock, Patched, Search, World
from explore9.copies import shared_names
from explore9.primitives import SimpleQueue, Thread, deque, monotonic

Check = Callable[[], None]


def racy_counter(w: World) -> Check:
    """Read, then write."""
    cell = w.cell(0)

    def add() -> None:
        cell.set(cell.get() + 1)

    w.thread("A", add)
    w.thread("B", add)

    def check() -> None:
        assert cell.get() == 2

    return check


def locked_counter(w: World) -> Check:
    """The same under a lock."""
    cell, lock = w.cell(0), w.lock()

    def add() -> None:
        with lock:
            cell.set(cell.get() + 1)

    w.thread("A", add)
    w.thread("B", add)
    w.thread("C", add)

    def check() -> None:
        assert cell.get() == 3

    return check


def lock_order(w: World) -> None:
    """Two locks in two orders."""
    one, two = w.lock(), w.lock()

    def use(first: Any, second: Any) -> None:
        with first, second:
            pass

    w.thread("A", lambda: use(one, two))
    w.thread("B", lambda: use(two, one))


def lost_wake_up(w: World) -> None:
    """Looks first, publishes itself then."""
    flag, gate = w.cell(False), w.lock()
    sleepers = deque()

    def wait() -> None:
        gate.acquire()
        if not flag.get():
            sleepers.append(gate)
            gate.acquire()

    def wake() -> None:
        flag.set(True)
        if sleepers:
            sleepers.popleft().release()

    w.thread("A", wait)
    w.thread("B", wake)


def publish_then_look(w: World) -> None:
    """The right order of the same."""
    flag, gate = w.cell(False), w.lock()
    sleepers = deque()

    def wait() -> None:
        gate.acquire()
        sleepers.append(gate)
        if not flag.get():
            gate.acquire()

    def wake() -> None:
        flag.set(True)
        if sleepers:
            sleepers.popleft().release()

    w.thread("A", wait)
    w.thread("B", wake)


def check_then_pop(w: World) -> None:
    """``if q: q.popleft()`` by two threads, which frontrun says holds."""
    items = deque([1])

    def take() -> None:
        if items:
            items.popleft()

    w.thread("A", take)
    w.thread("B", take)


def queue_look_then_get(w: World) -> None:
    """Likewise on a SimpleQueue."""
    queue = SimpleQueue()
    queue.put(1)

    def take() -> None:
        if not queue.empty():
            queue.get()

    w.thread("A", take)
    w.thread("B", take)


def child_races(w: World) -> Check:
    """A race between threads that a controlled thread has started."""
    cell = w.cell(0)

    def add() -> None:
        cell.set(cell.get() + 1)

    def start() -> None:
        children = [Thread(add, "one"), Thread(add, "two")]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert cell.get() == 2

    w.thread("A", start)
    return lambda: None


def timed_wait(w: World) -> Check:
    """A timeout against a release; time passes by timeouts only."""
    gate = w.lock()
    gate.acquire()
    results: list[bool] = []

    def wait() -> None:
        start = monotonic()
        got = gate.acquire(True, 5.0)
        assert got or monotonic() >= start + 5.0
        results.append(got)

    w.thread("A", wait)
    w.thread("B", gate.release)
    SEEN.append(results)
    return lambda: None


SEEN: list[list[bool]] = []


def spins(w: World) -> None:
    """Never ends."""
    cell = w.cell(0)

    def spin() -> None:
        while not cell.get():
            pass

    w.thread("A", spin)


def interrupted_lock(w: World) -> None:
    """A handler takes the plain lock that the code it interrupts holds: the classic."""
    lock, cell = w.lock(), w.cell(0)

    def work() -> None:
        with lock:
            cell.add()

    w.thread("A", work)
    w.interrupt("A", work)


@pytest.mark.parametrize(
    ("world", "error", "bound", "within"),
    [
        (racy_counter, AssertionError, 1, 6),
        (lock_order, Deadlock, 1, 12),
        (lost_wake_up, Deadlock, 1, 20),
        (check_then_pop, IndexError, 1, 10),
        (queue_look_then_get, Deadlock, 1, 10),
        (child_races, AssertionError, 1, 20),
        (spins, Livelock, 0, 1),
        (interrupted_lock, Deadlock, 0, 6),
    ],
)
def test_finds(world: Any, error: type[Exception], bound: int, within: int) -> None:
    """Each toy bug is found, within so many executions; the schedule replays to the same error, shown as a timeline."""
    search = Search(world)
    result = search.exhaust(bound)
    assert result.failure is not None, result
    assert isinstance(result.failure.error, error)
    assert result.executions <= within
    again = search.replay(result.failure.schedule)
    assert type(again.failure) is type(result.failure.error)
    assert "test_explorer.py:" in result.failure.timeline


@pytest.mark.parametrize("world", [locked_counter, publish_then_look])
def test_does_not_find(world: Any) -> None:
    """What is right stays without a finding, however many preemptions."""
    result = Search(world).exhaust(9)
    assert result.failure is None
    assert result.finished


def test_timeouts_are_choices() -> None:
    """Both outcomes of a timed wait are seen."""
    SEEN.clear()
    assert Search(timed_wait).exhaust(1).failure is None
    assert {result for results in SEEN for result in results} == {True, False}


@pytest.mark.parametrize("mode", ["random", "pct"])
def test_finds_by_sampling(mode: str) -> None:
    """The random modes find the race too, and what they find replays."""
    search = Search(racy_counter)
    search.exhaust(0)
    result = search.sample(300, mode=mode)
    assert result.failure is not None
    assert isinstance(search.replay(result.failure.schedule).failure, AssertionError)


def unreduced(world: Any, bound: int) -> set[str]:
    """All outcomes of `world`, found without any reduction: every point a decision, nothing pruned."""
    from explore9.search import Deepening

    class Everything(Deepening):
        sleep = False

        def choose(self, run: Any, thread: Any, options: Any, going: bool) -> int:
            self.seen.clear()
            return super().choose(run, thread, options, going)

    class All(set):
        def __contains__(self, item: object) -> bool:
            return True

    search = Search(world)
    search.hot = All()
    strategy = Everything(bound)
    outcomes = set()
    while strategy.begin():
        outcomes.add(outcome(search.run(strategy)))
    return outcomes


def outcome(run: Any) -> str:
    """How an execution ended, and what the world has logged."""
    assert not run.pruned
    return f"{type(run.failure).__name__} {run.result}"


def mixed(w: World) -> Check:
    """Locks, a deque, cells and a queue; what each thread saw is the outcome."""
    lock, items, cell, queue = w.lock(), deque(), w.cell(0), SimpleQueue()
    saw: dict[str, Any] = {}

    def first() -> None:
        items.append(1)
        with lock:
            cell.set(cell.get() + 1)
        queue.put(len(items))

    def second() -> None:
        saw["early"] = cell.get()
        with lock:
            cell.set(cell.get() * 10)
        items.append(2)
        saw["got"] = queue.get()
        saw["left"] = tuple(items)

    w.thread("A", first)
    w.thread("B", second)

    def check() -> None:
        w.run.result = (saw, cell._value)

    return check


@pytest.mark.parametrize("world", [mixed, racy_counter, check_then_pop, lost_wake_up])
@pytest.mark.parametrize("bound", [0, 1, 2, 3])
def test_reduction_loses_nothing(world: Any, bound: int) -> None:
    """With and without the reductions the same outcomes come about, at each bound."""
    from explore9.search import Deepening

    expected = unreduced(world, bound)
    search = Search(world)
    search.exhaust(3)  # finds out what is hot; may stop at a failure
    found: set[str] = set()
    while True:
        strategy = Deepening(bound)
        known = len(search.hot)
        while strategy.begin():
            run = search.run(strategy)
            if not run.pruned:
                found.add(outcome(run))
            search.hot |= run.found
        if len(search.hot) == known:
            break
        found.clear()
    assert found == expected


def test_shared_names_come_from_the_source() -> None:
    """What is stored outside of __init__ is watched, what is set once is not."""
    names = shared_names()
    assert {
        "_ticket",
        "_runner",
        "current",
        "started",
        "item_lane",
        "item_ticket",
        "next_wake",
        "closed",
        "promise",
    } <= names
    assert not {"_interlock", "lanes", "limit", "thread_name"} & names


def test_a_patch_must_fit() -> None:
    """A seeded bug whose text is gone from the source is an error, not a bug that is never found."""
    with pytest.raises(Patched):
        Copies((("threadpool9._pool", "no such line", ""),))


def test_copies_leave_the_layers_alone() -> None:
    """The layers themselves go on with the real primitives."""
    import _thread

    import threadpool9._seam

    copies = Copies()
    assert threadpool9._seam.Lock is _thread.allocate_lock
    assert copies.threadpool9.Job is not threadpool9.Job


def test_real_threads_give_the_same_result() -> None:
    """Without greenlet the fibers are threads: the same executions, the same states."""
    script = (
        "from explore9 import Search; from explore9.fibers import KIND; import test_explorer as t;"
        "r = Search(t.locked_counter).exhaust(2); s = Search(t.lost_wake_up).exhaust(1);"
        "print(KIND, r.executions, r.states, s.failure.schedule)"
    )
    here = Path(__file__).parent
    outputs = {}
    for kind in ("threads", ""):
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=120,
            env={**__import__("os").environ, "EXPLORE9_FIBERS": kind},
        )
        assert run.returncode == 0, run.stderr
        outputs[kind] = run.stdout.split(maxsplit=1)[1]
    assert outputs["threads"] == outputs[""]
