"""Fork, exit, free threading, in processes of their own (TP-31, TP-32, TP-33)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import Crew
from conformance9.suite.threadpool_programs import HERE, finished, limits_memory, outcome
from conformance9.suite.tools import holds, in_process, timing

# `crew` is asked for so that capabilities are looked at.
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this OS has no fork")


@pytest.mark.clause("TP-31")
@pytest.mark.capability("fork", "cancel", "coalesce")
@needs_fork
def test_a_fork_child_begins_anew(crew: Crew, implementation: Implementation) -> None:
    """TP-31: no worker, the running job unscheduled, references valid, a schedule is one run; the parent goes on."""
    lines = outcome("TP-31", implementation, "fork_while_running")
    due = ["threads 1", "unscheduled", "scheduled", "ran", "runs 1", "put", "child ended with 0", "parent goes on"]
    holds("TP-31", lines == due, f"after a fork beside a running job it said {lines}")


@pytest.mark.clause("TP-31")
@pytest.mark.capability("fork", "refusals", "coalesce")
@limits_memory
def test_what_waits_in_the_parent_is_unscheduled_in_a_fork_child(crew: Crew, implementation: Implementation) -> None:
    """TP-31: jobs that wait for a worker at the fork do not run in the child, and can be scheduled there."""
    lines = outcome("TP-31", implementation, "fork_while_queued")
    due = ["ran of the child", "scheduled True True True", "ran 0 1 2", "child ended with 0", "parent ran 0 1 2"]
    holds("TP-31", lines == due, f"after a fork beside three jobs that wait it said {lines}")


@pytest.mark.clause("TP-31")
@pytest.mark.capability("fork")
@needs_fork
def test_forks_in_a_storm_of_schedules(crew: Crew, implementation: Implementation) -> None:
    """TP-31: whatever other threads were doing in the parent, each of 30 children runs a job at once."""
    lines = outcome("TP-31", implementation, "fork_in_a_storm")
    holds("TP-31", lines == ["good 30"], f"of 30 children forked in a storm: {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit")
def test_what_is_scheduled_runs_at_exit(crew: Crew, implementation: Implementation) -> None:
    """TP-32: from before the exit, a burst, from a thread that lives on, and from an atexit function."""
    lines = outcome("TP-32", implementation, "exit_drains")
    due = sorted(["before", "late", "atexit"] + 20 * ["burst"])
    holds("TP-32", sorted(lines) == due, f"of {due} there ran {sorted(lines)}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit")
def test_what_jobs_schedule_at_exit_runs(crew: Crew, implementation: Implementation) -> None:
    """TP-32: a chain of jobs that begins before the exit is run to its end."""
    lines = outcome("TP-32", implementation, "exit_chain")
    holds("TP-32", lines == [f"link {number}" for number in (4, 3, 2, 1, 0)], f"of a chain of five there ran {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit")
def test_idle_workers_do_not_delay_the_exit(crew: Crew, implementation: Implementation) -> None:
    """TP-32: a process with idle workers, idle time ten minutes, ends at once."""
    lines = outcome("TP-32", implementation, "exit_idle")
    holds("TP-32", lines == ["exiting"], f"it said {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit policies")
@pytest.mark.parametrize("policy", ["abandon", "0.3"])
def test_a_policy_bounds_the_exit(crew: Crew, implementation: Implementation, policy: str) -> None:
    """TP-32: abandon, or a time limit, leaves a job behind that never ends."""
    lines = outcome("TP-32", implementation, "exit_policy", policy)
    holds("TP-32", lines == ["exiting"], f"with the policy {policy} it said {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit policies", "refusals", "snapshot")
@limits_memory
def test_the_policy_cancel_withdraws_what_waits(crew: Crew, implementation: Implementation) -> None:
    """TP-32: what runs goes on to its end, what waits for a worker never runs."""
    lines = outcome("TP-32", implementation, "exit_cancels")
    holds("TP-32", lines == ["exiting", "went on"], f"with the policy cancel and three jobs that wait it said {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit")
def test_ctrl_c_gets_out(crew: Crew, implementation: Implementation) -> None:
    """TP-32: of an exit that waits for a job that never ends."""
    process = in_process(implementation, f"{HERE}:exit_interrupted")
    with process:
        assert process.stdout is not None
        holds("TP-32", process.stdout.readline() == "exiting\n", "the process did not get to its end")
        deadline = time.monotonic() + timing.limit
        try:
            while process.poll() is None and time.monotonic() < deadline:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(0.5)
                except subprocess.TimeoutExpired:
                    continue
            holds("TP-32", process.poll() is not None, "Ctrl-C again and again does not end the process")
        finally:
            process.kill()


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit")
def test_a_schedule_in_the_last_moments_is_a_clear_error(crew: Crew, implementation: Implementation) -> None:
    """TP-32: from a finalizer that runs when the modules go: the usage error; no hang, no crash."""
    lines, err, status = finished("TP-32", implementation, "exit_after_everybody")
    holds("TP-32", status == 0, f"the process ended with status {status}: {err[-1000:]}")
    holds("TP-32", lines == ["before", "refused"], f"it said {lines} {err[-1000:]}")


@pytest.mark.clause("TP-33")
@pytest.mark.capability("free threading")
@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter is not a free-threaded build"
)
def test_the_gil_stays_off(crew: Crew, implementation: Implementation) -> None:
    """TP-33: after import and use in a process of its own."""
    if getattr(sys, "_is_gil_enabled", bool)():
        pytest.skip("the GIL is switched on in this process, by somebody")
    lines = outcome("TP-33", implementation, "gil")
    holds("TP-33", lines == ["disabled"], f"after use of the implementation the GIL is {lines}")
