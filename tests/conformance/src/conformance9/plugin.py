"""The pytest plugin: options and markers. It is loaded in every pytest run, so it imports next to nothing.

What a conformance run needs is in `_run`, which is loaded only if there is an implementation to test. It is told by
``--conformance-adapter`` and ``--conformance-layer``, or, for a project that tests several implementations in its
ordinary test run, by the ini option ``conformance_adapters``: lines of the form ``LAYER MODULE:CLASS [MARKER ...]``.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

LAYERS = ("threadpool", "task", "workqueue")
SUITE = Path(__file__).parent / "suite"
RUN = "conformance9-run"

#: More than a layer has tests, so that each may end its process; and not without end, in case none can be collected.
_RESTARTS = 400

MARKERS = (
    "clause(name, ...): the clauses of the design that the test checks",
    "capability(name, ...): what an implementation must claim for the test to apply",
    "thorough: takes long; runs only with --conformance-thorough",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which implementation to test, which of its layers, how, and where the report goes."""
    group = parser.getgroup("conformance9", "conformance of threadpool(9), task(9) and workqueue(9)")
    add = group.addoption
    add("--conformance-adapter", metavar="MODULE:CLASS", help="the adapter of the implementation; also FILE.py:CLASS")
    add("--conformance-layer", choices=LAYERS, help="the layer to test")
    add("--conformance-clause", metavar="TP-21,...", action="append", help="only the tests of these clauses")
    add("--conformance-thorough", action="store_true", help="the long storms too")
    add("--conformance-seed", metavar="N", type=int, help="seed of the tests that draw; a failure tells its seed")
    add("--conformance-report-json", metavar="FILE", help="write the report as JSON")
    add("--conformance-report-html", metavar="FILE", help="write the report as one self-contained page")
    parser.addini(
        "conformance_adapters",
        "implementations to test where no adapter is given: lines of LAYER MODULE:CLASS [MARKER ...]",
        type="linelist",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Announce the markers, and load the rest if there is something to test."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    options = config.option
    if bool(options.conformance_adapter) != bool(options.conformance_layer):
        raise pytest.UsageError("--conformance-adapter and --conformance-layer go together")
    if options.conformance_adapter or config.getini("conformance_adapters"):
        from ._run import Run

        config.pluginmanager.register(Run(config), RUN)
    elif any(str(word).startswith("conformance9") for word in config.invocation_params.args):
        raise pytest.UsageError(
            "conformance9 needs an implementation: --conformance-adapter=MODULE:CLASS --conformance-layer=LAYER"
        )


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Run the tests in a process of xdist's, so that the run survives an implementation that ends or blocks it."""
    options = config.option
    distributes = config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    if options.conformance_adapter and distributes and not options.usepdb:
        if options.numprocesses is None and not options.tx:
            options.numprocesses = 1
        if options.maxworkerrestart is None:
            options.maxworkerrestart = str(_RESTARTS)
    return (yield)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the suite, collect only what there is an adapter for."""
    if collection_path.parent != SUITE or not collection_path.name.startswith("test_"):
        return None
    run = config.pluginmanager.get_plugin(RUN)
    return True if run is None or not run.adapters_for(collection_path.name) else None
