"""One conformance run inside pytest: which tests, with which adapters, and what became of them.

Under pytest-xdist every process has one of these. What a test came to travels in its report's ``user_properties``
from the worker to the controller, so the controller's `Run` sees all results and writes the report.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ._adapters import Implementation, NotClaimed
from ._report import Report, Result
from .clauses import CLAUSES
from .plugin import LAYERS, SUITE

PROPERTY = "conformance9"
SUITE_WORD = "conformance9/suite/"
_EXIT_LIMIT = 15.0


class Run:
    """The active half of the plugin; see the module's text."""

    def __init__(self, config: pytest.Config) -> None:
        options = config.option
        self.config = config
        self.thorough = bool(options.conformance_thorough)
        seed = options.conformance_seed
        if seed is None:  # an xdist worker is told the controller's, see below
            seed = getattr(config, "workerinput", {}).get(PROPERTY, time.time_ns() % 2**32)
        self.seed = int(seed)
        self.only = {name.strip() for text in options.conformance_clause or () for name in text.split(",")}
        if unknown := self.only - CLAUSES.keys():
            raise pytest.UsageError(f"no such clause: {', '.join(sorted(unknown))}")
        lines: list[tuple[str, str, list[str]]]
        #: True for a run about one implementation, False where several are tested among other tests.
        self.single = bool(options.conformance_adapter)
        if self.single:
            lines = [(options.conformance_layer, options.conformance_adapter, [])]
            directory = config.invocation_params.dir
        else:
            lines = [_parse(line) for line in config.getini("conformance_adapters")]
            directory = config.rootpath
        self.implementations = [Implementation(layer, spec, directory) for layer, spec, _ in lines]
        #: Markers that the tests of an implementation get, by the ini option.
        self.marks = {
            tested: [getattr(pytest.mark, name) for name in names]
            for tested, (_, _, names) in zip(self.implementations, lines, strict=True)
        }
        self.report = Report(self.implementations, self.seed, self.thorough, complete=not self.only)
        self.failed = False

    def adapters_for(self, file_name: str) -> list[Implementation]:
        """The implementations that the tests of a file of the suite are for."""
        layer = file_name.removeprefix("test_").removesuffix(".py").partition("_")[0]
        return [each for each in self.implementations if each.layer == layer]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist's: every worker draws from the same seed."""
        node.workerinput[PROPERTY] = self.seed

    # --- which tests

    def pytest_report_header(self) -> list[str]:
        """Say what is tested."""
        if not self.single:
            return []
        tested = self.implementations[0]
        claims = ", ".join(sorted(tested.claims)) or "nothing beyond the core"
        return [
            f"conformance9: {tested.layer} layer of {tested.name}, seed {self.seed}"
            + (", thorough" if self.thorough else ""),
            f"conformance9: claims {claims}",
        ]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Have each test of the suite run once for each implementation of its layer."""
        if "adapter" in metafunc.fixturenames and _of_the_suite(metafunc.definition):
            found = self.adapters_for(metafunc.definition.path.name)
            if not self.single:
                values = [pytest.param(each, id=each.id, marks=self.marks[each]) for each in found]
                metafunc.parametrize("adapter", values, indirect=True)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the long ones and those of other clauses, as asked."""
        keep: list[pytest.Item] = []
        drop: list[pytest.Item] = []
        for item in items:
            unwanted = _of_the_suite(item) and (
                (not self.thorough and item.get_closest_marker("thorough") is not None)
                or (self.only and self.only.isdisjoint(clauses_of(item)))
            )
            (drop if unwanted else keep).append(item)
        if drop:
            config.hook.pytest_deselected(items=drop)
            items[:] = keep

    # --- what became of them

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put into the report what the controller needs, and after a failure what the user needs."""
        report = yield
        if not _of_the_suite(item):
            return report
        error = call.excinfo.value if call.excinfo is not None else None
        tested = self.implementation_of(item)
        broke = getattr(error, "clauses", None) or clauses_of(item)
        result = {
            "implementation": self.implementations.index(tested),
            "test": item.name,
            "clauses": clauses_of(item),
            "outcome": report.outcome,
            "broke": broke if report.failed else [],
            "missing": error.names if isinstance(error, NotClaimed) else [],
            "detail": str(error) if error is not None else "",
            "seconds": call.duration,
            "replay": self.replay(item, tested),
        }
        if report.failed:
            item.conformance9_failed = True  # type: ignore[attr-defined]  # for the fixture `stage`
        report.user_properties = [*report.user_properties, (PROPERTY, result)]
        if report.failed:
            report.sections.append(("conformance9", _explain(result, self.seed)))
        return report

    def implementation_of(self, item: pytest.Item) -> Implementation:
        """Whose test it is."""
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "adapter" in callspec.params:
            return callspec.params["adapter"]  # type: ignore[no-any-return]  # we put it there
        return self.adapters_for(item.path.name)[0]

    def replay(self, item: pytest.Item, tested: Implementation) -> str:
        """The command that runs this test again."""
        name = item.name
        if not self.single:  # the implementation's part of the id is not there in a run of one
            name = name.replace(f"[{tested.id}]", "").replace(f"[{tested.id}-", "[").replace(f"-{tested.id}]", "]")
        words = [
            "python -m pytest --pyargs",
            f"'conformance9.suite.{item.path.stem}::{name}'",
            f"--conformance-adapter={tested.spec}",
            f"--conformance-layer={tested.layer}",
            f"--conformance-seed={self.seed}",
            *(["--conformance-thorough"] if self.thorough else []),
        ]
        return " ".join(words)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """What is not claimed is neither passed nor skipped: a category of its own."""
        properties = dict(getattr(report, "user_properties", ()))
        if report.skipped and properties.get(PROPERTY, {}).get("missing"):
            return "not claimed", "-", "NOT CLAIMED"
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect; under xdist the controller sees the reports of all workers."""
        if report.failed and PROPERTY not in dict(report.user_properties) and SUITE_WORD in report.nodeid:
            self.failed = True
            self.report.crashes.append(report.nodeid.rpartition("::")[2])  # a worker of xdist died of it
        for name, value in report.user_properties:
            if name == PROPERTY:
                self.failed |= report.failed
                if report.when == "call" or not report.passed:
                    self.report.add(Result(**value))  # type: ignore[arg-type]  # what makereport put there

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table, or a line for each implementation where there are several; write the files."""
        if self.report.empty:
            return
        self.report.write_terminal(terminalreporter, full=self.single)
        options = self.config.option
        if options.conformance_report_json:
            Path(options.conformance_report_json).write_text(self.report.as_json(), encoding="utf-8")
        if options.conformance_report_html:
            Path(options.conformance_report_html).write_text(self.report.as_html(), encoding="utf-8")

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """After failures, threads that will never end must not keep the process from ending."""
        if self.failed:
            sys.stdout.flush()
            faulthandler.dump_traceback_later(_EXIT_LIMIT, exit=True, file=_stderr())


def _stderr() -> int:
    """A descriptor that stays open to the end."""
    return os.dup(2)


def _parse(line: str) -> tuple[str, str, list[str]]:
    """A line of the ini option: LAYER ADAPTER [MARKER ...]."""
    layer, *rest = line.split()
    if layer not in LAYERS or not rest:
        raise pytest.UsageError(f"conformance_adapters: a line is LAYER MODULE:CLASS [MARKER ...], not {line!r}")
    return layer, rest[0], rest[1:]


def _of_the_suite(item: pytest.Item | Any) -> bool:
    return bool(item.path.parent == SUITE)


def clauses_of(item: pytest.Item) -> list[str]:
    """The clauses that the test is marked with, in order."""
    names = [str(name) for mark in item.iter_markers("clause") for name in mark.args]
    return list(dict.fromkeys(names))


def _explain(result: dict[str, Any], seed: int) -> str:
    lines = [f"clause {name}: {CLAUSES[name].text}" for name in result["broke"] if name in CLAUSES]
    lines += [f"observed: {result['detail']}", f"seed: {seed}", f"replay: {result['replay']}"]
    return "\n".join(lines)
