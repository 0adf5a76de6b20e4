"""The template works as its README says, and does nothing unless asked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from pace import patience

import threadpool9
from threadpool9_template import Recorder, plugin

PROGRAM = """
    import threading, threadpool9
    over = threading.Event()
    def work(job):
        with job.interlock:
            job.done()
        over.set()
    with threadpool9.get() as pool:
        pool.post(threadpool9.Job(work))
        over.wait(10)
"""


def test_the_entry_point_listens_to_nothing_unless_asked() -> None:
    """Installed is not switched on."""
    assert not isinstance(plugin, Recorder)
    threadpool9.get().put()
    assert threadpool9.plugin_manager().has_plugin("template")


@pytest.mark.parametrize(("choice", "expected"), [("1", "{'scheduled': 1, 'began': 1}"), ("0", "")])
def test_the_environment_switches_it_on(choice: str, expected: str) -> None:
    """As the README says."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={**os.environ, "THREADPOOL9_TEMPLATE": choice},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.removeprefix("threadpool9-template: ").strip() == expected


def test_it_never_holds_more_than_it_was_told_to() -> None:
    """The bound holds, so it can be left on."""
    recorder = Recorder(most=3)
    for number in range(10):
        recorder.threadpool9_thread__job(threadpool9.Job(print, name=str(number)))
    assert list(recorder.events) == [("began", "7"), ("began", "8"), ("began", "9")]
