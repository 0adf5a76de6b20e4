"""Waiting: by a thread, which sleeps, or by a task of an event loop, which lets the loop go on (AW-1).

Whatever waits is written once, as *steps*: a generator that is given a `Wait` and has ``yield from`` where it waits.

    Blocking    the thread sleeps inside of the steps, which never yield anything: `run` has their result in one go. For
                exceptions, asynchronous ones too, they are ordinary calls.
    Awaiting    (`_loops`) what they yield goes to the event loop; an exception that the loop throws in, or the end of
                the generator, comes out at that ``yield from``, where the steps undo what they began.

Publish, then look, on both sides: a waiter registers, *then* looks whether it must still wait; the other side
changes the state, *then* wakes it. A wake-up may come early, never too late, so whoever is woken looks again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from . import _seam
from ._atomic import discard
from ._errors import WaitTimeout

T = TypeVar("T")
Steps: TypeAlias = Generator[Any, Any, T]

LONG = 1e6  # seconds: the longest that a lock can be waited for at once


class Wait:
    """How somebody waits, and until when.

    Args:
        timeout: seconds, 0 or more; None for no limit. Raises TypeError, ValueError.
    """

    __slots__ = ("check", "deadline", "timeout")

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout  # S: seconds, as asked for
        self.deadline: float | None = None  # S: monotonic seconds
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
                raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
            if not 0 <= timeout < 1e12:
                raise ValueError(f"timeout must be a number of seconds from 0 to 1e12, or None, not {timeout!r}")
            self.deadline = _seam.monotonic() + timeout
        #: Called with this before it waits, and now and then meanwhile: raises if what is waited for can't come.
        self.check: Callable[[Wait], object] | None = None

    def left(self, limit: float | None = None) -> float:
        """Seconds until the deadline, or until `limit` (monotonic) if that is sooner."""
        left = LONG if self.deadline is None else min(self.deadline - _seam.monotonic(), LONG)
        return left if limit is None else min(left, limit - _seam.monotonic())

    def over(self) -> bool:
        """True if the deadline has passed."""
        return self.deadline is not None and _seam.monotonic() >= self.deadline

    def bell(self) -> Any:
        """The object that a waiter registers: its ``release()`` ends `sleep`, once, in any context."""
        raise NotImplementedError

    def sleep(self, bell: Any, limit: float | None = None) -> Steps[bool]:
        """Until `bell` is released; False if the deadline, or `limit`, passed first."""
        while (left := self.left(limit)) > 0:
            if self.check is not None:
                self.check(self)
                left = min(left, _CHECKED)
            if (yield from self.listen(bell, left)):
                return True
        return False

    def listen(self, bell: Any, seconds: float) -> Steps[bool]:
        """Until `bell` is released, at most so many seconds; False if it was not."""
        raise NotImplementedError

    def doze(self, seconds: float) -> Steps[None]:
        """Sleep between polls, where nothing can wake us."""
        raise NotImplementedError

    def pause(self, what: str) -> Steps[None]:
        """Give another thread time to complete a step; WaitTimeout naming `what` after the deadline."""
        if self.over():
            raise WaitTimeout(f"{what}: the time limit ran out")
        if self.check is not None:
            self.check(self)
        yield from self.doze(_TRANSIENT)


_TRANSIENT = 1e-4
_CHECKED = 0.25


class Blocking(Wait):
    """A thread waits. Thread context."""

    __slots__ = ()

    def bell(self) -> Any:
        """A lock of its own: unlike an Event's, its ``release`` by a handler on the same thread is not lost."""
        lock = _seam.Lock()
        lock.acquire()
        return lock

    def listen(self, bell: Any, seconds: float) -> Steps[bool]:
        """As for any `Wait`."""
        yield from ()  # nothing, ever
        return bool(bell.acquire(True, seconds))

    def doze(self, seconds: float) -> Steps[None]:
        """As for any `Wait`."""
        yield from ()  # nothing, ever
        _seam.doze(seconds)


def run(steps: Steps[T]) -> T:
    """The result of `steps` that were given a `Blocking`. Thread context."""
    try:
        next(steps)
    except StopIteration as over:
        result: T = over.value
        return result
    raise AssertionError("steps that block have yielded")


