"""Which tests the suite has, and of which clauses: known without pytest, so that what did not run is seen too.

The controller of pytest-xdist collects no tests, and a process that died tells nothing but the id of its test.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from .plugin import SUITE

__all__ = ["Entry", "find", "tests_of"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One test function."""

    file: str
    """Its file, without ``.py``."""
    name: str
    clauses: frozenset[str]
    """Including those of some of its parameters only."""
    thorough: bool
    """Runs with ``--conformance-thorough`` only."""


@functools.cache
def tests_of(layer: str) -> tuple[Entry, ...]:
    """All tests of a layer."""
    found: list[Entry] = []
    for path in sorted(SUITE.glob(f"test_{layer}_*.py")):
        module = importlib.import_module(f"conformance9.suite.{path.stem}")
        found += [_entry(module, name, value) for name, value in vars(module).items() if name.startswith("test_")]
    return tuple(found)


def find(nodeid: str) -> Entry | None:
    """The test that pytest calls `nodeid`, wherever the suite is installed; None if it is not of the suite."""
    file, _, rest = nodeid.partition("::")
    stem = file.rpartition("/")[2].removesuffix(".py")
    if not (SUITE / f"{stem}.py").exists() or not stem.startswith("test_"):
        return None
    name = rest.rpartition("::")[2].partition("[")[0]
    layer = stem.removeprefix("test_").partition("_")[0]
    return next((test for test in tests_of(layer) if (test.file, test.name) == (stem, name)), None)


def _entry(module: ModuleType, name: str, function: Any) -> Entry:
    marks = list(_marks(module)) + list(_marks(function))
    clauses = frozenset(str(clause) for mark in marks if mark.name == "clause" for clause in mark.args)
    return Entry(module.__name__.rpartition(".")[2], name, clauses, any(mark.name == "thorough" for mark in marks))


def _marks(place: Any) -> Iterator[Any]:
    """The marks of a module or function, and the clauses of its parameters."""
    own = getattr(place, "pytestmark", [])
    marks: list[Any] = [getattr(each, "mark", each) for each in (own if isinstance(own, list) else [own])]
    for mark in marks:
        yield mark
        if mark.name == "parametrize":
            for values in mark.args[1]:
                held: list[Any] = [getattr(each, "mark", each) for each in getattr(values, "marks", ())]
                yield from (each for each in held if each.name == "clause")
