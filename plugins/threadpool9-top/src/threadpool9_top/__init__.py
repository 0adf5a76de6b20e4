"""threadpool9_top: look into the pools and queues of another process, from a terminal.

The observed process opts in: by ``THREADPOOL9_TOP=1`` in its environment, or by one call::

    threadpool9_top.serve()

Then ``python -m threadpool9_top PID`` shows it live. Serving is one thread that sleeps in ``accept`` on a unix
socket which only the same user can reach; nothing is listened to, counted or collected until a viewer asks.
"""

from __future__ import annotations

from ._server import ServeError, serve, serving, stop

__all__ = ["ServeError", "serve", "serving", "stop"]
