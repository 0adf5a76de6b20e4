"""CPUs: which there are, which this process may use, and which one we are on (HK-1, TP-8).

The machine's layout comes from the topology hook, by default from Linux sysfs and elsewhere from what the
standard library tells. The *allowed* set is the one that this process was given, not the one that some thread
narrowed for itself: it is read when the module is imported, and later from the set of the starter's thread, which
runs nobody else's code: if that has changed, somebody outside has changed it for all threads (taskset, a cpuset).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from . import _hooks, _osthread, _seam
from ._specs import CPU

_SYSFS = "/sys/devices/system/cpu"


class _Allowed:
    cpus: frozenset[int] = _osthread.get_affinity(0)  # written whole, by whoever finds it changed
    ever: frozenset[int] = cpus  # written by the starter: every CPU that was ever seen to be allowed
    witness = 0  # the starter's thread id while it lives, written by it: a thread that only outsiders bind


allowed = _Allowed()


def refresh() -> frozenset[int]:
    """Look whether somebody outside has changed what this process may use; the set as it is now. Any context."""
    witness = allowed.witness
    if witness:
        try:
            now = _osthread.get_affinity(witness)
        except OSError:  # it has just left
            return allowed.cpus
        if now != allowed.cpus:
            allowed.cpus = now
    return allowed.cpus


def ask_the_kernel() -> None:
    """The same for a starter that comes to life, on its own thread: ask for all, and see what the kernel grants.

    What some threads of the process have chosen for themselves says nothing about the others (TP-8, TP-13). A
    ``taskset`` on all threads looks the same: it is noticed while a starter lives, and not if it comes at another time.
    """
    allowed.ever |= allowed.cpus | _osthread.get_affinity(os.getpid())  # a thread may have been given more
    try:
        _osthread.set_affinity(allowed.ever)
        allowed.cpus = _osthread.get_affinity(0)
    except OSError:
        pass  # nothing of it is allowed any more, or the OS does not bind


def allowed_cpus() -> tuple[int, ...]:
    """The CPUs that this process may use now, in order (TP-8). Any context."""
    return tuple(sorted(refresh()))


def _read_int(path: str) -> int:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return -1


def _sysfs_topology() -> list[CPU]:
    cpus = []
    for entry in sorted(os.listdir(_SYSFS)):
        if not (entry.startswith("cpu") and entry[3:].isdigit()):
            continue
        where = f"{_SYSFS}/{entry}"
        node = next((int(name[4:]) for name in os.listdir(where) if name[:4] == "node" and name[4:].isdigit()), -1)
        caches = [name for name in _listdir(f"{where}/cache") if name.startswith("index")]
        last = max(caches, key=lambda name: _read_int(f"{where}/cache/{name}/level"), default=None)
        cpus.append(
            CPU(
                int(entry[3:]),
                core=_read_int(f"{where}/topology/core_id"),
                package=_read_int(f"{where}/topology/physical_package_id"),
                cache=_read_int(f"{where}/cache/{last}/id") if last else -1,
                node=node,
            )
        )
    return sorted(cpus, key=lambda cpu: cpu.cpu)


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def topology() -> tuple[CPU, ...]:
    """The CPUs of the machine as the topology hook tells, else as the system does. Thread context, reads files."""
    answer: tuple[CPU, ...] | None = _hooks.ask("threadpool9_topology", _hooks.check_topology)
    if answer is not None:
        return answer
    try:
        found = _sysfs_topology()
    except OSError:
        found = []
    return tuple(found) or tuple(CPU(cpu) for cpu in sorted(allowed.cpus))


def _by_thread() -> int:
    """Where no call tells the current CPU: spread threads over the allowed CPUs by their identity."""
    cpus = allowed_cpus()
    return cpus[_seam.get_ident() // 64 % len(cpus)]


_getcpu: Callable[[], int] | None = None  # written whole once, at the first call


def current_cpu() -> int:
    """The CPU that the caller runs on now, as the hook or the OS tells. Any context, never blocks (HK-1)."""
    global _getcpu
    hook = _hooks.current_cpu
    if hook is not None and (cpu := hook()) is not None:
        return cpu
    getcpu = _getcpu
    if getcpu is None:
        getcpu = _getcpu = _osthread.find_getcpu() or _by_thread
    return getcpu()
