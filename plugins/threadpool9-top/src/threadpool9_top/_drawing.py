"""The machine as a drawing: packages, NUMA nodes, last-level caches, cores and CPUs, and which are allowed."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from ._render import ranges

__all__ = ["draw"]

#: From the outside in; what a topology does not know (-1) is not drawn.
_LEVELS = (("package", "package"), ("node", "NUMA node"), ("cache", "last-level cache"))


def draw(topology: Iterable[Mapping[str, Any]], allowed: Collection[int]) -> RenderableType:
    """A tree of boxes; each core shows its CPUs, one that may not be used stands in parentheses."""
    cpus = sorted(topology, key=lambda cpu: int(cpu["cpu"]))
    may = set(allowed)
    usable = sum(cpu["cpu"] in may for cpu in cpus)
    tree = Tree(Text(f"machine: {len(cpus)} CPUs, {usable} of them allowed ({ranges(may)})", style="bold"))
    _branch(tree, cpus, _LEVELS, may)
    return Group(tree, Text("(n) may not be used; a+b are threads of one core", style="dim"))


def _branch(tree: Tree, cpus: list[Mapping[str, Any]], levels: tuple[tuple[str, str], ...], may: set[int]) -> None:
    if not levels:
        tree.add(Columns([_core(core, may) for core in _groups(cpus, "package", "core").values()], padding=(0, 2)))
        return
    (field, title), rest = levels[0], levels[1:]
    for number, members in _groups(cpus, field).items():
        if number == (-1,):
            _branch(tree, members, rest, may)
        else:
            _branch(tree.add(f"{title} {number[0]}"), members, rest, may)


def _groups(cpus: list[Mapping[str, Any]], *fields: str) -> dict[tuple[Hashable, ...], list[Mapping[str, Any]]]:
    groups: dict[tuple[Hashable, ...], list[Mapping[str, Any]]] = {}
    for cpu in cpus:
        key: tuple[Hashable, ...] = tuple(cpu[field] for field in fields)
        if "core" in fields and cpu["core"] == -1:
            key = ("unknown", cpu["cpu"])
        groups.setdefault(key, []).append(cpu)
    return groups


def _core(cpus: list[Mapping[str, Any]], may: set[int]) -> Text:
    text = Text()
    for n, cpu in enumerate(cpus):
        if n:
            text.append("+", style="dim")
        if cpu["cpu"] in may:
            text.append(str(cpu["cpu"]), style="bold green")
        else:
            text.append(f"({cpu['cpu']})", style="dim")
    return text
