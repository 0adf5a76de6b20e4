"""KeyboardInterrupt from real signals, which strike between any two bytecodes (TP-25 to TP-28, TK-1, TK-6, WQ-3)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

ROUNDS = 400


#: These take a job's interlock, as any user would, in a with statement.
WITH_A_LOCK = pytest.mark.skipif(
    sys.version_info[:2] == (3, 14),
    reason="CPython 3.14 may leave a lock locked that a with statement has just taken (its issue 148874)",
)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("job", marks=WITH_A_LOCK),
        pytest.param("post", marks=WITH_A_LOCK),
        "task",
        "delayed",
        "work",
    ],
)
def test_a_storm_of_real_interrupts(kind: str) -> None:
    """Struck some hundred times at random; after each the unit runs by itself or is idle, and is usable."""
    seed = os.environ.get("SIGINT_SEED", "9")
    limit = patience(150)

    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sigint_storm.py")), kind, str(ROUNDS), seed, str(limit)],
        capture_output=True,
        text=True,
        timeout=limit + 30,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == ROUNDS
