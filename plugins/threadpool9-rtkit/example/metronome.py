"""A metronome on a real-time worker: how late are its ticks while every CPU is busy?

    python metronome.py            with what RealtimeKit and the system grant
    THREADPOOL9_RTKIT=0 python metronome.py     without RealtimeKit

Each tick waits, looks at the clock and waits again, which is what real time is for.
"""

from __future__ import annotations

import multiprocessing
import threading
import time

import threadpool9

TICKS, PERIOD = 200, 0.01


def burn(over: float) -> None:
    """Keep one CPU busy."""
    while time.monotonic() < over:
        pass


def tick(lateness: list[float]) -> None:
    """Wait for each tick and note how late it came."""
    due = time.monotonic()
    pause = threading.Event()
    for _ in range(TICKS):
        due += PERIOD
        pause.wait(max(0.0, due - time.monotonic()))
        lateness.append(time.monotonic() - due)


def main() -> None:
    """Tick at PRI_NONE and at a real-time priority beside a busy process for each CPU."""
    over = time.monotonic() + 2.5 * TICKS * PERIOD
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=burn, args=(over,)) for _ in threadpool9.allowed_cpus()]
    for process in busy:
        process.start()
    for pri in (threadpool9.PRI_NONE, threadpool9.PRI_USER_RT + 9):
        lateness: list[float] = []

        def beat(job: threadpool9.Job, lateness: list[float] = lateness) -> None:
            tick(lateness)
            with job.interlock:
                job.done()

        with threadpool9.get(pri) as pool:
            pool.post(threadpool9.Job(beat, name="metronome"))
        late = sorted(lateness)
        print(f"priority {pri:3}: median {late[TICKS // 2] * 1e3:.2f} ms late, worst {late[-1] * 1e3:.2f} ms")
    for process in busy:
        process.join()


if __name__ == "__main__":
    main()
