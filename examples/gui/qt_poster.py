"""A Qt application as an event loop for queues; with PySide6."""

from __future__ import annotations

# docs: begin
import threading
from collections import deque
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QObject, Qt, Signal, Slot


class QtPoster(QObject):
    """For one run of the application's event loop; make it in the application's thread."""

    posted = Signal()

    def __init__(self, application: QCoreApplication) -> None:
        super().__init__(application)  # its child, so not destroyed before it has said that it will be
        self.lock = threading.RLock()  # re-entrant: signal handlers and finalizers post, too
        self.waiting: deque[Callable[[], object]] | None = deque()
        self.posted.connect(self.call_one, Qt.ConnectionType.QueuedConnection)
        application.aboutToQuit.connect(self.end)
        application.destroyed.connect(self.end)

    def post(self, fn: Callable[[], object]) -> None:
        """Have ``fn()`` called in the application's thread. Any context."""
        with self.lock:
            if self.waiting is None:
                raise RuntimeError("the application's event loop has ended")
            self.waiting.append(fn)
            self.posted.emit()

    @Slot()
    def call_one(self) -> None:
        """Once for each that was posted: an exception keeps none of the others."""
        if self.waiting:
            self.waiting.popleft()()

    @Slot()
    def end(self) -> None:
        """Nothing is called from now on."""
        with self.lock:
            self.waiting = None
