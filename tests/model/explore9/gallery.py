"""The gallery: worlds with their clauses and the bugs that each must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .copies import Patch


@dataclass
class Exhibit:
    """A world, and what is known of it."""

    world: Callable[[Any], Any]
    clauses: str
    bugs: dict[str, Patch] = field(default_factory=dict)
    bound: int = 3  # what the deep search does
    quick: int = 1  # what every test run does; 0 for large worlds, which `-m thorough` searches with one preemption
    signals: bool = False  # the copies show where the interpreter looks for signals

    @property
    def name(self) -> str:
        """The function's name with spaces."""
        return self.world.__name__.replace("_", " ")

    @property
    def about(self) -> str:
        """First line of the docstring."""
        return (self.world.__doc__ or "").partition("\n")[0]


EXHIBITS: list[Exhibit] = []


def exhibit(clauses: str, bound: int = 3, quick: int = 1, signals: bool = False, **bugs: Patch) -> Callable[[Any], Any]:
    """Enter a world."""

    def enter(world: Any) -> Any:
        EXHIBITS.append(Exhibit(world, clauses, bugs, bound, quick, signals))
        return world

    return enter
