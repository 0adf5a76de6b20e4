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
from pace import patience

from conformance9 import _catalogue
from conformance9._adapters import CAPABILITIES
from conformance9.clauses import CLAUSES, clauses_of
from conformance9.plugin import LAYERS, SUITE

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
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
    "a schedule is forgotten now and then": (
        {"TP-22"},
        """
        enqueue = Pool.enqueue
        def forgetful(self, job):
            if job.state == "idle" and job.number % 50 == 49:
                job.number += 1
                return True
            return enqueue(self, job)
        Pool.enqueue = forgetful
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


@pytest.fixture(autouse=True)
def as_strangers_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite is run without the conftest.py of this repository's tests, which is beside nobody else's copy."""
    monkeypatch.setenv("PYTEST_ADDOPTS", f"--confcutdir={SUITE}")


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


def run_suite(
    directory: Path, adapter: str, *words: str, layer: str = "threadpool"
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the suite in a process of its own, away from this project's settings; the run, and its JSON report."""
    report = directory / "report.json"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "conformance9"),
        *(f"--conformance-adapter={adapter}", f"--conformance-layer={layer}"),
        *(f"--conformance-report-json={report}", *words),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(300), cwd=directory, check=False)
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
    run, report = run_suite(tmp_path, f"{path.name}:Faulty", f"--conformance-clause={','.join(due)}", "-x", "-n", "0")
    assert run.returncode == 1, run.stdout + run.stderr
    broken = {name for name, status in statuses(report).items() if status == "fail"}
    assert due <= broken, f"broken: {broken}\n{run.stdout[-3000:]}"
    assert report["runs"][0]["badge"]["color"] == "red"


#: Faults that one test is there for: the adapter without the fault, those with it, the layer, the clause, the test.
SINGLE = [
    ("small_pool.py", "Honest", ["Stale"], "threadpool", "TP-29", "scheduled_again_a_job_is_the_last"),
    ("small_pool.py", "Honest", ["Assigned"], "threadpool", "TP-25", "a_job_that_is_only_assigned"),
    ("small_pool.py", "Honest", ["Lost"], "threadpool", "TP-3", "a_worker_on_its_way_out"),
    ("small_pool.py", "Honest", ["EagerAdapter", "EagerPool"], "threadpool", "TP-3", "before_the_first_job_of_the"),
    ("faulty_tasks.py", "Honest", ["Inheriting"], "task", "TK-4", "bound_whoever_schedules"),
    ("faulty_tasks.py", "Honest", ["StaleTasks"], "task", "TK-5", "scheduled_again_a_task_is_the_last"),
    ("awaited_models.py", "AwaitedTasks", ["ThreadedTasks"], "task", "AW-1", "awaiting_lets_the_loop_go_on"),
    ("awaited_models.py", "AwaitedWorks", ["DeafWorks"], "workqueue", "AW-2", "cancelled_drain_opens_the_queue"),
    ("faulty_tasks.py", "HonestWorks", ["StaleWorks"], "workqueue", "WQ-1", "enqueued_again_a_work_is_the_last"),
]


