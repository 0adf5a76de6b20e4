"""The suite itself under test: faults go red on the right clause, reports say what happened, options work."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from conformance9.clauses import CLAUSES
from conformance9.plugin import SUITE

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = "conformance9.reference_threadpool:Reference"

#: Single faults of the reference model: the clauses that must be found broken by the tests of these clauses alone.
FAULTS = {
    "a pool for each get": (
        {"TP-1"},
        """
        class Faulty(Reference):
            def get(self, pri=-1):
                pool = super().get(pri)
                model.pools[pri] = model.Pool()
                return pool
        """,
    ),
    "no interlock needed": ({"TP-20"}, "Pool.schedule = lambda self, job: self.post(job)"),
    "a run beside the run": (
        {"TP-21"},
        """
        enqueue = Pool.enqueue
        def twice(self, job):
            said = enqueue(self, job)
            if not said and job.state == "running":
                threading.Thread(target=lambda: job.fn(job)).start()
            return said
        Pool.enqueue = twice
        """,
    ),
    "cancel_async believes that it can stop a run": (
        {"TP-25"},
        "cancel_async = Pool.cancel_async; Pool.cancel_async = lambda self, job: cancel_async(self, job) or True",
    ),
    "cancel returns before done": (
        {"TP-26"},
        "cancel_async = Pool.cancel_async; Pool.cancel = lambda self, job, timeout=None: cancel_async(self, job)",
    ),
    "cancel keeps the interlock": (
        {"TP-26"},
        """
        def cancel(self, job, timeout=None):
            if self.cancel_async(job):
                return True
            self.wait(lambda: job.state != "running", timeout)
            return False
        Pool.cancel = cancel
        """,
    ),
    "put does not wait": (
        {"TP-9"},
        """
        wait = Pool.wait
        def put(self, timeout=None):
            self.wait = lambda until, timeout: None
            put_(self, timeout)
        put_, Pool.put = Pool.put, put
        """,
    ),
    "a post to a running job is lost": (
        {"TP-28"},
        "def post(self, job):\n    with model.changed:\n        return self.enqueue(job)\nPool.post = post",
    ),
}


def adapter_file(directory: Path, fault: str) -> Path:
    """A file with an adapter of the reference model that has a fault."""
    head = """
    import threading
    from conformance9 import reference_threadpool as model
    from conformance9.reference_threadpool import Job, Pool, Reference
    """
    tail = "\nFaulty = globals().get('Faulty', Reference)\n"
    path = directory / "faulty.py"
    path.write_text(textwrap.dedent(head) + textwrap.dedent(fault) + tail)
    return path


def run_suite(directory: Path, adapter: str, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the suite in a process of its own, away from this project's settings; the run, and its JSON report."""
    report = directory / "report.json"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "conformance9"),
        *(f"--conformance-adapter={adapter}", "--conformance-layer=threadpool"),
        *(f"--conformance-report-json={report}", *words),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=directory, check=False)
    found: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    return run, found


