"""The controlled primitives: what `_seam` hands out in the copies, and what lists and dicts become there.

Each operation is a point (see `engine`), then happens at once. They behave like the real ones as seen from Python;
where the real ones promise no order (who gets a released lock) any order may come. Outside of an execution, and
while a world is checked, they work without points.
"""

from __future__ import annotations

import collections
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

from .engine import Abort, Rec, Run, T

_ASSIGNED = re.compile(r"\s*(?:return |self\.)?([\w.]+)\s*(?::[^=]*)?=[^=]")
_labels: dict[tuple[str, int, str], str] = {}


def _label(kind: str, depth: int) -> str:
    """A name for what is being made: where, and the name that it gets there."""
    frame = sys._getframe(depth + 1)
    if frame.f_code.co_name == "token":  # a token is called after who has it
        frame = frame.f_back
    site = (frame.f_code.co_filename, frame.f_lineno, kind)
    label = _labels.get(site)
    if label is None:
        found = _ASSIGNED.match(linecache.getline(site[0], site[1]))
        name = found.group(1) if found else kind
        label = _labels[site] = f"{name}@{site[0].rpartition('/')[2]}:{site[1]}"
    return label


class _Shared:
    """What all have: a record for the execution that they are used in."""

    __slots__ = ()

    def _point(self, write: bool, what: str) -> Rec | None:
        run = Run.current_run
        if run is None or run.passive:
            return None
        rec = self._rec
        if rec is None or rec.run is not run:
            rec = self._rec = Rec(run, self._key)
        run.point(rec, write, what)
        return rec

    def _before(self, write: bool) -> Rec | None:
        run = Run.current_run
        if run is None or run.passive:
            return None
        rec = self._rec
        if rec is None or rec.run is not run:
            rec = self._rec = Rec(run, self._key)
        run.before(rec, write)
        return rec

    def _block(self, rec: Rec, deadline: float | None) -> bool:
        run = Run.current_run
        assert run is not None
        return run.block(self, deadline)

    def describe(self) -> str:
        """For people."""
        return self._key


def _event(rec: Rec | None, write: bool, what: str) -> None:
    if rec is not None:
        rec.run.event(rec, write, what)


def _deadline(timeout: float | None) -> float | None:
    if timeout is None or timeout < 0:
        return None
    run = Run.current_run
    return (run.clock if run is not None else 0.0) + timeout


class Lock(_Shared):
    """`_thread.lock`."""

    __slots__ = ("__weakref__", "_key", "_rec", "holder")

    def __init__(self) -> None:
        self._key = _label("Lock", 1)
        self._rec: Rec | None = None
        self.holder: Any = None

    def ready(self) -> bool:
        """True if it can be taken."""
        return self.holder is None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, or wait, as the real one."""
        rec = self._before(True)
        if self.holder is not None:
            if not blocking or timeout == 0:
                _event(rec, False, "try in vain")
                return False
            if not self._block(rec, _deadline(timeout)):
                return False
        self.holder = _me()
        if rec is not None:
            rec.run.event(rec, True, "acquire" if blocking else "try and get")
        return True

    def release(self) -> None:
        """Give it back; anybody may."""
        self._point(True, "release")
        if self.holder is None:
            raise RuntimeError("release unlocked lock")
        self.holder = None

    def locked(self) -> bool:
        """Whether somebody has it."""
        self._point(False, "locked")
        return self.holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def describe(self) -> str:
        """Name and holder."""
        return f"{self._key} (taken by {getattr(self.holder, 'name', self.holder)})"


def _me() -> Any:
    run = Run.current_run
    return run.current if run is not None else "nobody"


class RLock(_Shared):
    """`threading.RLock`."""

    __slots__ = ("__weakref__", "_count", "_key", "_rec", "holder")

    def __init__(self) -> None:
        self._key = _label("RLock", 1)
        self._rec: Rec | None = None
        self.holder: Any = None
        self._count = 0

    def ready(self) -> bool:
        """True if it can be taken."""
        return self.holder is None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it once more, or wait."""
        rec = self._before(True)
        me = _me()
        if self.holder is not None and self.holder is not me:
            if not blocking or timeout == 0:
                _event(rec, False, "try in vain")
                return False
            if not self._block(rec, _deadline(timeout)):
                return False
        self.holder = me
        self._count += 1
        if rec is not None:
            rec.run.event(rec, True, "acquire")
        return True

    def release(self) -> None:
        """Give it back once."""
        self._point(True, "release")
        if self.holder is not _me():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self.holder = None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self.holder is _me() and self.holder is not None

    def _release_save(self) -> int:
        self._point(True, "release all")
        count, self._count, self.holder = self._count, 0, None
        return count

    def _acquire_restore(self, count: int) -> None:
        self.acquire()
        self._count = count

    def _at_fork_reinit(self) -> None:
        self.holder, self._count = None, 0

    def describe(self) -> str:
        """Name and holder."""
        return f"{self._key} (held by {getattr(self.holder, 'name', self.holder)})"


