"""What a process tells about itself: the layers' snapshots as plain data.

Runs in the observed process, on the thread of one viewer's connection, when that viewer asks. The records go out
as they are (`attrs.asdict`), so a field that a layer adds later arrives without a change here. A layer that the
program never imported is not imported for the viewer's sake.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import FrameType
from typing import Any

import attrs

import threadpool9

from ._wire import PROTOCOL

__all__ = ["COUNTERS", "at", "describe_cpus", "gather", "python", "stacks"]

_LOADED = threadpool9.snapshot  # it is loaded on demand; when a viewer asks there may be no descriptor left for that
#: The fields of a `threadpool9.Counters`.
COUNTERS = tuple(field.name for field in attrs.fields(threadpool9.Counters))
_LAYERS = ("threadpool9", "task9", "workqueue9")
#: Frames below the job's own function: of no interest to anybody.
_OURS = (threading.__file__, os.path.dirname(threadpool9.__file__) + os.sep)
_STDLIB = os.path.dirname(os.__file__) + os.sep


def gather() -> dict[str, Any]:
    """Everything a viewer shows, ready for JSON."""
    state: dict[str, Any] = {
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "program": sys.orig_argv,
        "python": python(),
        "now": time.monotonic(),
        "allowed": list(threadpool9.allowed_cpus()),
        "stall_ms": threadpool9.tunables.stall_ms,
    }
    for layer in _LAYERS:
        take = getattr(sys.modules.get(layer), "snapshot", None)
        if take is None:
            continue
        try:
            state[layer] = _plain(take())
        except Exception as error:
            # One layer's fault must not hide the others: a viewer is wanted most when something is wrong.
            state[layer] = {"error": repr(error)}
    workers = state["threadpool9"].get("workers", ())
    found = stacks({worker["tid"] for worker in workers if worker["state"] != "idle"})
    for worker in workers:
        worker["stack"] = stack = found.get(worker["tid"], [])
        worker["at"] = at(stack)
    return state


def _plain(snapshot: Any) -> dict[str, Any]:
    """A layer's snapshot as dictionaries and lists."""
    if isinstance(snapshot, tuple):  # of work queues: their counters
        return {"queues": [attrs.asdict(record) for record in snapshot]}
    return attrs.asdict(snapshot)


def describe_cpus() -> dict[str, Any]:
    """The machine as this process sees it: topology, and which CPUs it may use."""
    return {
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "topology": [attrs.asdict(cpu) for cpu in threadpool9.topology()],
        "allowed": list(threadpool9.allowed_cpus()),
    }


def python() -> str:
    """The interpreter, as a viewer shows it."""
    version = ".".join(map(str, sys.version_info[:3]))
    return version if getattr(sys, "_is_gil_enabled", lambda: True)() else f"{version} without GIL"


def stacks(tids: set[int]) -> dict[int, list[str]]:
    """The stack of each of `tids`, innermost last, as "file:line function"; without what called the job."""
    if not tids:
        return {}
    idents = {thread.ident: thread.native_id for thread in threading.enumerate()}
    found: dict[int, list[str]] = {}
    for ident, top in sys._current_frames().items():
        tid = idents.get(ident)
        if tid not in tids or tid is None:
            continue
        rows: list[tuple[str, str]] = []
        frame: FrameType | None = top
        while frame is not None:
            code = frame.f_code
            rows.append((code.co_filename, f"{code.co_filename}:{frame.f_lineno} {code.co_qualname}"))
            frame = frame.f_back
        while len(rows) > 1 and rows[-1][0].startswith(_OURS):
            rows.pop()
        found[tid] = [text for _, text in reversed(rows)]
    return found


def at(stack: list[str]) -> str:
    """The place to show where there is room for one: where the program's own code is, not what it waits in."""
    for place in reversed(stack):
        if not place.startswith(_STDLIB) or "site-packages" in place:
            return place
    return stack[-1] if stack else ""
