"""The conformance suite on Dask, by capability (WQ-15): all of it. What takes a thousand works and more is thorough."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pace import patience

from conformance9.adapters_workqueue import WORKQUEUE_CAPABILITIES

pytest.importorskip("distributed", reason="distributed is not installed here")

from dask_adapter import OnDask  # it needs Dask

pytestmark = pytest.mark.once

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SUITE = ROOT / "tests" / "conformance" / "src" / "conformance9" / "suite"

#: Tests of a thousand works and more; one work takes some milliseconds there.
STORMS = (
    "test_a_large_bound_is_exact",
    "test_counters_add_up_after_a_storm",
    "test_each_delayed_work_is_called_or_cancelled_once",
    "test_each_enqueue_is_a_call_or_a_cancel",
    "test_enqueue_does_not_block_while_the_function_runs",
    "test_first_in_first_out_with_the_queue_s_function_and_argument",
    "test_flush_does_not_wait_for_what_comes_later",
    "test_idle_queues_own_no_thread",
    "test_nothing_is_lost_between_freeze_and_thaw",
    "test_order_is_kept_for_what_comes_while_the_function_runs",
    "test_places_are_never_lost_or_made",
    "test_storm_of_waits",
)

#: Tests of ten thousand works, which take minutes there.
MARATHONS = ("test_12435_enqueues_of_one_work", "test_cascade", "test_pingpong", "test_starfish")

PARTS = sorted(path.stem.removeprefix("test_workqueue_") for path in SUITE.glob("test_workqueue_*.py"))


def run_suite(report: Path, *words: str, scale: float, limit: float) -> dict[str, dict[str, Any]]:
    """Run a part of the suite, in which nothing fails; what it reports of each clause."""
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *words,
            "--conformance-layer", "workqueue", "--conformance-report-json", str(report),
            "--conformance-adapter", f"{HERE / 'dask_adapter.py'}:OnDask",
        ],
        capture_output=True, text=True, timeout=patience(limit), cwd=ROOT,
        env={**os.environ, "CONFORMANCE9_TIME_SCALE": str(scale)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    return {row["clause"]: row for row in json.loads(report.read_text())["runs"][0]["clauses"]}


def but(*names: str) -> str:
    """For pytest's ``-k``."""
    return " and ".join(f"not {name}" for name in names)


@pytest.mark.long
def test_the_suite_passes_on_dask(tmp_path: Path) -> None:
    """All but the storms: what is claimed passes, and what is not is left out by that name, and nothing else."""
    words = "--pyargs", "conformance9", "-k", but(*STORMS, *MARATHONS)
    rows = run_suite(tmp_path / "report.json", *words, scale=1, limit=150)
    passed = {name for name, row in rows.items() if row["tests"]}
    assert set(rows) - passed == {"WQ-8", "WQ-15"}  # its one test is a storm; it has none
    told = "; ".join(
        row["note"].rpartition("not claimed: ")[2] for row in rows.values() if "not claimed" in row["note"]
    )
    assert set(re.split("[;,] ", told)) == set(WORKQUEUE_CAPABILITIES) - OnDask.capabilities


@pytest.mark.thorough
@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_suite_passes_on_dask(tmp_path: Path, part: str) -> None:
    """With the storms. They have more time than at home: there a thousand works in a row take some seconds."""
    words = "--pyargs", f"conformance9.suite.test_workqueue_{part}", "-k", but(*MARATHONS)
    rows = run_suite(tmp_path / "report.json", *words, scale=4, limit=600)
    assert any(row["tests"] for row in rows.values())


@pytest.mark.thorough
@pytest.mark.parametrize("name", MARATHONS)
def test_a_marathon_passes_on_dask(tmp_path: Path, name: str) -> None:
    """The same numbers as at home."""
    words = "--pyargs", "conformance9.suite.test_workqueue_enqueue", "-k", name
    rows = run_suite(tmp_path / "report.json", *words, scale=12, limit=600)
    assert any(row["tests"] for row in rows.values())


@pytest.mark.parametrize("name", [*STORMS, *MARATHONS])
def test_what_takes_long_is_in_the_suite(name: str) -> None:
    """One that has another name by now would run with the rest."""
    assert any(f"def {name}(" in path.read_text() for path in SUITE.glob("test_workqueue_*.py"))


def test_the_manual_says_what_is_claimed() -> None:
    """docs/plugins/dask.rst has each capability of a work queue, and whether it is there at home and on Dask."""
    manual = (ROOT / "docs" / "plugins" / "dask.rst").read_text()
    listed = re.findall(r"^   \* - ``([a-z_ ]+)``\n     - (yes|no)\n     - (yes|no)", manual, re.M)
    claimed = [(name, "yes", "yes" if name in OnDask.capabilities else "no") for name in WORKQUEUE_CAPABILITIES]
    assert listed == claimed
