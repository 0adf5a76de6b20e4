"""What the OS refuses a thread: CPUs, nice values, real-time classes (TP-8, TP-10)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from pace import patience

import threadpool9
from threadpool9 import Job, _osthread

if TYPE_CHECKING:
    from conftest import Reports

LIMIT = patience(20.0)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="binding and classes are those of Linux")


def run_job(pool: Any) -> None:
    """One job, to its end."""
    over = threading.Event()

    def fn(job: Job) -> None:
        with job.interlock:
            job.done()
        over.set()

    assert pool.post(Job(fn))
    assert over.wait(LIMIT), "the job did not run"


def test_tp8_einval_from_sched_setaffinity_loses_nothing_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """TP-8: a CPU that can't be bound to: its jobs run, one warning, the snapshot shows it, then it is back."""
    real = _osthread.set_affinity

    def refuse(cpus: Any, *rest: Any) -> None:
        if len(cpus) == 1:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(cpus, *rest)

    with threadpool9.percpu_get(3) as percpu:
        cpu = percpu.cpus[0]
        pool = percpu.ref_remote(cpu)
        if len(percpu.cpus) < 2:
            pytest.skip("with one CPU nothing can be lost")
        with monkeypatch.context() as patch:
            patch.setattr(_osthread, "set_affinity", refuse)
            for _ in range(5):
                run_job(pool)
                threadpool9.retire_idle()
            lost = [record for record in threadpool9.snapshot().pools if (record.pri, record.cpu) == (3, cpu)]
            assert [record.cpu_lost for record in lost] == [True]
            told = [report for report in reports if "can't be used any more" in str(report.exc_value)]
            assert len(told) == 1, reports
        bound: list[set[int]] = []
        over = threading.Event()

        def fn(job: Job) -> None:
            bound.append(os.sched_getaffinity(0))
            with job.interlock:
                job.done()
            over.set()

        pool.post(Job(fn))
        assert over.wait(LIMIT)
        assert bound == [{cpu}], "it is not bound again although it can be"
        assert len(reports.types()) == 1, reports


def test_tp10_eperm_from_the_scheduler_is_approximated_and_told_once(
    monkeypatch: pytest.MonkeyPatch, reports: Reports
) -> None:
    """TP-10: setpriority and sched_setscheduler say EPERM: jobs run, told once, visible; strict raises at get()."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    for pri in (threadpool9.PRI_USER_RT + 3, threadpool9.PRI_KERNEL + 9):
        before = len(reports)
        with threadpool9.get(pri) as pool:
            for _ in range(3):
                run_job(pool)
                threadpool9.retire_idle()
            (record,) = [record for record in threadpool9.snapshot().pools if record.pri == pri]
            assert record.refused is not None
            assert "refused" in record.refused
        assert len(reports) == before + 1, reports
    threadpool9.tunables.strict_priorities = True
    with pytest.raises(threadpool9.PriorityRefused, match="refused"):
        threadpool9.get(threadpool9.PRI_USER_RT + 4)


def test_tp10_a_process_without_privilege() -> None:
    """TP-10: the real thing: as a user who may neither be nice nor real-time, every band runs its jobs."""
    program = """
        import os, resource, sys, threading, warnings
        import ctypes, traceback, linecache, attrs, pluggy
        import threadpool9
        from threadpool9 import Job
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
        if os.geteuid() == 0:
            os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -5)
        except PermissionError:
            pass
        else:
            sys.exit(77)
        warnings.simplefilter("ignore")
        ran = []
        def fn(job):
            ran.append(threading.current_thread().name)
            with job.interlock:
                job.done()
        pools = [threadpool9.get(pri) for pri in (-1, 0, 63, 64, 127, 128, 191, 192, 223)]
        for pool in pools:
            pool.post(Job(fn))
        refused = {record.pri for record in threadpool9.snapshot().pools if record.refused}
        for pool in pools:
            pool.post(Job(fn))
        for pool in pools:
            snapshot = threadpool9.snapshot()
            pool.put(20)
            refused |= {record.pri for record in snapshot.pools if record.refused}
        assert len(ran) == 18, ran
        threadpool9.tunables.strict_priorities = True
        for pri in (64, 127, 128, 223):
            try:
                threadpool9.get(pri)
            except threadpool9.PriorityRefused as error:
                assert str(pri) in str(error)
            else:
                raise AssertionError(f"strict get({pri}) did not raise")
        threadpool9.get(0).put(20)  # lowering is always allowed
        print("fine")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=patience(90)
    )
    if done.returncode == 77:
        pytest.skip("this process keeps its privilege whoever it is")
    assert done.stdout == "fine\n", done.stdout + done.stderr
