#!/usr/bin/env python3
"""The same service as `service`, with what the standard library has."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from asyncio import StreamReader, StreamWriter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROUNDS = 20_000
GRACE = 10.0
"""Seconds that are left for what is under way when the service is stopped."""


def derive(secret: bytes, salt: bytes) -> str:
    """Some milliseconds of a CPU, without the GIL."""
    return hashlib.pbkdf2_hmac("sha256", secret, salt, ROUNDS).hex()


class Service:
    """Lives in a loop; `save` runs elsewhere."""

    def __init__(self, file: Path, max_pending: int) -> None:
        self.file = file
        self.keys: dict[str, str] = {}
        self.saves = 0
        self.clients: dict[asyncio.Task[None], StreamReader] = {}
        cpus = len(os.sched_getaffinity(0))
        self.hasher = ThreadPoolExecutor(cpus)
        self.room = asyncio.Semaphore(cpus + max_pending)  # the executor's own queue has no bound
        self.changed = asyncio.Event()
        self.stopping = False
        self.saver = asyncio.ensure_future(self.save_changes())

    async def save_changes(self) -> None:
        """Never two saves at once; one for all that has changed since the last."""
        while not self.stopping or self.changed.is_set():
            await self.changed.wait()
            self.changed.clear()
            await asyncio.to_thread(self.save, dict(self.keys))

    def save(self, keys: dict[str, str]) -> None:
        """On a thread."""
        self.file.write_text(json.dumps(keys))
        self.saves += 1

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One client, until it has no more lines."""
        loop = asyncio.get_running_loop()
        while line := await reader.readline():
            name, _, secret = line.strip().partition(b" ")
            async with self.room:
                key = await loop.run_in_executor(self.hasher, derive, secret, b"salt")
            self.keys[name.decode()] = key
            self.changed.set()
            writer.write(f"{key}\n".encode())
            await writer.drain()
        writer.close()

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """A client has come."""
        task = asyncio.ensure_future(self.serve(reader, writer))
        self.clients[task] = reader
        task.add_done_callback(self.clients.pop)

    async def stop(self) -> int:
        """Answer what has been asked, as long as GRACE lasts; how many clients were left then."""
        for reader in self.clients.values():
            reader.feed_eof()
        if self.clients:
            await asyncio.wait(list(self.clients), timeout=GRACE)
        left = len(self.clients)
        await asyncio.to_thread(self.hasher.shutdown, cancel_futures=True)  # it waits, which the loop must not
        self.stopping = True
        self.changed.set()  # so that the saver looks
        await self.saver
        return left


async def main(file: Path, max_pending: int) -> None:
    """Until SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = Service(file, max_pending)
    server = await asyncio.start_server(service.accept, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()
    left = await service.stop()
    print(f"{len(service.keys)} keys, saved {service.saves} times, {left} clients left")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
