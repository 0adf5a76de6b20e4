"""TP-8: CPUs that the process may use go and come back while it works, taken by taskset's call or by a cpuset.

The program under test is `cpuset_program.py`, with a process of its own: what happens to it must come from outside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pace import patience

LIMIT = patience(60.0)
PROGRAM = Path(__file__).with_name("cpuset_program.py")
CPUS = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = [
    pytest.mark.xdist_group("cpus"),  # each keeps every CPU busy, and both take and keep the same ones
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this OS does not bind threads to CPUs"),
    pytest.mark.skipif(len(CPUS) < 2, reason="one CPU cannot be taken from one"),
]


class Program:
    """A running `cpuset_program.py`."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.first = self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the program ended: {self.process.communicate()[1]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command, return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def until(self, right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look until it is right; what is wrong after the limit is shown."""
        deadline = time.monotonic() + LIMIT
        while True:
            answer = self.ask("look")
            if right(answer):
                return answer
            assert time.monotonic() < deadline, answer

    def stop(self) -> tuple[dict[str, Any], str]:
        """End it in good order: the counts and what it said on stderr."""
        answer = self.ask("stop")
        return answer, self.process.communicate(timeout=LIMIT)[1]


@contextmanager
def program() -> Iterator[Program]:
    """Run the program, and see that it ends."""
    running = Program()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.communicate()


def taskset(pid: int, cpus: set[int]) -> None:
    """What ``taskset -ap`` does: every thread there is, one after the other."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(tid), cpus)
        except ProcessLookupError:
            continue  # it has just left


class Cpuset:
    """A cpuset of our own below the one that this process is in, cgroup v1 or v2; only the program is put there."""

    def __init__(self, name: str) -> None:
        self.path: Path | None = None
        self.why = "no cpuset controller is mounted"
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, where, kind, options = line.split()[:4]
            if kind == "cgroup" and "cpuset" in options.split(","):
                self._try(Path(where) / self._own(":cpuset:") / name)
            elif kind == "cgroup2" and "cpuset" in (Path(where) / "cgroup.controllers").read_text().split():
                self._try(Path(where) / self._own("0::") / name)
            if self.path is not None:
                return

    @staticmethod
    def _own(tag: str) -> str:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        return next((line.split(":", 2)[2].lstrip("/") for line in lines if tag in line), "")

    def _try(self, path: Path) -> None:
        try:
            path.mkdir()
        except OSError as refusal:
            self.why = f"a cpuset cannot be made here: {refusal}"
            return
        try:
            if not (path / "cpuset.cpus").exists():
                raise OSError(f"{path} has no cpuset.cpus: the controller is not switched on for it")
            mems = path / "cpuset.mems"
            if not mems.read_text().strip():
                mems.write_text((path.parent / "cpuset.mems").read_text() or "0")
            (path / "cpuset.cpus").write_text(",".join(map(str, CPUS)))
        except OSError as refusal:
            self.why = f"a cpuset cannot be set up here: {refusal}"
            path.rmdir()
            return
        self.path = path

    def adopt(self, pid: int) -> None:
        """Move a process in, with all its threads."""
        assert self.path is not None
        (self.path / "cgroup.procs").write_text(str(pid))

    def allow(self, cpus: set[int]) -> None:
        """Change what it allows."""
        assert self.path is not None
        (self.path / "cpuset.cpus").write_text(",".join(map(str, cpus)))

    def remove(self) -> None:
        """Remove it; its processes have ended, the kernel may need a moment to know."""
        deadline = time.monotonic() + LIMIT
        while self.path is not None:
            try:
                self.path.rmdir()
                return
            except OSError:
                assert time.monotonic() < deadline, f"{self.path} is still in use"
                time.sleep(0.01)


@pytest.fixture
def cpuset() -> Iterator[Cpuset]:
    """A cpuset, or a skip that says why not."""
    group = Cpuset(f"section9-test-{os.getpid()}")
    if group.path is None:
        pytest.skip(group.why)
    yield group
    group.remove()


KEPT, LOST = CPUS[:1], CPUS[1:]
LOST_POOLS = sorted([pri, cpu] for pri in (-1, 1, 2) for cpu in LOST)  # the program uses these priorities


def everything_on_what_remains(answer: dict[str, Any]) -> bool:
    """Every pool and lane runs on the CPUs that are left, and the pools of the others are known as lost."""
    named = [str(cpu) for cpu in CPUS] + [f"task {cpu}" for cpu in CPUS] + ["unbound"]
    return (
        all(answer[name] == [KEPT, KEPT[0]] for name in named)
        and answer["lost"] == LOST_POOLS
        and answer["allowed"] == KEPT
    )


def everything_bound_again(answer: dict[str, Any]) -> bool:
    """Every pool and lane is bound to its own CPU, the unbound one to none, and nothing is lost."""
    return (
        all(answer[name.format(cpu)] == [[cpu], cpu] for cpu in CPUS for name in ("{}", "task {}"))
        and answer["unbound"][0] == CPUS
        and answer["lost"] == []
        and answer["allowed"] == CPUS
    )


def take_and_give_back(running: Program, allow: Callable[[set[int]], None], rounds: int) -> None:
    """The clause, round after round under load."""
    assert everything_bound_again(running.first), running.first
    for n in range(1, rounds + 1):
        allow(set(KEPT))
        running.until(everything_on_what_remains)
        for _ in range(20):  # and it stays so: no worker goes back to what was taken
            answer = running.ask("look")
            assert everything_on_what_remains(answer), answer
        allow(set(CPUS))

        def told_once_each_time(answer: dict[str, Any], n: int = n) -> bool:
            told = [[event, *pool] for event in ("lost", "restored") for pool in LOST_POOLS * n]
            return sorted(answer["events"]) == sorted(told)

        # What is told comes after the change that a snapshot shows, by a thread that the load may keep from it.
        running.until(lambda answer: everything_bound_again(answer) and told_once_each_time(answer))
        answer = running.ask("look")
        assert everything_bound_again(answer), answer
        assert told_once_each_time(answer), answer["events"]
    counts, stderr = running.stop()
    assert counts["ran"] == counts["asked"]
    assert min(counts["asked"].values()) > 0
    # Python's default filters show a text once a place; here all are shown: one for each pool that lost its CPU.
    assert stderr.count("RuntimeWarning") == len(LOST_POOLS) * rounds, stderr


def test_tp8_taskset_takes_a_cpu_and_gives_it_back_under_load() -> None:
    """TP-8: sched_setaffinity on every thread from outside, as ``taskset -ap`` does it."""
    with program() as running:
        take_and_give_back(running, lambda cpus: taskset(running.process.pid, cpus), 5)


def test_tp8_a_cpuset_takes_a_cpu_and_gives_it_back_under_load(cpuset: Cpuset) -> None:
    """TP-8: a cpuset, where the kernel refuses what is outside of it."""
    with program() as running:
        cpuset.adopt(running.process.pid)
        take_and_give_back(running, cpuset.allow, 5)
