"""The viewer's side of the socket: find the process, check that it is the right one, ask.

Every way in which this fails is an `Unreachable` whose text says what to do.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path
from typing import Any

import attrs

from . import _address, _proc, _wire
from ._wire import PROTOCOL, Malformed, Query

__all__ = ["Connection", "Ended", "Unreachable"]

_PATIENCE = 10.0
_LONGEST_ANSWER = 64 * 2**20


class Unreachable(Exception):
    """The process can't be looked at; the text says why and what to do about it."""


class Ended(Unreachable):
    """The process was there and has ended, or stopped serving."""


class Connection:
    """A conversation with the process `pid`. Not to be shared between threads."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        path, uid = _find(pid)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_PATIENCE)
        try:
            self._socket.connect(str(path))
            self._check_peer(path, uid)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"process {pid} does not answer at {path}: {error.strerror or error}") from error
        except BaseException:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")

    def _check_peer(self, path: Path, uid: int) -> None:
        other = _address.peer(self._socket)
        if other is None:
            return
        # Pid 0 is a process outside our pid namespace, of which the kernel can tell no number.
        if other[1] != uid or other[0] not in (self.pid, 0):
            raise Unreachable(f"{path} is served by process {other[0]} of user {other[1]}, not by process {self.pid}")

    def page(self, query: Query) -> dict[str, Any]:
        """The page that `query` describes, checked and with every text made harmless."""
        answer = self._ask(f"page {json.dumps(attrs.asdict(query))}", _wire.PAGE)
        shape = _wire.ROWS.get(answer["tab"])
        if answer["tab"] != query.tab or shape is None:
            raise self._malformed(f"a page of {answer['tab']!r} instead of {query.tab!r}")
        try:
            answer["rows"] = _wire.check(answer["rows"], [shape], "its rows")
        except Malformed as error:
            raise self._malformed(str(error)) from None
        return answer

    def cpus(self) -> dict[str, Any]:
        """The machine as the process sees it, checked."""
        return self._ask("cpus", _wire.CPUS)

    def state(self) -> dict[str, Any]:
        """Everything, as it came: for programs, not for a terminal."""
        return self._ask("state", None)

    def _malformed(self, text: str) -> Unreachable:
        return Unreachable(f"process {self.pid} gave an answer that makes no sense: {text}")

    def _ask(self, request: str, shape: dict[str, Any] | None) -> dict[str, Any]:
        try:
            try:
                self._socket.sendall(request.encode() + b"\n")
            except BrokenPipeError:
                pass  # we were turned away at the door; what was said there can still be read
            line = self._lines.readline(_LONGEST_ANSWER)
        except TimeoutError as error:
            raise Unreachable(
                f"process {self.pid} took the question but gave no answer in {_PATIENCE:.0f} s: "
                "it is stopped, or some thread keeps the GIL"
            ) from error
        except (OSError, ValueError):  # closed by us, on another thread
            line = b""
        if len(line) == _LONGEST_ANSWER and not line.endswith(b"\n"):
            raise self._malformed(f"it is longer than {_LONGEST_ANSWER >> 20} MiB")
        if not line.endswith(b"\n"):
            raise Ended(f"process {self.pid} has ended or stopped serving")
        try:
            answer = _wire.check(_wire.parse(line), dict, "it")
            if "error" in answer:
                raise Unreachable(f"process {self.pid} refuses: {_wire.check(answer['error'], str, 'its error')}")
            if (protocol := answer.get("protocol")) != PROTOCOL:
                raise Unreachable(
                    f"process {self.pid} speaks protocol {_wire.name(protocol)[:40]}, this viewer {PROTOCOL}: "
                    "use the same version of threadpool9-top for both"
                )
            checked: dict[str, Any] = answer if shape is None else _wire.check(answer, shape, "it")
        except Malformed as error:
            raise self._malformed(str(error)) from None
        return checked

    def interrupt(self) -> None:
        """Wake whoever waits for an answer: it will not come. Any thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """End the conversation."""
        self._lines.close()
        self._socket.close()

    def __del__(self) -> None:
        """A viewer that leaves may be given a connection that it does not want any more."""
        if hasattr(self, "_lines"):
            self.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _find(pid: int) -> tuple[Path, int]:
    """The socket of `pid` and the user who must own it."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except FileNotFoundError:
        if os.path.exists("/proc/self"):
            raise Unreachable(f"there is no process {pid}") from None
        uid = os.geteuid()  # a system without /proc: the socket will tell
    me = os.geteuid()
    if me not in (uid, 0):
        raise Unreachable(
            f"process {pid} belongs to {_user(uid)} and can be looked at only by the same user; you are {_user(me)}"
        )
    whole = _proc.look_whole(pid)
    if whole is not None and whole.state in "Tt":
        raise Unreachable(f"process {pid} is stopped and can't answer; `kill -CONT {pid}` lets it go on")
    for directory in _address.places_to_look(uid):
        path = directory / f"{pid}.sock"
        if path.exists():
            return path, uid
    # A program that changed its user since it began to listen owns the socket as the one it was.
    raise Unreachable(_why_not_served(pid))


def _why_not_served(pid: int) -> str:
    remedy = "start it with THREADPOOL9_TOP=1, or let it call threadpool9_top.serve()"
    try:
        opted_in = b"THREADPOOL9_TOP=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        opted_in = False
    if opted_in:
        return (
            f"process {pid} has THREADPOOL9_TOP=1 but does not serve: it has not used a pool yet, "
            "or threadpool9-top is not installed for its Python, or THREADPOOL9_PLUGINS keeps it out"
        )
    return f"process {pid} did not opt in: {remedy}"


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"