def statuses(report: dict[str, Any]) -> dict[str, str]:
    """The status of each clause."""
    return {row["clause"]: row["status"] for row in report["runs"][0]["clauses"]}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_goes_red_on_its_clause(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the clause's own tests only, as who mends it would; they fail, and name it and nothing far from it."""
    monkeypatch.setenv("CONFORMANCE9_TIME_SCALE", "0.15")
    due, text = FAULTS[fault]
    path = adapter_file(tmp_path, text)
    run, report = run_suite(tmp_path, f"{path.name}:Faulty", f"--conformance-clause={','.join(due)}", "-x")
    assert run.returncode == 1, run.stdout + run.stderr
    broken = {name for name, status in statuses(report).items() if status == "fail"}
    assert due <= broken, f"broken: {broken}\n{run.stdout[-3000:]}"
    assert report["runs"][0]["badge"]["color"] == "red"


def test_a_failure_tells_clause_observation_seed_and_a_command_that_fails_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay command of the report runs that one test, and it fails with the same seed."""
    monkeypatch.setenv("CONFORMANCE9_TIME_SCALE", "0.15")
    adapter_file(tmp_path, FAULTS["cancel returns before done"][1])
    run, _ = run_suite(tmp_path, "faulty.py:Faulty", "--conformance-clause=TP-26", "-x", "--conformance-seed=4711")
    assert "clause TP-26: cancel waits for done()" in run.stdout
    assert "observed: TP-26: cancel()" in run.stdout
    assert "seed: 4711" in run.stdout
    replay = next(line for line in run.stdout.splitlines() if line.startswith("replay: "))
    command = replay.removeprefix("replay: ").replace("python ", f"'{sys.executable}' ", 1)
    again = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False)
    assert again.returncode == 1, again.stdout
    assert "1 failed" in again.stdout
    assert "seed: 4711" in again.stdout


def test_what_is_not_claimed_is_not_passed(tmp_path: Path) -> None:
    """An adapter that claims nothing: its clauses are "not claimed"; the counts are those of all clauses."""
    (tmp_path / "bare.py").write_text(
        "from conformance9.reference_threadpool import Reference\n"
        "class Bare(Reference):\n    capabilities = frozenset()\n"
    )
    run, report = run_suite(tmp_path, "bare.py:Bare", "-k", "not upstream")
    assert run.returncode == 0, run.stdout
    table = statuses(report)
    assert table["TP-3"] == "pass"
    assert table["TP-26"] == table["TP-7"] == table["TP-32"] == "not claimed"
    assert "TK-1" not in table
    counts = report["runs"][0]["counts"]
    assert sum(counts.values()) == len(table) == sum(clause.layer == "threadpool" for clause in CLAUSES.values())
    outcomes = {test["outcome"] for test in report["runs"][0]["tests"] if "TP-26" in test["clauses"]}
    assert outcomes == {"not claimed"}
    assert "not claimed" in run.stdout


def test_reports_of_a_parallel_run_without_autoload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With plugins named one by one and two processes: one table, one seed, a page that loads nothing."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    page = tmp_path / "report.html"
    words = ["-p", "xdist", "-p", "conformance9", "-n", "2", "--conformance-clause=TP-2,TP-27,TP-25"]
    run, report = run_suite(tmp_path, REFERENCE, *words, f"--conformance-report-html={page}")
    assert run.returncode == 0, run.stdout + run.stderr
    table = statuses(report)
    assert table["TP-2"] == table["TP-25"] == table["TP-27"] == "pass"
    assert len({test["replay"].partition("--conformance-seed=")[2] for test in report["runs"][0]["tests"]}) == 1
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert not re.search(r"<(script|link|img)|https?:", html)
    for name in table:
        assert f">{name}</a>" in html


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--conformance-adapter=nowhere:Nothing", "--conformance-layer=threadpool"], "can't be imported"),
        (["--conformance-adapter=nowhere", "--conformance-layer=threadpool"], "MODULE:CLASS"),
        ([f"--conformance-adapter={REFERENCE}"], "go together"),
        ([], "needs an implementation"),
        ([f"--conformance-adapter={REFERENCE}", "--conformance-layer=threadpool", "--conformance-clause=XX-1"], "XX-1"),
        (["--conformance-adapter=wrong.py:Wrong", "--conformance-layer=threadpool"], "claims 'flying'"),
    ],
)
def test_mistakes_of_the_user_are_explained(words: list[str], message: str, tmp_path: Path) -> None:
    """Each is a usage error with the way out, not a traceback."""
    (tmp_path / "wrong.py").write_text("class Wrong:\n    capabilities = {'flying'}\n")
    command = [sys.executable, "-m", "pytest", "--pyargs", "conformance9", *words]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR, run.stdout + run.stderr
    assert message in run.stderr


def functions() -> list[tuple[str, ast.FunctionDef, str]]:
    """Every test function of the suite, with its file and the text of the file."""
    found = []
    for path in sorted(SUITE.glob("test_*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.append((path.name, node, text))
    return found


def test_every_test_names_its_clauses_and_says_what_it_requires() -> None:
    """A clause marker, on the function, its parameters or the module, and a docstring."""
    for name, node, text in functions():
        marked = "mark.clause" in ast.unparse(ast.Module(body=node.decorator_list, type_ignores=[])) or re.search(  # type: ignore[arg-type]
            r"^pytestmark = .*clause", text, re.M
        )
        assert marked, f"{name}: {node.name}"
        assert ast.get_docstring(node), f"{name}: {node.name} does not say what it requires"


def test_every_threadpool_clause_has_a_test_or_a_reason() -> None:
    """A clause without a test says why it can't be seen from outside."""
    tested = {name for _, _, text in functions() for name in re.findall(r"\bTP-\d+\b", text)}
    for name, clause in CLAUSES.items():
        if clause.layer == "threadpool":
            assert (name in tested) != bool(clause.untested), name


def test_the_manual_lists_every_clause() -> None:
    """docs/conformance.rst has the clauses of `conformance9.clauses`, word for word, as targets of links."""
    manual = (ROOT / "docs" / "conformance.rst").read_text()
    listed = dict(re.findall(r"^\* _`([A-Z]+-\d+)`: (.*)$", manual, re.M))
    assert listed == {name: clause.text for name, clause in CLAUSES.items()}


def test_a_stranger_s_run_of_pytest_is_left_alone(tmp_path: Path) -> None:
    """Without an adapter the plugin collects, prints and imports nothing beyond itself."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_mine():\n"
        "    loaded = [name for name in sys.modules if name.startswith('conformance9')]\n"
        "    assert sorted(loaded) == ['conformance9', 'conformance9.plugin']\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout
    assert "conformance9" not in run.stdout
