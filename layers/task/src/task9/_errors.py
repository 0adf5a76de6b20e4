"""The errors that this layer adds to threadpool9's."""

from __future__ import annotations

from threadpool9 import Error, UsageError


class QueueClosed(UsageError):
    """The queue was closed and takes no new tasks (TK-16)."""


class ResultLost(Error):
    """In a fork child: the function was running in another thread at the fork, so there will be no result (TK-18)."""


class LoopClosed(UsageError):
    """The event loop that the queue lives in was closed: nothing can run there any more (TK-19)."""


class Full(Error):
    """`max_pending` calls wait already; this one was not submitted (TK-20)."""
