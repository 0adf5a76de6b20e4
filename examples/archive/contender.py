"""One way of packing some files, timed in a process of its own: so each has its own memory and its own threads.

    python contender.py sequential|executor|queues  < {"files": [...], "into": "directory", "codec": 1}

All three do the same with the same functions: `Parcel.squeeze` reads, hashes and compresses, `store` appends. They
differ in how the parcels get from one to the other. What it took is printed as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import oslook
from crew import LOADED_PER_CPU
from pipeline import Cutter, File, Parcel, Pipeline, Totals, store
from records import HEAD, BlockFile
from stopping import Stop
from tree import Found

import threadpool9

IDLE_MS = 200
"""Idle time of the pool's threads; the default of thirty seconds is long to wait for."""

_WAIT = 2.0  # seconds that idle threads have to leave


class Contender:
    """The loop that the other two are measured against."""

    def __init__(self, blocks: BlockFile, kind: int) -> None:
        self.blocks = blocks
        self.kind = kind
        self.stop = Stop()
        self.totals = Totals()

    def run(self, files: Sequence[str]) -> None:
        """Pack the files."""
        for parcel in parcels(files):
            self.squeeze(parcel)
            self.store(parcel)

    def squeeze(self, parcel: Parcel) -> Parcel:
        """The part that can be done in parallel."""
        parcel.squeeze(self.kind, self.blocks.places, self.stop)
        return parcel

    def store(self, parcel: Parcel) -> None:
        """The part that is done by one."""
        store([parcel], self.blocks, self.totals, lambda file: None)

    @contextmanager
    def open(self) -> Iterator[None]:
        """What surrounds the run; idle threads are counted before its end."""
        yield


class Executor(Contender):
    """``concurrent.futures``: a window of futures, as nothing else bounds what waits."""

    def run(self, files: Sequence[str]) -> None:
        """Pack the files."""
        window: deque[Future[Parcel]] = deque()
        for parcel in parcels(files):
            if len(window) >= (LOADED_PER_CPU + 1) * cpus():
                self.store(window.popleft().result())
            window.append(self.pool.submit(self.squeeze, parcel))
        while window:
            self.store(window.popleft().result())

    @contextmanager
    def open(self) -> Iterator[None]:
        """With the executor."""
        with ThreadPoolExecutor(cpus()) as self.pool:
            yield


class Queues(Contender):
    """The two work queues of the archive."""

    def run(self, files: Sequence[str]) -> None:
        """Pack the files."""
        for path in files:
            if (file := file_of(path)) is not None:
                self.pipeline.add(file)
        self.pipeline.finish()

    @contextmanager
    def open(self) -> Iterator[None]:
        """With the queues."""
        threadpool9.tunables.idle_ms = IDLE_MS
        self.pipeline = Pipeline(self.blocks, self.kind, self.stop, lambda file: None)
        self.totals = self.pipeline.totals
        try:
            yield
        finally:
            self.pipeline.close()


KINDS = {"sequential": Contender, "executor": Executor, "queues": Queues}


def cpus() -> int:
    """How many there are for us."""
    return len(threadpool9.allowed_cpus())


def file_of(path: str) -> File | None:
    """The file, if it has content."""
    try:
        file = File(Found(path, path, os.lstat(path)), last_try=True)
    except OSError:
        return None
    return file if file.left else None


def parcels(files: Sequence[str]) -> Iterator[Parcel]:
    """The files, cut and bundled."""
    cutter = Cutter()
    for path in files:
        if (file := file_of(path)) is not None:
            yield from cutter.add(file)
    yield from cutter.rest()


def idle_threads() -> int:
    """How many threads are left when all of them have had the time to go."""
    end = perf_counter() + _WAIT
    while (count := oslook.threads()) > 1 and perf_counter() < end:
        sleep(0.05)
    return count


def main(kind: str, job: dict[str, Any]) -> dict[str, object]:
    """Run one contender; what it took."""
    threadpool9.get().put()  # loads the plugins now, not on the clock
    path = Path(job["into"]) / f"{kind}-{os.getpid()}"
    blocks = BlockFile(path, len(HEAD), write=True)
    try:
        contender = KINDS[kind](blocks, job["codec"])
        with contender.open():
            begun, cpu = perf_counter(), process_time()
            contender.run(job["files"])
            took, cpu = perf_counter() - begun, process_time() - cpu
            memory = oslook.peak_memory()
            threads = idle_threads() if job["count_threads"] else 0
        if contender.stop.error is not None:
            raise contender.stop.error
        totals = contender.totals
        return {
            "seconds": took, "cpu_seconds": cpu, "memory": memory, "threads": threads,
            "parcels": totals.parcels.total(), "bytes": totals.read, "written": totals.written,
        }  # fmt: skip
    finally:
        blocks.close()
        path.unlink()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.load(sys.stdin))))