class SimpleQueue(_Shared):
    """`queue.SimpleQueue`."""

    __slots__ = ("__weakref__", "_items", "_key", "_rec")

    def __init__(self) -> None:
        self._key = _label("SimpleQueue", 1)
        self._rec: Rec | None = None
        self._items: collections.deque[Any] = collections.deque()

    def __class_getitem__(cls, item: object) -> type:
        return cls

    def ready(self) -> bool:
        """True if there is something to get."""
        return bool(self._items)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Never waits."""
        self._point(True, "put")
        self._items.append(item)

    put_nowait = put

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next item, or Empty."""
        rec = self._before(True)
        if not self._items:
            if not block or timeout == 0:
                _event(rec, False, "get in vain")
                raise Empty
            if not self._block(rec, _deadline(timeout)):
                raise Empty
        item = self._items.popleft()
        if rec is not None:
            rec.run.event(rec, True, "get")
        return item

    def get_nowait(self) -> Any:
        """The next item, or Empty, at once."""
        return self.get(False)

    def empty(self) -> bool:
        """A moment's truth."""
        self._point(False, "empty?")
        return not self._items

    def qsize(self) -> int:
        """A moment's truth."""
        self._point(False, "qsize")
        return len(self._items)


def _reader(name: str, base: type) -> Callable[..., Any]:
    method = getattr(base, name)

    def read(self: Any, *args: Any) -> Any:
        self._point(False, name)
        return method(self, *args)

    read.__name__ = name
    return read


def _writer(name: str, base: type) -> Callable[..., Any]:
    method = getattr(base, name)

    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        self._point(True, name)
        return method(self, *args, **kwargs)

    write.__name__ = name
    return write


def _controlled(base: type, reads: str, writes: str) -> type:
    """A subclass of a container whose operations are points. A whole read (list(x)) is one, as it is in C."""

    def __init__(self: Any, *args: Any) -> None:
        self._rec = None
        self._key = _label(base.__name__, 1)
        base.__init__(self, *args)

    def __iter__(self: Any) -> Iterator[Any]:
        self._point(False, "iter")
        return iter(tuple(base.__iter__(self)))

    names: dict[str, Any] = {"__init__": __init__, "__iter__": __iter__, "__slots__": ("_key", "_rec")}
    names |= {name: _reader(name, base) for name in reads.split()}
    names |= {name: _writer(name, base) for name in writes.split()}
    names["__class_getitem__"] = classmethod(lambda cls, item: cls)
    if base.__hash__ is None:
        names["__hash__"] = None
    return type(base.__name__, (_Shared, base), names)


deque: Any = _controlled(
    collections.deque,
    "__len__ __getitem__ __contains__ index count",
    "append appendleft pop popleft remove clear extend extendleft __setitem__ __delitem__",
)
List: Any = _controlled(
    list,
    "__len__ __getitem__ __contains__ index count copy",
    "append pop remove clear extend insert __setitem__ __delitem__ __iadd__",
)
Dict: Any = _controlled(
    dict,
    "__len__ __getitem__ __contains__ get items values keys copy",
    "__setitem__ __delitem__ pop popitem clear setdefault update",
)


class Compared(collections.deque[Any]):
    """As the layer's own, which real lists ask before they look for themselves; ours do not."""

    __eq__ = collections.deque.append  # type: ignore[assignment]
    __hash__ = None


