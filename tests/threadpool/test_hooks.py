"""Registering, probes and installed plugins (HK-1 to HK-7)."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pluggy
import pytest
from pace import patience

import threadpool9
from threadpool9 import ErrorReport, Job, PluginError, Pool, hookimpl
from threadpool9._autoload import chosen

OnPool = Callable[[Pool, Callable[[], object]], object]


def test_hk5_listeners_take_what_they_need_and_come_and_go(
    on_pool: OnPool, plugged: Callable[[object], object]
) -> None:
    """HK-5, HK-7: several listeners with fewer arguments are told of each event; unregistered ones of no more."""
    events: list[tuple[object, ...]] = []

    class Whole:
        @hookimpl
        def threadpool9_thread__job(self, pool: Pool, job: Job) -> None:
            events.append(("whole", pool.pri, job.name))

    class Part:
        @hookimpl
        def threadpool9_thread__job(self, job: Job) -> None:
            events.append(("part", job.name))

        @hookimpl
        def threadpool9_get(self) -> None:
            events.append(("get",))

    first, second = plugged(Whole()), plugged(Part())
    with threadpool9.get(33) as pool:
        on_pool(pool, lambda: None)
        assert sorted(events) == [("get",), ("part", "fn"), ("whole", 33, "fn")]
        threadpool9.unregister(second)
        on_pool(pool, lambda: None)
        assert events[3:] == [("whole", 33, "fn")]
        threadpool9.unregister(first)
        on_pool(pool, lambda: None)
        assert len(events) == 4


@pytest.mark.alone
def test_hk5_a_raising_listener_harms_nobody(on_pool: OnPool, plugged: Callable[[object], object]) -> None:
    """HK-5: what is traced goes on, the exception is reported with the plugin's name and counted, others are told."""
    reports: list[ErrorReport] = []
    told: list[object] = []

    class Quiet:
        @hookimpl
        def threadpool9_error(self, error: ErrorReport) -> bool:
            reports.append(error)
            return True

        @hookimpl
        def threadpool9_schedule__job(self, job: Job) -> None:
            told.append(job)

    class Broken:
        @hookimpl
        def threadpool9_schedule__job(self, pool: Pool, job: Job) -> None:
            raise LookupError("on purpose")

    plugged(Quiet())
    threadpool9.register(broken := Broken(), name="the broken one")
    before = threadpool9.snapshot().hook_errors
    try:
        with threadpool9.get(33) as pool:
            assert on_pool(pool, lambda: 7) == 7
    finally:
        threadpool9.unregister(broken)
    assert len(told) == 1
    assert [type(report.exc_value) for report in reports] == [LookupError]
    assert "the broken one" in str(reports[0].origin)
    assert threadpool9.snapshot().hook_errors == before + 1


def bad_plugins() -> list[object]:
    """Plugins that can't be registered."""

    class NoSuchHook:
        @hookimpl
        def threadpool9_shedule__job(self, pool: Pool, job: Job) -> None: ...

    class NoSuchLayer:
        @hookimpl
        def treadpool9_get(self, pri: int) -> None: ...

    class WrongArgument:
        @hookimpl
        def threadpool9_get(self, priority: int) -> None: ...

    class Wrapper:
        @hookimpl(wrapper=True)
        def threadpool9_get(self, pri: int) -> Iterator[None]:
            return (yield)

    return [NoSuchHook(), NoSuchLayer(), WrongArgument(), Wrapper()]


@pytest.mark.parametrize("plugin", bad_plugins(), ids=lambda plugin: type(plugin).__name__)
def test_hk_a_bad_plugin_is_refused_by_name_and_changes_nothing(plugin: object) -> None:
    """Unknown hook, wrong signature, wrapper: PluginError with the plugin's name; nothing is registered."""
    before, plugins = threadpool9._probes.probes.get, len(threadpool9.plugin_manager().get_plugins())
    with pytest.raises(PluginError, match="the bad one"):
        threadpool9.register(plugin, name="the bad one")
    assert not threadpool9.plugin_manager().is_registered(plugin)
    assert len(threadpool9.plugin_manager().get_plugins()) == plugins
    assert (threadpool9._probes.probes.get is None) == (before is None)


def test_hk_a_plugin_twice_is_refused(plugged: Callable[[object], object]) -> None:
    """A duplicate, by object or by name, is a PluginError; the first one stays."""
    plugin = object()
    threadpool9.register(plugin, name="one")
    try:
        for other, name in ((plugin, "one"), (plugin, "two"), (object(), "one")):
            with pytest.raises(PluginError, match=repr(name)):
                threadpool9.register(other, name=name)
        assert threadpool9.plugin_manager().get_plugin("one") is plugin
    finally:
        threadpool9.unregister(plugin)
    with pytest.raises(PluginError, match="not registered"):
        threadpool9.unregister(plugin)


