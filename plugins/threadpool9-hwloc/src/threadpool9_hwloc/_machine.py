"""A topology as a plugin, and the three ways to get one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import threadpool9
from threadpool9 import CPU, hookimpl

from . import _binding

__all__ = ["Machine", "fake", "synthetic", "this_machine"]


class Machine:
    """A fixed topology that answers ``threadpool9_topology``: register it, or use it in a ``with`` block.

    It replaces what `threadpool9.topology` says and nothing else: pools are still for the CPUs that the process may
    really use.
    """

    def __init__(self, cpus: Iterable[CPU], name: str) -> None:
        self.cpus = tuple(cpus)
        self.name = name

    def __repr__(self) -> str:
        return f"<Machine {self.name}: {len(self.cpus)} CPUs>"

    @hookimpl
    def threadpool9_topology(self) -> Sequence[CPU]:
        """These CPUs, whatever the real machine is."""
        return self.cpus

    def __enter__(self) -> Machine:
        threadpool9.register(self)
        return self

    def __exit__(self, *exc: object) -> None:
        threadpool9.unregister(self)


def this_machine() -> Machine:
    """The machine that we run on, as hwloc sees it now; HwlocError if it can't be asked (`missing` tells why)."""
    return Machine(_binding.read(None), "this")


def synthetic(description: str) -> Machine:
    """The machine that `description` tells in hwloc's language, such as ``"pack:2 node:4 l3:1 core:16 pu:2"``.

    Each word is a kind and how many of it are in each of the kind before: here 256 CPUs. See the section about
    synthetic topologies in hwloc's manual. HwlocError for one that hwloc does not understand, or without hwloc.
    """
    return Machine(_binding.read(description), description)


def fake(packages: int = 1, nodes: int = 1, cores: int = 1, threads: int = 1) -> Machine:
    """A regular machine without hwloc: packages, NUMA nodes in each, cores in each node, threads in each core.

    ``fake(packages=2, nodes=4, cores=16, threads=2)`` has 256 CPUs on 8 nodes. The numbers are as Linux gives them on
    such machines: the first threads of all cores first, then the second ones; cores counted in each package; one
    last-level cache for each node.
    """
    for what, number in (("packages", packages), ("nodes", nodes), ("cores", cores), ("threads", threads)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{what} must be an int from 1 on, not {number!r}")
    cpus: list[CPU] = []
    for _, package, node, core in product(range(threads), range(packages), range(nodes), range(cores)):
        where = package * nodes + node
        cpus.append(CPU(len(cpus), core=node * cores + core, package=package, cache=where, node=where))
    return Machine(cpus, f"{packages} packages of {nodes} nodes of {cores} cores of {threads} threads")
