"""The example programs as their users run them: processes, judged by what they print and how they exit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pace import patience

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BUS = EXAMPLES / "bus" / "bus.py"
PATIENCE = patience(60)
WIDTH = 80


def environment() -> dict[str, str]:
    """Ours, with a terminal's width that does not depend on where the tests run."""
    return {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done


def expect(status: int, done: subprocess.CompletedProcess[str]) -> None:
    """Check the exit status, showing what the program printed."""
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"


def check_width(text: str) -> None:
    """Every line fits."""
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


def test_bus_with_jobs_does_what_it_did_with_threads() -> None:
    """Both ways write the same logs; the jobs hold no thread when idle, and one each when all of them wait."""
    done = run(BUS)

    expect(0, done)
    assert done.stdout.count("the same from threads and jobs") == 4
    assert "all logs are identical" in done.stdout
    rows = dict(re.findall(r"^  (\S.*?) {2,}(\d+ +\d+)$", done.stdout, re.MULTILINE))
    counts = {text: tuple(map(int, numbers.split())) for text, numbers in rows.items()}
    assert counts["before anything happens"] == (16, 0)
    threads, jobs = counts["all activities wait at once"]
    assert threads == 16
    assert jobs >= 16  # more where the machine is busy
    assert counts["idle, idle time 200 ms"] == (16, 0)
    check_width(done.stdout)
