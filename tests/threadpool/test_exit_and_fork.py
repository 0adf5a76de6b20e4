"""Interpreter exit and fork (TP-31, TP-32), each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import pytest

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
        timeout=60,
        env={**os.environ, **environment},
    )


def test_tp32_scheduled_jobs_run_to_completion_also_from_atexit_and_late_threads() -> None:
    """TP-32: jobs from before exit, from a non-daemon thread that lives on, and from atexit functions all run."""
    done = run(
        """
        atexit.register(lambda: pool.post(job("atexit")))
        late = threading.Event()
        def live_on():
            late.wait(30)
            pool.post(job("late"))
        threading.Thread(target=live_on).start()
        pool.post(job("before", late))
        threading.Timer(0.2, late.set).start()
        """
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["atexit", "before", "late"]
    assert done.stderr == ""


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


def test_tp32_idle_workers_do_not_delay_the_exit() -> None:
    """TP-32: a process with idle workers only ends at once."""
    done = run('pool.post(job("ran")); began = time.monotonic(); atexit.register(print, "over")')
    assert done.returncode == 0
    assert done.stdout.split() == ["over", "ran"] or done.stdout.split() == ["ran", "over"]


def test_tp32_ctrl_c_gets_out_of_the_drain() -> None:
    """TP-32: a blocked job at exit is left behind by Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + 'pool.post(job("never", threading.Event())); print("exiting", flush=True)'],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "exiting\n"
        for _ in range(20):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                continue
            break
        assert process.poll() is not None, "Ctrl-C did not get out"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_tp31_the_child_is_usable_at_once_and_replays_nothing() -> None:
    """TP-31: no workers, everything unscheduled, references valid."""
    done = run(
        """
        import warnings
        warnings.simplefilter("ignore")
        go = threading.Event()
        started = threading.Event()
        def blocked(j):
            started.set(); go.wait(30); print("parent only", flush=True)
            with j.interlock: j.done()
        a = Job(blocked)
        pool.post(a); started.wait(10)
        pid = os.fork()
        if pid == 0:
            assert threadpool9.snapshot().workers == ()
            with a.interlock:
                assert pool.cancel_async(a)
            over = threading.Event()
            def fn(j):
                with j.interlock: j.done()
                over.set()
            pool.post(Job(fn))
            assert over.wait(10)
            print("child", flush=True)
            pool.put(10)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        go.set()
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["child", "parent only"]
