#!/usr/bin/env python3
"""Something to trace: readings come in, one task keeps the last of them, a work queue draws them on every CPU.

    python -m threadpool9_perfetto run -o trace.json -- readings.py [READINGS]

It knows nothing of the tracer.
"""

from __future__ import annotations

import hashlib
import sys

import task9
import threadpool9
import workqueue9


class Picture(workqueue9.Work):
    """A reading that is to be drawn."""


def draw(work: Picture, drawn: list[str]) -> None:
    """Let go of the interpreter for a while, as real drawing does."""
    drawn.append(hashlib.pbkdf2_hmac("sha256", work.payload, b"salt", 2000).hex())


def main(readings: int) -> int:
    """Draw that many readings; the exit status."""
    drawn: list[str] = []
    seen: list[int] = []
    cpus = threadpool9.allowed_cpus()
    count = task9.Task(lambda task: seen.append(len(drawn)))
    with (
        task9.TaskQueue("counting") as counting,
        workqueue9.WorkQueue("drawing", draw, drawn, flags=workqueue9.WQ_PERCPU) as wq,
    ):
        for number in range(readings):
            wq.enqueue(Picture(b"%d" % number), cpu=cpus[number % len(cpus)])
            counting.schedule(count)  # most of these coalesce
        wq.drain()
    print(f"{len(drawn)} drawn on {len(cpus)} CPUs, counted {len(seen)} times")
    return 0 if len(drawn) == readings else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
