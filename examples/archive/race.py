"""Does the work queue pay? The same files packed by a loop, an executor and the queues, taking turns.

Each run is a process of its own (contender.py). Rounds are interleaved, so that what else goes on in the machine hits
all alike, and the median of each counts. A sentence is only drawn from what is enough to draw it from.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from display import plural
from rich import box
from rich.filesize import decimal
from rich.table import Table
from stopping import Stop

import threadpool9

ROUNDS = 3
SUBSET = 24_000_000
"""Bytes that each run packs, about."""

ENOUGH_SECONDS = 0.3
"""A loop that takes less is over before threads have been started and noise has averaged out."""

ENOUGH_PARCELS = 16
"""For each CPU: with fewer the last one decides."""

WAYS = {"sequential": "a loop", "executor": "ThreadPoolExecutor", "queues": "work queues"}


@dataclass(frozen=True, slots=True)
class Result:
    """One run; the fields are those that contender.py prints."""

    seconds: float
    cpu_seconds: float
    memory: int
    threads: int
    parcels: int
    bytes: int
    written: int


def subset(sizes: Sequence[tuple[str, int]], limit: int = SUBSET) -> list[str]:
    """Files from all over the tree that have `limit` bytes together, or a little less; all if there are not more."""
    step = max(1, -(-sum(size for _, size in sizes) // limit))
    chosen: list[str] = []
    left = limit
    for begin in range(step):
        for path, size in sizes[begin::step]:
            if size <= left:
                chosen.append(path)
                left -= size
        if left < limit // 4:
            break
    return sorted(chosen)


class Race:
    """All runs.

    Args:
        files: what each run packs.
        place: an existing directory for what they write.
        kind: the codec.
        stop: asked again and again.
    """

    def __init__(self, files: Sequence[str], place: Path, kind: int, stop: Stop) -> None:
        self.files = files
        self.place = place
        self.kind = kind
        self.stop = stop
        self.results: dict[str, list[Result]] = {way: [] for way in WAYS}
        self.cpus = len(threadpool9.allowed_cpus())

    def run(self) -> Iterator[str]:
        """Do all rounds; yields what comes next, for the display. Raises CalledProcessError."""
        for number in range(ROUNDS):
            for way in WAYS:
                if self.stop():
                    return
                yield f"round {number + 1} of {ROUNDS}: {WAYS[way]}"
                self.results[way].append(self._once(way, count_threads=number == 0))

    def _once(self, way: str, count_threads: bool) -> Result:
        job = {"files": self.files, "into": str(self.place), "codec": self.kind, "count_threads": count_threads}
        command = [sys.executable, str(Path(__file__).with_name("contender.py")), way]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                out, _ = process.communicate(json.dumps(job))
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        return Result(**json.loads(out))

    def table(self) -> Table:
        """The medians."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("", no_wrap=True)
        for title in ("wall\ntime", "range", "CPU\ntime", "peak\nmemory", "threads\nwhen idle", "speed"):
            table.add_column(title, justify="right", no_wrap=True)
        base = self.seconds("sequential")
        for way, name in WAYS.items():
            runs = self.results[way]
            times = [run.seconds for run in runs]
            table.add_row(
                name + (f"({self.cpus})" if way == "executor" else ""),
                f"{median(times):.2f} s",
                f"{min(times):.2f}-{max(times):.2f}",
                f"{median(run.cpu_seconds for run in runs):.2f} s",
                decimal(int(median(run.memory for run in runs))),
                str(max(run.threads for run in runs)),
                f"{base / self.seconds(way):.2f}x" if self.is_enough() else "-",
            )
        return table

    def seconds(self, way: str) -> float:
        """The median."""
        return median(run.seconds for run in self.results[way])

    def is_enough(self) -> bool:
        """True if there was enough to do to draw a conclusion from."""
        parcels = self.results["sequential"][0].parcels
        return self.seconds("sequential") >= ENOUGH_SECONDS and parcels >= ENOUGH_PARCELS * self.cpus

    def sentences(self) -> Iterator[str]:
        """What the figures say, and no more."""
        first = self.results["sequential"][0]
        if not self.is_enough():
            yield (
                f"Too small to tell which is faster: {plural(first.parcels, 'parcel')}, "
                f"{self.seconds('sequential'):.2f} s for the loop."
            )
            return
        yield f"On {plural(self.cpus, 'CPU')} the work queues are {self._beside('sequential', 'the loop')}"
        yield f"They are {self._beside('executor', 'the executor')}"
        if self.seconds("sequential") / self.seconds("queues") < 1.1:
            yield self._why_not()

    def _beside(self, way: str, name: str) -> str:
        ours, theirs = ([run.seconds for run in self.results[which]] for which in ("queues", way))
        text = f"{median(theirs) / median(ours):.2f} times as fast as {name}"
        if max(ours) < min(theirs) or max(theirs) < min(ours):
            return f"{text}, in each of {ROUNDS} runs."
        return f"{text} (not certain: the runs overlap)."

    def _why_not(self) -> str:
        """Why it does not pay, as far as it can be seen."""
        if self.cpus == 1:
            return "No gain is possible: there is one CPU."
        got = median(run.cpu_seconds / run.seconds for run in self.results["sequential"])
        if got < 0.9:
            return f"No gain is seen: others are at work here, even the loop had only {got:.0%} of a CPU."
        size = self.results["sequential"][0].bytes // max(1, len(self.files))
        if size < 4096:
            return f"No gain is seen: files of {decimal(size)} are small: with a GIL opening them takes turns."
        return "No gain is seen, and these figures do not say why."
