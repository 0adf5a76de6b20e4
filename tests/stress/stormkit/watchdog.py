"""A limit in time for code that may deadlock: dumps every stack and the counts, and makes the test fail.

The main thread may hang in a lock inside a signal handler, so it is brought out by a signal whose handler
raises: that interrupts a waiting ``Lock.acquire``. Where even that does not help the process ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType

GRACE = 5.0  # seconds that the main thread has to come out, before it is called again
CALLS = 4  # how often it is called


class Hang(BaseException):
    """The limit is over; carries stacks and counts. Not an Exception: nothing on the way may take it."""


def stacks() -> str:
    """The stack of every thread of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        stack = "".join(traceback.format_stack(frame))
        parts.append(f"--- thread {names.get(ident, 'unknown to threading')} ({ident})\n{stack}")
    return "\n".join(parts)


class Watchdog:
    """``with Watchdog(seconds, counts):`` raises `Hang` in the main thread when the time is over."""

    def __init__(self, seconds: float, counts: Callable[[], object]) -> None:
        self.seconds = seconds
        self.counts = counts
        self.report = ""
        # A plain lock: no test interrupts this thread, and nobody else waits for it.
        self._over = threading.Lock()
        self._main = threading.get_ident()

    def _bark(self, number: int, frame: FrameType | None) -> None:
        raise Hang(self.report)

    def _watch(self) -> None:
        if self._over.acquire(timeout=self.seconds):
            return
        self.report = f"no end after {self.seconds} s; counts: {self.counts()}\n{stacks()}"
        for _ in range(CALLS):
            signal.pthread_kill(self._main, signal.SIGUSR2)
            if self._over.acquire(timeout=GRACE):
                return
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, self.report.encode())
        os._exit(86)

    def __enter__(self) -> Watchdog:
        self._over.acquire()
        self._old = signal.signal(signal.SIGUSR2, self._bark)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._over.release()
        self._thread.join()
        signal.signal(signal.SIGUSR2, self._old)
