"""A program that a test starts many times: a process has imported what it needs, and each run is a fork of that one.

Imports take most of the time of a short run. All else is as if the program were started: command line, environment,
directory and standard files are the run's own; and it ends with the interpreter, after threads were joined and
`atexit` functions called. What a program finds out when it is imported it finds out once; and what a global variable
of a module keeps to the end is let go without a ResourceWarning. So tests of that, and of signals and terminals, start
the program, and so should one run of each of its commands.

As a program, with the directory of another one and the names of modules, this file is that process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Warm:
    """Runs `program`, a path, with those modules imported before. The process ends with the block."""

    def __init__(self, program: Path, modules: list[str], env: dict[str, str]) -> None:
        self.program = program
        self._files = tempfile.TemporaryDirectory()
        self._server = subprocess.Popen(
            [sys.executable, "-X", "dev", __file__, str(program.parent), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,  # how the standard files are encoded is decided here
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, where: TracebackType | None) -> None:
        self._server.communicate()
        self._files.cleanup()

    def run(
        self, arguments: list[str], timeout: float, env: dict[str, str], code: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end, `code` before it, with nothing to read on stdin."""
        out, err = (os.path.join(self._files.name, name) for name in ("out", "err"))
        argv = [str(self.program), *arguments]
        self._send({"argv": argv, "env": env, "cwd": os.getcwd(), "code": code, "out": out, "err": err})
        pid = self._receive(timeout)
        try:
            status = self._receive(timeout)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._receive(timeout)
            raise subprocess.TimeoutExpired(argv, timeout, *map(_read, (out, err))) from None
        return subprocess.CompletedProcess(argv, status, *map(_read, (out, err)))

    def _send(self, request: dict[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()

    def _receive(self, timeout: float) -> int:
        assert self._server.stdout is not None
        poll = select.poll()
        poll.register(self._server.stdout, select.POLLIN)
        if not poll.poll(timeout * 1000):
            raise TimeoutError
        return int(self._server.stdout.readline())


def _read(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def serve() -> dict[str, Any] | None:
    """Fork for each request; returns what was asked for in the child, and None where there is no more to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on the terminal is for who started us
    requests, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    gc.collect()
    gc.freeze()  # or else each run would collect, and so copy, what all of them share
    while line := requests.readline():
        assert threading.active_count() == 1, "a fork would lose a thread"
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            requests.close()
            os.close(replies)
            return json.loads(line)
        os.write(replies, b"%d\n" % pid)
        os.write(replies, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    requests.close()
    return None


def become(request: dict[str, Any]) -> None:
    """Be the program from here on."""
    for descriptor, (file, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), (request["out"], NEW), (request["err"], NEW)]
    ):
        opened = os.open(file, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv[:] = request["argv"]
    if request["code"] is not None:
        exec(request["code"], {"os": os, "sys": sys, "put": put})
    runpy.run_path(request["argv"][0], run_name="__main__")


def put(path: str, mode: str, data: bytes) -> None:
    """Write a file, whatever its name; for the code that runs before a program."""
    with open(os.fsencode(path), mode) as file:
        file.write(data)


if __name__ == "__main__":
    sys.path[0] = sys.argv[1]
    for module in sys.argv[2:]:
        importlib.import_module(module)
    if (asked := serve()) is not None:
        become(asked)
