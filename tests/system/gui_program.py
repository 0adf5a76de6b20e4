"""Drive the window of an example from a thread: ``gui_program.py MODULE CHECK FILE...``; prints what was seen."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtWidgets import QApplication


class Hand(QObject):
    """Closes the window, from any thread."""

    close = Signal()


def look(window: object, text: str) -> None:
    """What is in it."""
    print(f"updates {window.updates}, bar {window.bar.value()}")
    print(text)


def main(module: str, check: str, paths: list[Path]) -> int:
    """Until the window has closed itself, or was closed."""
    application = QApplication([])
    window = importlib.import_module(module).Window(paths, application)
    window.show()
    hand = Hand()
    hand.close.connect(window.close, Qt.ConnectionType.QueuedConnection)

    def all_shown() -> None:
        if len(window.text.toPlainText().splitlines()) == len(paths) and window.bar.value() == 100:
            window.close()

    def feed() -> None:
        with paths[0].open("wb") as fifo:  # someone hashes it now
            hand.close.emit()
            over.wait()
            try:
                while True:  # our caller kills us if nobody ever leaves off
                    fifo.write(bytes(1 << 16))
            except BrokenPipeError:
                print("left off")

    over = threading.Event()
    application.aboutToQuit.connect(over.set)
    if check == "all":
        window.text.textChanged.connect(all_shown)
        window.bar.valueChanged.connect(all_shown)
    else:
        feeder = threading.Thread(target=feed)
        feeder.start()
    application.exec()
    text = window.text.toPlainText()
    window.end()
    if check != "all":
        feeder.join()
    look(window, text)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1], sys.argv[2], [Path(word) for word in sys.argv[3:]])
    sys.stdout.flush()
    os._exit(status) if status else sys.exit(0)
