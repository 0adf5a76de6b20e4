"""Run a queue in the event loop of Qt or GLib: ``poster_program.py qt`` or ``glib``. Prints a line for what holds.

Needs task9 and the binding, and nothing else, so that an interpreter of the system can run it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "gui"))

import task9

LIMIT = float(sys.argv[2])
THREADS, EACH = 3, 300


class QtLoop:
    """A Qt application."""

    def __init__(self) -> None:
        from PySide6.QtCore import QCoreApplication
        from qt_poster import QtPoster

        self.application = QCoreApplication([])
        self.poster = QtPoster(self.application)
        self.run, self.quit = self.application.exec, self.application.quit

    def end(self) -> None:
        """The application is destroyed."""
        self.application.shutdown()


class GLibLoop:
    """A main loop of GLib."""

    def __init__(self) -> None:
        from gi.repository import GLib
        from glib_poster import GLibPoster

        loop = GLib.MainLoop()
        self.poster = GLibPoster()
        self.quit, self.end = loop.quit, self.poster.end
        self._run = loop.run

    def run(self) -> None:
        """As the docs say."""
        self._run()
        self.poster.end()


def beside(act: Callable[[], object], number: int = 1) -> list[threading.Thread]:
    """Threads that have been started."""
    threads = [threading.Thread(target=act, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def give_up(args: Any) -> None:
    """A thread has failed: the loop would go on for ever."""
    sys.__excepthook__(*args[:3])
    os._exit(1)


def join(threads: list[threading.Thread]) -> None:
    """Within the limit."""
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()


def raises(error: type[BaseException], call: Callable[..., object], *args: object) -> bool:
    """Whether it does."""
    try:
        call(*args)
    except error:
        return True
    return False


def check_order(loop: Any) -> None:
    """From any context; in the loop's thread; in the order of each thread."""
    called: list[tuple[int, object, int]] = []

    def post(who: object, number: int) -> None:
        loop.poster.post(lambda: called.append((threading.get_ident(), who, number)))

    class Finalized:
        def __del__(self) -> None:
            post("finalizer", 0)

    def post_all() -> None:
        me = object()  # idents are used again
        for number in range(EACH):
            post(me, number)
            Finalized()

    def then_quit() -> None:
        join(threads)
        loop.poster.post(loop.quit)

    signal.signal(signal.SIGUSR1, lambda *args: post("handler", 0))
    for _ in range(EACH):
        signal.raise_signal(signal.SIGUSR1)
    threads = beside(post_all, THREADS)
    last = beside(then_quit)
    loop.run()
    join(last)
    assert {ident for ident, _, _ in called} == {threading.get_ident()}
    by: dict[object, list[int]] = {}
    for _, who, number in called:
        by.setdefault(who, []).append(number)
    assert len(by.pop("handler")) == EACH
    assert len(by.pop("finalizer")) == THREADS * EACH
    assert list(by.values()) == [list(range(EACH))] * THREADS
    print("order")


def check_queue(loop: Any) -> None:
    """What the manual says about a queue that lives in a loop; what is left at its end is refused."""
    runs: list[object] = []
    home = task9.TaskQueue("home", on=loop.poster)
    task = task9.Task(runs.append)
    held, go = threading.Event(), threading.Event()
    unanswered: list[Any] = []
    left: list[bool] = []

    def worker() -> None:
        home.call(lambda: (held.set(), go.wait(LIMIT)))
        assert held.wait(LIMIT)
        assert [home.schedule(task) for _ in range(1000)].count(True) == 1
        go.set()
        home.drain(LIMIT)
        assert runs == [task]
        print("coalesced")
        assert home.submit(threading.get_ident).result(LIMIT) == threading.main_thread().ident
        for wait in (home.drain, lambda: home.submit(int).result()):
            assert home.submit(raises, task9.UsageError, wait).result(LIMIT)
        print("answered")

        def fail() -> None:
            raise ValueError("raised on purpose")

        loop.poster.post(fail)
        assert home.submit(int).result(LIMIT) == 0
        print("went on")

        def last() -> None:
            loop.quit()
            unanswered.append(home.submit(int))  # for a turn that never comes
            ended.set()

        ended = threading.Event()
        home.call(last)
        ended.wait(LIMIT)
        left.append(raises(task9.LoopClosed, unanswered[0].result, LIMIT))

    threads = beside(worker)
    loop.run()
    join(threads)
    assert left == [True]
    assert raises(RuntimeError, loop.poster.post, int)
    assert raises(task9.LoopClosed, home.schedule, task)
    assert not task.pending
    assert home.cancel_pending() == 1
    assert unanswered[0].cancelled()
    home.close()
    print("ended")


def check_end(loop: Any) -> None:
    """It ends under threads that post, without having run: each has the RuntimeError."""
    posted, refused = threading.Semaphore(0), []

    def post() -> None:
        try:
            while True:
                loop.poster.post(int)
                posted.release()
        except RuntimeError as error:
            refused.append(str(error))

    threads = beside(post, THREADS)
    for _ in range(EACH):
        assert posted.acquire(timeout=LIMIT)
    loop.end()
    join(threads)
    assert len(refused) == THREADS
    assert all("loop has ended" in words for words in refused)
    print("gone")


if __name__ == "__main__":
    threading.excepthook = give_up
    made: Any = {"qt": QtLoop, "glib": GLibLoop}[sys.argv[1]]()
    {"order": check_order, "queue": check_queue, "end": check_end}[sys.argv[3]](made)
