#!/usr/bin/env python3
"""Checksums of files in a window: hashed on every CPU, shown as they come. See README.md."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from PySide6.QtWidgets import QApplication, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget
from qt_poster import QtPoster

import task9

BLOCK = 1 << 16


class Window(QWidget):
    """Made, changed and destroyed in the application's thread; `hash` runs elsewhere."""

    def __init__(self, paths: list[Path], application: QApplication) -> None:
        super().__init__(windowTitle="Checksums")
        self.text, self.bar = QPlainTextEdit(readOnly=True), QProgressBar(maximum=100)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(self.bar)
        self.size_of = {path: path.stat().st_size for path in paths}
        self.read = dict.fromkeys(paths, 0)
        self.updates = 0
        self.home = task9.TaskQueue("home", on=QtPoster(application))
        self.progress = task9.Task(self.show_progress)
        self.hasher = task9.TaskQueue("hasher", concurrency=os.cpu_count() or 1)
        for path in paths:
            self.hasher.call(self.hash, path)

    def hash(self, path: Path) -> None:
        """On a thread of the pool."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    digest.update(block)
                    self.read[path] += len(block)
                    self.home.schedule(self.progress)  # as often as it likes: once for each turn of the loop
            self.home.call(self.text.appendPlainText, f"{digest.hexdigest()}  {path}")
        except OSError as error:
            self.home.call(self.text.appendPlainText, str(error))
        except task9.LoopClosed:
            pass  # the window was closed: nobody wants to know

    def show_progress(self, task: task9.Task) -> None:
        """At home."""
        self.updates += 1
        self.bar.setValue(100 * sum(self.read.values()) // max(1, sum(self.size_of.values())))

    def end(self) -> None:
        """After the loop has ended: files that were not begun are left, the others stop at their next block."""
        self.hasher.cancel_pending()
        self.home.cancel_pending()  # a task that stayed pending would not be posted again, and LoopClosed not be seen
        self.hasher.close()
        self.home.close()


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
