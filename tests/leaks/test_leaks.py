"""Leaks: cycles of everything that comes and goes leave threads, descriptors, objects and memory as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

PROGRAM = Path(__file__).with_name("leak_program.py")
KINDS = ("get_put", "create_destroy", "schedule_cancel", "enqueue_wait", "arm_cancel", "used_queues")
#: `make test-all` runs the middle form once, and a shorter one on each further interpreter.
FEW = 2_000 if os.environ.get("SECTION9_LIGHT") else 10_000
CYCLES = [
    pytest.param(FEW, id=str(FEW)),
    pytest.param(100_000, marks=pytest.mark.thorough, id="100000"),
]
#: What may be more afterwards, whatever the number of cycles: one leaked object a cycle is a hundred times as much.
SLACK = {"threads": 0, "fds": 0, "objects": 100, "blocks": 1000}
#: Allocators keep pages, and each build its own way; a leak of 2 KiB a cycle is what this finds.
SLACK_RSS_KIB = 20 * 1024

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads and descriptors in /proc")


@pytest.mark.parametrize("cycles", CYCLES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_leaks(kind: str, cycles: int) -> None:
    """TP-1, TP-5, TP-9, TK-9, TK-12, WQ-4, WQ-8: what comes and goes leaves nothing."""
    command = [sys.executable, str(PROGRAM), kind, str(cycles)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(cycles / 20))
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    more = {what: report["after"][what] - report["before"][what] for what in report["before"]}
    assert report["after"]["threads"] == 1
    assert all(more[what] <= slack for what, slack in SLACK.items()), report
    assert more["rss_kib"] <= SLACK_RSS_KIB, report
