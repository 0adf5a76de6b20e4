"""Links into other manuals without asking the network: the names that this manual uses, and the pages they are on.

Intersphinx wants an inventory for each manual, which it would fetch. These are written at each build instead, from the
lists below, so that a build needs no network and is the same everywhere. A name that is missing here is not linked.
"""

from __future__ import annotations

import zlib
from pathlib import Path

PYTHON = "https://docs.python.org/3/"
PLUGGY = "https://pluggy.readthedocs.io/en/stable/"

#: Manual to page to names, a kind of the Python domain before each row of names.
NAMES = {
    PYTHON: {
        "library/threading.html": "class threading.Thread threading.Lock threading.RLock threading.Event "
        "threading.Condition threading.Semaphore | function threading.excepthook threading.get_ident",
        "library/concurrent.futures.html": "module concurrent.futures | class concurrent.futures.ThreadPoolExecutor "
        "concurrent.futures.Future concurrent.futures.Executor",
        "library/queue.html": "class queue.Queue queue.SimpleQueue | exception queue.Full queue.Empty",
        "library/collections.html": "class collections.deque collections.Counter",
        "library/asyncio-eventloop.html": "method asyncio.loop.run_in_executor",
        "library/asyncio-task.html": "function asyncio.to_thread",
        "library/multiprocessing.html": "module multiprocessing",
        "library/signal.html": "function signal.signal signal.raise_signal",
        "library/weakref.html": "class weakref.finalize",
        "library/gc.html": "data gc.callbacks | function gc.freeze",
        "library/sys.html": "function sys.setswitchinterval",
        "library/os.html": "function os.fork os.sched_getaffinity os.sched_setaffinity",
        "library/atexit.html": "module atexit | function atexit.register",
        "library/faulthandler.html": "module faulthandler",
        "library/contextvars.html": "class contextvars.Context | function contextvars.copy_context",
        "library/exceptions.html": "exception KeyboardInterrupt RuntimeError RuntimeWarning ResourceWarning ValueError "
        "TypeError TimeoutError PermissionError MemoryError RecursionError OSError",
        "library/functions.html": "class int str bool object tuple float",
        "library/constants.html": "data True False None",
    },
    PLUGGY: {
        "api_reference.html": "class pluggy.PluginManager pluggy.HookimplMarker pluggy.HookspecMarker",
    },
}


def write(directory: Path) -> dict[str, tuple[str, str]]:
    """Write one inventory for each manual; returns what ``intersphinx_mapping`` is to be."""
    directory.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for manual, pages in NAMES.items():
        project = "python" if manual == PYTHON else "pluggy"
        lines = []
        for page, groups in pages.items():
            for group in groups.split(" | "):
                kind, *names = group.split()
                for name in names:
                    anchor = f"module-{name}" if kind == "module" else name
                    short = name.rpartition(".")[2]
                    said = {name, short} if kind == "class" else {name}  # prose says `ThreadPoolExecutor`
                    lines += [f"{each} py:{kind} 1 {page}#{anchor} -\n" for each in sorted(said)]
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: 3\n"
        head += "# The remainder of this file is compressed using zlib.\n"
        path = directory / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
        mapping[project] = (manual, str(path))
    return mapping
