"""A process to look at, and a private place for its socket."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

#: Serves, blocks one job, says "ready", and ends when its standard input does.
PROGRAM = """
import os, sys, threading
import task9, threadpool9, workqueue9
over = threading.Event()
def fn(job):
    over.wait()
    with job.interlock:
        job.done()
pool = threadpool9.get()
{before}
stuck = threadpool9.Job(fn, name="wait for a [reply]")
queue = task9.TaskQueue("screen")
wq = workqueue9.WorkQueue("hashes", lambda work, arg: None)
pool.post(stuck)
wq.enqueue(workqueue9.Work())
wq.flush()
{after}
while not any(worker.job == stuck.name for worker in threadpool9.snapshot().workers):
    threading.Event().wait(0.01)  # the snapshot is what the viewer reads; nobody announces a start
print("ready", flush=True)
sys.stdin.read()
over.set()
{end}
wq.destroy()
queue.close()
pool.put()
"""


class Observed:
    """A running process and what it takes to look at it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid

    def finish(self) -> str:
        """Let it end in good order; what it wrote to stderr."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        assert self.process.stderr is not None
        return self.process.stderr.read()


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of this test's own; short, because a socket's path may not be long."""
    directory = Path(tempfile.mkdtemp(prefix="top9-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.delenv("THREADPOOL9_TOP", raising=False)
    monkeypatch.setenv("THREADPOOL9_PLUGINS", "top")  # others that are installed take longer to load than all else
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def start(runtime: Path) -> Iterator[Callable[..., Observed]]:
    """Start PROGRAM with lines inserted and environment added; it is ended with the test."""
    processes = []

    def go(before: str = "", after: str = "", end: str = "", **environment: str) -> Observed:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(before=before, after=after, end=end)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        assert process.stdout is not None
        heard, _, _ = select.select([process.stdout], [], [], 60)
        line = process.stdout.readline() if heard else "nothing"
        if line != "ready\n":
            assert process.stderr is not None
            process.kill()
            pytest.fail(f"the observed process said {line!r}: {process.stderr.read()}")
        return Observed(process)

    yield go
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()
