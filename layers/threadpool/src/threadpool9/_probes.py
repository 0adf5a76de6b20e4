"""Probe points: one slot per probe, None unless somebody listens (HK-5).

The names and arguments are those of NetBSD's SDT probes for threadpool(9). A probe in the code reads
``if (probe := probes.schedule__job) is not None: probe(pool, job)``: one attribute load and a pointer test
when nobody listens. `fire` guards the listener: a raising one is reported and never breaks what it traced.
The upper layers have slots of their own, made by `make_probes`.
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
    """The slots of one layer; each is None or a callable with the probe's arguments. Made by `make_probes`.

    Written whole (one atomic store) by whoever attaches a listener, read by any thread in any context.
    """

    __slots__ = ("arguments", "changed")

    def __init__(self, arguments: dict[str, tuple[str, ...]]) -> None:
        set_slot = object.__setattr__
        set_slot(self, "arguments", arguments)
        set_slot(self, "changed", [])  # called after each store; appended at import only
        for name in arguments:
            set_slot(self, name, None)

    def __setattr__(self, name: str, value: Probe) -> None:
        if name not in self.arguments:
            raise AttributeError(f"no probe {name!r}; there are {', '.join(sorted(self.arguments))}")
        object.__setattr__(self, name, value)
        for notify in self.changed:
            notify()

    if TYPE_CHECKING:
        # The slots are made from the table. At run time this method would make every probe test slow: the
        # interpreter does not specialise attribute loads of a class that has one.
        arguments: dict[str, tuple[str, ...]]
        changed: list[Callable[[], None]]

        def __getattr__(self, name: str) -> Any: ...


def make_probes(arguments: dict[str, tuple[str, ...]]) -> Probes:
    """The slots of one layer, as real slots: the cheapest attribute there is."""
    probes: Probes = type("Probes", (Probes,), {"__slots__": tuple(arguments)})(arguments)
    return probes


class Watch:
    """One flag for all that wants to know of each single run, so that a run without it makes one test.

    `plain` is True while no probe of `names` has a listener and no `condition` holds; then a worker calls the
    function directly, else it takes the longer way round. Written whole by `update`, read by any thread.
    """

    __slots__ = ("_names", "_probes", "conditions", "plain")

    def __init__(self, probes: Probes, names: tuple[str, ...]) -> None:
        self._probes, self._names = probes, names  # S
        self.conditions: list[Callable[[], bool]] = []  # appended at import only
        self.plain = True
        probes.changed.append(self.update)

    def update(self) -> None:
        """Look again. Called after every change of a listener or of a tunable that takes part."""
        listening = any(getattr(self._probes, name) is not None for name in self._names)
        self.plain = not listening and not any(condition() for condition in self.conditions)


probes = make_probes(THREADPOOL_PROBES)
watch = Watch(probes, ("thread__job", "thread__job__done"))
