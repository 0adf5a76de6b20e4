"""The example programs as their users run them: processes, judged by what they print and how they exit."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TREEHASH = EXAMPLES / "treehash" / "treehash.py"
BUS = EXAMPLES / "bus" / "bus.py"
PATIENCE = 60
WIDTH = 80

#: Runs treehash, but a moment before it opens the file argv[1], that file is removed.
VANISHING = """
import os, runpy, sys
victim, program = sys.argv[1:3]
sys.argv[:] = sys.argv[2:]
sys.path[0] = os.path.dirname(program)
def watch(event, arguments):
    if event == "open" and arguments[0] == victim and os.path.lexists(victim):
        os.unlink(victim)
sys.addaudithook(watch)
runpy.run_path(program, run_name="__main__")
"""


def environment() -> dict[str, str]:
    """Ours, with a terminal's width that does not depend on where the tests run."""
    return {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done


def expect(status: int, done: subprocess.CompletedProcess[str]) -> None:
    """Check the exit status, showing what the program printed."""
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"


def check_width(text: str) -> None:
    """Every line fits."""
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree: empty, small and large files, odd names, links."""
    root = tmp_path / "tree"
    for number in range(150):
        file = root / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * number)
    for number in range(6):
        (root / f"large{number}").write_bytes(os.urandom(1 << 20) * 2 + b"x" * number)
    (root / "exactly one block").write_bytes(bytes(1 << 20))
    (root / "line\nbreak \\ [bold]").write_text("odd")
    with open(os.fsencode(root) + b"/not utf-8 \xff", "wb") as odd:
        odd.write(b"odder")
    (root / "link").symlink_to("large0")
    return root


def files_below(root: Path) -> list[str]:
    """The path of each file below `root`."""
    return [os.path.join(directory, name) for directory, _, names in os.walk(root) for name in names]


def digests_of(root: Path) -> dict[str, str]:
    """Path and digest of each file below `root`, straight from hashlib."""
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files_below(root)}


def cpu_rows(output: str) -> list[tuple[str, str, str, str]]:
    """What the table of CPUs says: CPU, bound to, seen on, files."""
    return re.findall(r"^ +(\d+) +(\S+) +(\S+)(?: \(\d+x\))? +(\d+) ", output, re.MULTILINE)


def read_digests(file: Path) -> dict[str, str]:
    """What a file in the format of sha256sum says."""
    digests = {}
    for line in file.read_bytes().splitlines():
        digest, _, path = line.removeprefix(b"\\").partition(b"  ")
        if line.startswith(b"\\"):
            path = re.sub(rb"\\(.)", lambda escape: b"\n" if escape[1] == b"n" else escape[1], path)
        digests[os.fsdecode(path)] = digest.decode()
    return digests


def test_treehash_agrees_with_hashlib(tree: Path, tmp_path: Path) -> None:
    """All digests are right, those of the three passes are equal, and the tables say what was done."""
    file = tmp_path / "digests"

    done = run("-X", "dev", TREEHASH, tree, "--digests", file)

    expect(0, done)
    expected = digests_of(tree)
    assert read_digests(file) == expected
    assert f"{len(expected)} digests of all three compared: all equal." in done.stdout
    size = sum(os.path.getsize(path) for path in expected)
    assert re.search(rf"sequential hashlib +{len(expected)} +{size / 1e6:.1f} MB ", done.stdout)
    check_width(done.stdout.replace(str(file), ""))


def test_treehash_threads_were_where_they_should_be(tree: Path) -> None:
    """For each CPU that did something the table shows that its thread was bound to it and seen on it only."""
    done = run(TREEHASH, tree, "--no-compare")

    expect(0, done)
    rows = cpu_rows(done.stdout)
    assert {int(row[0]) for row in rows} == os.sched_getaffinity(0)
    busy = [row for row in rows if row[3] != "0"]
    assert busy
    assert [row for row in busy if not row[0] == row[1] == row[2]] == []


def test_treehash_reports_what_it_cannot_read_and_goes_on(tree: Path, tmp_path: Path) -> None:
    """A dangling link fails, a FIFO and a link to a directory are skipped; all else has its digest."""
    expected = digests_of(tree)
    (tree / "dangling").symlink_to("nowhere")
    (tree / "to a directory").symlink_to("d1")
    os.mkfifo(tree / "d1" / "fifo")
    file = tmp_path / "digests"

    done = run(TREEHASH, tree, "--digests", file)

    expect(1, done)
    assert f"treehash: {tree}/dangling: No such file or directory\n" in done.stderr
    assert "1 failed" in done.stderr
    assert "2 skipped" in done.stdout
    assert read_digests(file) == expected
    assert "all equal" in done.stdout


def test_treehash_survives_a_file_that_vanishes(tree: Path, tmp_path: Path) -> None:
    """A file that is there when the directory is listed and gone when it is opened is reported."""
    victim = tree / "d3" / "f3"
    file = tmp_path / "digests"

    done = run("-c", VANISHING, victim, TREEHASH, tree, "--digests", file)

    expect(1, done)
    assert not victim.exists()
    assert f"treehash: {victim}: No such file or directory\n" in done.stderr
    assert read_digests(file) == digests_of(tree)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_treehash_reports_a_directory_it_may_not_list(tree: Path) -> None:
    """Files below it are missing, which the exit status tells."""
    closed = tree / "d2"
    closed.chmod(0)
    try:
        done = run(TREEHASH, tree)
    finally:
        closed.chmod(0o755)

    expect(1, done)
    assert f"treehash: {closed}: Permission denied\n" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nowhere"], ["--then-wait", "nan"], ["--digests", "nowhere/file"], ["--no-such-option"]]
)
def test_treehash_usage(arguments: list[str]) -> None:
    """A command line that makes no sense has exit status 2 and a word about why."""
    done = run(TREEHASH, *arguments)

    expect(2, done)
    assert "treehash: error: " in done.stderr
    assert done.stdout == ""


def test_treehash_threads_leave_when_idle(tree: Path) -> None:
    """With the queues still open, the process ends up with no thread of ours."""
    done = run(TREEHASH, tree, "--no-compare", "--then-wait", "30")

    expect(0, done)
    lines = re.findall(r"^ +[\d.]+ s +(\d+) threads, +(\d+) of ours", done.stdout, re.MULTILINE)
    assert int(lines[0][1]) > 0
    assert lines[-1] == ("1", "0")
    check_width(done.stdout)


@pytest.fixture
def endless(tree: Path) -> Path:
    """A tree with a file that takes minutes to hash, after some that do not."""
    with open(tree / "zz endless", "wb") as file:
        file.truncate(400 << 30)
    return tree


def lines_of(descriptor: int) -> Iterator[str]:
    """Lines as they come from a pipe or terminal."""
    rest = b""
    while chunk := os.read(descriptor, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()


@pytest.mark.parametrize("terminal", [False, True])
def test_treehash_leaves_at_ctrl_c(endless: Path, tmp_path: Path, terminal: bool) -> None:
    """Within a second, with exit status 130 and a table of what was done; a terminal shows each CPU's file before."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    output = tmp_path / "output"
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [sys.executable, str(TREEHASH), str(endless)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=writer,
            env=environment(),
        )
    os.close(writer)
    try:
        shown = []
        for line in lines_of(reader):
            shown.append(line)
            if ("endless" if terminal else " files, ") in line:
                break
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        status = process.wait(PATIENCE)
        took = time.monotonic() - begun
    finally:
        process.kill()
        process.wait()
        os.close(reader)

    assert status == 130, shown
    assert took < 1.0
    text = output.read_text(encoding="utf-8")
    # How many of the small ones lie behind the endless one on its CPU is a matter of luck.
    assert 0 < sum(int(files) for _, _, _, files in cpu_rows(text)) < len(files_below(endless)), text
    check_width(text)
    if terminal:
        for line in shown:
            check_width(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).replace(str(endless), ""))


def test_bus_with_jobs_does_what_it_did_with_threads() -> None:
    """Both ways write the same logs; the jobs hold no thread when idle, and one each when all of them wait."""
    done = run(BUS)

    expect(0, done)
    assert done.stdout.count("the same from threads and jobs") == 4
    assert "all logs are identical" in done.stdout
    rows = dict(re.findall(r"^  (\S.*?) {2,}(\d+ +\d+)$", done.stdout, re.MULTILINE))
    counts = {text: tuple(map(int, numbers.split())) for text, numbers in rows.items()}
    assert counts["before anything happens"] == (16, 0)
    threads, jobs = counts["all activities wait at once"]
    assert threads == 16
    assert jobs >= 16  # more where the machine is busy
    assert counts["idle, idle time 200 ms"] == (16, 0)
    check_width(done.stdout)
