"""Probe points of this layer: NetBSD's SDT probes for workqueue(9), with their arguments (HK-5)."""

from __future__ import annotations

from threadpool9._probes import Probes

WORKQUEUE_PROBES: dict[str, tuple[str, ...]] = {
    "create": ("wq", "name", "func", "arg", "pri", "ipl", "flags"),
    "destroy": ("wq",),
    "enqueue": ("wq", "wk", "cpu"),
    "entry": ("wq", "wk", "func", "arg"),
    "return_": ("wq", "wk", "func", "arg"),
    "wait__start": ("wq", "wk"),
    "wait__self": ("wq", "wk"),
    "wait__hit": ("wq", "wk"),
    "wait__done": ("wq", "wk"),
    "exit__start": ("wq",),
    "exit__done": ("wq",),
}

probes = Probes(WORKQUEUE_PROBES)
