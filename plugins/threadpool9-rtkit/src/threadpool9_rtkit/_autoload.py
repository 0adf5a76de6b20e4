"""What threadpool9 loads at the first use of a pool; ``THREADPOOL9_RTKIT`` says how far it may go.

Unset or ``1``: all. ``nice``: no real time, and so no ``RLIMIT_RTTIME``. ``0``: nothing.
"""

from __future__ import annotations

import os
import sys
import warnings

from ._plugin import Plugin


class _Nothing:
    """A plugin without hooks."""


def _make() -> object:
    setting = os.environ.get("THREADPOOL9_RTKIT", "")
    if sys.platform != "linux" or setting == "0":
        return _Nothing()
    if setting not in ("", "1", "nice"):
        text = f"THREADPOOL9_RTKIT={setting!r}: say 1 (the default), nice (no real time) or 0"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return Plugin(realtime=setting != "nice")


plugin = _make()