def _extend(self: Any, items: Any) -> None:
    """`extend` by what comes out of an iterator, whose steps may be points of others; what came before an error stays."""
    if not isinstance(items, (list, tuple)):
        got: list[Any] = []
        try:
            got.extend(items)
        finally:
            self._point(True, "extend")
            list.extend(self, got)
        return
    self._point(True, "extend")
    list.extend(self, items)


List.extend = _extend


class ByKey(dict[Any, Any]):
    """A dict of which each thread uses only the entry of what it has in hand: each entry is an object of its own."""

    def _point(self, key: Any, write: bool) -> None:
        run = Run.current_run
        if run is not None and not run.passive:
            run.attr(key, "in_hands", write)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._point(key, True)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._point(key, True)
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """As of a dict."""
        self._point(key, True)
        return super().pop(key, *default)


class Thread(_Shared):
    """What stands for `_seam.Thread`."""

    def __init__(self, target: Callable[[], object], name: str) -> None:
        self._key = f"thread {name}"
        self._rec: Rec | None = None
        self._target = target
        self._thread: T | None = None
        self.name = name
        self.daemon = True

    def start(self) -> None:
        """Begin; RuntimeError where the world refuses threads."""
        self._point(True, "start")
        run = Run.current_run
        assert run is not None
        if run.refuse is not None and run.refuse():
            raise RuntimeError("can't start new thread")
        self._thread = run.spawn(self.name, self._body, True)
        self._thread.api = self

    def _body(self) -> None:
        self._target()
        self._point(True, "end")

    def ready(self) -> bool:
        """True if it is over."""
        return self._thread is not None and self._thread.done

    def is_alive(self) -> bool:
        """A moment's truth."""
        self._point(False, "alive?")
        return self._thread is not None and not self._thread.done

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        rec = self._before(False)
        if not self.ready() and not self._block(rec, _deadline(timeout)):
            return
        _event(rec, False, "join")

    @property
    def ident(self) -> int | None:
        """As of a real thread."""
        return None if self._thread is None else self._thread.ident


def start_new_thread(function: Callable[..., object], args: tuple[Any, ...] = ()) -> int:
    """`_thread.start_new_thread`."""
    run = Run.current_run
    if run is None:
        raise RuntimeError("can't start new thread")
    if run.aborting:
        raise Abort
    if run.refuse is not None and run.refuse():
        raise RuntimeError("can't start new thread")
    name = getattr(function, "__qualname__", "thread").partition(".")[0].lower()
    return run.spawn(name, lambda: function(*args), True).ident


def get_ident() -> int:
    """The identity of the controlled thread."""
    run = Run.current_run
    return run.current.ident if run is not None else 1


def get_native_id() -> int:
    """As the OS would give."""
    return get_ident() + 5000


def current_thread() -> Any:
    """The `Thread` that runs, or what stands for a world's own thread."""
    run = Run.current_run
    return None if run is None else run.current.api or run.current


def monotonic() -> float:
    """The virtual clock: time passes only where a timed wait times out."""
    run = Run.current_run
    if run is None:
        return 1000.0
    thread = run.current
    thread.hash = hash((thread.hash, run.clock))
    return run.clock


def monotonic_ns() -> int:
    """The same in nanoseconds."""
    return int(monotonic() * 1e9)


class Cell(_Shared):
    """One value of a world's own that its threads share."""

    def __init__(self, value: Any = None, name: str = "cell") -> None:
        self._key = name
        self._rec: Rec | None = None
        self._value = value

    def get(self) -> Any:
        """Read it."""
        self._point(False, "read")
        return self._value

    def set(self, value: Any) -> None:
        """Write it."""
        self._point(True, "write")
        self._value = value

    def add(self, number: int = 1) -> Any:
        """Add to it in one step."""
        self._point(True, "add")
        self._value += number
        return self._value


class Log(_Shared):
    """What happened in a world, in order. Its points are hot only if two threads write here."""

    def __init__(self) -> None:
        self._key = "log"
        self._rec: Rec | None = None
        self.entries: list[Any] = []

    def __call__(self, entry: Any) -> None:
        """Note `entry`."""
        self._point(True, f"log {entry!r}")
        self.entries.append(entry)
