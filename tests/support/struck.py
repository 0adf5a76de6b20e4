"""An action at one exact place of the layers, as if a signal handler ran there."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


@contextmanager
def struck(function: str, action: Callable[[], object], line: str = "") -> Iterator[list[object]]:
    """Have `action` called once in this thread, as by a signal handler, where `function` of a layer begins, or at
    `line` of it; what it returned is in the list. AssertionError if that place was not reached.
    """
    done: list[object] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        if done or code.co_name != function or "9/_" not in code.co_filename.replace("\\", "/"):
            return trace
        here = linecache.getline(code.co_filename, frame.f_lineno).strip()
        if event == "call" if not line else here == line:
            done.append(None)
            sys.settrace(None)
            done[:] = [action()]
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield done
    finally:
        sys.settrace(before)
    assert done, f"{line or 'the beginning'} of {function} was not reached"


def refusing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """Have `owner.name` raise MemoryError once, as if its frame could not be had; the list is empty then."""
    left = [None]
    original = getattr(owner, name)

    def refused(*args: Any, **kwargs: Any) -> Any:
        if left:
            left.pop()
            raise MemoryError
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, refused)
    return left
