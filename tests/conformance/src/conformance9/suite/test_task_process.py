"""TK-14: tasks across fork, and at the interpreter's exit."""

from __future__ import annotations

import pytest

from conformance9._adapters import Implementation
from conformance9.adapters_task import TaskAdapter
from conformance9.suite.task_programs import outcome
from conformance9.suite.tools import holds

pytestmark = pytest.mark.clause("TK-14")


@pytest.mark.capability("fork")
def test_a_fork_child_begins_anew(adapter: TaskAdapter, implementation: Implementation) -> None:
    """In the child nothing is scheduled and all is usable; the parent goes on as if nothing had been."""
    lines = outcome("TK-14", implementation, "fork")
    child = [line.removeprefix("child: ") for line in lines if line.startswith("child: ")]
    holds("TK-14", "pending [False, False, False]" in child, f"in a fork child something is pending: {child}")
    holds("TK-14", "running [False, False, False]" in child, f"in a fork child something is running: {child}")
    holds("TK-14", "scheduled True" in child, f"in a fork child schedule of an idle task must say True: {child}")
    holds("TK-14", "runs 1" in child, f"in a fork child one schedule must be one run: {child}")
    if "delayed" in adapter.capabilities:
        holds("TK-14", "armed runs 1" in child, f"in a fork child one arming must be one run: {child}")
    holds("TK-14", "parent: child ended with 0" in lines, f"a fork child does not end: {lines}")
    holds("TK-14", "parent: runs 1 pending [False, False]" in lines, f"the parent of a fork does not go on: {lines}")


@pytest.mark.capability("exit")
def test_what_is_scheduled_runs_at_exit(adapter: TaskAdapter, implementation: Implementation) -> None:
    """Scheduled before the exit, by atexit functions, by threads that live on, and by tasks that run at exit."""
    lines = sorted(outcome("TK-14", implementation, "exit_drains"))
    expected = sorted(["slow"] * 5 + ["from a task"] * 5 + ["from atexit", "from a late thread"])
    missing = list(expected)
    for line in lines:
        if line in missing:
            missing.remove(line)
    holds("TK-14", not missing, f"scheduled before and at exit, and not run: {missing}")
    holds("TK-14", lines == expected, f"at exit more ran than was scheduled: {lines}")


@pytest.mark.capability("exit", "delayed")
def test_armed_timers_do_not_fire_during_exit(adapter: TaskAdapter, implementation: Implementation) -> None:
    """The process does not wait for an armed task, and one that gets due while it exits does not run."""
    lines = outcome("TK-14", implementation, "exit_with_timers")
    holds(
        "TK-14",
        any(line.startswith("held up") for line in lines),
        f"a task scheduled before the exit did not run: {lines}",
    )
    if "held up but too slow to tell" in lines:
        pytest.skip("the machine took longer to exit than the timer to get due")
    holds("TK-14", lines == ["held up long enough"], f"an armed task ran during the exit: {lines}")
