"""The conformance suite's tests of cancelling and of delayed works, on Dask, by capability (WQ-15).

Not all of the suite: in many of its other tests the function uses the very queue that calls it, which a function that
runs somewhere else can't, and the suite has no capability for that.
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


@pytest.mark.parametrize("part", ["cancel", "delayed"])
def test_the_suite_passes_on_dask(part: str) -> None:
    """What the adapter claims; what it does not is left out, and counted as such."""
    run = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider",
            "--pyargs", f"conformance9.suite.test_workqueue_{part}",
            "--conformance-layer", "workqueue",
            "--conformance-adapter", str(Path(__file__).with_name("dask_adapter.py")) + ":OnDask",
        ],
        capture_output=True, text=True, timeout=patience(120), cwd=ROOT,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
