"""Priorities: NetBSD's numbers, and what each asks of the operating system (TP-2, TP-10).

The numbers are those of NetBSD's ``sys/param.h``; higher is more urgent. `default_mapping` is what the hook
``threadpool9_map_priority`` answers unless a plugin knows better: below 128 timesharing with a nice value
(MAXPRI_USER = 63 is the ordinary nice 0), from 128 on round-robin real time; PRI_NONE touches nothing.
"""

from __future__ import annotations

import os

import attrs

from ._errors import PluginError, PriorityError

PRI_NONE = -1
PRI_IDLE = 0
PRI_USER = 0
NPRI_USER = 64
MAXPRI_USER = PRI_USER + NPRI_USER - 1
PRI_KERNEL = 64
NPRI_KERNEL = 32
MAXPRI_KERNEL = PRI_KERNEL + NPRI_KERNEL - 1
PRI_KTHREAD = 96
NPRI_KTHREAD = 32
MAXPRI_KTHREAD = PRI_KTHREAD + NPRI_KTHREAD - 1
PRI_USER_RT = 128
NPRI_USER_RT = 64
MAXPRI_USER_RT = PRI_USER_RT + NPRI_USER_RT - 1
PRI_KERNEL_RT = 192
NPRI_KERNEL_RT = 32
MAXPRI_KERNEL_RT = PRI_KERNEL_RT + NPRI_KERNEL_RT - 1
PRI_COUNT = 224
PRI_BIO = 123
PRI_IOFLUSH = 124
PRI_VM = 125
PRI_PGDAEMON = 126
PRI_XCALL = 127
PRI_SOFTCLOCK = 220
PRI_SOFTBIO = 221
PRI_SOFTNET = 222
PRI_SOFTSERIAL = 223

_RANGE = f"a priority is PRI_NONE ({PRI_NONE}) or an int from {PRI_USER} to {PRI_COUNT - 1}"


def check_priority(pri: int) -> int:
    """Return `pri` if it is a priority; TypeError or PriorityError (a ValueError) naming the range (TP-2)."""
    if type(pri) is not int:
        raise TypeError(f"{_RANGE}, not {pri!r} of type {type(pri).__name__}")
    if not PRI_NONE <= pri < PRI_COUNT:
        raise PriorityError(f"{_RANGE}, not {pri}")
    return pri


@attrs.frozen
class Scheduling:
    """What a priority asks of the OS for each of its threads."""

    policy: str
    """``"inherit"`` (touch nothing), ``"other"`` (timesharing with `nice`) or ``"rr"`` (round robin)."""
    nice: int = 0
    """Nice value, -20..19, for ``"other"``."""
    rt_priority: int = 0
    """Static priority, 1..99, for ``"rr"``."""

    def __str__(self) -> str:
        if self.policy == "rr":
            return f"SCHED_RR {self.rt_priority}"
        return f"nice {self.nice}" if self.policy == "other" else "inherit"


def check_scheduling(answer: object, source: str) -> Scheduling:
    """`answer` if a priority map may say that; PluginError that names `source` otherwise."""
    if not isinstance(answer, Scheduling):
        raise PluginError(f"{source} must answer with a threadpool9.Scheduling, not {answer!r}")
    known = (
        answer.policy == "inherit"
        or (answer.policy == "other" and type(answer.nice) is int and -20 <= answer.nice < 20)
        or (answer.policy == "rr" and type(answer.rt_priority) is int and 1 <= answer.rt_priority < 100)
    )
    if not known:
        raise PluginError(
            f"{source} answered {answer!r}, which no OS knows; policy is 'inherit', 'other' with "
            "nice -20..19, or 'rr' with rt_priority 1..99"
        )
    return answer


def default_mapping(pri: int) -> Scheduling:
    """The default answer of the priority hook; see the module's text for the bands."""
    if pri == PRI_NONE:
        return Scheduling("inherit")
    if pri <= MAXPRI_USER:
        return Scheduling("other", nice=round(19 * (MAXPRI_USER - pri) / MAXPRI_USER))
    if pri <= MAXPRI_KTHREAD:
        return Scheduling("other", nice=-1 - round(19 * (pri - PRI_KERNEL) / (MAXPRI_KTHREAD - PRI_KERNEL)))
    if hasattr(os, "SCHED_RR"):
        return Scheduling("rr", rt_priority=pri - PRI_USER_RT + 1)
    return Scheduling("other", nice=-20)
