"""Finding an adapter by the name that the user gave, and asking it what it claims."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from .adapters_task import TASK_CAPABILITIES
from .adapters_threadpool import THREADPOOL_CAPABILITIES
from .adapters_workqueue import WORKQUEUE_CAPABILITIES

__all__ = ["CAPABILITIES", "Implementation", "NotClaimed"]

#: What an adapter of each layer may claim.
CAPABILITIES: dict[str, dict[str, str]] = {
    "threadpool": THREADPOOL_CAPABILITIES,
    "task": TASK_CAPABILITIES,
    "workqueue": WORKQUEUE_CAPABILITIES,
}


class NotClaimed(pytest.skip.Exception):  # type: ignore[misc, name-defined]  # pytest types it as a callable's attribute
    """The implementation does not claim what the test needs: reported as such, never as passed."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"not claimed: {', '.join(names)}")
        self.names = names


class Implementation:
    """One adapter of one layer: ``spec`` is MODULE:CLASS or FILE.py:CLASS, relative to `directory`."""

    def __init__(self, layer: str, spec: str, directory: Path) -> None:
        self.layer = layer
        self.spec = spec
        self.directory = directory
        before = len(sys._current_frames())
        self.factory: Any = _find(spec, directory)
        #: Threads that importing the adapter has started and that run Python (TP-3): libraries may start others.
        self.started_by_import = len(sys._current_frames()) - before
        others = _tids()
        try:
            adapter = self.factory()
            self.claims = frozenset(adapter.capabilities)
        except Exception as error:
            raise pytest.UsageError(f"adapter {spec} can't be made without arguments: {error!r}") from error
        #: Threads that making the first adapter has started (TP-3).
        self.started_by_adapter = len(_tids() - others)
        #: For people: what the adapter calls the implementation, else how the adapter is called.
        self.name = str(getattr(adapter, "implementation", spec))
        #: For test ids.
        self.id = spec.rpartition(":")[2]
        unknown = self.claims - CAPABILITIES[layer].keys()
        if unknown:
            raise pytest.UsageError(
                f"adapter {spec} claims {', '.join(map(repr, sorted(unknown)))}; "
                f"a {layer} may claim {', '.join(map(repr, CAPABILITIES[layer]))}"
            )

    def make(self) -> Any:
        """A fresh adapter."""
        return self.factory()


def _tids() -> set[str]:
    """The threads of the process, where the OS tells."""
    try:
        return set(os.listdir("/proc/self/task"))
    except OSError:
        return set(map(str, sys._current_frames()))


def _find(spec: str, directory: Path) -> Any:
    where, colon, name = spec.rpartition(":")
    if not colon:
        raise pytest.UsageError(f"an adapter is given as MODULE:CLASS or FILE.py:CLASS, not {spec!r}")
    try:
        module = _load(directory / where) if where.endswith(".py") else _import(where, directory)
        return getattr(module, name)
    except Exception as error:
        raise pytest.UsageError(f"adapter {spec} can't be imported: {error!r}") from error


def _import(name: str, directory: Path) -> Any:
    # As `python -m pytest` does: an adapter beside the place where one stands is found.
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    return importlib.import_module(name)


def _load(path: Path) -> Any:
    """Import a file that is on no path, under one name however often it is asked for."""
    name = f"conformance9_adapter_{path.stem}"
    if name not in sys.modules:
        found = importlib.util.spec_from_file_location(name, path)
        assert found is not None
        assert found.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(found)
        try:
            found.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
