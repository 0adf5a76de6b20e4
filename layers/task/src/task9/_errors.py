"""The errors that this layer adds to threadpool9's."""

from __future__ import annotations

from threadpool9 import UsageError


class QueueClosed(UsageError):
    """The queue was closed and takes no new tasks (TK-16)."""
