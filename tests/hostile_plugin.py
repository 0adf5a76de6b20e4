"""A plugin for the layers that raises in every hook, as a plugin for pytest (HK-7): it must change no test's result.

    PYTHONPATH=tests python -m pytest -p hostile_plugin tests/task

What the layers report of it is the one difference that is allowed, so that is kept from who collects reports.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import threadpool9
from threadpool9 import _seam, hookimpl

LAYERS = ("threadpool9", "task9", "workqueue9")
calls: Counter[str] = Counter()


class Hostile(Exception):
    """What every hook raises."""


def _raises(name: str, arguments: tuple[str, ...]) -> Callable[..., Any]:
    def hook() -> None:
        calls[name] += 1
        raise Hostile(name)

    # pluggy looks at the arguments of the code.
    scope: dict[str, Any] = {"hook": hook}
    exec(f"def {name}({', '.join(('self', *arguments))}): hook()", scope)
    return hookimpl(scope[name])


def make_plugin() -> object:
    """An object with an implementation of each hook of the layers that can be imported."""
    methods: dict[str, Any] = {}
    for layer in LAYERS:
        module = importlib.import_module(f"{layer}._specs" if layer != "workqueue9" else f"{layer}._probes")
        for specifications in (getattr(module, name, None) for name in ("Questions", "Tracing")):
            for name, function in vars(specifications).items() if specifications else ():
                if name.startswith(f"{layer}_"):
                    code = function.__code__
                    methods[name] = _raises(name, code.co_varnames[1 : code.co_argcount])
    return type("HostilePlugin", (), methods)()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin, and keep its exceptions from `threading.excepthook`."""
    told = _seam.excepthook

    def excepthook(exc: BaseException, thread: Any) -> None:
        if not isinstance(exc, Hostile):
            told(exc, thread)

    _seam.excepthook = excepthook
    threadpool9.register(make_plugin(), "hostile")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that count what all plugins do can't have us beside theirs."""
    alone = [item for item in items if item.get_closest_marker("alone")]
    config.hook.pytest_deselected(items=alone)
    items[:] = [item for item in items if item not in alone]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How often it has raised (in this process)."""
    terminalreporter.write_line(f"the hostile plugin raised {sum(calls.values())} times in {len(calls)} hooks")
