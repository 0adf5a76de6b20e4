"""The entry point of the group ``threadpool9``: loaded at the first use of a pool, and silent unless asked.

It has no hooks of its own. ``THREADPOOL9_PERFETTO=FILE`` in the environment starts a trace here.
"""

from __future__ import annotations

import os


def _start_if_asked() -> None:
    path = os.environ.get("THREADPOOL9_PERFETTO")
    if not path:
        return
    from . import _session

    if not _session.active():
        _session.start(path)


_start_if_asked()
