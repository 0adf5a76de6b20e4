"""What runs at the workers of the tests' clusters."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any


def square(work: Any, arg: int) -> int:
    """The ordinary one."""
    if work.payload == 13:
        raise ValueError(f"{work.payload} is refused")
    return int(work.payload**2 + arg)


def echo(work: Any, arg: Any) -> Any:
    """What it was given, and what kind of work it was."""
    return type(work).__module__, work.payload, arg


def thread_name(work: Any, arg: Any) -> str:
    """Where it runs."""
    return threading.current_thread().name


def note(work: Any, place: str) -> Any:
    """Leave a line for each run in a file of the work's, wait while there is a file ``wait``, and say where it ran."""
    file = Path(place) / f"run-{work.payload}"
    with file.open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    while (Path(place) / "wait").exists():
        time.sleep(0.01)
    return work.payload, os.getpid()


def short(work: Any, seconds: float) -> Any:
    """Some milliseconds of work."""
    time.sleep(seconds)
    return work.payload


def die(work: Any, arg: Any) -> None:
    """What kills its worker."""
    os._exit(1)
