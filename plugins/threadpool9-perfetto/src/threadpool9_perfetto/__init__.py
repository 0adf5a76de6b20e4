"""threadpool9_perfetto: a trace of what threadpool9, task9 and workqueue9 do, for the Perfetto viewer.

Without touching the program::

    python -m threadpool9_perfetto run -o trace.json -- app.py arguments

or from within::

    with threadpool9_perfetto.tracing("trace.json"):
        ...

Then open the file at the viewer. The page *Perfetto* of the manual says what one sees there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._session import Summary, start, stop, tracing

__all__ = ["Summary", "start", "stop", "tracing"]


def __getattr__(name: str) -> Any:
    # Every program in whose environment this is installed imports the package at its first use of a pool: what
    # costs time is imported when it is asked for.
    if name in __all__:
        from . import _session

        return getattr(_session, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
