#!/usr/bin/env python3
"""The same window as `checksums`, with what Qt has: a thread pool, runnables, signals."""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path

from PySide6.QtCore import QObject, QRunnable, Qt, QThreadPool, QTimer, Signal
from PySide6.QtWidgets import QApplication, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

BLOCK = 1 << 16
REFRESH_MS = 30


class Signals(QObject):
    """A runnable is no QObject, so it needs one to speak through."""

    line = Signal(str)


class Hash(QRunnable):
    """One file."""

    def __init__(self, path: Path, window: Window) -> None:
        super().__init__()
        self.path, self.window = path, window
        self.signals = Signals()
        self.signals.line.connect(window.text.appendPlainText, Qt.ConnectionType.QueuedConnection)

    def run(self) -> None:
        """On a thread of the pool."""
        digest = hashlib.sha256()
        try:
            with self.path.open("rb") as file:
                while block := file.read(BLOCK):
                    if self.window.stopping.is_set():
                        return
                    digest.update(block)
                    self.window.read[self.path] += len(block)
            self.signals.line.emit(f"{digest.hexdigest()}  {self.path}")
        except OSError as error:
            self.signals.line.emit(str(error))


class Window(QWidget):
    """Made, changed and destroyed in the application's thread."""

    def __init__(self, paths: list[Path], application: QApplication) -> None:
        super().__init__(windowTitle="Checksums")
        self.text, self.bar = QPlainTextEdit(readOnly=True), QProgressBar(maximum=100)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(self.bar)
        self.size_of = {path: path.stat().st_size for path in paths}
        self.read = dict.fromkeys(paths, 0)
        self.updates = 0
        self.stopping = threading.Event()
        self.timer = QTimer(self)  # a signal for each block would flood the loop
        self.timer.timeout.connect(self.show_progress)
        self.timer.start(REFRESH_MS)
        self.pool = QThreadPool()
        self.runnables = [Hash(path, self) for path in paths]  # kept, or Python takes their signals away
        for runnable in self.runnables:
            runnable.setAutoDelete(False)
            self.pool.start(runnable)

    def show_progress(self) -> None:
        """Whether there is something new or not."""
        self.updates += 1
        done = sum(self.read.values())
        self.bar.setValue(100 * done // max(1, sum(self.size_of.values())))
        if done >= sum(self.size_of.values()):
            self.timer.stop()

    def end(self) -> None:
        """After the loop has ended."""
        self.stopping.set()
        self.timer.stop()
        self.pool.clear()
        self.pool.waitForDone()


def main(paths: list[Path]) -> int:
    """Until the window is closed."""
    application = QApplication(sys.argv)
    window = Window(paths, application)
    window.show()
    status = application.exec()
    window.end()
    return status


if __name__ == "__main__":
    sys.exit(main([Path(word) for word in sys.argv[1:]]))
