"""Hashing the whole tree once, in parallel or sequentially."""

from __future__ import annotations

from time import perf_counter

import tree
from crew import Crew
from display import ParallelView, Screen, SequentialView
from ledger import Ledger, Result
from stopping import Stop

import threadpool9


class ParallelPass:
    """The tree hashed by a work queue on every CPU. Close it when its queues are not needed any more."""

    def __init__(self, root: str, screen: Screen, stop: Stop) -> None:
        self.root = root
        self.screen = screen
        self.stop = stop
        cpus = threadpool9.allowed_cpus()
        self.ledger = Ledger(cpus, screen.complain)
        self.crew = Crew(cpus, self.ledger, stop)
        self.seconds = 0.0

    def run(self) -> None:
        """Walk and hash until all is done, or we are told to stop; then the ledger is complete."""
        ledger, crew = self.ledger, self.crew
        view = ParallelView(ledger, crew)
        with self.screen.progress(ledger.queue, view.panel, view.line):
            # A directory that can't be listed goes into the ledger like a file that can't be read.
            for entry in tree.walk(
                self.root,
                failed=lambda path, error: ledger.post(Result(path, None, trouble=error.strerror or str(error))),
                skipped=lambda path: ledger.post(Result(path, None)),
            ):
                if not crew.add(entry.path):
                    break
            crew.finish()
            self.seconds = perf_counter() - view.begun
        ledger.settle()

    def close(self) -> None:
        """End the queues."""
        self.crew.close()
        self.ledger.close()


class SequentialPass:
    """The tree hashed by the main thread alone, as a program without any queue does it."""

    def __init__(self, root: str, screen: Screen, stop: Stop) -> None:
        self.root = root
        self.screen = screen
        self.stop = stop
        self.digests: dict[str, str] = {}
        self.size = 0
        self.seconds = 0.0

    def run(self, first: ParallelPass) -> None:
        """Walk and hash. Of files that can't be read nothing is said: the first pass has done so."""
        view = SequentialView(first.ledger.files)
        buffer = memoryview(bytearray(tree.BLOCK))
        with self.screen.progress(first.ledger.queue, view.panel, view.line):
            for entry in tree.walk(self.root, failed=lambda path, error: None):
                if self.stop():
                    break
                try:
                    self.digests[entry.path], size = tree.digest(entry.path, buffer, self.stop)
                except (OSError, tree.NotRegular):
                    continue
                except tree.Stopped:
                    break
                view.files += 1
                view.size += size
            self.size = view.size
            self.seconds = perf_counter() - view.begun
