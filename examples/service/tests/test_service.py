"""What goes wrong at the service's edges; the rest is in ``tests/system/test_programs.py``."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pace import patience

LIMIT = patience(60.0)
HERE = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.once, pytest.mark.parametrize("version", ["service", "plain"])]


@contextlib.contextmanager
def running(version: str, file: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The program and its port."""
    program = subprocess.Popen(
        [sys.executable, HERE / f"{version}.py", file, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None
        yield program, int(program.stdout.readline().removeprefix("port "))
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("line", [b"\xff secret\n", b"x" * 70_000 + b"\n"])
def test_a_line_that_cannot_be_read_ends_the_connection(version: str, line: bytes, tmp_path: Path) -> None:
    """Of this client; another one is served."""
    with running(version, tmp_path / "keys.json") as (program, port):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
            # It may reset the connection, of which it has not read all.
            with contextlib.suppress(ConnectionError):
                sock.sendall(line)
                assert sock.recv(1) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
            sock.sendall(b"name secret\n")
            assert sock.recv(1)
        program.send_signal(signal.SIGTERM)
        out, errors = program.communicate(timeout=LIMIT)
    assert program.returncode == 0, errors
    assert out.startswith("1 keys, saved")


def test_a_file_that_cannot_be_written_is_named_at_the_end(version: str, tmp_path: Path) -> None:
    """In one line, and the exit status is 1."""
    with running(version, tmp_path / "missing" / "keys.json") as (program, port):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
            sock.sendall(b"name secret\n")
            assert sock.recv(1)
        program.send_signal(signal.SIGTERM)
        out, errors = program.communicate(timeout=LIMIT)
    assert out.startswith("not saved: [Errno 2] No such file or directory: "), errors
    assert out.count("\n") == 1
    assert program.returncode == 1


def test_a_file_that_can_be_written_again_is_written(version: str, tmp_path: Path) -> None:
    """What has failed before does not count."""
    file = tmp_path / "later" / "keys.json"
    with running(version, file) as (program, port):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as sock:
            sock.sendall(b"name secret\n")
            assert sock.recv(1)
        file.parent.mkdir()
        program.send_signal(signal.SIGTERM)
        out, errors = program.communicate(timeout=LIMIT)
    assert out.startswith("1 keys, saved"), errors
    assert file.exists()
    assert program.returncode == 0
