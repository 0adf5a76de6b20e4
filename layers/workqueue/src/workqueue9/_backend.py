"""What a back end is, for queues whose works run elsewhere (WQ-15), and how one is found (HK-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from threadpool9.hooks import ask
from threadpool9.lowlevel import load_plugins

from ._work import Work

if TYPE_CHECKING:
    from ._remote import RemoteCall, RemoteGroup

P = TypeVar("P")


class Backend(Protocol):
    """What runs the works of a queue elsewhere: the argument `backend` of `WorkQueue` (WQ-15, HK-6).

    It may serve any number of queues, and knows each by its `RemoteGroup`: name, func, arg, pri.
    """

    def open(self, queue: RemoteGroup) -> None:
        """A queue opens. Thread context. Raise if it can't run there: its function can't be sent, say."""

    def pack(self, queue: RemoteGroup, work: Work[Any]) -> Any:
        """What is sent in place of `work`, kept until then. Any context: called by whoever enqueues.

        Raise TypeError naming what can't be sent; the work is not enqueued then.
        """

    def start(self, call: RemoteCall) -> None:
        """Have `call` run once, somewhere, and report its end: see there. Does not wait for it. The queue's thread.

        Raise `BackendDown` if there is nobody to send it to: it stays at the front of the queue, which is halted until
        `RemoteGroup.resume`. Any other exception, and any raised after `RemoteCall.leaving`, is the outcome of the
        work, as if the function had raised it.
        """

    def ready(self) -> bool:
        """True if there is somebody to send works to; False while `start` raises `BackendDown`. Any context."""

    def close(self, queue: RemoteGroup) -> None:
        """A queue has ended, was dropped, or could not be made; nothing of it is under way. Once. Any context."""


class KeyedWork(Work[P]):
    """A work with an idempotency key: a back end makes a second run of a completed work a no-op (WQ-15).

    Args:
        payload: as for `Work`.
        key: says which work this is; equal keys are the same work.
    """

    __slots__ = ("key",)

    def __init__(self, payload: P, key: str) -> None:
        if not isinstance(key, str):
            raise TypeError(f"the key of a work is a str, not {key!r}")
        super().__init__(payload)
        self.key: str | None = key  # S


def as_backend(backend: Any) -> Backend:
    """`backend` itself, or what a plugin knows by that name (HK-6). TypeError, ValueError."""
    found = backend
    if isinstance(backend, str):
        load_plugins()
        found = ask("workqueue9_backend", name=backend, answers=(Exception,))
        if found is None:
            raise ValueError(f"no plugin knows a back end {backend!r}; install one, or hand over the object itself")
    missing = [name for name in ("open", "pack", "start", "ready", "close") if not callable(getattr(found, name, None))]
    if missing:
        raise TypeError(f"a back end has the methods open, pack, start, ready and close; {found!r} has no {missing[0]}")
    result: Backend = found
    return result
