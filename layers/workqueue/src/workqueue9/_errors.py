"""The errors that this layer adds to those below."""

from __future__ import annotations

from threadpool9 import Error, UsageError


class WorkPending(UsageError):
    """The work is pending already, here or on another queue; nothing was changed (WQ-3)."""


class Full(Error):
    """The queue holds `max_pending` works; the work was not enqueued (WQ-9)."""


class BackendDown(Error):
    """There is nobody at the back end to send a work to (WQ-15); it waits at the front of its queue."""
