"""The example programs that have a version without us beside them: both do the same, and ours is shorter.

Each is a process that is judged by its output lines, by its answers, and by how it exits.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pace import patience

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAMS = {"service": "service", "gui": "checksums", "daemon": "daemon"}
LIMIT = patience(60.0)

pytestmark = pytest.mark.once


class Program:
    """A program that runs, and its output, line by line."""

    def __init__(self, path: Path, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(path), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.port = 0

    def line(self, pattern: str) -> re.Match[str]:
        """The next line that matches; the ones before it are skipped."""
        for line in self.out:
            if found := re.fullmatch(pattern, line.rstrip("\n")):
                return found
        raise AssertionError(f"no line {pattern!r}; {self.process.stderr and self.process.stderr.read()}")

    def end(self, status: int = 0) -> str:
        """Wait for its end; what it printed since the last line asked for."""
        rest, errors = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == status, errors
        assert "Warning" not in errors, errors
        return rest


@contextmanager
def running(path: Path, *arguments: object) -> Iterator[Program]:
    """A program that listens; killed if the test fails, or if it says nothing for too long."""
    program = Program(path, *arguments)
    killer = threading.Timer(LIMIT, program.process.kill)
    killer.start()
    try:
        program.port = int(program.line(r"port (\d+)")[1])
        yield program
    finally:
        killer.cancel()
        program.process.kill()
        program.process.communicate()


def code_lines(path: Path) -> int:
    """Lines of code, written one way, without comments, docstrings and blank lines."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, kinds) and ast.get_docstring(node) is not None:
            node.body[:1] = [] if len(node.body) > 1 else [ast.Pass()]
    return sum(1 for line in ast.unparse(tree).splitlines() if line.strip())


@pytest.mark.parametrize(("directory", "name"), PROGRAMS.items())
def test_ours_is_shorter(directory: str, name: str) -> None:
    """By lines of code."""
    ours, plain = (code_lines(EXAMPLES / directory / f"{which}.py") for which in (name, "plain"))
    assert ours < plain
    assert f"{ours} lines of code, {plain} " in (EXAMPLES / directory / "README.md").read_text()


# --- the service


@pytest.fixture(params=["service", "plain"])
def service(request: pytest.FixtureRequest) -> Path:
    """Each version of it."""
    return EXAMPLES / "service" / f"{request.param}.py"


def key(secret: str) -> str:
    """What the service answers."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode(), b"salt", 20_000).hex()


def ask(program: Program, name: str, number: int, answers: dict[str, str]) -> None:
    """As one client, all questions before the first answer."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=LIMIT) as sock, sock.makefile("rw") as file:
        for n in range(number):
            file.write(f"{name}{n} secret{n}\n")
        file.flush()
        for n in range(number):
            answers[f"{name}{n}"] = file.readline().strip()


