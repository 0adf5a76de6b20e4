"""Where the sockets are, and who may use them.

A process with pid 4242 listens on ``4242.sock`` in a directory that only its own user can enter: below
``$XDG_RUNTIME_DIR``, else ``/run/user/UID``, else ``/tmp/threadpool9-UID``. The viewer looks into all of them, since
its environment need not be that of the process. A directory that is not a real one, of the right user and
closed to everybody else, is never used by either side: somebody else may have made it.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["clean", "is_stale", "peer", "place_to_serve", "places_to_look", "served", "why_unsafe"]

#: What ``sun_path`` holds on Linux, without the closing zero byte.
_LONGEST = 107


def why_unsafe(directory: Path, uid: int) -> str | None:
    """What is wrong with `directory` as the place of the sockets of user `uid`; None if nothing."""
    try:
        status = directory.lstat()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is not a directory"
    if status.st_uid != uid:
        return f"{directory} belongs to user {status.st_uid}, not {uid}"
    if status.st_mode & 0o077:
        return f"{directory} is open to other users (mode {status.st_mode & 0o777:o}, should be 700)"
    return None


def _candidates(uid: int) -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") if uid == os.geteuid() else None
    if runtime and os.path.isabs(runtime):
        yield Path(runtime, "threadpool9")
    yield Path(f"/run/user/{uid}", "threadpool9")
    # Not tempfile.gettempdir(): TMPDIR may differ between the two processes.
    yield Path(f"/tmp/threadpool9-{uid}")


def place_to_serve() -> Path:
    """A directory for this process's socket, made if need be; OSError that says what is wrong with each."""
    uid, problems = os.geteuid(), []
    for directory in _candidates(uid):
        if len(os.fsencode(directory / f"{os.getpid()}.sock.new")) > _LONGEST:
            problems.append(f"{directory} is too long a path for a socket")
            continue
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            problems.append(f"{directory}: {error.strerror}")
            continue
        if (problem := why_unsafe(directory, uid)) is None:
            return directory
        problems.append(problem)
    raise OSError("no safe directory for the socket: " + "; ".join(problems))


def places_to_look(uid: int) -> list[Path]:
    """The directories in which processes of `uid` may be listening."""
    return [path for path in dict.fromkeys(_candidates(uid)) if why_unsafe(path, uid) is None]


def served(uid: int) -> dict[int, Path]:
    """The processes of `uid` that can be looked at, by pid."""
    found: dict[int, Path] = {}
    for directory in places_to_look(uid):
        clean(directory)
        for path in directory.glob("*.sock"):
            if path.stem.isdecimal() and not is_stale(path):
                found.setdefault(int(path.stem), path)
    return dict(sorted(found.items()))


def clean(directory: Path) -> None:
    """Remove the sockets that killed processes left behind in `directory`."""
    for path in directory.glob("*.sock"):
        # Without a process it may still be served from another pid namespace; that costs one more look.
        if path.stem.isdecimal() and not _exists(int(path.stem)) and is_stale(path):
            try:
                path.unlink()
            except OSError:
                pass  # gone already, or not ours to remove


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def is_stale(path: Path) -> bool:
    """Whether nobody listens at `path`. A server listens before its name appears, so a refusal is final."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog answers BlockingIOError instead of making us wait.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            return False
    return False


def peer(connection: socket.socket) -> tuple[int, int] | None:
    """Pid and uid at the other end as the kernel knows them, None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid
