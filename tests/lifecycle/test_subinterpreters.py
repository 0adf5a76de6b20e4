"""Subinterpreters: the layers work in one, or say clearly why not; the process survives either way (TP-32)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from pace import patience

LIMIT = patience(100.0)

INSIDE = """
import os
def say(line): os.write(1, line.encode() + b"\\n")
try:
    import threadpool9, task9, workqueue9, threading
    over = threading.Event()
    def fn(job):
        with job.interlock: job.done()
        over.set()
    pool = threadpool9.get()
    pool.post(threadpool9.Job(fn))
    say(f"job {over.wait(30)}")
    with task9.TaskQueue("q") as queue:
        queue.schedule(task9.Task(lambda task: say("task")))
    with workqueue9.WorkQueue("w", lambda work, arg: say("work")) as works:
        works.enqueue(workqueue9.Work())
except ImportError as error:
    say(f"refused: {error}")
except RuntimeError as error:  # a StartError: 3.11 tells no sooner
    say(f"refused: {error}")
# The reference to the pool is not put: a worker is idle when the interpreter ends.
"""
# 3.11 refuses to destroy an interpreter that has threads, before that interpreter's exit functions are asked.
if sys.version_info < (3, 12):
    INSIDE += """
import time
end = time.monotonic() + 30
while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
    threadpool9.retire_idle()  # not the first time if the worker is still on its way to being idle
"""

OUTSIDE = """
import sys
isolated = sys.argv[1] == "isolated"
if sys.version_info >= (3, 13):
    import _interpreters
    made = _interpreters.create("isolated" if isolated else "legacy")
    wrong = _interpreters.exec(made, INSIDE)
else:
    import _xxsubinterpreters as _interpreters
    made = _interpreters.create(isolated=isolated)
    wrong = _interpreters.run_string(made, INSIDE)
assert wrong is None, wrong
_interpreters.destroy(made)
print("destroyed", flush=True)
import threadpool9  # and the main interpreter is as good as before
import threading
over = threading.Event()
def fn(job):
    with job.interlock: job.done()
    over.set()
with threadpool9.get() as pool:
    pool.post(threadpool9.Job(fn))
    assert over.wait(30)
print("main")
"""


@pytest.mark.parametrize("config", ["legacy", "isolated"])
def test_a_subinterpreter_works_or_refuses(config: str) -> None:
    """Legacy ones (with daemon threads) work and can be ended; isolated ones may refuse, by a text that says so."""
    program = f"INSIDE = {INSIDE!r}\n" + textwrap.dedent(OUTSIDE)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, config], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["destroyed", "main"]
    if config == "isolated" and lines[0].startswith("refused:"):
        assert "interpreter" in lines[0]
        assert len(lines) == 3
    else:
        assert lines[:-2] == ["job True", "task", "work"]
