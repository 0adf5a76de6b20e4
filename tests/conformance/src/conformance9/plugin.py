"""The pytest plugin: options and markers. It is loaded in every pytest run, so it imports next to nothing."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which implementation to test, and which of its layers."""
    group = parser.getgroup("conformance9")
    group.addoption("--conformance-adapter", metavar="MODULE:CLASS", help="the adapter of the implementation to test")
    group.addoption("--conformance-layer", choices=("threadpool", "task", "workqueue"), help="the layer to test")


def pytest_configure(config: pytest.Config) -> None:
    """The marker that ties a test to a clause."""
    config.addinivalue_line("markers", "clause(name, ...): the clauses of the design that the test checks")
