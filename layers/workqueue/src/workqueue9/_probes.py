"""Probe points of this layer: NetBSD's SDT probes for workqueue(9), with their arguments (HK-5)."""

from __future__ import annotations

from task9._watch import watch
from threadpool9._probes import make_probes

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

probes = make_probes(WORKQUEUE_PROBES)
# The two that are fired for each single work ride on the one test that an executor makes for each task.
watch.conditions.append(lambda: probes.entry is not None or probes.return_ is not None)
probes.changed.append(watch.update)
