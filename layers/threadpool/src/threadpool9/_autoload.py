"""Plugins that are installed: found by the entry point group ``threadpool9`` and loaded at the first use of a pool.

Which ones: all, unless ``THREADPOOL9_PLUGINS`` in the environment says ``none``, or names some (``a,b``: only
these; ``-a``: all but that one), or the program said ``autoload_plugins(False)`` before. The names are the entry
points'. They come in the order of their names, so that every process loads alike. A plugin that fails is reported
with its distribution's name and skipped; with `tunables.strict_plugins` it is an error of the `get` that loads.
"""

from __future__ import annotations

import os
from typing import Any

from . import _hooks, _seam
from ._errors import PluginError, UsageError
from ._tunables import tunables

GROUP = "threadpool9"
_PATIENCE = 10.0  # seconds


class _State:
    wanted = True  # written by autoload_plugins
    done = False  # written under the lock, by who has loaded
    loading = False  # under the lock: a plugin that uses a pool when it is imported finds itself here
    lock = _seam.RLock()  # held while plugins are imported: a second caller waits for them


_state = _State()


def autoload_plugins(enabled: bool) -> None:
    """Say whether installed plugins are loaded at the first use of a pool; the default is yes. Thread context.

    Raises UsageError if they are loaded already: `unregister` them then.
    """
    if _state.done:
        raise UsageError("the installed plugins are loaded already; unregister() those that you do not want")
    _state.wanted = bool(enabled)


def chosen(name: str, choice: str) -> bool:
    """True if the plugin `name` is wanted, by the text of ``THREADPOOL9_PLUGINS``."""
    words = [word.strip() for word in choice.split(",") if word.strip()]
    only = {word for word in words if not word.startswith("-")}
    return f"-{name}" not in words and (not only or name in only)


def autoload() -> None:
    """Load what is installed and wanted, once in the process. Thread context; imports."""
    if _state.done:
        return
    # Not for ever: it may be held by a thread that imports a plugin, and waits there for a module that we import.
    if not _state.lock.acquire(True, _PATIENCE):
        return
    try:
        # Again: whoever held the lock may have loaded; or we hold it, and a plugin uses a pool when it is imported.
        if bool(_state.done) or _state.loading:
            return
        _state.loading = True
        try:
            _load_all(os.environ.get("THREADPOOL9_PLUGINS", ""))
            _state.done = True
        finally:
            _state.loading = False
    finally:
        _state.lock.release()


def _load_all(choice: str) -> None:
    if not _state.wanted or choice.strip() == "none":
        return
    try:
        from importlib.metadata import entry_points

        entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    except Exception as error:  # an installation that can't be read, say
        _hooks.tell(f"no installed plugin was loaded: {error!r}")
        return
    for entry in entries:
        if chosen(entry.name, choice) and not _hooks.plugin_manager().has_plugin(entry.name):
            _load(entry)


def _load(entry: Any) -> None:
    distribution = entry.dist.name if entry.dist is not None else "an unknown distribution"
    try:
        plugin = entry.load()
        if not _hooks.plugin_manager().is_registered(plugin):
            _hooks.register(plugin, entry.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's module raises when it is imported; a SystemExit too
        text = f"plugin {entry.name!r} of {distribution} was not loaded: {type(error).__name__}: {error}"
        if tunables.strict_plugins:
            raise PluginError(text) from error
        _hooks.tell(text)
