"""A submitted call that a test holds up, on whatever has a `submit`."""

from __future__ import annotations

import threading
from typing import Any

from pace import patience

from task9 import Future

LIMIT = patience(10.0)


class Gate:
    """A call that has begun and goes on until it is let go."""

    def __init__(self, queue: Any) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.future: Future[bool] = queue.submit(self)
        assert self.begun.wait(LIMIT)

    def __call__(self) -> bool:
        """Until let go."""
        self.begun.set()
        return self.go.wait(LIMIT)
