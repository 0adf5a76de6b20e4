"""What the layers make of the primitives: tokens, tickets, counting. Everything here is for any context,
unless it says otherwise.

Two ideas carry the whole stack.

    token     a list with one element while it is free. ``del token[0]`` takes it: IndexError if it is taken already.
              ``token += FREE`` gives it back; only who has taken it may.
    ticket    a list that serves for one schedule of one unit, which has it in an attribute.
              [None, None]  blank: the unit is idle. ``del ticket[1]`` claims the unit: IndexError if somebody was first
              [None]        claimed; ``ticket[0] = unit`` on the same line, or somebody keeps the unit from others
              [unit]        full: the unit is pending, and the ticket waits in a queue. ``del ticket[0]`` takes the unit
                            out: IndexError if a worker, or whoever withdraws it, was first
              []            spent. Who has taken the unit out makes it idle by a new one: unit.ticket = [None, None]
              One that was filled in is never blank again, so what was seen full can only be taken out. A ticket that
              was withdrawn stays where it is, empty, and is thrown away when somebody meets it.

Asynchronous exceptions. In the main thread a signal handler may raise (KeyboardInterrupt does) between any two lines
and, within a line, where the interpreter looks for signals: after a call, and when a loop goes round. With a GIL these
are also the places where threads take turns. Statements without a call that stand on one line are therefore done
together or not at all, a call into C at their end included:

    del ticket[1]; ticket[0] = unit; queue.append(ticket)

(not a list in brackets: where CPython 3.11 makes one it may collect garbage, so it is made on the line before), and a
loop keeps what the call into C has returned before anything can happen:

    for worker in iter(idle.pop, None): worker.wake(); break

Undoing makes no call, since an exception may have come because no call is possible any more (RecursionError): take the
unit out of its ticket, and give it a blank one. If it is not there any more, it has happened.

Promises. Whoever asks somebody else to act leaves a list with one element *after* the request was made; whoever
fulfils it empties the list. Others who see it full rely on it; if the request failed, there is nothing to see.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from . import _seam

P = ParamSpec("P")
T = TypeVar("T")

#: What gives a token back: ``token += FREE``, which neither makes a call nor needs a frame.
FREE = (None,)


def token() -> list[None]:
    """A free token: a test-and-set bit, see the module's text."""
    return [None]


def blank_ticket() -> list[Any]:
    """The ticket of an idle unit, see the module's text."""
    return [None, None]


def need_frames(number: int) -> None:
    """RecursionError unless `number` nested calls are possible: what begins now must run to completion."""
    if number:
        need_frames(number - 1)


def insist(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `make(...)`, retried while memory is refused, as it takes only a few bytes. For our own threads.

    An undo tries only once (docs/promises.rst).
    """
    while True:
        try:
            return make(*args, **kwargs)
        except MemoryError:
            continue


_ONCE: tuple[tuple[()], ...] = ((),)


def collect(call: Callable[[], T], into: list[T]) -> None:
    """Append the result of ``call()``, a function in C, to `into`: whatever is raised meanwhile, it is not lost."""
    into.extend(itertools.starmap(call, _ONCE))


def discard(items: Any, item: object) -> bool:
    """Take `item` out of `items` if it is there; True makes the caller its owner.

    Checks before it removes: in some versions (3.11.2) ``deque.remove`` handles signals while it builds its ValueError,
    which then replaces what a handler has raised (KeyboardInterrupt). Retries if other threads change the deque
    meanwhile, which aborts the check, and without a GIL the removal too, before anything is removed.
    """
    while True:
        try:
            if item not in items:
                return False
            items.remove(item)
        except ValueError:  # since then
            return False
        except (IndexError, RuntimeError) as error:
            if isinstance(error, RecursionError):
                raise
            continue
        return True


def contents(items: _seam.deque[Any]) -> list[Any]:
    """What is in `items` at some moment of this call."""
    if not _seam.FREE_THREADED:
        return list(items)
    # An iteration, and deque.copy, lock the deque anew for each item: beside many threads that use it they fail each
    # time. A search locks it once.
    seen = _seam.Compared()
    items.count(seen)
    return list(seen)


class Flock(Generic[T]):
    """Objects that are known as long as they live."""

    def __init__(self) -> None:
        self._refs: dict[weakref.ref[T], None] = {}
        # A function of C: where it is called, an asynchronous exception would be swallowed.
        self._forget = self._refs.pop

    def add(self, thing: T) -> None:
        """Know `thing`, until it is gone."""
        self._refs[weakref.ref(thing, self._forget)] = None

    def clear(self) -> None:
        """Know none any more."""
        self._refs.clear()

    def all(self) -> list[T]:
        """Those that live. The table is read in one call into C: others may come and go beside us."""
        return [thing for thing in [ref() for ref in list(self._refs)] if thing is not None]


class Tally:
    """An exact event counter.

    An event is one atomic `list.append`; whoever finds the list long folds it into the base, guarded by
    a try-lock, so that memory stays bounded and nobody waits.
    """

    __slots__ = ("_base", "_events", "_folding", "_seen")

    _FOLD = 1024

    def __init__(self) -> None:
        self._events: list[None] = []
        self._base = 0  # written by the holder of _folding only
        self._folding = _seam.Lock()
        self._seen = 0  # written by readers: none is to see less than before

    def bump(self) -> None:
        """Count one event."""
        events = self._events
        events.append(None)
        if len(events) > self._FOLD and self._folding.acquire(False):
            try:
                # Look again: somebody may have folded between our two steps; from here on only we take. A reader in
                # between sees too few for an instant, never too many.
                if len(events) > self._FOLD:
                    del events[: self._FOLD]; self._base += self._FOLD  # fmt: skip  # see above
            finally:
                self._folding.release()

    def value(self) -> int:
        """The number of events so far; exact when nobody is counting."""
        self._seen = seen = max(self._seen, self._base + len(self._events))
        return seen
