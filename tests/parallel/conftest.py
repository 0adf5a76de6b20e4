"""Tests that are written to be run by several threads at once, on the same objects, and that count exactly.

With ``--parallel-threads=N`` pytest-run-parallel runs each of them on N threads at once, which
``tools/everywhere.py`` asks for on free-threaded interpreters. What a fixture gives is the same for all threads
and iterations: so what they share is made by one of the threads of a `Team`, anew each time. Without the option one
thread runs a test, and it says little.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from crowd import Team

import threadpool9


@pytest.fixture
def team(num_parallel_threads: int) -> Team:
    """The threads that run the test: one, unless pytest-run-parallel is asked for more."""
    return Team(num_parallel_threads)


@pytest.fixture(autouse=True)
def no_worker_stays() -> Iterator[None]:
    """Other tests count threads."""
    yield
    threadpool9.retire_idle()
