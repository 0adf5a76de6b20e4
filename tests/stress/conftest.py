"""Every storm starts and ends without workers of ours. What the storms share is `stormkit`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import threadpool9


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """A worker that was born under a trace function keeps it: start and end without workers."""
    threadpool9.retire_idle()
    yield
    threadpool9.retire_idle()
