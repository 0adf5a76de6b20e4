"""Writing the file: Chrome trace-event JSON, one event a line, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import platform
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import threadpool9

if TYPE_CHECKING:
    from ._convert import Converter
    from ._session import Summary


def metadata(summary: Summary, converter: Converter, capacity: int) -> dict[str, Any]:
    """What the trace says of itself, under ``otherData``."""
    return {
        "writer": "threadpool9-perfetto",
        "python": platform.python_version(),
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
        "pid": converter.pid,
        "cpus": list(threadpool9.allowed_cpus()),
        "clock": "time.perf_counter_ns, microseconds since the start of the trace",
        "capacity": capacity,
        "records": summary.records,
        "dropped_records": summary.dropped,
        "cut_runs": converter.cut,
    }


def write(path: Path, converter: Converter, summary: Summary, capacity: int) -> None:
    """Write the trace to `path`. Raises OSError, and leaves what was there, if that is not possible."""
    check_target(path)
    unfinished, descriptor = _new_file_beside(path)
    try:
        with contextlib.ExitStack() as stack:
            file: Any = stack.enter_context(open(descriptor, "wb"))
            if path.suffix == ".gz":
                file = stack.enter_context(gzip.GzipFile("", "wb", compresslevel=5, fileobj=file))
            text = stack.enter_context(io.TextIOWrapper(file, encoding="utf-8"))
            _dump(text, converter.events, metadata(summary, converter, capacity))
        # A link that somebody has put in this place meanwhile is replaced itself, not followed.
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def check_target(path: Path) -> None:
    """Raise the OSError that says why no trace can be written to `path`, as far as one can know; touches nothing.

    A link is refused: in a directory where others may write, following it would overwrite whatever they choose. So
    is a device or pipe, which a finished file would replace.
    """
    directory = path.parent
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link; name the file that is meant", str(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    for wrong, code in (
        (not directory.exists(), errno.ENOENT),
        (directory.exists() and not directory.is_dir(), errno.ENOTDIR),
        (directory.is_dir() and not os.access(directory, os.W_OK), errno.EACCES),
    ):
        if wrong:
            raise OSError(code, os.strerror(code), str(directory))


def _new_file_beside(path: Path) -> tuple[Path, int]:
    """A file of our own in the directory of `path`, and its descriptor; never one that is there already.

    The name can't be guessed, so nobody can put a link in its place, and a file that a killed process of the same
    number left behind (in a container that is always the same) is in nobody's way.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(8)}.tmp")
        try:
            return unfinished, os.open(unfinished, flags, 0o666)
        except FileExistsError:
            continue


def _dump(file: TextIO, events: list[dict[str, Any]], other: dict[str, Any]) -> None:
    encode = json.JSONEncoder(separators=(",", ":")).encode
    file.write('{"traceEvents":[\n')
    for number, event in enumerate(events):
        file.write(",\n" if number else "")
        file.write(encode(event))
    file.write(f'\n],\n"displayTimeUnit":"ns",\n"otherData":{encode(other)}}}\n')