def test_hk_an_optional_hook_of_an_absent_layer_is_fine(plugged: Callable[[object], object]) -> None:
    """A plugin for more layers than are installed says optionalhook."""

    class Wide:
        @hookimpl(optionalhook=True)
        def nosuchlayer9_entry(self, lane: object) -> None: ...

    plugged(Wide())


@pytest.mark.alone
def test_hk1_a_current_cpu_hook_is_asked_in_any_context(plugged: Callable[[object], object]) -> None:
    """HK-1: its answer counts; nonsense and exceptions are reported and the default applies."""
    answers: list[object] = [0, "nonsense", None, ZeroDivisionError("on purpose")]
    reports: list[ErrorReport] = []

    class Somewhere:
        @hookimpl
        def threadpool9_current_cpu(self) -> object:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        @hookimpl
        def threadpool9_error(self, error: ErrorReport) -> bool:
            reports.append(error)
            return True

    plugged(Somewhere())
    assert threadpool9.current_cpu() == 0
    for _ in range(3):
        assert threadpool9.current_cpu() in threadpool9.allowed_cpus()
    assert [report.exc_type for report in reports] == [TypeError, ZeroDivisionError]


def test_hk2_a_priority_is_applied_by_the_plugin_that_says_so(
    on_pool: OnPool, plugged: Callable[[object], object]
) -> None:
    """HK-2: threadpool9_apply_priority stands in for the OS's calls; what it could not do is told."""
    asked: list[tuple[object, int]] = []

    class Broker:
        @hookimpl
        def threadpool9_apply_priority(self, scheduling: threadpool9.Scheduling, tid: int) -> str:
            asked.append((str(scheduling), tid))
            return "the broker says no"

    plugged(Broker())
    with threadpool9.get(200) as pool:
        with pytest.warns(RuntimeWarning, match="the broker says no"):
            on_pool(pool, lambda: None)
        (worker,) = (w for w in threadpool9.snapshot().workers if w.pool_pri == 200)
    assert ("SCHED_RR 73", worker.tid) in asked


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("", "ab"), ("none", ""), ("a", "a"), (" b , c", "b"), ("-a", "b"), ("a,b,-b", "a"), ("-a,-b", "")],
)
def test_hk7_the_environment_chooses_plugins(choice: str, expected: str) -> None:
    """THREADPOOL9_PLUGINS: all, none, some, or all but some."""
    assert "".join(name for name in "ab" if chosen(name, choice)) == expected


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with two installed distributions: a plugin that works, and one that does not import."""
    for name, source in (
        ("good", "import threadpool9\n@threadpool9.hookimpl\ndef threadpool9_get(pri): print('got', pri)\n"),
        ("bad", "raise ImportError('on purpose')\n"),
    ):
        (tmp_path / f"{name}_module.py").write_text(source)
        info = tmp_path / f"{name}_dist-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[threadpool9]\n{name}-plugin = {name}_module\n")
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "output", "error"),
    [
        ("", "got 3\n", "plugin 'bad-plugin' of bad-dist was not loaded: ImportError: on purpose"),
        ("os.environ['THREADPOOL9_PLUGINS'] = 'none'", "", None),
        ("os.environ['THREADPOOL9_PLUGINS'] = 'good-plugin'", "got 3\n", None),
        ("threadpool9.autoload_plugins(False)", "", None),
        ("threadpool9.tunables.strict_plugins = True", "", "PluginError: plugin 'bad-plugin' of bad-dist"),
    ],
)
def test_hk7_installed_plugins_are_loaded_at_first_use(
    installed: Path, setting: str, output: str, error: str | None
) -> None:
    """HK-7: not at import; blockable; one that fails is told by its distribution's name and is fatal only if strict."""
    program = f"""
        import os, sys
        sys.path.insert(0, {str(installed)!r})
        import threadpool9
        assert "good_module" not in sys.modules
        {setting}
        for pri in (2, 3):
            with threadpool9.get(pri): pass
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={name: value for name, value in os.environ.items() if name != "THREADPOOL9_PLUGINS"},
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert run.stdout == output, run.stderr
    assert (error in run.stderr) if error else (run.stderr == "")


def test_the_manager_is_pluggy_s() -> None:
    """Everything that pluggy can tell of plugins is there."""
    assert isinstance(threadpool9.plugin_manager(), pluggy.PluginManager)
