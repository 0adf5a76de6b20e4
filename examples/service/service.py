#!/usr/bin/env python3
"""Keys for names and secrets: a TCP service on asyncio, whose answers take CPU time. See README.md."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from asyncio import StreamReader, StreamWriter
from pathlib import Path

import task9
import threadpool9
import workqueue9

ROUNDS = 20_000
GRACE = 10.0
"""Seconds that are left for what is under way when the service is stopped."""


def derive(work: workqueue9.Work[bytes], salt: bytes) -> str:
    """Some milliseconds of a CPU, without the GIL."""
    return hashlib.pbkdf2_hmac("sha256", work.payload, salt, ROUNDS).hex()


class Service:
    """Lives in a loop; `save` runs elsewhere."""

    def __init__(self, file: Path, max_pending: int) -> None:
        self.file = file
        self.keys: dict[str, str] = {}
        self.saves = 0
        self.clients: dict[asyncio.Task[None], StreamReader] = {}
        cpus = len(threadpool9.allowed_cpus())
        self.hasher = workqueue9.WorkQueue("hasher", derive, b"salt", max_active=cpus, max_pending=max_pending)
        self.saver = task9.TaskQueue("saver")
        self.changed = task9.Task(self.save)

    def save(self, task: task9.Task | None = None) -> None:
        """On a thread of the pool; never beside itself, and once for all that has changed since the last time."""
        self.file.write_text(json.dumps(dict(self.keys)))
        self.saves += 1

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One client, until it has no more lines, or has sent one that can't be read."""
        try:
            while line := await reader.readline():
                name, _, secret = line.strip().partition(b" ")
                future = await self.hasher.aio.submit(secret)  # while the queue is full, this client is not read from
                self.keys[name.decode()] = key = await future
                self.saver.schedule(self.changed)
                writer.write(f"{key}\n".encode())
                await writer.drain()
        finally:
            writer.close()

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """A client has come."""
        task = asyncio.ensure_future(self.serve(reader, writer))
        self.clients[task] = reader
        task.add_done_callback(self.clients.pop)

    async def stop(self) -> int:
        """Answer what has been asked, as long as GRACE lasts; how many clients were left then.

        OSError says that the file could not be written.
        """
        for reader in self.clients.values():
            reader.feed_eof()
        if self.clients:
            await asyncio.wait(list(self.clients), timeout=GRACE)
        left = len(self.clients)
        self.hasher.cancel_pending()
        await self.hasher.aio.close()
        last = self.saver.submit(self.save)
        await self.saver.aio.close()
        last.result()
        return left


async def main(file: Path, max_pending: int) -> int:
    """Until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = Service(file, max_pending)
    server = await asyncio.start_server(service.accept, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()
    try:
        left = await service.stop()
    except OSError as error:
        print("not saved:", error)
        return 1
    print(f"{len(service.keys)} keys, saved {service.saves} times, {left} clients left")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} FILE MAX_PENDING")
    sys.exit(asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]))))
