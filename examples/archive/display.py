"""What the user sees while something is under way, and where it is printed.

Progress and complaints go to stderr, results to stdout. On a terminal the progress is a bar with rate and time left,
elsewhere a plain line each second. Either is drawn by a periodic task on a queue of its own (TK-13): a terminal that
was stopped by Ctrl-S holds up nothing but that queue. rich's own refresh thread is not used.

SIGUSR1 prints the state. The handler schedules a task, which may be done in any context: ten signals in a row are one
report (TK-2), and the printing is done on a worker, not in the handler.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.text import Text

import task9
import threadpool9

PERIOD_TERMINAL = 0.1
PERIOD_PLAIN = 1.0
SHOWN = 10
"""Names in a list; of the rest there is a count."""


def rate(size: float, seconds: float) -> str:
    """Bytes per second for people."""
    return f"{decimal(int(size / seconds))}/s" if seconds > 0 else "-"


def plural(number: int, noun: str) -> str:
    """A count with its noun: ``1 file``, ``1,200 files``, ``2 directories``."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun}"


class Screen:
    """The two consoles."""

    def __init__(self, program: str = "archive") -> None:
        self.program = program
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False)

    def say(self, line: str = "", style: str = "") -> None:
        """A line of the result."""
        self.out.print(Text(line, style), soft_wrap=True)

    def note(self, line: str) -> None:
        """A line about how it goes. Any thread."""
        self.err.print(Text(f"{self.program}: {line}"), soft_wrap=True)

    def name_all(self, lines: Iterable[str]) -> None:
        """The first of many lines about how it goes, and how many there are more."""
        lines = list(lines)
        for line in lines[:SHOWN]:
            self.note(line)
        if len(lines) > SHOWN:
            self.note(f"... and {len(lines) - SHOWN:,} more")

    @contextmanager
    def progress(
        self, what: str, done: Callable[[], int], total: Callable[[], int | None], state: Callable[[], list[str]]
    ) -> Iterator[None]:
        """While the block runs, show how much is done, and answer SIGUSR1 with the lines of `state`."""
        bar = Progress(
            TextColumn(f"{what:8}"),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.err,
            auto_refresh=False,
            transient=True,
            disable=not self.err.is_terminal,
        )
        shown = bar.add_task(what, total=None)
        begun = monotonic()

        def draw(task: task9.PeriodicTask) -> None:
            try:
                if self.err.is_terminal:
                    bar.update(shown, completed=done(), total=total(), refresh=True)
                else:
                    self.note(plain_line(what, done(), total(), monotonic() - begun))
            except OSError:  # nobody reads stderr any more: no reason to stop working
                task.cancel()

        def tell(task: task9.Task) -> None:
            lines = [plain_line(what, done(), total(), monotonic() - begun), *state(), threads_line()]
            self.err.print(Text("\n".join(f"{self.program}: {line}" for line in lines)), soft_wrap=True)

        drawing = task9.PeriodicTask(draw, PERIOD_TERMINAL if self.err.is_terminal else PERIOD_PLAIN)
        telling = task9.Task(tell)
        with bar, task9.TaskQueue("display") as queue:
            before = signal.signal(signal.SIGUSR1, lambda signum, frame: queue.schedule(telling) and None)
            drawing.start(queue=queue)
            try:
                yield
            finally:
                drawing.cancel()
                signal.signal(signal.SIGUSR1, before)


def plain_line(what: str, done: int, total: int | None, seconds: float) -> str:
    """The state in a line: ``pack: 12.0 MB of 80.0 MB, 40.0 MB/s, 2 s left``."""
    line = f"{what}: {decimal(done)}"
    if total is not None:
        line += f" of {decimal(total)}"
    line += f", {rate(done, seconds)}"
    if total is not None and done:
        line += f", {max(0.0, seconds / done * (total - done)):.0f} s left"
    return line


def threads_line() -> str:
    """What the pools do: ``process 123: 4 threads in pools, running squeeze x2, write``."""
    workers = threadpool9.snapshot().workers
    running = sorted(worker.job for worker in workers if worker.job is not None)
    kinds = [f"{job} x{running.count(job)}" if running.count(job) > 1 else job for job in dict.fromkeys(running)]
    return f"process {os.getpid()}: {plural(len(workers), 'thread')} in pools, running {', '.join(kinds) or 'nothing'}"
