"""All mutants by name, and the short way to write one down."""

from __future__ import annotations

from mutation import Edit, Mutant

MUTANTS: dict[str, Mutant] = {}


class Layer:
    """Notes the mutants of one layer's suite. Modules: ``_pool``, or in full if of a layer below."""

    def __init__(self, layer: str, package: str) -> None:
        self.layer = layer
        self.package = package

    def __call__(self, name: str, clauses: str, sentence: str, *edits: str, excuse: str = "") -> None:
        """`edits` are threes: module, old text, new text."""
        parts = [
            Edit(module if "." in module else f"{self.package}.{module}", old, new)
            for module, old, new in zip(edits[::3], edits[1::3], edits[2::3], strict=True)
        ]
        assert name not in MUTANTS, f"two mutants called {name!r}"
        assert parts, name
        MUTANTS[name] = Mutant(self.layer, name, tuple(clauses.split()), sentence, tuple(parts), excuse)


def load() -> dict[str, Mutant]:
    """The mutants of all layers, bottom layer first."""
    if not MUTANTS:
        import faults_threadpool  # noqa: F401
        import faults_task  # noqa: F401  # isort: skip
        import faults_workqueue  # noqa: F401  # isort: skip
        import faults_await  # noqa: F401  # isort: skip
    return MUTANTS
