"""What every test of the suite gets: the adapter, a stage, the seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance9._adapters import Implementation
from conformance9._run import Run
from conformance9.plugin import RUN
from conformance9.suite.tools import Stage, need


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """The conformance run that the test is part of."""
    found = request.config.pluginmanager.get_plugin(RUN)
    assert isinstance(found, Run)
    return found


@pytest.fixture
def adapter(request: pytest.FixtureRequest, run: Run) -> Iterator[Any]:
    """A fresh adapter of the implementation under test; a test that needs more than it claims ends here."""
    adapter = run.implementation_of(request.node).make()
    need(adapter, *(name for mark in request.node.iter_markers("capability") for name in mark.args))
    yield adapter
    if hasattr(adapter, "reset"):
        adapter.reset()


@pytest.fixture
def implementation(request: pytest.FixtureRequest, run: Run) -> Implementation:
    """Whose adapter it is, for tests that use it in a process of their own."""
    return run.implementation_of(request.node)


@pytest.fixture
def stage(adapter: Any, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """The gates, threads and references of the test; ended after it, also after a failure."""
    stage = Stage()
    yield stage
    stage.end(failed=getattr(request.node, "conformance9_failed", False))


@pytest.fixture
def seed(run: Run) -> int:
    """Seed for tests that draw."""
    return run.seed


@pytest.fixture
def thorough(run: Run) -> bool:
    """Whether the user has time for long storms."""
    return run.thorough


@pytest.fixture
def crew(adapter: Any, stage: Stage) -> Any:
    """Pools and jobs of the threadpool layer, ended with the stage."""
    from conformance9.suite.crew import Crew

    return Crew(adapter, stage)
