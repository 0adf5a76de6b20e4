"""Ctrl-C that asks politely once.

The first SIGINT only leaves a note; everybody looks at it at places of their own choosing, so no data structure is
left half changed, as it can be by a KeyboardInterrupt between any two bytecodes. The second one is Python's own.
"""

from __future__ import annotations

import queue
import signal


class Stop:
    """The note. `requested` is a plain attribute: one store in the handler, one load wherever it is looked at."""

    def __init__(self) -> None:
        self.requested = False
        # A handler may not touch an Event: it can interrupt the Event's own lock on the same thread. SimpleQueue.put
        # is made for it.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def install(self) -> None:
        """Take SIGINT over. Main thread."""
        signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, signum: int, frame: object) -> None:
        self.requested = True
        self._bell.put(None)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        """True once somebody asked to stop."""
        return self.requested

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until somebody asks to stop: True then. Main thread."""
        if not self.requested:
            try:
                self._bell.get(timeout=seconds)
            except queue.Empty:
                pass
        return self.requested
