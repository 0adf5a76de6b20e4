"""What interrupts a storm: each context calls ``fire()`` from code that nobody called.

`reaches` says which threads it interrupts: only the main thread, or workers too, which then hold locks of the user
while code on another thread wants them: there a storm only tries them.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

Fire = Callable[[], None]
GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
LAYERS = ("threadpool9", "task9", "workqueue9")


def is_ours(code: CodeType, known: dict[CodeType, bool] = {}) -> bool:  # noqa: B006 (the cache is the point)
    """Whether `code` belongs to one of the layers."""
    answer = known.get(code)
    if answer is None:
        answer = known[code] = any(f"/{layer}/_" in code.co_filename for layer in LAYERS)
    return answer


class Context:
    """Calls `fire` in interrupt context between `start` and `stop`."""

    reaches = "all"

    def __init__(self) -> None:
        #: How many events came, by what; approximate where threads count beside each other.
        self.seen: Counter[str] = Counter()

    def start(self, fire: Fire) -> None:
        """Begin to interrupt."""

    def stop(self) -> None:
        """Interrupt no more."""

    def close(self) -> None:
        """The storm is over."""

    def provoke(self) -> None:
        """Called by the main thread and by every unit, for contexts that need an occasion."""


class Signals(Context):
    """A signal handler, 10 000 times a second or as often as the machine can; it may interrupt itself, a few deep."""

    reaches = "main"
    interval = 100e-6
    deepest = 4
    old: Any = None

    def start(self, fire: Fire) -> None:
        """As in the base class."""
        depth = [0]  # of handlers in handlers: all on the main thread

        def handler(number: int, frame: FrameType | None) -> None:
            self.seen["ours" if frame is not None and is_ours(frame.f_code) else "other"] += 1
            if depth[0] < self.deepest:
                depth[0] += 1
                try:
                    fire()
                finally:
                    depth[0] -= 1

        old = signal.signal(signal.SIGALRM, handler)
        if self.old is None:
            self.old = old
        signal.setitimer(signal.ITIMER_REAL, self.interval, self.interval)

    def stop(self) -> None:
        """As in the base class."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def close(self) -> None:
        """As in the base class."""
        if self.old is not None:
            signal.signal(signal.SIGALRM, self.old)


class _Garbage(Context):
    """Collections at every few allocations, on all threads."""

    def start(self, fire: Fire) -> None:
        self.fire = fire
        self.old = gc.get_threshold()
        gc.collect()
        gc.freeze()  # what was there before makes a collection slow, and is not our garbage
        gc.set_threshold(5, 2, 2)

    def stop(self) -> None:
        gc.set_threshold(*self.old)
        gc.unfreeze()

    def collect(self) -> None:
        """Free-threaded builds collect only when garbage is a quarter of all that lives: ask for it there."""
        if not GIL:
            gc.collect(0)


class _Mine:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.me = self


class Finalizers(_Garbage):
    """``__del__`` of objects in cycles: runs wherever a collection happens."""

    class Bomb(_Mine):
        """Goes off when it is collected."""

        def __init__(self, context: Finalizers) -> None:
            super().__init__()
            self.context = context

        def __del__(self) -> None:
            self.context.seen["del"] += 1
            self.context.fire()

    def provoke(self) -> None:
        """As in the base class."""
        for _ in range(4):
            self.Bomb(self)
        self.collect()


class WeakReferences(_Garbage):
    """Callbacks of weak references to objects in cycles."""

    def __init__(self) -> None:
        super().__init__()
        self.references: dict[int, Any] = {}

    def provoke(self) -> None:
        """As in the base class."""
        for _ in range(4):
            reference = weakref.ref(_Mine(), self.gone)
            self.references[id(reference)] = reference
        self.collect()

    def gone(self, reference: Any) -> None:
        """The callback."""
        self.references.pop(id(reference), None)
        self.seen["weakref"] += 1
        self.fire()


class GcCallbacks(_Garbage):
    """`gc.callbacks`, at the start and the end of every collection."""

    def start(self, fire: Fire) -> None:
        """As in the base class."""
        super().start(fire)
        # A free-threaded collection stops the world: fewer of them, with more events each.
        self.calls = [self.called] * (1 if GIL else 20)
        gc.callbacks.extend(self.calls)

    def called(self, phase: str, info: dict[str, int]) -> None:
        """The callback."""
        self.seen[phase] += 1
        self.fire()

    def stop(self) -> None:
        """As in the base class."""
        for call in self.calls:
            gc.callbacks.remove(call)
        super().stop()

    def provoke(self) -> None:
        """As in the base class."""
        for _ in range(4):
            _Mine()
        self.collect()


