"""Every fault starts and ends without workers of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import threadpool9
from threadpool9 import ErrorReport, hookimpl


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Start and end without workers, and with the tunables found."""
    threadpool9.retire_idle()
    before = {name: getattr(threadpool9.tunables, name) for name in ("idle_ms", "stall_ms", "strict_priorities")}
    yield
    for name, value in before.items():
        setattr(threadpool9.tunables, name, value)
    threadpool9.retire_idle()


class Reports(list[ErrorReport]):
    """Takes every error report; a list of them."""

    @hookimpl
    def threadpool9_error(self, error: ErrorReport) -> bool:
        """Keep it, and keep it from `threading.excepthook`."""
        self.append(error)
        return True

    __hash__ = object.__hash__  # pluggy keeps plugins in a dict

    def __eq__(self, other: object) -> bool:
        return self is other

    def types(self) -> list[str]:
        """Names of the exceptions."""
        return [report.exc_type.__name__ for report in self]


@pytest.fixture
def reports() -> Iterator[Reports]:
    """What is reported during the test."""
    plugin = Reports()
    threadpool9.register(plugin)
    yield plugin
    threadpool9.unregister(plugin)
