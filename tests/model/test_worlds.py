"""Each world of the gallery: exhaustive up to a small bound, some executions at random, and its seeded bugs.

The deep search (three preemptions) is ``python tests/model/deep.py``; see docs/model-checking.rst.
"""

from __future__ import annotations

import functools

import pytest
import worlds_loops
import worlds_task
import worlds_threadpool
import worlds_watched
import worlds_workqueue
from explore9 import Copies, Search
from explore9.copies import source_of
from explore9.gallery import EXHIBITS, Exhibit

WORLDS = (worlds_threadpool, worlds_task, worlds_workqueue, worlds_watched, worlds_loops)
SECONDS = 60  # of CPU time, for one search: far more than any takes
LARGE = [exhibit for exhibit in EXHIBITS if exhibit.quick < 1]
by_name = pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.world.__name__)


@functools.cache
def copies(signals: bool) -> Copies:
    """The copies without a patch."""
    return Copies(signals=signals)


@by_name
def test_holds(exhibit: Exhibit) -> None:
    """No execution with at most that many preemptions goes wrong, and no random one."""
    search = hold(exhibit, exhibit.quick)
    for mode in ("random", "pct"):
        result = search.sample(20, mode=mode)
        if result.failure is not None:
            raise result.failure


@pytest.mark.thorough
@pytest.mark.parametrize("exhibit", LARGE, ids=lambda exhibit: exhibit.world.__name__)
def test_large_one_holds(exhibit: Exhibit) -> None:
    """Nor any with one preemption where every test run tries those without."""
    hold(exhibit, 1)


def hold(exhibit: Exhibit, bound: int) -> Search:
    """Search a world completely."""
    search = Search(exhibit.world, copies(exhibit.signals))
    result = search.exhaust(bound, seconds=SECONDS)
    if result.failure is not None:
        raise result.failure
    assert result.finished, result
    return search


#: Seeded bugs that are found, but not within some 5 s: asked for by ``-m thorough``.
SLOW = {
    "close_against_close-who_puts_does_not_look_again",
    "close_while_a_task_is_set_aside-takes_nothing_back",
    "drain_beside_a_freeze-does_not_look_again",
    "freeze_while_an_executor_takes-halts_are_not_looked_at_afterwards",
    "pool_drain_against_schedule-drain_looks_at_the_queue_only",
}


def seeded() -> list[object]:
    """Each bug of each world."""
    return [
        pytest.param(
            exhibit,
            bug,
            marks=[pytest.mark.thorough] * (f"{exhibit.world.__name__}-{bug}" in SLOW),
            id=f"{exhibit.world.__name__}-{bug}",
        )
        for exhibit in EXHIBITS
        for bug in exhibit.bugs
    ]


def test_every_seeded_bug_fits_the_source() -> None:
    """Those that take long to find, too."""
    for exhibit in EXHIBITS:
        for bug, (module, old, _) in exhibit.bugs.items():
            layer, _, stem = module.partition(".")
            times = (source_of(layer) / f"{stem}.py").read_text().count(old)
            assert times == 1, f"{exhibit.world.__name__}, {bug}: {module} has {times} times, not once: {old!r}"


@pytest.mark.parametrize(("exhibit", "bug"), seeded())
def test_seeded_bug_is_found(exhibit: Exhibit, bug: str) -> None:
    """A world that finds nothing proves nothing: break one line, and it must find that. A patch must fit the source."""
    search = Search(exhibit.world, Copies((exhibit.bugs[bug],), exhibit.signals))
    for bound in range(4):
        failure = search.exhaust(bound, seconds=SECONDS).failure
        if failure is not None:
            assert search.replay(failure.schedule).failure is not None, "the schedule does not replay"
            return
    pytest.fail(f"{bug} was not found")