class Trace(Context):
    """`sys.settrace` with line *and* opcode events, on the main thread and on every worker born meanwhile.

    On Python 3.12 on the main thread only: 3.12.1 crashes when one thread stops to trace and another goes on. There
    `Monitoring` interrupts the workers.
    """

    everywhere = sys.version_info[:2] != (3, 12)
    install_all = staticmethod(threading.settrace)
    install = staticmethod(sys.settrace)

    def start(self, fire: Fire) -> None:
        """As in the base class."""
        self.fire = fire
        self.active = True
        if self.everywhere:
            self.install_all(self.event)
        sys._getframe().f_trace_opcodes = True  # 3.12 gives opcode events only if a frame wanted them before
        self.install(self.event)

    def stop(self) -> None:
        """As in the base class."""
        self.install(None)
        if self.everywhere:
            self.install_all(None)  # type: ignore[arg-type]
        self.active = False

    def event(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function."""
        if not self.active:
            self.install(None)  # a worker that lives on
            return None
        frame.f_trace_opcodes = True
        if is_ours(frame.f_code):
            self.seen[f"ours {event}"] += 1
        self.fire()
        return self.event


class Profile(Trace):
    """`sys.setprofile`: calls and returns, of C functions too, on all threads."""

    everywhere = True
    install_all = staticmethod(threading.setprofile)
    install = staticmethod(sys.setprofile)

    def event(self, frame: FrameType, event: str, argument: object) -> Any:
        """The profile function."""
        if not self.active:
            self.install(None)
            return
        if is_ours(frame.f_code):
            self.seen[f"ours {event}"] += 1
        self.fire()


class Monitoring(Context):
    """`sys.monitoring` (3.12): lines, instructions, calls, returns, raises, on all threads that there are."""

    tool = 4
    names = ("PY_START", "PY_RETURN", "LINE", "INSTRUCTION", "CALL", "C_RETURN", "RAISE", "JUMP", "BRANCH")

    def start(self, fire: Fire) -> None:
        """As in the base class."""
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.use_tool_id(self.tool, "storm")
        events = 0
        for name in self.names:

            def event(code: CodeType, *arguments: object, name: str = name) -> None:
                if is_ours(code):
                    self.seen[f"ours {name}"] += 1
                fire()

            number = getattr(monitoring.events, name)
            monitoring.register_callback(self.tool, number, event)
            if name != "C_RETURN":  # comes with CALL
                events |= number
        monitoring.set_events(self.tool, events)

    def stop(self) -> None:
        """As in the base class."""
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_events(self.tool, 0)
        for name in self.names:
            monitoring.register_callback(self.tool, getattr(monitoring.events, name), None)
        monitoring.free_tool_id(self.tool)


class Audit(Context):
    """An audit hook, which stays for the life of the process: for a process of its own.

    Events come from within the layers too (``id``, ``open``, thread starts), and from a trace function in the main
    thread that raises one at each line of the layers' code.
    """

    reaches = "all"
    fire: Fire | None = None
    hooked = False

    def start(self, fire: Fire) -> None:
        """As in the base class."""
        if not self.hooked:
            self.inside: dict[int, None] = {}  # threads that are in the hook
            sys.addaudithook(self.hook)
            self.hooked = True
        self.fire = fire
        sys.settrace(self.trace)

    def stop(self) -> None:
        """As in the base class."""
        sys.settrace(None)
        self.fire = None

    def hook(self, event: str, arguments: object) -> None:
        """The audit hook."""
        fire, me = self.fire, threading.get_ident()
        # What `fire` does raises events too; without a stop that would never end.
        if fire is not None and me not in self.inside:
            self.inside[me] = None
            try:
                self.seen[event] += 1
                fire()
            finally:
                del self.inside[me]

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Raises an audit event at each line of ours."""
        if not is_ours(frame.f_code):
            return None
        sys.audit("storm.line")
        return self.trace

    def provoke(self) -> None:
        """As in the base class."""
        id(self)  # raises builtins.id


CONTEXTS: dict[str, type[Context]] = {
    "signal": Signals,
    "del": Finalizers,
    "weakref": WeakReferences,
    "gc": GcCallbacks,
    "trace": Trace,
    "profile": Profile,
    "monitoring": Monitoring,
    "audit": Audit,
}
