#!/usr/bin/env python3
"""The same daemon as `daemon`, with what the standard library has."""

from __future__ import annotations

import json
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

LIMIT = 2.0
"""Seconds that each step of a stop may take."""


def say(*words: object) -> None:
    """To the log."""
    print(*words, flush=True)


class Collector:
    """A thread formats datagrams, another one does the chores; both must survive what goes wrong."""

    def __init__(self, config: Path, out: Path, max_pending: int) -> None:
        self.config, self.out = config, out
        self.lock = threading.Lock()
        self.lines: list[str] = []
        self.accepted = self.dropped = 0
        self.failure: OSError | None = None
        self.stopping = self.ending = self.reloading = False
        self.reload()
        self.records: queue.Queue[bytes | None] = queue.Queue(max_pending)
        self.wake = queue.SimpleQueue[None]()  # an Event's lock could be the handler's own
        # Daemons, or a write that hangs would keep the process from ending.
        self.taker = threading.Thread(target=self.take_all, name="records", daemon=True)
        self.chores = threading.Thread(target=self.do_chores, name="chores", daemon=True)
        self.taker.start()
        self.chores.start()

    def reload(self) -> None:
        """A configuration that can't be read is reported, and the old one stays."""
        values = json.loads(self.config.read_text())
        self.prefix, self.period = str(values["prefix"]), float(values["period"])
        say("configured", self.prefix)

    def take_all(self) -> None:
        """The thread of the records."""
        while (datagram := self.records.get()) is not None:
            try:
                self.take(datagram)
            except Exception:
                traceback.print_exc()

    def take(self, datagram: bytes) -> None:
        """One datagram."""
        with self.lock:
            self.lines.append(f"{self.prefix} {datagram.decode(errors='replace')}\n")

    def do_chores(self) -> None:
        """The thread of the chores."""
        period = self.period
        due = time.monotonic() + period
        while not self.ending:
            try:
                self.wake.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                pass
            try:
                if self.reloading:
                    self.reloading = False
                    self.reload()
                if time.monotonic() >= due:
                    due += period
                    self.flush()
            except Exception:
                traceback.print_exc()

    def flush(self) -> None:
        """Write what has come; records wait meanwhile, as many as may."""
        with self.lock:
            if not self.lines:
                return
            say("flushing", len(self.lines))
            with self.out.open("a") as file:
                file.writelines(self.lines)
            self.lines.clear()

    def flush_last(self) -> None:
        """On a thread, which would lose the exception."""
        try:
            self.flush()
        except OSError as error:
            self.failure = error

    def receive(self, sock: socket.socket, signals: socket.socket) -> None:
        """Until it is to stop."""
        while not self.stopping:
            ready, _, _ = select.select([sock, signals], [], [])
            if signals in ready:
                signals.recv(1)  # its handler has run by now
            if sock in ready:
                datagram = sock.recv(65536)
                try:
                    self.records.put_nowait(datagram)
                    self.accepted += 1
                except queue.Full:
                    self.dropped += 1
                    say("full")

    def stop(self) -> None:
        """Everything that was accepted is in the file afterwards; OSError says why not, or that it takes too long."""
        self.ending = True
        self.wake.put(None)
        self.end(self.chores)
        try:
            self.records.put(None, timeout=LIMIT)
        except queue.Full:
            raise TimeoutError("records") from None
        self.end(self.taker)
        last = threading.Thread(target=self.flush_last, name="flush", daemon=True)
        last.start()
        self.end(last)
        if self.failure is not None:
            raise self.failure

    def end(self, thread: threading.Thread) -> None:
        """Wait for it."""
        thread.join(LIMIT)
        if thread.is_alive():
            raise TimeoutError(thread.name)


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

    def reload(*args: object) -> None:
        collector.reloading = True
        collector.wake.put(None)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, reload)
    say("port", sock.getsockname()[1])
    collector.receive(sock, signals)
    sock.close()
    try:
        collector.stop()
    except OSError as error:  # a TimeoutError is one
        say("not all was written:", type(error).__name__, error)
        return 1
    say("written", collector.accepted, "dropped", collector.dropped)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} CONFIG.json FILE MAX_PENDING")
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
