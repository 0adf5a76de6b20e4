"""The interlock: the caller's lock that ties a job's state to the caller's data (TP-20, TP-26).

Any lock that works in a with statement will do. What it can be asked depends on its kind.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from . import _atomic, _seam
from ._seam import get_ident
from ._waiting import Steps

T = TypeVar("T")

#: The class of the usual interlock.
RLOCK: Any = type(_seam.RLock())


def owner_check(interlock: Any) -> Callable[[], bool] | None:
    """How to ask `interlock` whether the caller holds it; None if that can't be asked.

    A plain Lock knows only that somebody holds it; that catches the common mistake. Raises TypeError if it is no lock.
    """
    if not (hasattr(interlock, "__enter__") and hasattr(interlock, "__exit__")):
        number = isinstance(interlock, (int, float))
        hint = " (a time limit is an argument by name, timeout=)" if number else ""
        raise TypeError(f"interlock must be a lock that works in a with statement, not {interlock!r}{hint}")
    owned = getattr(interlock, "_is_owned", None)  # RLock and Condition
    if owned is None and isinstance(interlock, _seam.LockType):
        owned = interlock.locked
    return owned


_FRAMES = 20  # more than taking the interlock back goes down, if the lock is somebody's own class
_TRIES = 1000


def interlock_released(lock: Any, wait: Callable[[], Steps[T]]) -> Steps[T]:
    """Release `lock`, however deeply held, wait, reacquire it; returns what the steps of `wait` returned.

    Whatever is raised, and wherever, the lock is held again afterwards. That may be on another thread: the one that
    collects a coroutine whose loop is gone. That thread then holds the lock, as deeply as before, while it leaves the
    coroutine's with statements.
    """
    me = get_ident()
    saved: list[Any] = []
    restored: list[Any] = []
    release, restore = getattr(lock, "_release_save", None), getattr(lock, "_acquire_restore", None)

    def take_back() -> None:
        if restore is not None and get_ident() != me:  # what was saved names the thread that was
            depth = saved[0][0] if isinstance(saved[0], tuple) else 1
            restored.extend(lock.acquire() for _ in range(depth))
        elif restore is not None:
            restored.extend(map(restore, saved))
        else:
            _atomic.collect(lock.__enter__, restored)

    _atomic.need_frames(_FRAMES)
    try:
        _atomic.collect(release or functools.partial(lock.__exit__, None, None, None), saved)
        result = yield from wait()
        take_back()
    except BaseException:
        for left in reversed(range(_TRIES) if saved else ()):
            if restored:
                break
            try:
                take_back()
            except BaseException:
                if not left:  # it is no Ctrl-C that comes again and again, but the lock that does not work any more
                    raise
        raise
    return result
