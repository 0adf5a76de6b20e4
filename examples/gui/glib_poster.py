"""GLib's default main context, which is GTK's too, as an event loop for queues; with PyGObject."""

from __future__ import annotations

# docs: begin
import threading
from collections import deque
from collections.abc import Callable

from gi.repository import GLib


class GLibPoster:
    """For one run of the main loop; call `end` after it, or connect that to "shutdown" of a `Gtk.Application`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # re-entrant: signal handlers and finalizers post, too
        self.waiting: deque[Callable[[], object]] | None = deque()

    def post(self, fn: Callable[[], object]) -> None:
        """Have ``fn()`` called in the main loop's thread. Any context."""
        with self.lock:
            if self.waiting is None:
                raise RuntimeError("the main loop has ended")
            self.waiting.append(fn)
            GLib.idle_add(self.call_one, priority=GLib.PRIORITY_DEFAULT)

    def call_one(self) -> bool:
        """Once for each that was posted: an exception keeps none of the others."""
        if self.waiting:
            self.waiting.popleft()()
        return GLib.SOURCE_REMOVE

    def end(self, *args: object) -> None:
        """Nothing is called from now on."""
        with self.lock:
            self.waiting = None
