#!/usr/bin/env python3
"""Collect datagrams into a file: SIGHUP reads the configuration anew, SIGTERM ends it in time. See README.md."""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import threading
from pathlib import Path

import task9
import threadpool9
import workqueue9

LIMIT = 2.0
"""Seconds that each step of a stop may take."""


def say(*words: object) -> None:
    """To the log."""
    print(*words, flush=True)


class Collector:
    """Datagrams are formatted on one queue; chores that take longer, and come seldom, have another."""

    def __init__(self, config: Path, out: Path, max_pending: int) -> None:
        self.config, self.out = config, out
        self.lock = threading.Lock()
        self.lines: list[str] = []
        self.accepted = self.dropped = 0
        self.stopping = False
        self.reload()
        self.records = workqueue9.WorkQueue("records", self.take, max_pending=max_pending)
        self.chores = task9.TaskQueue("chores")
        self.reload_task = task9.Task(self.reload)
        self.flusher = task9.PeriodicTask(self.flush, self.period)
        self.flusher.start(queue=self.chores)

    def reload(self, task: task9.Task | None = None) -> None:
        """A configuration that can't be read is reported, and the old one stays."""
        values = json.loads(self.config.read_text())
        self.prefix, self.period = str(values["prefix"]), float(values["period"])
        say("configured", self.prefix)

    def take(self, work: workqueue9.Work[bytes], arg: None) -> None:
        """One datagram."""
        with self.lock:
            self.lines.append(f"{self.prefix} {work.payload.decode(errors='replace')}\n")

    def flush(self, task: task9.Task | None = None) -> None:
        """Write what has come; records wait meanwhile, as many as may."""
        with self.lock:
            if not self.lines:
                return
            say("flushing", len(self.lines))
            with self.out.open("a") as file:
                file.writelines(self.lines)
            self.lines.clear()

    def receive(self, sock: socket.socket, signals: socket.socket) -> None:
        """Until it is to stop."""
        while not self.stopping:
            ready, _, _ = select.select([sock, signals], [], [])
            if signals in ready:
                signals.recv(1)  # its handler has run by now
            if sock in ready:
                datagram = sock.recv(65536)
                try:
                    self.records.enqueue(workqueue9.Work(datagram), block=False)
                    self.accepted += 1
                except workqueue9.Full:
                    self.dropped += 1
                    say("full")

    def stop(self) -> None:
        """Everything that was accepted is in the file afterwards; OSError says why not, or that it takes too long."""
        self.flusher.cancel(timeout=LIMIT)
        self.records.close(LIMIT)
        self.chores.submit(self.flush).result(LIMIT)
        self.chores.close(LIMIT)


def main(config: Path, out: Path, max_pending: int) -> int:
    """Until SIGTERM."""
    collector = Collector(config, out, max_pending)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    # A signal that arrives just before the wait would otherwise be handled only after the next datagram.
    signals, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())

    def stop(*args: object) -> None:
        collector.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, lambda *args: collector.chores.schedule(collector.reload_task))
    say("port", sock.getsockname()[1])
    collector.receive(sock, signals)
    sock.close()
    try:
        collector.stop()
    except OSError as error:  # a WaitTimeout is one
        say("not all was written:", type(error).__name__, error)
        threadpool9.tunables.exit_policy = "abandon"
        return 1
    say("written", collector.accepted, "dropped", collector.dropped)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} CONFIG.json FILE MAX_PENDING")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
