"""Texts for people: representations that are bounded and never raise, and notes on exceptions."""

from __future__ import annotations

import reprlib

__all__ = ["note_origin", "short_repr"]

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxfrozenset = _short.maxdict = _short.maxdeque = 4
_short.maxlevel = 2


def short_repr(thing: object) -> str:
    """A representation of `thing` of some 60 characters at the most, also if it is huge or its ``__repr__`` raises."""
    try:
        text = _short.repr(thing)
    except Exception as error:
        return f"<{type(thing).__name__} at {id(thing):#x}, whose __repr__ raises {type(error).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Origin(str):
    """A note of ours."""


def note_origin(error: BaseException, text: str) -> None:
    """Note on `error` where it comes from, in place of what we noted before: it may be raised again and again."""
    notes = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        notes[:] = [note for note in notes if type(note) is not _Origin]
    try:
        error.add_note(_Origin(text))
    except (TypeError, AttributeError):
        pass  # somebody has put something else there
