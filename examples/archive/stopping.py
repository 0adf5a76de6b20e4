"""Ctrl-C that asks politely once.

The first SIGINT or SIGTERM only leaves a note; everybody looks at it at places of their own choosing, so no data
structure is left half changed, as it can be by a KeyboardInterrupt between any two bytecodes. The second SIGINT is
Python's own.
"""

from __future__ import annotations

import signal


class Stop:
    """The note. `signal` is a plain attribute: one store in the handler, one load wherever it is looked at."""

    def __init__(self) -> None:
        self.signal = 0
        self.error: BaseException | None = None

    def install(self) -> None:
        """Take SIGINT and SIGTERM over. Main thread."""
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._interrupted)

    def _interrupted(self, signum: int, frame: object) -> None:
        self.signal = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def fail(self, error: BaseException, work: object = None) -> None:
        """Stop because of an error: the first one counts. Any thread; suits `WorkQueue`'s ``on_error``."""
        if self.error is None:
            self.error = error

    def __call__(self) -> bool:
        """True once somebody asked to stop, or something failed."""
        return self.signal != 0 or self.error is not None

    @property
    def status(self) -> int:
        """The exit status of a program that was stopped by a signal."""
        return 128 + self.signal
