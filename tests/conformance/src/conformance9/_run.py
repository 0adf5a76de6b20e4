"""One conformance run inside pytest: which tests, with which adapters, and what became of them.

Under pytest-xdist every process has one of these. What a test came to travels in its report's ``user_properties``
from the worker to the controller, so the controller's `Run` sees all results and writes the report.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from ._adapters import Implementation, NotClaimed
from ._catalogue import find
from ._report import Report, Result
from ._watchdog import Watchdog
from .clauses import CLAUSES
from .plugin import LAYERS, SUITE
from .suite.tools import timing

PROPERTY = "conformance9"
_EXIT_LIMIT = 15.0
#: How many of the suite's own time limits one test may take before the watchdog ends it; and one that storms for long.
_LIMITS, _LIMITS_THOROUGH = 6, 60


class Run:
    """The active half of the plugin; see the module's text."""

    def __init__(self, config: pytest.Config) -> None:
        options = config.option
        self.config = config
        self.thorough = bool(options.conformance_thorough)
        given: dict[str, Any] = getattr(config, "workerinput", {})
        worker: dict[str, Any] = given.get(PROPERTY, {})
        seed = options.conformance_seed
        if seed is None:  # an xdist worker is told the controller's, see below
            seed = worker.get("seed", time.time_ns() % 2**32)
        self.seed = int(seed)
        #: Where processes that the watchdog ends leave their stacks; made by the controller.
        self.stacks = Path(worker.get("stacks") or tempfile.mkdtemp(prefix="conformance9-"))
        self.is_worker = bool(worker)
        self.watchdog = Watchdog(self.stacks / given["workerid"] if self.is_worker else None)
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
        self.report = Report(self.implementations, self.seed, self.thorough)
        self.failed = False
        if not self.is_worker:
            for path in self._files():  # what an earlier run has left says nothing about this one
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        options = self.config.option
        return [Path(name) for name in (options.conformance_report_json, options.conformance_report_html) if name]

    def adapters_for(self, file_name: str) -> list[Implementation]:
        """The implementations that the tests of a file of the suite are for."""
        layer = file_name.removeprefix("test_").removesuffix(".py").partition("_")[0]
        return [each for each in self.implementations if each.layer == layer]

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist's: every worker draws from the same seed."""
        node.workerinput[PROPERTY] = {"seed": self.seed, "stacks": str(self.stacks)}

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

    @pytest.hookimpl(wrapper=True, trylast=True)  # inside pytest's own timer: there is but one in a process
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let no test go on for ever."""
        if not _of_the_suite(item) or self.config.option.usepdb:
            return (yield)
        long = self.thorough or item.get_closest_marker("thorough") is not None
        with self.watchdog.over(timing.limit * (_LIMITS_THOROUGH if long else _LIMITS)):
            return (yield)

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
            "file": item.path.stem,
            "test": item.name,
            "clauses": clauses_of(item),
            "outcome": report.outcome,
            "broke": broke if report.failed else [],
            "missing": error.names if isinstance(error, NotClaimed) else [],
            "detail": str(error) if error is not None else "",
            "seconds": call.duration,
            "replay": self.replay(item.path.stem, item.name, tested),
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

    def replay(self, file: str, name: str, tested: Implementation) -> str:
        """The command that runs this test again."""
        if not self.single:  # the implementation's part of the id is not there in a run of one
            name = name.replace(f"[{tested.id}]", "").replace(f"[{tested.id}-", "[").replace(f"-{tested.id}]", "]")
        words = [
            "python -m pytest --pyargs",
            f"'conformance9.suite.{file}::{name}'",
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

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect; under xdist the controller sees the reports of all workers."""
        if hasattr(report, "node") and report.when not in ("setup", "call", "teardown"):
            self._crashed(report)
        for name, value in report.user_properties:
            if name == PROPERTY:
                self.failed |= report.failed
                if report.when == "call" or not report.passed:
                    self.report.add(Result(**value))  # type: ignore[arg-type]  # what makereport put there

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """xdist's: a process has died, of a test or otherwise; if of a test, that is reported next."""
        if error and error != "keyboard-interrupt":
            self.failed = True
            self.report.crashes.append(_nowhere(node))

    def _crashed(self, report: Any) -> None:
        """A process died in the middle of a test: its clauses do not hold."""
        entry = find(report.nodeid)
        if entry is None:
            return
        self.failed = True
        name = report.nodeid.rpartition("::")[2]
        crashes = self.report.crashes
        crashes[:] = [each for each in crashes if each != _nowhere(report.node)] + [name]
        found = self.adapters_for(f"{entry.file}.py")
        tested = next((each for each in found if f"[{each.id}" in name or f"-{each.id}]" in name), found[0])
        stacks = self.stacks / report.node.gateway.id
        text = stacks.read_text(errors="replace") if stacks.exists() else ""
        detail = f"it did not end, and was ended with its process; the stacks:\n{text}" if text else "the process died"
        result = Result(
            implementation=self.implementations.index(tested),
            file=entry.file,
            test=name,
            clauses=sorted(entry.clauses),
            outcome="crashed",
            broke=sorted(entry.clauses),
            missing=[],
            detail=detail,
            seconds=0.0,
            replay=self.replay(entry.file, name, tested),
        )
        self.report.add(result)
        report.longrepr = f"{report.longrepr}\n{_explain(dataclasses.asdict(result), self.seed)}"

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
        if not self.is_worker:
            shutil.rmtree(self.stacks, ignore_errors=True)
        if self.failed:
            sys.stdout.flush()
            faulthandler.dump_traceback_later(_EXIT_LIMIT, exit=True, file=_stderr())


def _nowhere(node: Any) -> str:
    """What is said of a process that died and was in no test."""
    return f"{node.gateway.id}, between two tests"


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