@pytest.mark.parametrize(
    ("file", "honest", "faulty", "layer", "clause", "test"), SINGLE, ids=[row[5] for row in SINGLE]
)
def test_a_single_fault_is_what_a_test_is_there_for(
    file: str,
    honest: str,
    faulty: list[str],
    layer: str,
    clause: str,
    test: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test passes with the implementation, and rejects it with the fault, for the fault's clause."""
    monkeypatch.setenv("CONFORMANCE9_TIME_SCALE", "0.3")
    for name in (honest, *faulty):
        run, report = run_suite(tmp_path, f"{HERE / file}:{name}", "-n", "0", "-k", test, layer=layer)
        broken = {clause for clause, status in statuses(report).items() if status == "fail"}
        assert broken == (set() if name == honest else {clause}), run.stdout[-3000:]
        assert run.returncode == (name != honest), run.stdout[-3000:]
        assert report["runs"][0]["badge"]["color"] == ("lightgrey" if name == honest else "red")  # most did not run


@pytest.mark.parametrize(("fault", "said"), [("Deadly", "the process died"), ("Deaf", "it did not end")])
def test_a_dead_or_hanging_process_fails_its_clause_and_the_run_goes_on(
    fault: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run away from the suite's place, where the ids of its tests are not what they are here; with all stacks."""
    monkeypatch.setenv("CONFORMANCE9_TIME_SCALE", "0.05")
    page = tmp_path / "report.html"
    words = [
        "-n",
        "2",
        "-k",
        "test_cancel_waits_for_the_run or test_cancel_of_an_idle",
        f"--conformance-report-html={page}",
    ]
    run, report = run_suite(tmp_path, f"{HERE / 'faulty_tasks.py'}:{fault}", *words, layer="task")
    assert run.returncode == 1, run.stdout + run.stderr
    assert report["crashes"] == ["test_cancel_waits_for_the_run"], run.stdout
    outcomes = {test["test"]: test["outcome"] for test in report["runs"][0]["tests"]}
    assert outcomes == {"test_cancel_of_an_idle_task_is_true": "passed", "test_cancel_waits_for_the_run": "crashed"}
    assert statuses(report)["TK-6"] == "fail"
    assert report["runs"][0]["badge"]["color"] == "red"
    detail = next(test["detail"] for test in report["runs"][0]["tests"] if test["outcome"] == "crashed")
    assert detail.startswith(said)
    if fault == "Deaf":
        assert "in test_cancel_waits_for_the_run" in detail
        assert "in test_cancel_waits_for_the_run" in page.read_text()
        assert "in test_cancel_waits_for_the_run" in run.stdout


def test_a_clause_is_green_only_if_each_of_its_tests_has_run(tmp_path: Path) -> None:
    """One of its tests passes, the others are left out: not tested, and the summary says how many are."""
    page = tmp_path / "report.html"
    page.write_text("of an earlier run")
    words = ["-k", "test_threads_that_race_for_the_first_get_agree", f"--conformance-report-html={page}"]
    run, report = run_suite(tmp_path, REFERENCE, *words)
    assert run.returncode == 0, run.stdout
    assert set(statuses(report).values()) == {"not tested"}
    assert not report["complete"]
    assert report["runs"][0]["badge"]["color"] == "lightgrey"
    assert f"0 pass, 0 fail, 0 not claimed, {len(statuses(report))} not tested" in run.stdout
    run, _ = run_suite(tmp_path, "small.py:Nothing", f"--conformance-report-html={page}")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert not page.exists() or "of an earlier run" not in page.read_text()


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
    again = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=patience(300), cwd=tmp_path, check=False
    )
    assert again.returncode == 1, again.stdout
    assert "1 failed" in again.stdout
    assert "seed: 4711" in again.stdout


@pytest.mark.parametrize(("layer", "adapter"), [("task", "AwaitedTasks"), ("workqueue", "AwaitedWorks")])
def test_awaiting_by_looking_again_and_again_is_as_good(layer: str, adapter: str, tmp_path: Path) -> None:
    """The suite asks for what AW-1 to AW-4 say, not for how our layers do it."""
    run, report = run_suite(
        tmp_path, f"{HERE / 'awaited_models.py'}:{adapter}", "-k", f"test_{layer}_await", layer=layer
    )
    assert run.returncode == 0, run.stdout
    assert {name for name, status in statuses(report).items() if status == "pass"} >= {"AW-1", "AW-2", "AW-3", "AW-4"}


def test_what_is_not_claimed_is_not_passed(tmp_path: Path) -> None:
    """An adapter that claims nothing: its clauses are "not claimed"; the counts are those of all clauses."""
    (tmp_path / "bare.py").write_text(
        "from conformance9.reference_threadpool import Reference\n"
        "class Bare(Reference):\n    capabilities = frozenset()\n"
    )
    run, report = run_suite(tmp_path, "bare.py:Bare")
    assert run.returncode == 0, run.stdout
    table = statuses(report)
    assert table["TP-3"] == "pass"
    assert table["TP-26"] == table["TP-7"] == table["TP-32"] == "not claimed"
    assert "TK-1" not in table
    counts = report["runs"][0]["counts"]
    assert sum(counts.values()) == len(table) == len(clauses_of("threadpool"))
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
    assert not re.search(r"<(script|link|img)|https?:|href|src=", html)
    for name in table:
        assert f"<td>{name}<td>" in html


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
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(100), cwd=tmp_path, check=False)
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


def test_every_clause_has_a_test_that_rejects_something_or_a_reason() -> None:
    """A clause is tested, and then some fault or mutant of it is rejected, or it says why it is not."""
    sys.path.insert(0, str(HERE.parent / "mutants"))
    import catalogue

    rejected = {clause for mutant in catalogue.load().values() for clause in mutant.clauses}
    rejected |= {clause for due, _ in FAULTS.values() for clause in due} | {row[4] for row in SINGLE}
    rejected.add("TP-33")  # an extension module that switches the GIL on would be needed, and a build without it
    for layer in LAYERS:
        tested = {clause for test in _catalogue.tests_of(layer) for clause in test.clauses}
        for name, clause in clauses_of(layer).items():
            assert (name in tested) != bool(clause.untested), name
            assert (name in tested) <= (name in rejected), f"nothing shows that the tests of {name} can fail"


def test_the_manual_lists_every_clause() -> None:
    """docs/conformance.rst has the clauses of `conformance9.clauses`, word for word, as targets of links."""
    manual = (ROOT / "docs" / "conformance.rst").read_text()
    listed = dict(re.findall(r"^\* _`([A-Z]+-\d+)`: (.*)$", manual, re.M))
    assert listed == {name: clause.text for name, clause in CLAUSES.items()}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_manual_lists_every_capability(layer: str) -> None:
    """docs/conformance.rst has the capabilities of each layer, word for word."""
    manual = (ROOT / "docs" / "conformance.rst").read_text()
    section = manual.partition(f"Capabilities of a {layer}\n")[2].partition("\nCapabilities of")[0]
    listed = dict(re.findall(r"^``([a-zA-Z_ ]+)``\n   (.*)$", section, re.M))
    assert {name: text for name, text in listed.items() if name in CAPABILITIES[layer]} == CAPABILITIES[layer]


def test_a_stranger_s_run_of_pytest_is_left_alone(tmp_path: Path) -> None:
    """Without an adapter the plugin collects, prints and imports nothing beyond itself."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_mine():\n"
        "    loaded = [name for name in sys.modules if name.startswith('conformance9')]\n"
        "    assert sorted(loaded) == ['conformance9', 'conformance9.plugin']\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(100), cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout
    assert "conformance9" not in run.stdout
