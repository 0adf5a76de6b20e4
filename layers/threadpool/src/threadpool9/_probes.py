"""Probe points: one slot per probe, None unless somebody listens (HK-5, HK-7).

A probe in the code reads ``if (probe := probes.schedule__job) is not None: probe(pool, job)``: one attribute
load and a pointer test when nobody listens. Names and arguments are those of the layer's `Tracing` class: the hook
``threadpool9_get`` belongs to the slot ``get``. Whenever a plugin comes or goes, `_hooks` compiles the listeners of
each probe into one callable and stores it here, one atomic store; pluggy itself is never on a hot path.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._specs import Tracing

Probe = Callable[..., Any] | None


class Probes:
    """The slots of one layer; each is None or a callable with the probe's arguments. Made by `make_probes`.

    Written whole (one atomic store) by whoever attaches a listener, read by any thread in any context.
    """

    __slots__ = ("arguments", "changed")

    def __init__(self, arguments: dict[str, tuple[str, ...]]) -> None:
        set_slot = object.__setattr__
        set_slot(self, "arguments", arguments)  # S: slot name to the names of the probe's arguments
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


def make_probes(layer: str, specifications: type) -> Probes:
    """The slots of one layer, as real slots: the cheapest attribute there is."""
    arguments = {}
    for hook, function in vars(specifications).items():
        if hook.startswith(f"{layer}_"):
            slot = hook.removeprefix(f"{layer}_")
            slot += "_" if keyword.iskeyword(slot) else ""
            code = function.__code__
            arguments[slot] = code.co_varnames[1 : code.co_argcount]
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
        probes.changed.append(self.update)
        self.update()  # a plugin may have come before its layer

    def update(self) -> None:
        """Look again. Called after every change of a listener or of a tunable that takes part."""
        while True:
            self.plain = plain = self._is_plain()
            # Somebody who interrupted us may have changed it, and we have overwritten what they stored.
            if plain == self._is_plain():
                return

    def _is_plain(self) -> bool:
        listening = any(getattr(self._probes, name) is not None for name in self._names)
        return not listening and not any(condition() for condition in self.conditions)


probes = make_probes("threadpool9", Tracing)
watch = Watch(probes, ("thread__job", "thread__job__done", "thread__job__error"))
