"""A layer says once what it has: probes, and what is to be done at fork and exit and by the watchdog (TP-37).

Layers are known in the order in which they were imported, from the bottom up. The bottom layer itself is not among
them: what is done here for the others, it does where it is due.

Rules. `layers` is appended to at import, and read anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import _hooks
from ._probes import Probes, Watch, make_probes
from ._watchdog import Sight, sources


class Layer:
    """One layer of the stack. Making it registers it, for the life of the process; at import, in thread context.

    The functions are attributes too: a module further up in the layer may put its own there.

    Args:
        name: the name of the package; its hooks begin with it.
        tracing: a class with a method for each probe, marked `hookspec`.
        questions: further classes with hooks that the layer asks, if any.
        before_exit: called when the exit begins, before anything is waited for: stop what would go on for ever.
        cancel_queued: called again and again at exit with the policy ``"cancel"``: withdraw what waits.
        generation: called at exit; returns a function that says whether everything that waited or ran at the time of
            this call is over. By default what runs in jobs is all there is.
        unfinished: asked again and again at exit: True while something is under way that no job of ours shows.
        waiting: names of what waits or runs, for the warning when an exit takes long.
        after_fork: called in a fork child, when the layers below are usable again.
        after_exit: called last at exit, after the drain.
        shortest_limit: the shortest time limit, in seconds, that the watchdog has to watch for; 0 for none.
        watched: what runs now and has a limit.
    """

    def __init__(
        self,
        name: str,
        tracing: type,
        *questions: type,
        before_exit: Callable[[], object] = tuple,
        cancel_queued: Callable[[], object] = tuple,
        generation: Callable[[], Callable[[], bool]] | None = None,
        unfinished: Callable[[], bool] = bool,
        waiting: Callable[[], Iterable[str]] = tuple,
        after_fork: Callable[[], object] = tuple,
        after_exit: Callable[[], object] = tuple,
        shortest_limit: Callable[[], float] = float,
        watched: Callable[[], Iterable[Sight]] = tuple,
    ) -> None:
        self.name = name  # S
        self.before_exit = before_exit  # S, as the rest
        self.cancel_queued = cancel_queued
        self.generation = generation
        self.unfinished = unfinished
        self.waiting = waiting
        self.after_fork = after_fork
        self.after_exit = after_exit
        #: The probes: a slot each, None unless somebody listens.
        self.probes: Probes = make_probes(name, tracing)
        _hooks.add_layer(name, self.probes, *questions, tracing)
        self.shortest_limit = shortest_limit
        self.watched = watched
        sources.append((lambda: self.shortest_limit(), lambda: self.watched()))
        layers.append(self)

    def watch(self, *names: str) -> Watch:
        """One flag for the probes `names`, which are fired for each single run; see `Watch`."""
        return Watch(self.probes, names)


layers: list[Layer] = []
#: Called last at exit, after the drain: what reports on the whole run, such as a trace that is written. Plugins append.
after_exit: list[Callable[[], None]] = []
#: Called last in a fork child, when all layers are usable. Plugins append.
after_fork: list[Callable[[], None]] = []
