"""The observed process's side: one thread that sleeps in ``accept``, and one more for each viewer connected.

Guarantees: between viewers nothing of ours runs, no timer, no probe; what is left is the sleeping daemon thread, a
descriptor and a name in a directory. A viewer is the same user (or root), which the directory and the kernel's
word about the peer both ensure. A viewer that says or takes nothing is dropped after a time, and never holds up
anything but its own thread. Serving never fails the program: what goes wrong later is a closed connection.

Fork: the child drops what it inherited and listens under its own pid. Exit: the socket's name goes first;
who is connected already sees how the queues are drained until the process ends.

Locks: `_mutex` guards `_current` and the set of connections of a server.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from . import _address, _pages, _state, _wire

__all__ = ["ServeError", "serve", "serving", "stop"]

_MOST_VIEWERS = 8
_LONGEST_REQUEST = 4000
#: Seconds that a viewer may be silent, and may take to receive an answer.
_SILENCE, _SEND = 60.0, 5.0


class ServeError(RuntimeError):
    """This process can't be made observable; the text says why."""


class _Server:
    """A listening socket, its thread and its viewers."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.path = _address.place_to_serve() / f"{self.pid}.sock"
        self.connections: set[socket.socket] = set()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listen()
            self.thread = threading.Thread(target=self._accept, name="threadpool9-top", daemon=True)
            self.thread.start()
        except BaseException:
            self.listener.close()
            raise

    def _listen(self) -> None:
        if not _address.is_stale(self.path):
            # Not our own process, so another pid namespace that shares the directory.
            raise OSError(f"{self.path} is in use by a process with the same pid in another container")
        # Under another name first: once the right name appears, somebody listens (see is_stale).
        _address.clean(self.path.parent)
        early = Path(f"{self.path}.new")
        early.unlink(missing_ok=True)
        self.listener.bind(str(early))
        self.listener.listen(_MOST_VIEWERS)
        early.rename(self.path)

    def unlink(self) -> None:
        """Take the name away, so that nobody finds us any more."""
        try:
            self.path.unlink()
        except OSError:
            pass

    def close(self) -> None:
        """Stop serving and wait until the thread has left."""
        self.unlink()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # close alone does not wake who sleeps in accept
        except OSError:
            pass
        if self.thread is not threading.current_thread():
            self.thread.join()
        self.listener.close()
        with _mutex:
            connections = list(self.connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def forget(self) -> None:
        """In a fork child: drop the descriptors. No shutdown, which would reach the parent's."""
        self.listener.close()
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED):
                    time.sleep(1)  # the caller stays in the backlog; without a pause this loop would spin
                    continue
                return
            try:
                self._admit(connection)
            except Exception:
                connection.close()

    def _admit(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND)
        caller = _address.peer(connection)
        if caller is not None and caller[1] not in (os.geteuid(), 0):
            _send(connection, {"error": f"the process belongs to user {os.geteuid()}, you are user {caller[1]}"})
            connection.close()
            return
        with _mutex:
            full = len(self.connections) >= _MOST_VIEWERS
            if not full:
                self.connections.add(connection)
        if full:
            _send(connection, {"error": f"{_MOST_VIEWERS} viewers are connected, which is the most"})
            connection.close()
            return
        try:
            threading.Thread(target=self._talk, args=(connection,), name="threadpool9-top viewer", daemon=True).start()
        except BaseException:
            with _mutex:
                self.connections.discard(connection)
            raise

    def _talk(self, connection: socket.socket) -> None:
        pager = _pages.Pager()
        try:
            with connection, connection.makefile("rb") as lines:
                while True:
                    connection.settimeout(_SILENCE)
                    line = lines.readline(_LONGEST_REQUEST)
                    if not line.endswith(b"\n"):
                        return
                    connection.settimeout(_SEND)
                    _send(connection, _answer(line, pager))
        except OSError:
            pass  # the viewer left, or was too slow
        finally:
            with _mutex:
                self.connections.discard(connection)


def _answer(line: bytes, pager: _pages.Pager) -> dict[str, Any]:
    word, _, rest = line.strip().partition(b" ")
    try:
        match word:
            case b"state":
                return _state.gather()
            case b"cpus":
                return _state.describe_cpus()
            case b"page":
                return pager.page(_wire.query(rest))
    except _wire.Malformed as error:
        return {"error": str(error)}
    return {"error": f"request {line[:40]!r} is not known here; is the viewer newer than this process?"}


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    connection.sendall(json.dumps(answer, default=repr).encode() + b"\n")


_mutex = threading.Lock()
_current: _Server | None = None


def serve() -> Path:
    """Let `python -m threadpool9_top` look at this process from now on; returns the socket's path.

    Once more is no error and changes nothing. `ServeError` if it can't be. Thread context.
    """
    global _current
    with _mutex:
        if _current is not None:
            return _current.path
        if not hasattr(socket, "AF_UNIX"):
            raise ServeError("threadpool9-top needs unix sockets, which this system does not have")
        try:
            _current = _Server()
        except (OSError, RuntimeError) as error:
            raise ServeError(f"this process can't be made observable: {error}") from error
        return _current.path


def serving() -> Path | None:
    """The socket's path, None while this process is not observable."""
    server = _current
    return None if server is None else server.path


def stop() -> None:
    """Serve no longer; viewers that are connected see the end. No error if not serving."""
    global _current
    with _mutex:
        server, _current = _current, None
    if server is not None:
        server.close()


def serve_or_warn() -> None:
    """`serve` for places that must not fail."""
    try:
        serve()
    except ServeError as error:
        warnings.warn(str(error), RuntimeWarning, stacklevel=2)


def _at_exit() -> None:
    server = _current
    if server is not None and server.pid == os.getpid():
        server.unlink()


def _in_child() -> None:
    global _current, _mutex
    _mutex = threading.Lock()
    server, _current = _current, None
    if server is not None:
        server.forget()
        serve_or_warn()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
