"""A progress bar on a terminal, in place of a dot for each test; and the result in one line, for a program that asks.

Ready-made ones were tried: pytest-sugar calls "skipped" what an implementation does not claim, and pytest-rich does
not work beside pytest-xdist.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Bar:
    """Drawn by the process that hands out the tests: no test sees its threads or its output."""

    def __init__(self) -> None:
        terminal = os.fdopen(os.dup(1), "w")  # before pytest captures anything
        columns = (BarColumn(None), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(file=terminal), expand=True, transient=True)
        self._tests = self._progress.add_task("", total=None)
        self._failed = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Some process knows how many tests there are."""
        self._progress.update(self._tests, total=len(ids))
        self._progress.start()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Another test is over, or has failed."""
        self._failed += report.failed
        words = f"[red]{self._failed} failed" if self._failed else ""
        over = report.when not in ("setup", "call")  # after a crash it is neither these nor "teardown"
        self._progress.update(self._tests, advance=over, description=words)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> Any:
        """Count it, but write neither a letter nor a word."""
        category, _, _ = yield
        return category, "", ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """What is left on the screen is pytest's."""
        self._progress.stop()


class Result:
    """Writes what became of the tests, as in pytest's last line, to a file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """All tests are over."""
        parts, _ = terminalreporter.build_summary_stats_line()
        self._path.write_text(", ".join(text for text, _ in parts))


def register(config: pytest.Config) -> None:
    """Add to the run what suits it."""
    if hasattr(config, "workerinput"):
        return
    if path := os.environ.get("SECTION9_RESULT"):
        config.pluginmanager.register(Result(path))
    if sys.stdout.isatty() and config.getoption("dist", "no") != "no" and config.option.verbose <= 0:
        config.pluginmanager.register(Bar())
