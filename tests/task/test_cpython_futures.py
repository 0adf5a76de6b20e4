"""TK-20: CPython's own tests of the standard executor, those of the running interpreter, with ours in its place.

They run where the package `test` is installed. What is not run, and why, is listed in the program.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

PROGRAM = Path(__file__).with_name("cpython_futures_program.py")


def installed() -> bool:
    """Whether this interpreter brings its tests, as the package they are since 3.12."""
    try:
        return importlib.util.find_spec("test.test_concurrent_futures.executor") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not installed(), reason="this interpreter was installed without its own tests")
def test_tk20_the_tests_of_the_standard_executor_pass(tmp_path: Path) -> None:
    """All but those that look into the standard one, or for a thread that submit itself has started."""
    command = [sys.executable, "-W", "ignore", str(PROGRAM)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=patience(300.0), cwd=tmp_path, check=False, errors="replace"
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout[done.stdout.index('{"ran"') :])
    assert outcome["failed"] == {}, done.stderr
    assert outcome["ran"] >= 35
