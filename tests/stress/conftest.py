"""The storms share a package of their own, which programs in other processes use too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import threadpool9  # noqa: E402  (the path comes first)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """A worker that was born under a trace function keeps it: start and end without workers."""
    threadpool9.retire_idle()
    yield
    threadpool9.retire_idle()
