"""The exit comes to its end, whatever goes on scheduling (TP-32)."""

from __future__ import annotations

import pytest

from conformance9._adapters import Implementation
from conformance9.suite.crew import Crew
from conformance9.suite.exit_programs import outcome
from conformance9.suite.tools import holds


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit ends")
def test_a_job_that_schedules_itself_for_ever_is_refused_at_exit(crew: Crew, implementation: Implementation) -> None:
    """TP-32: after some thousand times at the latest; then the process ends."""
    lines = outcome("TP-32", implementation, "for_ever")
    holds("TP-32", lines == ["exiting", "refused"], f"beside a job that schedules itself for ever it said {lines}")


@pytest.mark.clause("TP-32")
@pytest.mark.capability("exit ends")
def test_a_daemon_thread_is_refused_once_the_exit_has_begun(crew: Crew, implementation: Implementation) -> None:
    """TP-32: also while the exit still waits for what was scheduled before."""
    lines = outcome("TP-32", implementation, "beside_a_daemon")
    holds("TP-32", lines == ["exiting", "refused"], f"beside a daemon thread that goes on scheduling it said {lines}")
