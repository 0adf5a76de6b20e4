"""What stands around a future: who is to be informed of it, what it holds if its function raised, and its token.

Rules. A: atomic, any context.
"""

from __future__ import annotations

import concurrent.futures
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from threadpool9.lowlevel import Waiters, deque, note_origin, report_error

from ._watch import tunables

__all__ = ["Audience", "Failure", "Spent"]


class Audience(dict[str, Any]):
    """Who is to be informed when one future is settled; each part is made when it is first asked for. A."""

    __slots__ = ()

    @property
    def sleepers(self) -> Waiters:
        """Those who wait in `result`, `exception` and ``await``."""
        sleepers: Waiters = self.get("sleepers") or self.setdefault("sleepers", Waiters())
        return sleepers

    @property
    def calls(self) -> Any:
        """Callbacks, each in a list: who takes it out calls it."""
        return self.get("calls") or self.setdefault("calls", deque())

    @property
    def crowd(self) -> Any:
        """A standard future, of which we use the condition, the list of waiters, and the state that they have seen."""
        return self.get("crowd") or self.setdefault("crowd", concurrent.futures.Future())


class Spent:
    """The token of what is put once: it is never free, and to give it back does nothing."""

    __slots__ = ()

    #: As that of a list; a function of C that does nothing.
    append = staticmethod(id)

    def __len__(self) -> int:
        return 0

    def __delitem__(self, index: int) -> NoReturn:
        raise IndexError(index)

    def __iadd__(self, other: object) -> Spent:
        return self


class Failure:
    """An exception that a future holds; reported if nobody has asked for it by the time the future goes."""

    __slots__ = ("asked", "error", "origin")

    def __init__(self, error: BaseException, origin: str, asked: bool) -> None:
        self.asked = asked
        self.error = error
        self.origin = origin

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not self.asked and tunables.report_unretrieved and not finalizing():
            note_origin(self.error, f"{self.origin}; nobody asked for the result")
            report_error(self.error, origin=self.origin)
