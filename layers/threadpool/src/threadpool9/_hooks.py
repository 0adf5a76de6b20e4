"""Hooks: the one pluggy manager of the process and the specifications of this layer (HK-1 to HK-4).

What it is: where plugins register and where the layers ask. The upper layers add their own specifications to
the same manager. Defaults are not plugins: where no plugin answers (all say None), the layer's own default
applies, so a plugin may be registered and unregistered at any time and there is always an answer.

Which hook is called where: `threadpool9_topology`, `threadpool9_map_priority` in thread context (get);
`threadpool9_bind` on the new worker; `threadpool9_current_cpu` in any context, by whoever asks for the current
CPU; `threadpool9_error` on the thread that caught the exception. A hook that raises never takes the work down.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import attrs
import pluggy

from . import _seam
from ._priority import Scheduling

__all__ = ["ErrorReport", "hookimpl", "hookspec", "plugin_manager", "register", "report_error", "unregister"]

hookspec = pluggy.HookspecMarker("threadpool9")
hookimpl = pluggy.HookimplMarker("threadpool9")


@attrs.frozen
class CPU:
    """One logical CPU as a topology hook describes it (HK-1); -1 where a field is unknown."""

    cpu: int
    core: int = -1
    package: int = -1
    cache: int = -1
    node: int = -1


@attrs.frozen
class ErrorReport:
    """An exception that left a job, task or work, or that a hook raised (HK-4, TP-30)."""

    exc_type: type[BaseException]
    exc_value: BaseException
    exc_traceback: TracebackType | None
    origin: object
    """The job, task, work or plugin that it came from."""
    thread: object
    """The `threading.Thread` that it happened on."""


class Specifications:
    """The hooks of threadpool9; for each the first answer that is not None counts, except for errors."""

    @hookspec(firstresult=True)
    def threadpool9_topology(self) -> Sequence[CPU] | None:
        """The CPUs of the machine; asked when a pool set is made. None: not mine to say (HK-1)."""

    @hookspec(firstresult=True)
    def threadpool9_current_cpu(self) -> int | None:
        """The CPU that the calling thread runs on. Called in any context: must not block (HK-1)."""

    @hookspec(firstresult=True)
    def threadpool9_map_priority(self, pri: int) -> Scheduling | None:
        """What priority `pri` asks of the OS; asked once when a pool is made (HK-2)."""

    @hookspec(firstresult=True)
    def threadpool9_bind(self, cpu: int) -> bool | None:
        """Bind the calling thread to `cpu` and say True; raise OSError if that cannot be (HK-3).

        Called on a new worker before its first job, and on a parked one whose binding was lost.
        """

    @hookspec
    def threadpool9_error(self, error: ErrorReport) -> bool | None:
        """An exception was caught. If any listener says True, `threading.excepthook` is not called (HK-4)."""


_manager = pluggy.PluginManager("threadpool9")
_manager.add_hookspecs(Specifications)


class _Answers:
    """Who listens to the hooks that any context may need: written whole at registration, read anywhere."""

    current_cpu: Callable[[], int | None] | None = None


answers = _Answers()
changed: list[Callable[[], None]] = []  # called after each registration; appended at import only


def _recompute() -> None:
    hook = _manager.hook.threadpool9_current_cpu
    answers.current_cpu = hook if hook.get_hookimpls() else None
    for notify in changed:
        notify()


def plugin_manager() -> pluggy.PluginManager:
    """The process's plugin manager; use `register` and `unregister` rather than its own, which do not tell us."""
    return _manager


def register(plugin: object, name: str | None = None) -> str | None:
    """Register `plugin`; takes effect for the next event. Returns its name. Thread context."""
    registered = _manager.register(plugin, name)
    try:
        _manager.check_pending()
    except pluggy.PluginValidationError:
        _manager.unregister(plugin)
        raise
    _recompute()
    return registered


def unregister(plugin: object) -> None:
    """Unregister `plugin`; takes effect for the next event. Thread context."""
    _manager.unregister(plugin)
    _recompute()


def ask(name: str, **arguments: Any) -> Any:
    """The first answer to a cold hook, or None; a hook that raises is reported and counts as None."""
    caller = getattr(_manager.hook, name)
    if not caller.get_hookimpls():
        return None
    try:
        return caller(**arguments)
    except Exception as error:
        report_error(error, origin=f"hook {name}")
        return None


def report_error(exc: BaseException, origin: object) -> None:
    """Tell the error hook, then `threading.excepthook` unless a listener took it (TP-30). Never raises."""
    try:
        taken = False
        caller = _manager.hook.threadpool9_error
        thread = _seam.current_thread()
        if caller.get_hookimpls():
            report = ErrorReport(type(exc), exc, exc.__traceback__, origin, thread)
            try:
                taken = any(caller(error=report))
            except Exception as second:
                # The reporter itself failed: both go to the reporter that cannot be replaced by plugins.
                _seam.excepthook(second, thread)
        if not taken:
            _seam.excepthook(exc, thread)
    except BaseException:
        # Last resort: a broken excepthook must not kill the worker.
        if sys.stderr is not None:
            traceback.print_exc()


def tell(text: str, category: type[Warning] = RuntimeWarning) -> None:
    """Warn from a thread of ours: a warning that is turned into an error is reported, never fatal."""
    try:
        warnings.warn(text, category, stacklevel=2)
    except Warning as warning:
        report_error(warning, origin="threadpool9")
