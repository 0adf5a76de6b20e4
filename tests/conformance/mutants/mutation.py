"""What a mutant is, and how the layers are imported with its fault in them.

A mutant is one small, named fault: texts of our own sources that are replaced while they are imported. A text that is
not found exactly once is an error, so a mutant that does not apply any more never passes for a rejected one. No file
with a fault in it lies anywhere, and no bytecode of it is kept.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

LAYERS = {"threadpool": "threadpool9", "task": "task9", "workqueue": "workqueue9"}


@dataclasses.dataclass(frozen=True)
class Edit:
    """One text to replace: `module` is the name within its package (``_pool`` of threadpool9)."""

    module: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One fault, and the clauses that it breaks."""

    layer: str
    name: str
    clauses: tuple[str, ...]
    sentence: str
    edits: tuple[Edit, ...]
    #: Why the suite need not tell it, if that is so.
    excuse: str = ""


class DoesNotApply(Exception):
    """A text of the mutant is not in the sources exactly once: the mutant must be brought up to date."""


def source_of(module: str) -> Path:
    """The file of ``package._module``, without importing it."""
    package, _, name = module.partition(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DoesNotApply(f"{package} is not installed")
    return Path(spec.origin).with_name(f"{name}.py")


def mutate(mutant: Mutant) -> dict[str, str]:
    """The texts of the modules that the mutant changes, by module name."""
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.module) or source_of(edit.module).read_text(encoding="utf-8")
        if (count := text.count(edit.old)) != 1:
            raise DoesNotApply(f"mutant {mutant.name!r}: found {count} times in {edit.module}:\n{edit.old}")
        texts[edit.module] = text.replace(edit.old, edit.new)
    return texts


class _Loader(SourceFileLoader):
    """Loads one module from a text; tracebacks show that text too."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_data(self, path: str) -> bytes:
        """The text with the fault."""
        return self._text.encode()

    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew each time: what lies in a cache is the code without the fault."""
        return self.source_to_code(self._text.encode(), f"{self.path} (mutant)")


class _Finder(MetaPathFinder):
    """Finds the changed modules."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.texts = texts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the path finder does, with our loader."""
        if fullname not in self.texts:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self.texts[fullname])
        return spec


def install(mutant: Mutant) -> None:
    """Have the layers imported with the fault from now on."""
    if loaded := [package for package in LAYERS.values() if package in sys.modules]:
        raise DoesNotApply(f"{', '.join(loaded)} was imported before the mutant {mutant.name!r} could be made")
    sys.meta_path.insert(0, _Finder(mutate(mutant)))
