"""Texts for people: names and representations that never raise, and notes on exceptions."""

from __future__ import annotations

import functools
import reprlib

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = _short.maxdict = _short.maxdeque = 4
_short.maxlevel = 2


def short_repr(thing: object) -> str:
    """A representation of `thing` of at most 80 characters, also if it is huge or its ``__repr__`` raises."""
    try:
        text = _short.repr(thing)
    except Exception as error:
        return _without_repr(thing, error)
    return text if len(text) <= 80 else f"{text[:77]}..."


def safe_repr(thing: object) -> str:
    """``repr(thing)``, also if that raises."""
    try:
        return repr(thing)
    except Exception as error:
        return _without_repr(thing, error)


def _without_repr(thing: object, error: Exception) -> str:
    return f"<{type(thing).__name__} at {id(thing):#x}, whose __repr__ raises {type(error).__name__}>"


def function_name(fn: object) -> str:
    """What a function is called: its ``__qualname__``, or a short representation of any other callable."""
    if isinstance(fn, functools.partial):
        return f"partial({function_name(fn.func)})"  # its representation has all its arguments in it
    try:
        name = getattr(fn, "__qualname__", None)
    except Exception:
        name = None
    return name if isinstance(name, str) else short_repr(fn)


class _Origin(str):
    """A note of ours."""


def note_origin(error: BaseException, text: str) -> None:
    """Note on `error` where it comes from, in place of what we noted before: it may be raised again and again."""
    try:
        notes = getattr(error, "__notes__", None)
        if isinstance(notes, list):
            notes[:] = [note for note in notes if type(note) is not _Origin]
        error.add_note(_Origin(text))
    except Exception:
        pass  # somebody has put something else there, or its class lets nobody
