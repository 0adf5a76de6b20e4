#!/usr/bin/env python3
"""SHA-256 of every file below a directory, the work spread over the CPUs.

    treehash.py [DIR] [--digests FILE] [--no-compare] [--then-wait SECONDS]

The flow: the main thread walks the tree and hands each file to a bounded per-CPU work queue (`crew`); the works post
their results to a ledger that one task keeps (`ledger`); a periodic task shows how it goes (`display`). Then the
same tree is hashed sequentially and once more in parallel, to compare digests and throughput.

Exit status: 0 all is well, 1 a file failed or the digests differ, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import oslook
import tree
from display import Screen, clipped, cpu_table, throughput_table
from passes import ParallelPass, SequentialPass
from stopping import Stop

import threadpool9

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
IDLE_MS = 1000
"""Idle time of the threads with --then-wait; the default of thirty seconds is long to watch."""

SMALL = 256 << 10
"""Files smaller than this on average: opening, reading and booking them takes longer than the hashing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    directory: str
    digests: str | None
    compare: bool
    then_wait: float


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; exits with status 2 if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="treehash",
        description="SHA-256 of every file below DIR, the work spread over the CPUs.",
        epilog="Exit status: 0 all is well, 1 a file failed or digests differ, 2 usage, 130 interrupted.",
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        nargs="?",
        default=sysconfig.get_path("stdlib"),
        help="where to begin (default: this Python's standard library)",
    )
    parser.add_argument("--digests", metavar="FILE", help="write the digests there, as sha256sum does")
    parser.add_argument("--no-compare", action="store_true", help="don't hash everything again to compare")
    parser.add_argument(
        "--then-wait",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="after hashing stay for so long at most and show how the threads leave",
    )
    given = parser.parse_args(arguments)
    if not os.path.isdir(given.directory):
        parser.error(f"{tree.printable(given.directory)} is not a directory")
    if given.digests is not None and not os.path.isdir(os.path.dirname(given.digests) or os.curdir):
        parser.error(f"{tree.printable(given.digests)} is in no directory that exists")
    if not 0 <= given.then_wait < float("inf"):
        parser.error("--then-wait takes a number of seconds >= 0")
    return Options(given.directory, given.digests, not given.no_compare, given.then_wait)


def gil() -> bool:
    """True if one thread at a time runs Python code."""
    enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return enabled()


