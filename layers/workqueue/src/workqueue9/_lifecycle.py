"""What this layer does at a fork: in the child every queue is empty and open, as the layer below has made its lanes."""

from __future__ import annotations

from threadpool9.lowlevel import RLock

from . import _group, _waits
from ._probes import layer
from ._remote import RemoteGroup
from ._stats import queues


def _in_child() -> None:
    _waits.forget_threads()
    _group.giant = RLock()
    for queue in queues.all():
        group = queue.group
        if group.slots is not None:
            group.slots.forget_threads()
        group.called.locks.clear()
        queue.forget_drains()
        if isinstance(group, RemoteGroup):
            group.forget()


layer.after_fork = _in_child
