"""A process of pytest-xdist that dies costs the test that it was running, and no other one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

SUPPORT = Path(__file__).resolve().parents[1] / "support"

CONFTEST = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
def pytest_xdist_make_scheduler(config, log):
    from dead_workers import Scheduler
    return Scheduler(config, log)
"""
TESTS = """
import os, pytest
@pytest.mark.parametrize("number", range(9))
def test_first(number): pass
def test_dies(): os._exit(3)
@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("number", range(3))
def test_group(number):
    if number == 1: os._exit(3)
def test_dies_last(): os._exit(3)
"""


@pytest.mark.once
@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_dead_process_costs_one_test(processes: int, tmp_path: Path) -> None:
    """Of 14 tests three end their process; each fails once, the other ones pass, and the run comes to its end."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(processes), "--dist", "loadgroup", str(tmp_path)]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=patience(100))

    assert done.returncode == 1, done.stdout
    assert re.search(r"\b3 failed, 11 passed in ", done.stdout), done.stdout
