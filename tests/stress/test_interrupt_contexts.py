"""Storms in every interrupt context: nothing deadlocks, nothing is lost, nothing runs twice (TP-25, TP-28, TK-1, WQ-3).

Each storm is 20 000 events, each of which launches a unit of its own and often a shared one, while the main thread
schedules, cancels and drains. See the package ``stormkit`` for how it is accounted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience
from stormkit.contexts import CONTEXTS, GIL
from stormkit.kinds import KINDS
from stormkit.storm import Storm

#: `make test-all` runs the long form once, and a shorter one on each further interpreter.
EVENTS = 2_000 if os.environ.get("SECTION9_LIGHT") else 20_000
SECONDS = 120.0  # a storm of 20 000 events takes a third of that
HERE = Path(__file__).parent
STACK = [name for name in KINDS if name != "executor"]
HERE_SAFE = [name for name in CONTEXTS if name != "audit"]


def in_a_process(kind: str, context: str, events: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """One storm in a process of its own, which ends by itself even if it hangs."""
    return subprocess.run(
        [sys.executable, "-m", "stormkit", kind, context, str(events), str(seconds)],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent / 'support'}"},
        capture_output=True,
        text=True,
        timeout=seconds * 3 + 30,
    )


@pytest.mark.parametrize("kind", STACK)
@pytest.mark.parametrize("context", HERE_SAFE)
def test_a_storm_loses_nothing_and_doubles_nothing(kind: str, context: str) -> None:
    """Any context: 20 000 events, exact accounts after each round of 400, no hang."""
    if context == "monitoring" and not hasattr(sys, "monitoring"):
        pytest.skip("sys.monitoring is new in Python 3.12")
    interrupter = CONTEXTS[context]()
    events = EVENTS
    if not GIL and context in ("del", "weakref", "gc"):
        events //= 5  # each of these collections stops the world, and there are no others to wait for

    totals = Storm(KINDS[kind], interrupter, events, patience(SECONDS)).run()

    assert totals["events"] == events
    assert totals["fresh"] > events / 2, totals
    if context in ("signal", "trace", "profile", "monitoring"):
        ours = sum(count for what, count in interrupter.seen.items() if what.startswith("ours"))
        assert ours > events / 10, f"it was not the layers' code that was interrupted: {interrupter.seen}"


@pytest.mark.parametrize("kind", STACK)
def test_a_storm_of_audit_events(kind: str) -> None:
    """Any context: audit hooks stay for the life of a process, so this one has its own."""
    done = in_a_process(kind, "audit", EVENTS, patience(SECONDS))

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["totals"]["events"] == EVENTS
    assert {"builtins.id", "storm.line"} <= report["seen"].keys()


def test_the_same_storm_stops_a_thread_pool_executor() -> None:
    """Why not `ThreadPoolExecutor`: its `submit`, interrupted by code that submits, waits for its own lock for ever.

    This documents the other side of "any context". If it fails, `concurrent.futures` has learned it: rejoice, and
    correct the README.
    """
    done = in_a_process("executor", "trace", 20_000, patience(3))

    assert done.returncode != 0, "the storm came to its end"
    assert "Hang" in done.stderr
    main = done.stderr.rpartition("(most recent call last)")[2]
    assert main.count("in submit") >= 2, main
