"""The posters for Qt and GLib that the manual shows, with the real ones (AW-1, TK-19).

Each check is a process, as each can have one application. PyGObject is a package of the system, so GLib's checks run
on whichever interpreter has it, the system's own or this one.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import attr
import pluggy
import pytest
from pace import patience

import task9
import threadpool9

PROGRAM = Path(__file__).with_name("poster_program.py")
LIMIT = patience(30.0)
PRINTS = {"order": "order", "queue": "coalesced answered went on ended", "end": "gone"}

pytestmark = pytest.mark.once


def with_gi() -> str:
    """An interpreter that has PyGObject, or an empty string."""
    look = "import sys, gi; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        if not subprocess.run([python, "-c", look], stderr=subprocess.DEVNULL, check=False, timeout=LIMIT).returncode:
            return python
    return ""


def run(python: str, kind: str, check: str) -> subprocess.CompletedProcess[str]:
    """The program, on our sources and what they need, all of it pure Python."""
    paths = [Path(module.__file__ or "").parents[1] for module in (threadpool9, task9, attr, pluggy)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, dict.fromkeys(paths))),
        "QT_QPA_PLATFORM": "offscreen",
        "THREADPOOL9_PLUGINS": "none",
    }
    command = [python, str(PROGRAM), kind, str(LIMIT), check]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT * 2, check=False)


@pytest.mark.parametrize("check", PRINTS)
@pytest.mark.parametrize("kind", ["qt", "glib"])
def test_tk19_a_queue_in_the_loop_of(kind: str, check: str) -> None:
    """Order, coalescing, answers, what is left at the end, an end that comes in the middle."""
    python = sys.executable
    if kind == "qt" and importlib.util.find_spec("PySide6") is None:
        pytest.skip("PySide6 is not installed")
    if kind == "glib" and not (python := with_gi()):
        pytest.skip("PyGObject is not installed, or only for a Python older than 3.11: python3-gi on Debian")
    done = run(python, kind, check)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == PRINTS[check].split(), done.stderr
    assert done.stderr.count("Traceback") == done.stderr.count("raised on purpose\n")
