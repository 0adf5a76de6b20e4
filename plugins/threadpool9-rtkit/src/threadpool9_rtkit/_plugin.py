"""The hook: first the OS, then RealtimeKit, then as near as the OS lets us; always an answer, never an error."""

from __future__ import annotations

import os
import resource

from threadpool9 import Scheduling, hookimpl

from . import _broker
from ._broker import Refused

__all__ = ["Plugin"]

#: What the kernel adds to the class of a thread that RealtimeKit has raised: its children start as ordinary ones.
_RESET_ON_FORK: int = getattr(os, "SCHED_RESET_ON_FORK", 0)


class Plugin:
    """Asks RealtimeKit for what the OS refuses; register it, or install the distribution, which does.

    With ``realtime=False`` it asks for nice values only. Real time has a price: RealtimeKit demands that
    ``RLIMIT_RTTIME`` is set (to 200 ms, as a rule), for the whole process and for good. From then on **the kernel
    kills the process if one of its real-time threads computes for that long without ever blocking**.
    """

    def __init__(self, realtime: bool = True) -> None:
        self.realtime = realtime

    @hookimpl
    def threadpool9_apply_priority(self, scheduling: Scheduling, tid: int) -> str | None:
        """On a worker, before its first job. None where the OS grants it: the layer's own calls do that."""
        refused = None if scheduling.policy == "inherit" else _refused(scheduling, tid)
        if refused is None:
            return None
        lowest = -20 if scheduling.policy == "rr" else scheduling.nice
        why = "no real time by threadpool9-rtkit's settings"
        if scheduling.policy == "rr" and self.realtime:
            try:
                priority = _make_realtime(tid, scheduling.rt_priority)
            except Refused as refusal:
                why = f"RealtimeKit: {refusal}"
            else:
                full = priority == scheduling.rt_priority
                return "" if full else f"{refused}, RealtimeKit gave SCHED_RR {priority}"
        try:
            nice = _make_nice(tid, lowest)
        except Refused as refusal:
            nice = _nearest(tid, lowest)
            why = f"RealtimeKit: {refusal}"
        else:
            if scheduling.policy == "other":
                return "" if nice == scheduling.nice else f"{refused}, RealtimeKit gave nice {nice}"
        return f"{refused}, running at nice {nice}; {why}"


def _refused(scheduling: Scheduling, tid: int) -> str | None:
    """What the OS refuses us, in the layer's own words; None if it grants it.

    Tried, because there are too many ways to be allowed to.
    """
    try:
        if scheduling.policy == "rr":
            os.sched_setscheduler(tid, os.SCHED_RR, os.sched_param(scheduling.rt_priority))
        else:
            os.setpriority(os.PRIO_PROCESS, tid, scheduling.nice)
    except OSError as error:
        return f"{scheduling} refused ({error.strerror})" if scheduling.policy == "rr" else f"{scheduling} refused"
    return None


def _make_realtime(tid: int, priority: int) -> int:
    """Ask for `priority` or the highest there is; what was granted."""
    limits = _broker.limits()
    priority = min(priority, limits.rt_priority)
    # A worker that is put right after a job changed something else on its thread.
    if (
        os.sched_getscheduler(tid) & ~_RESET_ON_FORK == os.SCHED_RR
        and os.sched_getparam(tid).sched_priority == priority
    ):
        return priority
    _limit_rttime(limits.rttime_us)
    _broker.realtime(tid, priority)
    return priority


def _limit_rttime(most: int) -> None:
    """What the daemon checks before it says yes: a runaway real-time thread would freeze the desktop."""
    soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
    unlimited = resource.RLIM_INFINITY
    new_hard = most if hard == unlimited else min(hard, most)
    new_soft = new_hard if soft == unlimited else min(soft, new_hard)
    if (new_soft, new_hard) == (soft, hard):
        return
    try:
        resource.setrlimit(resource.RLIMIT_RTTIME, (new_soft, new_hard))
    except (OSError, ValueError) as error:
        raise Refused(f"RLIMIT_RTTIME can't be set to {most}: {error}") from error


def _make_nice(tid: int, nice: int) -> int:
    """Ask for `nice` or the lowest there is; what was granted."""
    nice = max(nice, _broker.limits().nice)
    if os.getpriority(os.PRIO_PROCESS, tid) != nice:
        _broker.high_priority(tid, nice)
    return nice


def _nearest(tid: int, nice: int) -> int:
    """Without RealtimeKit: the lowest nice value from `nice` on that the OS grants; what it is."""
    limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
    floor = -20 if limit == resource.RLIM_INFINITY else 20 - limit
    for value in (nice, max(nice, floor)):
        try:
            if value < os.getpriority(os.PRIO_PROCESS, tid):
                os.setpriority(os.PRIO_PROCESS, tid, value)
        except OSError:
            continue
    return os.getpriority(os.PRIO_PROCESS, tid)