class Run:
    """One run of the program: hash, tell, wait, compare."""

    def __init__(self, options: Options, stop: Stop) -> None:
        self.options = options
        self.stop = stop
        self.screen = Screen()
        self.first = ParallelPass(options.directory, self.screen, stop)
        self.status = OK

    def all(self) -> int:
        """Do everything; returns the exit status."""
        screen, first = self.screen, self.first
        screen.note(f"hashing {tree.printable(self.options.directory)} on {len(first.crew.benches)} CPUs")
        try:
            first.run()
            self.report()
            if self.options.digests is not None and not self.stop():
                self.write_digests(self.options.digests)
            if self.options.then_wait and not self.stop():
                self.watch_threads(self.options.then_wait)
            if self.options.compare and not self.stop():
                self.compare()
        finally:
            first.close()
        if self.stop():
            screen.note("interrupted; the above is what was done until then")
            return INTERRUPTED
        return self.status

    def fail(self, reason: str) -> None:
        """Say what is wrong, and let the exit status say so too."""
        self.screen.note(reason)
        self.status = FAILED

    def report(self) -> None:
        """The table of CPUs, and what is to be said about files without a digest."""
        ledger = self.first.ledger
        self.screen.out.print(cpu_table(ledger))
        if ledger.skipped:
            self.screen.say(f"{ledger.skipped:,} skipped: links to directories, FIFOs, sockets, devices")
        if ledger.failed:
            self.fail(f"{len(ledger.failed):,} failed, see above")
        if not self.stop() and (missing := self.first.crew.missing()):
            self.fail(f"{missing:,} files went into the queue and did not come out")

    def write_digests(self, name: str) -> None:
        """Write all digests to the file `name`, whole or not at all."""
        unfinished = f"{name}.{os.getpid()}.tmp"
        try:
            with open(unfinished, "wb") as file:
                file.writelines(tree.checksum_line(*item) for item in sorted(self.first.ledger.digests.items()))
            os.replace(unfinished, name)
        except OSError as error:
            self.fail(f"{tree.printable(name)}: {error.strerror}")
        else:
            self.screen.say(f"{self.first.ledger.files:,} digests written to {tree.printable(name)}")

    def watch_threads(self, limit: float) -> None:
        """Once a second tell the threads of this process, until none of the library's is left.

        The queues are still open: an idle queue owns no thread (TK-9, WQ-8).
        """
        screen = self.screen
        screen.say(f"waiting for idle threads to leave (idle time {IDLE_MS} ms, all queues stay open)")
        begun = perf_counter()
        while True:
            names = oslook.thread_names()
            ours = [name for name in names if name.startswith(oslook.OURS)]
            waited = perf_counter() - begun
            kinds = ", ".join(f"{name} x{times}" if times > 1 else name for name, times in Counter(ours).items())
            screen.say(clipped(f"{waited:6.1f} s {len(names):4} threads, {len(ours):3} of ours  {kinds}".rstrip(), 80))
            if not ours:
                return
            if waited >= limit:
                self.fail(f"{len(ours)} threads are still here after {limit:g} s")
                return
            if self.stop.wait(min(1.0, max(0.0, limit - waited))):
                return

    def compare(self) -> None:
        """Hash all again sequentially, then once more in parallel; tell the throughput of each.

        The first pass may have had to wait for the disk. The other two find the files in the cache, so it is they
        that can be compared.
        """
        directory, screen, stop = self.options.directory, self.screen, self.stop
        first = self.first
        sequential = SequentialPass(directory, screen, stop)
        sequential.run(first)
        if stop():
            return
        again = ParallelPass(directory, Screen(quiet=True), stop)
        try:
            again.run()
        finally:
            again.close()
        if stop():
            return
        rows = [
            ("all CPUs, first reading", first.ledger.files, first.ledger.size, first.seconds),
            ("sequential hashlib", len(sequential.digests), sequential.size, sequential.seconds),
            ("all CPUs, once more", again.ledger.files, again.ledger.size, again.seconds),
        ]
        screen.out.print(throughput_table(rows))
        times = sequential.seconds / again.seconds if again.seconds else 1.0
        python = "with GIL" if gil() else "free-threaded"
        screen.say(f"All CPUs have {times:.2f} times the throughput of one (Python {python}).")
        if times < 1 and gil() and first.ledger.size < SMALL * first.ledger.files:
            screen.say("Small files gain nothing with the GIL: all but the hashing itself takes turns.")
        self.judge(sequential.digests, again.ledger.digests)

    def judge(self, *others: dict[str, str]) -> None:
        """Compare the digests of all passes."""
        passes = (self.first.ledger.digests, *others)
        paths = set().union(*passes)
        paths.discard(self.options.digests or "")  # our own file, if it is in the tree
        bad = 0
        for path in sorted(paths):
            digests = [digests.get(path) for digests in passes]
            if digests.count(digests[0]) != len(digests):
                bad += 1
                changed = "it came or went meanwhile" if None in digests else "the digests differ"
                self.fail(f"{tree.printable(path)}: {changed}")
        if not bad:
            self.screen.say(f"{len(paths):,} digests of all three compared: all equal.", "green")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    stop = Stop()
    try:
        options = parse(arguments)
        stop.install()
        if options.then_wait:
            threadpool9.tunables.idle_ms = IDLE_MS
        return Run(options, stop).all()
    except KeyboardInterrupt:  # the second Ctrl-C
        threadpool9.tunables.exit_policy = "abandon"
        return INTERRUPTED
    except threadpool9.Error as error:  # the system gives us no thread, say
        print(f"treehash: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
