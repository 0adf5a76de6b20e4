"""Talking to RealtimeKit, a daemon on the system bus that gives priorities to threads of unprivileged programs.

Each request opens a connection, asks and closes it again: there are few (a worker's start, and only where the OS
refused), the daemon remembers threads and not connections, and nothing needs care at fork. Every wait has a limit.
After a failure that is not about the request itself (no bus, no daemon, no answer) nothing is asked for a minute, so
that a broken desktop does not slow down the start of workers.

Rules. `_quiet` is written whole by whoever failed; any thread reads it.
"""

from __future__ import annotations

import time
from typing import Any

import attrs
from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call  # type: ignore[import-untyped]
from jeepney.bus import get_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, prep_socket  # type: ignore[import-untyped]
from jeepney.wrappers import unwrap_msg  # type: ignore[import-untyped]

__all__ = ["Limits", "Refused", "high_priority", "limits", "realtime"]

_DAEMON = DBusAddress(
    "/org/freedesktop/RealtimeKit1", bus_name="org.freedesktop.RealtimeKit1", interface="org.freedesktop.RealtimeKit1"
)
#: Seconds for one answer; the first one may have to wait until the bus has started the daemon.
_PATIENCE = 5.0
_QUIET_FOR = 60.0


class Refused(Exception):
    """RealtimeKit said no, or could not be asked; the text says which."""


@attrs.frozen
class Limits:
    """What the daemon grants at most."""

    rt_priority: int
    """Highest real-time priority, ``MaxRealtimePriority``."""
    nice: int
    """Lowest nice value, ``MinNiceLevel``."""
    rttime_us: int
    """Highest ``RLIMIT_RTTIME`` that a program may have when it asks for real time, in microseconds."""


class _Connection(DBusConnection):  # type: ignore[misc]  # jeepney has no types
    """jeepney's, with a limit on every wait: its own greeting has none."""

    def receive(self, *, timeout: float | None = None) -> Any:
        return super().receive(timeout=_PATIENCE if timeout is None else timeout)


class _Quiet:
    until = 0.0
    reason = ""


_quiet = _Quiet()


def _ask(*messages: Any) -> list[Any]:
    """Send each message and return the bodies of the answers; Refused that says why there are none."""
    if time.monotonic() < _quiet.until:
        raise Refused(_quiet.reason)
    try:
        with prep_socket(get_bus("SYSTEM"), timeout=_PATIENCE) as bus, _Connection(bus) as connection:
            return [unwrap_msg(connection.send_and_get_reply(message)) for message in messages]
    except DBusErrorResponse as error:
        text = ", ".join(map(str, error.data)) or error.name
        if error.name in ("org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"):
            text = "there is no RealtimeKit on the system bus (Debian package rtkit)"
            _be_quiet(text)
        raise Refused(text) from error
    except Exception as error:  # a bus can fail in many ways, and none of them may reach a worker
        reason = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        _be_quiet(f"the system bus can't be reached: {reason}")
        raise Refused(_quiet.reason) from error


def _be_quiet(reason: str) -> None:
    _quiet.reason = reason
    _quiet.until = time.monotonic() + _QUIET_FOR


def limits() -> Limits:
    """The daemon's limits now; Refused if it can't be asked."""
    properties = Properties(_DAEMON)
    names = ("MaxRealtimePriority", "MinNiceLevel", "RTTimeUSecMax")
    answers = _ask(*(properties.get(name) for name in names))
    return Limits(*(answer[0][1] for answer in answers))


def realtime(tid: int, priority: int) -> None:
    """Give thread `tid` of this process round robin with `priority`; Refused if not."""
    _ask(new_method_call(_DAEMON, "MakeThreadRealtime", "tu", (tid, priority)))


def high_priority(tid: int, nice: int) -> None:
    """Give thread `tid` of this process the nice value `nice`; Refused if not."""
    _ask(new_method_call(_DAEMON, "MakeThreadHighPriority", "ti", (tid, nice)))
