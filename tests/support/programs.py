"""Programs in interpreters of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from pace import patience


def run(program: str, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Run `program`, after `prelude`; it finds the modules that a test finds."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", prelude + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=patience(90.0),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def output(program: str) -> str:
    """Run `program` and return what it printed; see that it succeeds and says nothing else."""
    done = run(program)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
