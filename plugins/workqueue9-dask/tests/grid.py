"""A cluster of real processes to do harm to, and what else the tests of this plugin share."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pace import patience

import workqueue9

LIMIT = patience(20.0)
PRI = 41  # nobody else's


def until(condition: Callable[[], object]) -> None:
    """Poll: of what happens in other processes nobody informs us."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Grid:
    """A scheduler and workers, each a process of its own on the loopback interface, without nannies."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.place = place
        # How soon a client notices, and how soon it gives up, a scheduler that is gone.
        self.env = {**os.environ, "DASK_LOGGING__DISTRIBUTED": "critical", "PYTHONPATH": str(Path(__file__).parent)}
        for name, value in settings.items():
            self.env["DASK_DISTRIBUTED__" + name.upper()] = str(value)
        self.processes: dict[str, subprocess.Popen[Any]] = {}
        self.made = 0
        self.address = self.start_scheduler(0)

    def _start(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.place / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments, "--no-dashboard"],
                stdout=log, stderr=subprocess.STDOUT, env=self.env, cwd=self.place,
            )  # fmt: skip
        self.processes[name] = process
        return process

    def start_scheduler(self, port: int) -> str:
        """Start it; its address."""
        file = self.place / "scheduler.json"
        file.unlink(missing_ok=True)
        self._start(
            "scheduler", "dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--scheduler-file", str(file)
        )
        until(lambda: file.exists() and file.read_text().endswith("}"))
        address: str = json.loads(file.read_text())["address"]
        return address

    def start_worker(self) -> str:
        """Start one, with one thread; its name."""
        self.made += 1
        name = f"worker-{self.made}"
        self._start(name, "dask_worker", self.address, "--no-nanny", "--nthreads", "1", "--name", name)
        return name

    def start_workers(self, count: int, client: Any) -> list[str]:
        """Start some, and wait until all are there."""
        before = len(client.nthreads())
        names = [self.start_worker() for _ in range(count)]
        client.wait_for_workers(before + count, timeout=LIMIT)
        return names

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        """Send a signal; wait for the end if that is one."""
        self.processes[name].send_signal(how)
        if how == signal.SIGKILL:
            self.processes.pop(name).wait()

    def close(self) -> None:
        """Kill what is left."""
        for name, process in list(self.processes.items()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            self.kill(name)


def queue_on(cluster: Any, func: Any, arg: Any = None, **kwargs: Any) -> workqueue9.WorkQueue[Any, Any]:
    """A queue there."""
    return workqueue9.WorkQueue(kwargs.pop("name", "far"), func, arg, kwargs.pop("pri", PRI), backend=cluster, **kwargs)
