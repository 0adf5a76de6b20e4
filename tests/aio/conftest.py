"""Each test of this directory is a coroutine that runs on every kind of loop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from loops import LOOPS, Main, run_on


@pytest.fixture(params=LOOPS)
def loop_name(request: pytest.FixtureRequest) -> str:
    """The kind of loop."""
    return str(request.param)


@pytest.fixture
def run(loop_name: str) -> Callable[[Main], Any]:
    """``run(main)``: call a coroutine function in a new loop."""
    return functools.partial(run_on, loop_name)
