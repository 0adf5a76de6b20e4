"""What the daemon says when its file can't be written; the rest is in ``tests/system/test_programs.py``."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

LIMIT = patience(60.0)
HERE = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.once


@pytest.mark.parametrize("version", ["daemon", "plain"])
def test_a_file_that_cannot_be_written_is_named_at_the_end(version: str, tmp_path: Path) -> None:
    """In one line, and the exit status is 1."""
    config = tmp_path / "config.json"
    config.write_text('{"prefix": "one", "period": 0.05}')
    program = subprocess.Popen(
        [sys.executable, HERE / f"{version}.py", config, tmp_path / "missing" / "out", "5"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "configured one\n"
        port = int(program.stdout.readline().removeprefix("port "))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"record", ("127.0.0.1", port))
        # Until it has it: a signal may overtake a datagram.
        assert program.stdout.readline() == "flushing 1\n"
        program.send_signal(signal.SIGTERM)
        out, errors = program.communicate(timeout=LIMIT)
    finally:
        program.kill()
        program.communicate()
    last = out.splitlines()[-1]
    assert last.startswith("not all was written: FileNotFoundError "), (out, errors)
    assert "missing" in last
    assert program.returncode == 1
