"""The only module that knows pyhwloc: from its objects to `threadpool9.CPU` records.

pyhwloc is imported when a topology is asked for, never before: it loads a C library of some size.

The numbers are the operating system's where it has any, so that they agree with ``/sys`` and ``taskset``: CPU, core
(unique within its package only), package and NUMA node. Where it has none (caches on some machines and of synthetic
topologies) they are hwloc's logical numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from typing import Any

from threadpool9 import CPU

__all__ = ["HwlocError", "missing", "read"]

#: What hwloc says where the operating system gave no number.
_UNKNOWN = 2**32 - 1


class HwlocError(RuntimeError):
    """hwloc is not there, or does not understand what it was asked."""


def missing() -> str | None:
    """Why hwloc can't be asked in this process, and what to do about it; None if it can."""
    if importlib.util.find_spec("pyhwloc") is None:
        return _why_not_installed()
    try:
        importlib.import_module("pyhwloc")
    except Exception as error:  # a C library that does not load says so in many ways
        return f"pyhwloc is installed but does not load: {error}"
    return None


def _why_not_installed() -> str:
    version: tuple[int, ...] = sys.version_info[:2]
    if version < (3, 12):
        return f"pyhwloc needs Python 3.12 or newer, this is {platform.python_version()}"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"pyhwloc comes for Linux on x86_64; for {sys.platform} on {platform.machine()} build it yourself"
    libc, release = platform.libc_ver()
    if libc != "glibc" or tuple(map(int, release.split(".")[:2])) < (2, 34):
        return f"pyhwloc needs glibc 2.34 or newer, this system has {libc or 'another C library'} {release}".rstrip()
    return "pyhwloc is not installed: pip install 'threadpool9-hwloc[binding]'"


def read(description: str | None) -> tuple[CPU, ...]:
    """The CPUs of this machine, or of the synthetic one that `description` tells; HwlocError says what is wrong."""
    if (reason := missing()) is not None:
        raise HwlocError(f"hwloc can't be asked: {reason}")
    pyhwloc: Any = importlib.import_module("pyhwloc")
    try:
        if description is None:
            topology = pyhwloc.from_this_system()
            # The machine's CPUs, as /sys has them; which of them are allowed is another question.
            topology.set_flags(pyhwloc.topology.TopologyFlags.INCLUDE_DISALLOWED)
        else:
            topology = pyhwloc.from_synthetic(description)
        with topology:
            return tuple(sorted(map(_cpu, topology.iter_cpus()), key=lambda cpu: cpu.cpu))
    except Exception as error:  # pyhwloc raises what C's errno is made of, and more
        asked = "of this machine" if description is None else f"{description!r}"
        raise HwlocError(f"hwloc has no topology {asked}: {error}") from error


def _cpu(unit: Any) -> CPU:
    core = package = cache = -1
    node = next(iter(unit.nodeset), -1)
    parent = unit.parent
    while parent is not None:
        number = parent.logical_index if parent.os_index in (None, _UNKNOWN) else parent.os_index
        if parent.is_package():
            package = number
        elif parent.is_dcache():
            cache = number  # from the inside out: the last one stays
        elif parent.type.name == "CORE":
            core = number
        parent = parent.parent
    return CPU(unit.os_index, core=core, package=package, cache=cache, node=node)
