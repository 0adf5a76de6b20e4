"""threadpool9_rtkit: what the operating system refuses a worker, asked of RealtimeKit.

Installed it is in force: a pool whose priority needs a negative nice value or a real-time class gets it on a desktop
where the user may not set either, as far as the daemon's own limits go. See `Plugin` for what that costs, above all
the limit on the CPU time of real-time threads.
"""

from __future__ import annotations

from ._broker import Limits, Refused, limits
from ._plugin import Plugin

__all__ = ["Limits", "Plugin", "Refused", "limits"]
