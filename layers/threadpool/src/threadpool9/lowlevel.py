"""What one builds further layers of (TP-37): primitives for any context, interlocks, reports, and the `Layer` itself.

Users of pools and jobs need nothing of this. Names here are kept as those of `threadpool9` itself are. task9 and
workqueue9 are built on them.

Primitives are looked up here by name when objects are made: a test may put its own in their place.
"""

from __future__ import annotations

from ._atomic import (
    FREE,
    Flock,
    Tally,
    blank_ticket,
    collect,
    contents,
    discard,
    insist,
    need_frames,
    token,
)
from ._autoload import autoload as load_plugins
from ._exit import exiting
from ._hooks import report_error
from ._interlock import interlock_released, owner_check
from ._job import Plumbing, check_function, check_unit_class, refuse_copy
from ._layer import Layer
from ._loops import AsyncioPoster, Awaiting, Poster, TrioPoster, bell_here, poster_here, poster_of
from ._priority import check_priority
from ._probes import Probes, Watch
from ._references import Reference, private_pool
from ._registry import claim_stall
from ._seam import (
    FREE_THREADED,
    Empty,
    Local,
    Lock,
    Mailbox,
    RLock,
    SimpleQueue,
    Thread,
    deque,
    doze,
    get_ident,
    monotonic,
    monotonic_ns,
)
from ._texts import function_name, note_origin, safe_repr, short_repr
from ._tunables import TunableSet, boolean, changed, number
from ._waiting import Blocking, Sleepers, Steps, Wait, Waiters, run
from ._watchdog import Sight

__all__ = [
    "FREE",
    "FREE_THREADED",
    "AsyncioPoster",
    "Awaiting",
    "Blocking",
    "Empty",
    "Flock",
    "Layer",
    "Local",
    "Lock",
    "Mailbox",
    "Plumbing",
    "Poster",
    "Probes",
    "RLock",
    "Reference",
    "Sight",
    "SimpleQueue",
    "Sleepers",
    "Steps",
    "Tally",
    "Thread",
    "TrioPoster",
    "TunableSet",
    "Wait",
    "Waiters",
    "Watch",
    "bell_here",
    "blank_ticket",
    "boolean",
    "changed",
    "check_function",
    "check_priority",
    "check_unit_class",
    "claim_stall",
    "collect",
    "contents",
    "deque",
    "discard",
    "doze",
    "exiting",
    "function_name",
    "get_ident",
    "insist",
    "interlock_released",
    "load_plugins",
    "monotonic",
    "monotonic_ns",
    "need_frames",
    "note_origin",
    "number",
    "owner_check",
    "poster_here",
    "poster_of",
    "private_pool",
    "refuse_copy",
    "report_error",
    "run",
    "safe_repr",
    "short_repr",
    "token",
]