def test_service_answers_and_saves(service: Path, tmp_path: Path) -> None:
    """Ten clients at once on a queue with room for two; what they were answered is in the file at the end."""
    file = tmp_path / "keys.json"
    answers: dict[str, str] = {}
    with running(service, file, 2) as program:
        clients = [threading.Thread(target=ask, args=(program, f"c{n}-", 8, answers)) for n in range(10)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(LIMIT)
        program.process.send_signal(signal.SIGTERM)
        saved = re.search(r"80 keys, saved (\d+) times, 0 clients left\n", program.end())
    assert saved
    assert 1 <= int(saved[1]) <= 81  # one for each key at most, and one at the end
    assert answers == {f"c{c}-{n}": key(f"secret{n}") for c in range(10) for n in range(8)}
    assert json.loads(file.read_text()) == answers


def test_service_answers_what_was_asked_before_it_was_stopped(service: Path, tmp_path: Path) -> None:
    """A client that is connected and silent does not hold it up; the others have their answers."""
    file = tmp_path / "keys.json"
    with running(service, file, 2) as program:
        where = ("127.0.0.1", program.port)
        with socket.create_connection(where, timeout=LIMIT) as silent, socket.create_connection(where) as sock:
            with sock.makefile("rw") as lines:
                lines.write("".join(f"a{n} b{n}\n" for n in range(20)))
                lines.flush()
                first = lines.readline()  # so all of them have arrived
                program.process.send_signal(signal.SIGINT)
                got = [first, *lines]
            assert silent.recv(1) == b""
        assert re.fullmatch(r"20 keys, saved \d+ times, 0 clients left\n", program.end())
    assert [line.strip() for line in got] == [key(f"b{n}") for n in range(20)]


def test_service_writes_the_last_change(service: Path, tmp_path: Path) -> None:
    """One that came while a write hung, and was followed by the end."""
    file = tmp_path / "keys.json"
    os.mkfifo(file)
    answers: dict[str, str] = {}
    with running(service, file, 2) as program:
        for name in "ab":
            ask(program, name, 3, answers)
        program.process.send_signal(signal.SIGTERM)
        fifo = os.open(file, os.O_RDONLY | os.O_NONBLOCK)  # now the write goes on, and finds room in the pipe
        try:
            assert "6 keys" in program.end()
            written = os.read(fifo, 1 << 16).decode()
        finally:
            os.close(fifo)
    assert json.loads(written[written.rindex("{") :]) == answers


# --- the daemon


@pytest.fixture(params=["daemon", "plain"])
def daemon(request: pytest.FixtureRequest) -> Path:
    """Each version of it."""
    return EXAMPLES / "daemon" / f"{request.param}.py"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Flushes fifty times a second."""
    path = tmp_path / "config.json"
    path.write_text('{"prefix": "one", "period": 0.02}')
    return path


@contextmanager
def sender(program: Program) -> Iterator[socket.socket]:
    """A socket that sends to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", program.port))
        yield sock


def test_daemon_reloads_flushes_and_stops(daemon: Path, config: Path, tmp_path: Path) -> None:
    """With a configuration that can't be read in between."""
    out = tmp_path / "out"
    with running(daemon, config, out, 100) as program, sender(program) as sock:
        sock.send(b"first")
        program.line("flushing 1")
        config.write_text("{")
        program.process.send_signal(signal.SIGHUP)
        sock.send(b"second")
        program.line("flushing 1")
        config.write_text('{"prefix": "two", "period": 0.02}')
        program.process.send_signal(signal.SIGHUP)
        program.line("configured two")
        sock.send(b"third")
        program.line("flushing 1")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == "written 3 dropped 0\n"
    assert out.read_text() == "one first\none second\ntwo third\n"


def test_daemon_drops_what_has_no_room_and_counts_it(daemon: Path, config: Path, tmp_path: Path) -> None:
    """While a write hangs; everything else is in the file."""
    out = tmp_path / "out"
    os.mkfifo(out)
    with running(daemon, config, out, 3) as program, sender(program) as sock:
        sock.send(b"0")
        program.line("flushing 1")  # and hangs, as nobody reads
        for number in range(1, 7):
            sock.send(str(number).encode())
        program.line("full")
        fifo = os.open(out, os.O_RDONLY | os.O_NONBLOCK)  # now it goes on; what it writes finds room in the pipe
        try:
            program.process.send_signal(signal.SIGTERM)
            counts = program.line(r"written (\d+) dropped (\d+)")
            program.end()
            lines = os.read(fifo, 1 << 16).decode().splitlines()
        finally:
            os.close(fifo)
    written, dropped = int(counts[1]), int(counts[2])
    assert len(lines) == written >= 4
    assert dropped >= 1
    assert lines[:4] == [f"one {number}" for number in range(4)]


def test_daemon_stops_in_time_when_it_can_not_write(daemon: Path, config: Path, tmp_path: Path) -> None:
    """And says so."""
    out = tmp_path / "out"
    os.mkfifo(out)
    with running(daemon, config, out, 3) as program, sender(program) as sock:
        sock.send(b"0")
        program.line("flushing 1")
        program.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert program.end(1).startswith("not all was written")
        assert time.monotonic() - began < patience(5.0)


# --- the window


def window(module: str, check: str, *paths: Path) -> list[str]:
    """What is seen of it, driven by a program of the tests."""
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6 is not installed, or the libraries that it needs")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("gui_program.py")), module, check, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(EXAMPLES / "gui")},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Of some megabytes, so many blocks."""
    paths = [tmp_path / f"file{number}" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 5_000_000)
    return paths


@pytest.mark.parametrize("module", ["checksums", "plain"])
def test_window_shows_checksums_and_progress(module: str, files: list[Path], tmp_path: Path) -> None:
    """Each file's; the bar is moved more seldom than blocks are read."""
    first, *lines = window(module, "all", *files)
    blocks = sum(-(-path.stat().st_size // (1 << 16)) for path in files)
    found = re.fullmatch(r"updates (\d+), bar 100", first)
    assert found
    assert 1 <= int(found[1]) <= blocks
    assert sorted(lines) == sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}" for path in files)


@pytest.mark.parametrize("module", ["checksums", "plain"])
def test_window_can_be_closed_in_the_middle(module: str, files: list[Path], tmp_path: Path) -> None:
    """The file that is being read is left off, the process ends."""
    fifo = tmp_path / "endless"
    os.mkfifo(fifo)
    assert window(module, "middle", fifo, *files)[0] == "left off"
