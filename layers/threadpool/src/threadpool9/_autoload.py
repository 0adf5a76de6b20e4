"""Plugins that are installed: found by the entry point group ``threadpool9`` and loaded at the first use of a pool.

Which ones: all, unless ``THREADPOOL9_PLUGINS`` in the environment says ``none``, or names some (``a,b``: only
these; ``-a``: all but that one), or the program said ``autoload_plugins(False)`` before. The names are the entry
points'. They come in the order of their names, so that every process loads alike. A plugin that fails is told with
its distribution's name and left out; with `tunables.strict_plugins` it is an error of the `get` that loads.
"""

from __future__ import annotations

import os
from typing import Any

from . import _hooks, _seam
from ._errors import PluginError, UsageError
from ._tunables import tunables

__all__ = ["autoload_plugins"]

GROUP = "threadpool9"


class _State:
    wanted = True  # written by autoload_plugins
    done = _seam.Lock()  # taken once, by who loads


_state = _State()


def autoload_plugins(enabled: bool) -> None:
    """Say whether installed plugins are loaded at the first use of a pool; the default is yes. Thread context.

    Raises UsageError if they are loaded already: `unregister` them then.
    """
    if _state.done.locked():
        raise UsageError("the installed plugins are loaded already; unregister() those that you do not want")
    _state.wanted = bool(enabled)


def chosen(name: str, choice: str) -> bool:
    """True if the plugin `name` is wanted, by the text of ``THREADPOOL9_PLUGINS``."""
    words = [word.strip() for word in choice.split(",") if word.strip()]
    if words == ["none"]:
        return False
    only = {word for word in words if not word.startswith("-")}
    return f"-{name}" not in words and (not only or name in only)


def autoload() -> None:
    """Load what is installed and wanted, once in the process. Thread context; imports."""
    if not _state.done.acquire(False) or not _state.wanted:
        return
    choice = os.environ.get("THREADPOOL9_PLUGINS", "")
    if choice.strip() == "none":
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
    except Exception as error:  # whatever a stranger's module raises when it is imported
        text = f"plugin {entry.name!r} of {distribution} was not loaded: {type(error).__name__}: {error}"
        if tunables.strict_plugins:
            raise PluginError(text) from error
        _hooks.tell(text)
