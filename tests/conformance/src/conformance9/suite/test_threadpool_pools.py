"""Pools and their references (TP-1 to TP-3, TP-9)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from conformance9.suite.tools import Stage, holds, timing


@pytest.mark.clause("TP-3")
def test_a_scheduled_job_runs_on_a_thread_of_its_own(adapter: Any, stage: Stage) -> None:
    """TP-3: the core: schedule returns at once, the function runs elsewhere, once, and is given its job."""
    pool = adapter.get()
    stage.at_end(pool.put)
    gate = stage.gate()
    seen: list[object] = []

    def fn(job: Any) -> None:
        seen.extend((job, threading.get_ident()))
        gate()
        with job.interlock:
            job.done()

    job = adapter.job(fn)
    with job.interlock:
        pool.schedule(job)
    holds("TP-3", gate.entered(), f"a scheduled job was not run within {timing.limit:g} s")
    holds("TP-3", seen[0] is job, f"the function was called with {seen[0]!r}, not with its job")
    holds("TP-3", seen[1] != threading.get_ident(), "the job ran on the thread that scheduled it")
    gate.go.set()
