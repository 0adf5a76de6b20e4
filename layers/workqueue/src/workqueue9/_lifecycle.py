"""What this layer does at fork and exit.

In a fork child every queue is empty and open, as the layer below has made its lanes. The exit waits for works that are
under way at a back end, unless that is down: then what is lost is reported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from threadpool9.lowlevel import RLock, report_error

from . import _group, _waits
from ._probes import layer
from ._remote import RemoteGroup
from ._stats import queues


def _in_child() -> None:
    _waits.disable_lock = RLock()
    for work in _waits.cancelling.values():
        work.barred -= 1
    _waits.cancelling.clear()
    _waits.draining.clear()
    _group.giant = RLock()
    for queue in queues.all():
        group = queue.group
        if group.slots is not None:
            group.slots.forget_threads()
        if queue.state in ("draining", "closing"):  # by a thread that is not here
            queue.state = "open"
        if isinstance(group, RemoteGroup):
            group.forget()


def _remote() -> Iterator[RemoteGroup]:
    return (queue.group for queue in queues.all() if isinstance(queue.group, RemoteGroup))


def _ready(group: RemoteGroup) -> bool:
    try:
        return group.backend.ready()
    except Exception as error:  # it is somebody else's code; that it is not ready is what a false answer means
        report_error(error, origin=f"queue {group.name!r}")
        return False


def _unfinished() -> bool:
    return any(group.in_flight and _ready(group) for group in _remote())


def _report_lost() -> None:
    for group in _remote():
        lost = len(group.in_flight) + sum(len(lane.pending()) for lane in list(group.lanes))
        if lost and not _ready(group):
            what = f"at exit the back end of queue {group.name!r} is down: {lost} works have not ended"
            warnings.warn(what, RuntimeWarning, stacklevel=2)


layer.after_fork = _in_child
layer.unfinished = _unfinished
layer.after_exit = _report_lost
