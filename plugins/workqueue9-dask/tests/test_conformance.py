"""The conformance suite on Dask, by capability (WQ-15): cancelling, delayed works, errors and counters, waiting.

Not all of it: in other tests the function uses the very queue that calls it, which a function somewhere else can't, and
the suite has no capability for that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

pytest.importorskip("distributed", reason="distributed is not installed here")

pytestmark = [pytest.mark.once, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[3]


#: In these the function waits for a work of its own queue, or enqueues its own work anew.
INSIDE = "not test_wait_from_the_queue_s_own_function_returns and not test_wait_does_not_need_the_work_after_its_call"


@pytest.mark.parametrize(
    "part", ["cancel", *(pytest.param(part, marks=pytest.mark.thorough) for part in ("delayed", "report", "wait"))]
)
def test_the_suite_passes_on_dask(part: str) -> None:
    """What the adapter claims; what it does not is left out, and counted as such."""
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-k", INSIDE,
            "--pyargs", f"conformance9.suite.test_workqueue_{part}",
            "--conformance-layer", "workqueue",
            "--conformance-adapter", str(Path(__file__).with_name("dask_adapter.py")) + ":OnDask",
        ],
        capture_output=True, text=True, timeout=patience(120), cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
