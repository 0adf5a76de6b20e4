"""Probe points: one slot per probe, None unless somebody listens (HK-5).

The names and arguments are those of NetBSD's SDT probes for threadpool(9). A probe in the code reads
``if (probe := probes.schedule__job) is not None: probe(pool, job)``: one attribute load and a pointer test
when nobody listens. `fire` guards the listener: a raising one is reported and never breaks what it traced.
The upper layers add slots of their own with `add_probes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

Probe = Callable[..., Any] | None

#: NetBSD's probes and their arguments. ``dispatcher__*`` are fired by the starter, our one dispatcher.
THREADPOOL_PROBES: dict[str, tuple[str, ...]] = {
    "get": ("pri",),
    "get__create": ("pri",),
    "get__race": ("pri",),
    "put": ("pool", "pri"),
    "put__destroy": ("pool", "pri"),
    "percpu__get": ("pri",),
    "percpu__get__create": ("pri",),
    "percpu__get__race": ("pri",),
    "percpu__put": ("pool", "pri"),
    "percpu__put__destroy": ("pool", "pri"),
    "create": ("cpu", "pri"),
    "create__success": ("cpu", "pri", "pool"),
    "create__failure": ("cpu", "pri", "error"),
    "destroy": ("pool",),
    "destroy__wait": ("pool", "refcnt"),
    "schedule__job": ("pool", "job"),
    "schedule__job__running": ("pool", "job"),
    "schedule__job__dispatcher": ("pool", "job"),
    "schedule__job__thread": ("pool", "job", "thread"),
    "dispatcher__start": ("pool",),
    "dispatcher__dying": ("pool",),
    "dispatcher__spawn": ("pool",),
    "dispatcher__race": ("pool", "job"),
    "dispatcher__assign": ("pool", "job", "thread"),
    "dispatcher__exit": ("pool",),
    "thread__start": ("pool",),
    "thread__dying": ("pool",),
    "thread__job": ("pool", "job"),
    "thread__exit": ("pool",),
    # Ours, for what NetBSD has no probe for.
    "thread__job__done": ("pool", "job"),
    "cancel__job": ("pool", "job"),
    "bind__lost": ("pool", "cpu"),
    "bind__restored": ("pool", "cpu"),
}


class Probes:
    """The slots of one layer; each is None or a callable with the probe's arguments.

    Written whole (one atomic store) by whoever attaches a listener, read by any thread in any context.
    """

    def __init__(self, arguments: dict[str, tuple[str, ...]]) -> None:
        self.arguments = arguments
        for name in arguments:
            setattr(self, name, None)

    if TYPE_CHECKING:
        # The slots are made from the table. At run time this method would make every probe test slow: the
        # interpreter does not specialise attribute loads of a class that has one.
        def __getattr__(self, name: str) -> Any: ...


probes = Probes(THREADPOOL_PROBES)
