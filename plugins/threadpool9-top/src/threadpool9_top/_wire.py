"""What goes over the socket, and how much of it is believed.

A line of JSON each way. The viewer often runs as root and the process may be anybody's, so an answer is taken apart
against the shape that it must have, and every text in it becomes one printable line: what a terminal would take for a
command becomes a "?". What does not fit is `Malformed`, never a traceback.

A request is ``state``, ``cpus``, or ``page`` and a `Query` as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

__all__ = ["CPUS", "HEAD", "PAGE", "PROTOCOL", "TABS", "Malformed", "Query", "check", "name", "parse"]

PROTOCOL = 2
#: What can be paged through, in the order of the tabs.
TABS = ("workers", "pools", "tasks", "works")
_LONGEST_TEXT = 2000
_LARGEST = 2**63


class Malformed(ValueError):
    """Something that no version of the other side would send; the text says what."""


@attrs.frozen
class Query:
    """What a viewer has room for: one tab, its rows in an order, from one row on."""

    tab: str = "workers"
    sort: str = ""
    """A field of the rows, ``""`` for the tab's own order."""
    reverse: bool = False
    filter: str = ""
    """Only rows with this in a name, in any case."""
    offset: int = 0
    limit: int = 0
    """At most so many rows; 0: all."""
    cursor: int = 0
    """The selected row, counted from the first of all."""
    key: str = ""
    """What the selected row was called; it is looked for where the cursor is not on it any more."""
    idle: bool = True
    """Idle workers too."""
    stall: float = 0.0
    """Seconds after which the viewer calls a job stalled; 0: never."""


_QUERY: dict[str, Any] = {
    "tab": str, "sort": str, "reverse": bool, "filter": str, "offset": int, "limit": int, "cursor": int,
    "key": str, "idle": bool, "stall": float,
}  # fmt: skip


def query(text: bytes) -> Query:
    """The query in a request. Raises Malformed."""
    asked = Query(**check(parse(text), _QUERY, "the request"))
    if asked.tab not in TABS:
        raise Malformed(f"there is no tab {asked.tab!r}")
    return asked


_OPTIONAL_INT, _OPTIONAL_TEXT = (int, None), (str, None)
_COUNTERS = dict.fromkeys(
    ("scheduled", "started", "completed", "cancelled", "errors", "threads_started", "threads_left", "start_failures"),
    int,
)
HEAD: dict[str, Any] = {
    "pid": int, "program": [str], "python": str, "now": float, "allowed": [int], "stall_ms": float,
    "counters": _COUNTERS, "rate": (float, None), "hook_errors": int, "pools": int, "workers": int,
    "trouble": _OPTIONAL_TEXT,
}  # fmt: skip
ROWS: dict[str, dict[str, Any]] = {
    "pools": {
        "key": str, "pri": int, "cpu": _OPTIONAL_INT, "references": int, "working": int, "idle": int, "waiting": int,
        "completed": int, "rate": (float, None), "errors": int, "policy": str, "trouble": [str], "next": [str],
    },
    "workers": {
        "key": str, "pri": int, "pool_cpu": _OPTIONAL_INT, "tid": int, "cpu": _OPTIONAL_INT, "state": str,
        "since": float, "job": str, "scheduling": str, "reported": bool, "alive": bool, "at": str, "stack": [str],
    },
    "tasks": {
        "key": str, "queue": str, "shared": bool, "frozen": bool, "cpu": _OPTIONAL_INT, "waiting": int, "runs": int,
        "rate": (float, None), "errors": int, "running": [str],
    },
    "works": {
        "key": str, "queue": str, "waiting": int, "running": int, "enqueued": int, "enqueued_rate": (float, None),
        "completed": int, "rate": (float, None), "cancelled": int, "errors": int, "mean": (float, None),
        "p50": (float, None), "p95": (float, None), "waits": [int],
    },
}  # fmt: skip
#: Each row of a page has the shape of its tab besides.
PAGE: dict[str, Any] = {
    "protocol": int, "head": HEAD, "tab": str, "rows": [dict], "offset": int, "cursor": int, "total": int, "of": int,
    "armed": int, "trouble": _OPTIONAL_TEXT, "cost": float,
}  # fmt: skip
CPUS: dict[str, Any] = {
    "topology": [dict.fromkeys(("cpu", "core", "package", "node", "cache"), int)],
    "allowed": [int],
}


def name(text: object) -> str:
    """A text from elsewhere as one line; what a terminal would take for a command becomes a "?"."""
    line = " ".join(str(text)[:_LONGEST_TEXT].split())
    return "".join(character if character.isprintable() else "?" for character in line)


def _no_constant(text: str) -> float:
    raise Malformed(f"{text} is no number of JSON's")


def parse(line: bytes) -> object:
    """The JSON in a line. Raises Malformed for whatever is none."""
    try:
        return json.loads(line, parse_constant=_no_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is no JSON: {name(error)[:80]}") from None


def check(value: object, shape: Any, where: str) -> Any:
    """`value` if it has that shape: without fields that nobody asked for, and with texts made harmless.

    A shape is a type, a tuple of alternatives, a list of one shape, or a dictionary of the fields that must be there.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise Malformed(f"{where} is no object")
        if missing := [field for field in shape if field not in value]:
            raise Malformed(f"{where} lacks {missing[0]!r}")
        return {field: check(value[field], inner, f"{where}'s {field!r}") for field, inner in shape.items()}
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise Malformed(f"{where} is no list")
        return [check(item, shape[0], f"an item of {where}") for item in value]
    kinds = shape if isinstance(shape, tuple) else (shape,)
    if value is None and None in kinds:
        return None
    if isinstance(value, str) and str in kinds:
        return name(value)
    if isinstance(value, bool) and bool in kinds:
        return value
    if type(value) is int and (int in kinds or float in kinds) and abs(value) < _LARGEST:
        return value
    if isinstance(value, float) and float in kinds and abs(value) < _LARGEST:
        return value
    if isinstance(value, dict) and dict in kinds:
        return value
    raise Malformed(f"{where} is {name(repr(value)[:40])}")
