"""What treehash shows: progress while it works, tables when it is done.

Progress and complaints go to stderr, results to stdout. On a terminal the progress is a live panel, elsewhere one
plain line a second. Either is redrawn by a periodic task on the ledger's queue (TK-13), so it reads the totals between
two entries; rich's own refresh thread is not used. Everything fits 80 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from crew import Crew
from ledger import Account, Ledger, Result
from rich import box
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tree import printable

import task9

PERIOD_TERMINAL = 0.1
PERIOD_PLAIN = 1.0
_ROWS = 12  # CPUs that the live panel has a line for


def rate(size: int, seconds: float) -> str:
    """Bytes per second for people."""
    return f"{decimal(int(size / seconds))}/s" if seconds > 0 else "-"


def shortened(text: str, width: int) -> str:
    """`text` with its middle left out if it is longer than `width`."""
    if len(text) <= width:
        return text
    tail = (width - 1) * 2 // 3
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def clipped(text: str, width: int) -> str:
    """`text` without what goes beyond `width`."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


class Screen:
    """The two consoles; `quiet` shows neither progress nor complaints."""

    def __init__(self, quiet: bool = False) -> None:
        self.out = Console(highlight=False)
        self.err = Console(stderr=True, highlight=False, quiet=quiet)
        self.period = PERIOD_TERMINAL if self.err.is_terminal else PERIOD_PLAIN

    def say(self, line: str = "", style: str = "") -> None:
        """A line of the result."""
        self.out.print(Text(line, style), soft_wrap=True)

    def note(self, line: str) -> None:
        """A line about how it goes."""
        self.err.print(Text(f"treehash: {line}"), soft_wrap=True)

    def complain(self, result: Result) -> None:
        """A file failed. Called on the ledger's queue."""
        self.note(f"{printable(result.path)}: {result.trouble}")

    @contextmanager
    def progress(self, queue: task9.TaskQueue, panel: Callable[[], Group], line: Callable[[], str]) -> Iterator[None]:
        """Show `panel` (terminal) or `line` (elsewhere) again and again, by a task on `queue`, while the block runs."""
        if not self.err.is_terminal:
            with _every(self.period, lambda: self.note(line()), queue):
                yield
            return
        with (
            Live(console=self.err, auto_refresh=False, transient=True) as live,
            _every(self.period, lambda: live.update(panel(), refresh=True), queue),
        ):
            yield


@contextmanager
def _every(period: float, show: Callable[[], object], queue: task9.TaskQueue) -> Iterator[None]:
    """Call `show` each `period` on `queue` while the block runs."""

    def tick(task: task9.PeriodicTask) -> None:
        try:
            show()
        except OSError:  # nobody reads stderr any more: no reason to stop hashing
            task.cancel()

    ticker = task9.PeriodicTask(tick, period)
    ticker.start(queue=queue)
    try:
        yield
    finally:
        ticker.cancel()


class ParallelView:
    """How the parallel pass goes."""

    def __init__(self, ledger: Ledger, crew: Crew) -> None:
        self.ledger = ledger
        self.crew = crew
        self.begun = perf_counter()

    def line(self) -> str:
        """The state in one line."""
        seconds = perf_counter() - self.begun
        ledger = self.ledger
        failed = f", {len(ledger.failed)} failed" if ledger.failed else ""
        return f"{ledger.files:,} files, {decimal(ledger.size)}, {rate(ledger.size, seconds)}{failed}, {seconds:.0f} s"

    def panel(self) -> Group:
        """The state in a line for each CPU, and one for all."""
        grid = Table.grid(padding=(0, 1))
        grid.add_column(justify="right", style="cyan", no_wrap=True)
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_column(no_wrap=True)
        rows = list(self.crew.benches.items())
        for cpu, bench in rows[:_ROWS]:
            path = bench.current
            name = Text("idle", "dim") if path is None else Text(shortened(printable(path), 52))
            grid.add_row(f"cpu {cpu}", f"{bench.waiting} waiting", name)
        if len(rows) > _ROWS:
            grid.add_row("…", "", Text(f"and {len(rows) - _ROWS} CPUs more", "dim"))
        return Group(Text(self.line(), "bold"), grid)


class SequentialView:
    """How the sequential pass goes; the main thread writes, the display reads."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.files = 0
        self.size = 0
        self.begun = perf_counter()

    def line(self) -> str:
        """The state in one line."""
        seconds = perf_counter() - self.begun
        return f"sequentially, to compare: {self.files:,} of {self.total:,} files, {rate(self.size, seconds)}"

    def panel(self) -> Group:
        """The same for a terminal."""
        return Group(Text(self.line(), "bold"))


def cpu_table(ledger: Ledger) -> Table:
    """Per CPU: what it did, and where the operating system saw it do so."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=len(ledger.accounts) > 1, pad_edge=False)
    accounts = ledger.accounts.values()
    total = Account(sum(a.files for a in accounts), sum(a.size for a in accounts), sum(a.seconds for a in accounts))
    columns: list[tuple[str, str]] = [
        ("CPU", "all"),
        ("bound to", ""),
        ("seen on", ""),
        ("files", f"{total.files:,}"),
        ("bytes", decimal(total.size)),
        ("busy", f"{total.seconds:.2f} s"),
        ("while busy", rate(total.size, total.seconds)),
    ]
    for index, (title, footer) in enumerate(columns):
        table.add_column(title, footer=footer, justify="left" if 0 < index < 3 else "right", no_wrap=index != 2)
    for cpu, account in ledger.accounts.items():
        table.add_row(
            str(cpu),
            " ".join(sorted(account.allowed)) or "-",
            ", ".join(f"{cpu} ({times}x)" for cpu, times in account.processors.most_common(3)) or "-",
            f"{account.files:,}",
            decimal(account.size),
            f"{account.seconds:.2f} s",
            rate(account.size, account.seconds),
        )
    return table


def throughput_table(rows: list[tuple[str, int, int, float]]) -> Table:
    """What each way of hashing took: (name, files, bytes, seconds)."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for title in ("files", "bytes", "took", "throughput"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, files, size, seconds in rows:
        table.add_row(name, f"{files:,}", decimal(size), f"{seconds:.2f} s", rate(size, seconds))
    return table