class Bell:
    """A bell of a loop. Unlike that of a lock its ``release`` is Python code, so it may be broken off, and repeated."""

    __slots__ = ()


class Waiters:
    """Those who wait for one event, which others announce with `wake_all` or `wake_one`."""

    __slots__ = ("locks",)

    def __init__(self) -> None:
        #: The bells of those who wait. A hot path tests this deque itself before it calls `wake_all`.
        self.locks: _seam.deque[Any] = _seam.deque()

    def wake_all(self) -> None:
        """Wake everybody who waits now. Any context."""
        locks, lock = self.locks, None
        try:
            # As many as there are now: a waiter that looks again and re-enters is not for this round.
            for _ in range(len(locks)):
                for lock in iter(locks.popleft, None): lock.release(); break  # fmt: skip  # see _atomic
        except IndexError:
            pass
        except BaseException:
            if isinstance(lock, Bell):
                locks.appendleft(lock)  # no further call: there may be no frame for it
            raise

    def wake_one(self) -> bool:
        """Wake the one who has waited longest, if any. Any context."""
        locks, lock, woken = self.locks, None, False
        try:
            while not woken:  # a bell whose loop is closed wakes nobody
                for lock in iter(locks.popleft, None): woken = lock.release() is not False; break  # fmt: skip
        except IndexError:
            return False
        except BaseException:
            if isinstance(lock, Bell) and not woken:
                locks.appendleft(lock)
            raise
        return True

    def wait(self, must_wait: Callable[[], object], wait: Wait, limit: float | None = None) -> Steps[bool]:
        """Enter, look, sleep until woken once; False if the deadline or `limit` (monotonic) has passed. Look again."""
        mine = wait.bell()
        try:
            self.locks.append(mine)
            in_time = not must_wait() or (yield from wait.sleep(mine, limit))
            if self.locks:  # who was woken is not among them
                discard(self.locks, mine)
        except BaseException:
            discard(self.locks, mine)
            raise
        return in_time

    def wait_until_not(self, must_wait: Callable[[], object], wait: Wait, what: str) -> Steps[None]:
        """Sleep while `must_wait()` says so; `WaitTimeout` naming `what` after the deadline."""
        while must_wait():
            if not (yield from self.wait(must_wait, wait)) and must_wait():
                raise WaitTimeout(f"{what}: the time limit ran out")


class Sleepers(dict[object, Waiters]):
    """Those who each wait for something to happen to one of many objects, by the object: one table for all of them.

    Like `Waiters`, for objects of which there may be a million, hardly any ever waited for. A hot path looks whether
    the table is empty before it calls `wake`.
    """

    __slots__ = ()

    def wake(self, thing: object) -> None:
        """Wake everybody who waits for `thing`. Any context."""
        waiters = self.get(thing)
        if waiters is not None:
            waiters.wake_all()

    def wait(self, thing: object, must_wait: Callable[[], object], wait: Wait) -> Steps[bool]:
        """As `Waiters.wait`, for what happens to `thing`."""
        waiters = None
        try:
            waiters = self.get(thing) or self.setdefault(thing, Waiters())
            # Once we are among them: if the last one who left has taken them out of the table, look again.
            in_time = yield from waiters.wait(lambda: self.get(thing) is waiters and must_wait(), wait)
            self._leave(thing, waiters)
        except BaseException:
            self._leave(thing, waiters or self.get(thing))
            raise
        return in_time

    def _leave(self, thing: object, waiters: Waiters | None) -> None:
        """Out of the table with those who wait for `thing`, if we were the last one."""
        if waiters is None or waiters.locks:
            return
        gone = None
        try:
            # Who came meanwhile looks again; they need not be those whom we have left.
            for gone in map(self.pop, (thing,)): gone.wake_all()  # fmt: skip  # see _atomic
        except KeyError:
            pass  # another one was faster
        except BaseException:
            if gone is not None:
                gone.wake_all()
            raise

    def wait_until_not(self, thing: object, must_wait: Callable[[], object], wait: Wait, what: str) -> Steps[None]:
        """As `Waiters.wait_until_not`, for what happens to `thing`."""
        while must_wait():
            if not (yield from self.wait(thing, must_wait, wait)) and must_wait():
                raise WaitTimeout(f"{what}: the time limit ran out")
