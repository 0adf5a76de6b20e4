#!/usr/bin/env python3
"""The same service as `service`, with what the standard library has."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import traceback
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
        self.failure: OSError | None = None
        self.stopping = False
        self.saver = asyncio.ensure_future(self.save_changes())

    async def save_changes(self) -> None:
        """Never two saves at once; one for all that has changed since the last."""
        while not self.stopping or self.changed.is_set():
            await self.changed.wait()
            self.changed.clear()
            self.failure = None
            try:
                await asyncio.to_thread(self.save, dict(self.keys))
            except OSError as error:
                traceback.print_exc()
                self.failure = error

    def save(self, keys: dict[str, str]) -> None:
        """On a thread."""
        self.file.write_text(json.dumps(keys))
        self.saves += 1

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One client, until it has no more lines, or has sent one that can't be read."""
        loop = asyncio.get_running_loop()
        try:
            while line := await reader.readline():
                name, _, secret = line.strip().partition(b" ")
                async with self.room:
                    key = await loop.run_in_executor(self.hasher, derive, secret, b"salt")
                self.keys[name.decode()] = key
                self.changed.set()
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
        await asyncio.to_thread(self.hasher.shutdown, cancel_futures=True)  # it waits, which the loop must not
        self.stopping = True
        self.changed.set()  # so that the saver looks
        await self.saver
        if self.failure is not None:
            raise self.failure
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
