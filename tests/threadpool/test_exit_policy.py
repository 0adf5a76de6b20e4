"""Exit policies (TP-32), in a process of their own; the rest of exit and fork is tested by `conformance9`."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from pace import patience

PRELUDE = r"""
import atexit, os, signal, sys, threading, time
import threadpool9
from threadpool9 import Job
def job(text, wait=None):
    def fn(job):
        if wait is not None:
            wait.wait(30)
        os.write(1, text.encode() + b"\n")  # one call: prints of two threads may mix
        with job.interlock:
            job.done()
    return Job(fn)
pool = threadpool9.get()
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `program` after the prelude."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=patience(60),
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("policy", ["abandon", "cancel", "0.2"])
def test_tp32_a_policy_bounds_the_exit(policy: str) -> None:
    """TP-32: abandon and a limit leave a blocked job behind; cancel withdraws what is queued."""
    blocker = "threading.Event()" if policy != "cancel" else "go"
    done = run(
        f"""
        go = threading.Event()
        pool.post(job("ran", {blocker}))
        if {policy!r} == "cancel":
            while not any(w.state == "running" for w in threadpool9.snapshot().workers):
                pass
            def refuse(thread):
                raise RuntimeError("no further worker: the next job stays queued")
            threadpool9._seam.Thread.start = refuse
            pool.post(job("queued"))
            timer = threading.Timer(0.2, go.set)
            timer.daemon = True  # the exit is not to wait for it
            timer.start()
        """,
        THREADPOOL9_EXIT_POLICY=policy,
    )
    assert done.stdout.split() == (["ran"] if policy == "cancel" else [])
