"""Fibers: what a controlled thread runs on. One runs at a time; control passes where the explorer says.

With greenlet a switch costs half a microsecond. Where greenlet is not installed, and on free-threaded builds, real
threads hand a baton on, which costs some 20 microseconds and, on a loaded machine, a good deal more. Set
``EXPLORE9_FIBERS=threads`` to have the latter in any case. The result of a search does not depend on the kind.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

try:
    # Where there is no GIL, importing greenlet would switch it on for the rest of the process and all its tests.
    if os.environ.get("EXPLORE9_FIBERS") == "threads" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise ImportError
    import greenlet
except ImportError:
    greenlet = None

KIND = "threads" if greenlet is None else "greenlet"


class _Green:
    """A fiber on a greenlet. The hub is the greenlet that made it; a fiber that ends goes back there."""

    __slots__ = ("_green",)

    def __init__(self, main: Callable[[], None] | None, hub: _Green | None = None) -> None:
        self._green = greenlet.getcurrent() if main is None else greenlet.greenlet(main, hub._green)

    def switch(self, target: _Green) -> None:
        """Give control to `target`; returns when somebody gives it back to us."""
        target._green.switch()

    def run(self, target: _Green) -> None:
        """From the hub: run `target` until some fiber gives control back to the hub."""
        target._green.switch()


class _Baton:
    """A fiber on a real thread, which waits for its baton. Threads are used again, as starting one is dear."""

    __slots__ = ("_baton", "_hub", "_main", "_thread")
    idle: list[_Carrier] = []  # noqa: RUF012

    def __init__(self, main: Callable[[], None] | None, hub: _Baton | None = None) -> None:
        self._baton = threading.Lock()
        self._baton.acquire()
        self._main = main
        self._hub = hub
        self._thread: _Carrier | None = None

    def switch(self, target: _Baton) -> None:
        """Give control to `target`; returns when somebody gives it back to us."""
        target._wake()
        self._baton.acquire()

    run = switch

    def _wake(self) -> None:
        if self._main is None or self._thread is not None:
            self._baton.release()
            return
        self._thread = _Baton.idle.pop() if _Baton.idle else _Carrier()
        self._thread.carry(self)


class _Carrier(threading.Thread):
    def __init__(self) -> None:
        super().__init__(daemon=True, name="explorer fiber")
        self._work = threading.Semaphore(0)
        self._fiber: _Baton | None = None
        self.start()

    def carry(self, fiber: _Baton) -> None:
        self._fiber = fiber
        self._work.release()

    def run(self) -> None:
        while True:
            self._work.acquire()
            fiber = self._fiber
            self._fiber = None
            fiber._main()
            _Baton.idle.append(self)
            fiber._hub._baton.release()
            fiber = None


def make_hub():
    """The fiber of the caller, who runs the others."""
    return _Baton(None) if greenlet is None else _Green(None)


def make_fiber(main: Callable[[], None], hub):
    """A fiber that runs `main`, then gives control to `hub`."""
    return _Baton(main, hub) if greenlet is None else _Green(main, hub)
