"""Each world of the gallery: exhaustive up to a small bound, some executions at random, and its first seeded bug.

The deep search (three preemptions, all seeded bugs) is ``python tests/model/deep.py``; see docs/model-checking.rst.
"""

from __future__ import annotations

import functools

import pytest
import worlds_task
import worlds_threadpool
import worlds_workqueue
from explore9 import Copies, Search
from explore9.gallery import EXHIBITS, Exhibit

WORLDS = (worlds_threadpool, worlds_task, worlds_workqueue)
SECONDS = 60  # of CPU time, for one search: far more than any takes
DEEP = {"delayed_expiry_cancel", "task_schedule_cancel_async"}
by_name = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.world.__name__)


@functools.cache
def copies(signals: bool) -> Copies:
    """The copies without a patch."""
    return Copies(signals=signals)


@by_name
def test_holds(exhibit: Exhibit) -> None:
    """No execution with at most that many preemptions goes wrong, and no random one."""
    search = Search(exhibit.world, copies(exhibit.signals))
    result = search.exhaust(exhibit.quick, seconds=SECONDS)
    if result.failure is not None:
        raise result.failure
    assert result.finished, result
    for mode in ("random", "pct"):
        result = search.sample(40, mode=mode)
        if result.failure is not None:
            raise result.failure


@by_name
def test_seeded_bug_is_found(exhibit: Exhibit) -> None:
    """A world that finds nothing proves nothing: break one line, and it must find that."""
    if exhibit.world.__name__ in DEEP:
        pytest.skip("its seeded bugs take more preemptions than a test run has time for: see deep.py")
    name, patch = next(iter(exhibit.bugs.items()))
    search = Search(exhibit.world, Copies((patch,), exhibit.signals))
    for bound in range(3):
        failure = search.exhaust(bound, seconds=SECONDS).failure
        if failure is not None:
            assert search.replay(failure.schedule).failure is not None, "the schedule does not replay"
            return
    pytest.fail(f"{name} was not found")
