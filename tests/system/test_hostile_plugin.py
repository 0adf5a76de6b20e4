"""HK-7: a plugin that raises in every hook changes no test's result."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

ROOT = Path(__file__).parent.parent.parent
#: docs/promises.rst has the command for the conformance suite too, which takes minutes.
#: What runs once starts programs, where the plugin is not.
WHAT = ["-m", "not once", "tests/threadpool", "tests/task", "tests/workqueue"]


@pytest.mark.once
def test_hk7_a_plugin_that_raises_in_every_hook_changes_no_result() -> None:
    """The layers' own tests, with the plugin: all pass, and most hooks were called."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "hostile_plugin", "-p", "no:threadexception"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *WHAT],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=patience(400),
    )

    assert done.returncode == 0, done.stdout
    raised = re.search(r"raised (\d+) times in (\d+) hooks", done.stdout)
    assert raised is not None, done.stdout
    assert int(raised[1]) > 1000, raised[0]
    assert int(raised[2]) > 40, raised[0]
