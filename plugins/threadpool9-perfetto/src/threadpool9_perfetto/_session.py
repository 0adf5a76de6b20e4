"""From start to stop: who listens when, where the trace goes, and what fork and exit do to it.

One trace at a time in a process. It is written by `stop`; failing that at exit, after the layers have drained what was
scheduled (`threadpool9.hooks.after_exit` is called last). An unhandled exception is such an exit. A process that a
signal's default action ends, SIGTERM say, or that calls `os._exit` writes nothing: no Python code runs any more.

Fork: the child begins without what the parent recorded. If the path has ``{pid}`` in it the child goes on tracing,
to a file of its own; else its tracing is off, and it may start its own.

`_lock` is held by start and stop, in thread context.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns

import attrs

import threadpool9
from threadpool9.hooks import after_exit, after_fork

from ._convert import JOBS_QUEUED, JOBS_RUNNING, THREADS, Converter
from ._record import Ring, listeners
from ._write import check_target, write

__all__ = ["Summary", "start", "stop", "tracing"]

CAPACITY = 262_144


@attrs.frozen
class Summary:
    """What a trace came to."""

    path: str
    """The file that was written."""
    records: int
    """Records in it; a job's run takes three of them, a task's too."""
    dropped: int
    """Records that were older and fell out of the ring."""
    slices: int
    arrows: int
    """Arrows from a schedule to the run that it caused."""


class _Trace:
    """A trace that is being recorded."""

    def __init__(self, path: str, capacity: int, quiet: bool) -> None:
        self.pattern = path
        self.path = Path(path.replace("{pid}", str(os.getpid()))).absolute()  # the program may change directory
        self.quiet = quiet
        self.ring = Ring(capacity)
        self.plugins = listeners(self.ring)
        self.began = perf_counter_ns()

    def listen(self) -> None:
        for plugin in self.plugins:
            threadpool9.register(plugin, f"threadpool9-perfetto {type(plugin).__name__}")

    def unlisten(self) -> None:
        for plugin in self.plugins:
            with contextlib.suppress(threadpool9.PluginError):  # somebody else has unregistered it
                threadpool9.unregister(plugin)

    def finish(self) -> Summary:
        """Write what was recorded."""
        ended = perf_counter_ns()
        ring = self.ring
        records = ring.records.copy()
        converter = Converter(
            records,
            pid=os.getpid(),
            program=_program(),
            main_tid=_main_tid(),
            thread_names=_thread_names(),
            began=self.began,
            ended=ended,
            at_end=_at_end(),
        )
        summary = Summary(
            path=str(self.path),
            records=len(records),
            dropped=ring.dropped(),
            slices=sum(event["ph"] == "X" for event in converter.events),
            arrows=converter.arrows,
        )
        write(self.path, converter, summary, ring.capacity)
        if not self.quiet:
            self._tell(summary)
        return summary

    def _tell(self, summary: Summary) -> None:
        if sys.stderr is None:
            return
        text = f"threadpool9-perfetto: {summary.records:,} records written to {summary.path}"
        if summary.dropped:
            text += (
                f"; {summary.dropped:,} older ones were dropped, the ring holds {self.ring.capacity:,} (see capacity)"
            )
        with contextlib.suppress(OSError, ValueError):  # closed
            print(text, file=sys.stderr)


class _State:
    trace: _Trace | None = None  # written under _lock


_lock = threading.RLock()
_state = _State()


def start(path: str | os.PathLike[str] = "trace.json", *, capacity: int = CAPACITY, quiet: bool = False) -> None:
    """Begin to trace this process; `stop`, or the exit, writes the file. Thread context.

    Args:
        path: where the trace goes; with ``.gz`` at the end it is compressed, and ``{pid}`` stands for the process's
            number, which lets a fork child write a trace of its own.
        capacity: how many records are kept, the newest; a record takes some 200 bytes of memory. A job or task
            leaves three: scheduled, begun, ended.
        quiet: say nothing on stderr when the file is written.

    Raises RuntimeError if a trace is being recorded already, and OSError if the file could not be written there.
    """
    if type(capacity) is not int or capacity < 1:
        raise ValueError(f"capacity is a number of records, at least 1, not {capacity!r}")
    with _lock:
        if _state.trace is not None:
            raise RuntimeError(f"a trace is being recorded already, to {_state.trace.path}; stop() it first")
        trace = _Trace(os.fspath(path), capacity, quiet)
        check_target(trace.path)  # now rather than after the run
        trace.listen()
        _state.trace = trace


def stop() -> Summary:
    """End the trace and write its file; runs that are under way are drawn to this moment. Thread context.

    Raises RuntimeError if no trace is being recorded, and OSError if the file can't be written.
    """
    with _lock:
        trace = _state.trace
        if trace is None:
            raise RuntimeError("no trace is being recorded; start() one first")
        _state.trace = None
        trace.unlisten()
    return trace.finish()


@contextlib.contextmanager
def tracing(
    path: str | os.PathLike[str] = "trace.json", *, capacity: int = CAPACITY, quiet: bool = False
) -> Iterator[None]:
    """Trace what happens inside the ``with``; arguments as of `start`."""
    start(path, capacity=capacity, quiet=quiet)
    try:
        yield
    finally:
        if _state.trace is not None:
            stop()


def active() -> bool:
    """Whether a trace is being recorded in this process."""
    return _state.trace is not None


def _at_exit() -> None:
    if _state.trace is not None:
        stop()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()
    trace = _state.trace
    if trace is None:
        return
    _state.trace = None
    trace.unlisten()
    if "{pid}" in trace.pattern:
        start(trace.pattern, capacity=trace.ring.capacity, quiet=trace.quiet)


after_exit.append(_at_exit)
after_fork.append(_in_child)


# --- what is known of the process


def _program() -> str:
    name = sys.argv[0] if getattr(sys, "argv", None) else ""
    return os.path.basename(name) or "python"


def _main_tid() -> int:
    return threading.main_thread().native_id or os.getpid()


def _thread_names() -> dict[int, str]:
    """Names of the threads that are alive: as Python knows them, else as the OS does."""
    names = {}
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError, ValueError):
                names[int(entry)] = Path(f"/proc/self/task/{entry}/comm").read_text().strip()
    for thread in threading.enumerate():
        if thread.native_id is not None and not thread.name.startswith("Dummy-"):
            names[thread.native_id] = thread.name
    return names


def _at_end() -> dict[tuple[str, str], int]:
    """What the counters are now: nobody knows what they were when the oldest record was made."""
    now = threadpool9.snapshot()
    return {
        THREADS: len(now.workers),
        JOBS_QUEUED: sum(len(pool.queued) for pool in now.pools),
        JOBS_RUNNING: sum(worker.job is not None for worker in now.workers),
    }
