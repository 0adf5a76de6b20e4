"""Writing the file: Chrome trace-event JSON, one event a line, whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import platform
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
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with _opened(unfinished, compressed=path.suffix == ".gz") as file:
            _dump(file, converter.events, metadata(summary, converter, capacity))
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _opened(path: Path, compressed: bool) -> TextIO:
    if compressed:
        return gzip.open(path, "wt", compresslevel=5, encoding="utf-8")
    return path.open("w", encoding="utf-8")


def _dump(file: TextIO, events: list[dict[str, Any]], other: dict[str, Any]) -> None:
    encode = json.JSONEncoder(separators=(",", ":")).encode
    file.write('{"traceEvents":[\n')
    for number, event in enumerate(events):
        file.write(",\n" if number else "")
        file.write(encode(event))
    file.write(f'\n],\n"displayTimeUnit":"ns",\n"otherData":{encode(other)}}}\n')
