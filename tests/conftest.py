"""What all tests share: where the long ones run, which may run in several threads at once, and the end of a hang."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import progress
import pytest
from pace import patience

HERE = Path(__file__).parent

#: Marked by where they are: the model checker's copies, and what the conformance suite rejects, are the same on every
#: interpreter. What is long is run by `make test-all`, in .venv and on a free-threaded build.
SUITE_TESTS = HERE / "conformance" / "tests"
BY_PLACE = {
    "once": [HERE / "model", SUITE_TESTS],
    "long": [HERE / "stress", HERE / "leaks", HERE / "lifecycle" / "test_fork.py", HERE / "model", SUITE_TESTS],
    "parallel": [HERE / "parallel"],
}
#: Marked by what they use: a daemon or a browser.
BY_FIXTURE = {"service": {"desktop", "opened", "server"}}

#: Of the conformance suite what suits pytest-run-parallel, where all threads have the same fixtures: tests that make
#: their queues, jobs, gates and threads in their body, and look at nothing else.
SUITE = HERE / "conformance" / "src" / "conformance9" / "suite"
PARALLEL = {
    SUITE / f"test_{name}.py"
    for name in (
        "threadpool_cancel",
        "task_schedule",
        "task_cancel",
        "task_drain",
        "workqueue_enqueue",
        "workqueue_limits",
        "workqueue_wait",
        "workqueue_cancel",
        "workqueue_drain",
        "workqueue_delayed",
    )
}
NOT_PARALLEL = {
    # They trace threads, take signals, collect garbage, count threads, set tunables.
    "test_an_interrupted_cancel_leaves_with_the_interlock_held",
    "test_withdrawn_at_any_step_of_the_worker",
    "test_what_was_withdrawn_never_runs",
    "test_after_cancel_the_job_is_not_running",
    "test_a_schedule_at_any_step_of_a_queue_that_goes_idle_is_a_run",
    "test_a_run_that_ends_at_any_step_of_taking_the_next_one_is_followed_by_it",
    "test_an_enqueue_at_any_step_of_a_queue_that_goes_idle_is_a_call",
    "test_a_close_at_any_step_of_a_schedule_is_the_end",
    "test_a_close_at_any_step_of_a_timer_that_fires_is_the_end",
    "test_a_destroy_at_any_step_of_an_enqueue_is_the_end",
    "test_operations_may_interrupt_themselves",
    "test_schedule_on_the_system_queue_may_interrupt_itself",
    "test_schedule_may_interrupt_the_queue_s_own_threads",
    "test_enqueue_may_interrupt_itself",
    "test_enqueue_may_interrupt_the_queue_s_own_threads",
    "test_delaying_may_interrupt_itself",
    "test_a_dropped_queue_finishes_its_tasks_and_says_so",
    "test_a_work_that_was_called_is_kept_by_nobody",
    "test_idle_queues_own_no_thread",
    "test_12435_enqueues_of_one_work",
    # They hold what all threads of the test share: a shared queue, the giant lock.
    "test_drain_of_a_shared_queue_waits_on_every_cpu",
    "test_giant_queues_exclude_each_other",
    # It counts on its function not running beside itself for the time of a few lines, which it may.
    "test_the_function_may_enqueue_its_work_again",
    # They keep all CPUs busy for long.
    "test_a_job_that_schedules_itself_again_does_not_keep_the_canceller",
    "test_a_task_that_reschedules_itself_cannot_outrun_cancels",
    "test_drain_does_not_wait_for_what_comes_later",
    "test_flush_does_not_wait_for_what_comes_later",
    "test_wait_is_bounded_though_the_work_comes_again_and_again",
    "test_starfish",
}


def suits_parallel(item: pytest.Item) -> bool:
    """True for a test of the suite that may run in several threads at once."""
    name = item.name.partition("[")[0]
    return item.path in PARALLEL and name not in NOT_PARALLEL


class Watchdog:
    """Ends the process of a test that hangs, with every stack printed; pytest-xdist goes on in another process.

    As pytest's own `faulthandler_timeout` does, but the limit is stretched where the machine is slow.
    """

    LIMIT = 240.0  # no test takes a tenth of it on a quiet machine

    def __init__(self) -> None:
        self._stderr = os.dup(2)  # before pytest captures what tests write there

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        """Watch over one test; the conformance suite has limits of its own, which are stretched alike."""
        suite = sys.modules.get("conformance9.suite.tools")
        if suite is not None:
            suite.timing.limit = patience(20.0 * suite.timing.scale)
        faulthandler.dump_traceback_later(patience(self.LIMIT), exit=True, file=self._stderr)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_installed_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here is about plugins that are installed, and to load them takes longer than most of its programs."""
    monkeypatch.setenv("THREADPOOL9_PLUGINS", "none")


def pytest_configure(config: pytest.Config) -> None:
    """A shell that starts us in the background has SIGINT ignored, and what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Watchdog())  # so that it is asked about the plugins' tests too
    progress.register(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """A process that dies costs the test that it was running."""
    from dead_workers import Scheduler

    return Scheduler(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by place and name; leave out what is marked `thorough`, unless ``-m`` speaks of it."""
    for item in items:
        for marker, places in BY_PLACE.items():
            if any(item.path.is_relative_to(place) for place in places):
                item.add_marker(marker)
        for marker, fixtures in BY_FIXTURE.items():
            if not fixtures.isdisjoint(getattr(item, "fixturenames", ())):
                item.add_marker(marker)
        if suits_parallel(item):
            # Once in each thread: they have storms of their own. More iterations are for those written for it.
            item.add_marker("parallel")
            item.add_marker(pytest.mark.iterations(1))
    if "thorough" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("thorough")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]


@pytest.fixture
def plugged() -> Iterator[Callable[..., object]]:
    """Register plugins for one test."""
    import threadpool9

    plugins: list[object] = []

    def plug(plugin: object, name: str | None = None) -> object:
        threadpool9.register(plugin, name)
        plugins.append(plugin)
        return plugin

    yield plug
    for plugin in plugins:
        if threadpool9.plugin_manager().is_registered(plugin):
            threadpool9.unregister(plugin)


@pytest.fixture
def reports(plugged: Callable[..., object]) -> list[BaseException]:
    """What is reported; taken, so that nothing else hears of it."""
    import threadpool9

    found: list[BaseException] = []

    class Taker:
        @threadpool9.hookimpl
        def threadpool9_error(self, error: Any) -> bool:
            found.append(error.exc_value)
            return True

    plugged(Taker())
    return found
