"""What the viewer shows: text that fits 80 columns, JSON, the drawing, and the live view in a real terminal."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from textual.widgets import Static

import threadpool9
from threadpool9_top import _proc, _render
from threadpool9_top.__main__ import main
from threadpool9_top._client import Connection, Unreachable
from threadpool9_top._drawing import draw
from threadpool9_top._live import View

LIMIT = 60.0
SERVE = "import threadpool9_top; threadpool9_top.serve()"
Start = Callable[..., Any]


def run(*arguments: str, columns: int = 80) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, its output in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "threadpool9_top", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "COLUMNS": str(columns)},
    )


def text_of(renderable: Any, columns: int = 80) -> str:
    """What stands on a terminal of that width."""
    out = io.StringIO()
    Console(file=out, width=columns, highlight=False, emoji=False).print(renderable)
    return out.getvalue()


def widest(text: str) -> int:
    """The longest line."""
    return max(map(len, text.splitlines()))


def test_dump_shows_everything_in_80_columns(start: Start) -> None:
    """Pools, the running worker with its job's name as it is, queues; rates after two looks."""
    observed = start(SERVE)
    shown = run("dump", str(observed.pid), "--stall", "0")

    assert shown.returncode == 0, shown.stderr
    assert widest(shown.stdout) <= 80
    for expected in ("pools", "workers", "wait for a [reply]", "running", "screen", "hashes", "(0/s)"):
        assert expected in shown.stdout
    assert "stalled" not in shown.stdout


def test_what_stalls_is_told_with_its_place(start: Start) -> None:
    """Longer than the limit of --stall, or of the process itself: marked, and where it is."""
    observed = start(SERVE, THREADPOOL9_STALL_MS="1")
    by_option = run("dump", str(observed.pid), "--stall", "0.001")
    by_tunable = run("dump", str(observed.pid))
    for shown in (by_option, by_tunable):
        (line,) = [line for line in shown.stdout.splitlines() if "! stalled" in line]
        assert "wait for a [reply]" in line
        assert "at  <string>:" in shown.stdout
        assert "Event.wait" not in shown.stdout
    stacks = run("dump", str(observed.pid), "--stacks").stdout
    assert "Event.wait" in stacks
    assert "_bootstrap" not in stacks


def test_dump_json_is_the_whole_answer(start: Start) -> None:
    """The same for programs, with stacks."""
    observed = start(SERVE)
    state = json.loads(run("dump", str(observed.pid), "--json").stdout)

    assert state["pid"] == observed.pid
    (worker,) = [worker for worker in state["threadpool9"]["workers"] if worker["job"]]
    assert worker["stack"][0].endswith(" fn")
    assert set(state) >= {"threadpool9", "task9", "workqueue9", "allowed"}


def test_list_and_a_pid_that_can_be_left_out(start: Start) -> None:
    """One process: no need to name it. Two: they are named."""
    first = start(SERVE)
    assert run("list").stdout.split()[0] == str(first.pid)
    assert run("dump").returncode == 0
    second = start(SERVE)
    refused = run("dump")
    assert refused.returncode == 1
    assert refused.stderr.startswith("threadpool9_top: say which process: ")
    assert {str(first.pid), str(second.pid)} <= set(refused.stderr.replace(",", "").split())


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["dump", "x"], 2, "a process id is a positive number, not 'x'"),
        (["dump", "0"], 2, "a process id is a positive number, not '0'"),
        (["dump", "--stall", "-1"], 2, "seconds are a number from 0 on, not '-1'"),
        (["dump"], 1, "no process of yours can be looked at: start one with THREADPOOL9_TOP=1"),
        (["--help"], 0, ""),
    ],
)
def test_misuse_is_told_in_one_line(arguments: list[str], status: int, says: str) -> None:
    """No traceback for what the user got wrong."""
    shown = run(*arguments)
    assert shown.returncode == status
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert widest(shown.stdout or "-") <= 80


def test_no_terminal_no_live_view(start: Start) -> None:
    """Into a pipe it says what to do instead."""
    shown = run(str(start(SERVE).pid))
    assert shown.returncode == 1
    assert "`dump` needs none" in shown.stderr


def test_topology_of_this_machine_and_of_a_process(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """HK-1: as many CPUs as the topology has, here and in a process that may use just one."""
    assert main(["topology"]) == 0
    assert f"machine: {len(threadpool9.topology())} CPUs" in capsys.readouterr().out
    cpu = threadpool9.allowed_cpus()[0]
    observed = start(f"os.sched_setaffinity(0, [{cpu}])\n{SERVE}")
    assert main(["topology", str(observed.pid)]) == 0
    assert " CPUs, " in capsys.readouterr().out


def test_a_big_machine_fits_80_columns() -> None:
    """256 CPUs on two packages with eight NUMA nodes: each CPU once, those that are not allowed in parentheses."""
    cpus = [
        {"cpu": n, "core": n % 64, "package": n % 128 // 64, "node": n % 128 // 16, "cache": n % 128 // 8}
        for n in range(256)
    ]
    shown = text_of(draw(cpus, set(range(0, 256, 2))))

    assert widest(shown) <= 80
    assert shown.count("NUMA node") == 8
    assert shown.count("last-level cache") == 16
    assert "256 CPUs, 128 of them allowed" in shown
    body = shown.replace("+", " ").split()
    assert all(body.count(str(n) if n % 2 == 0 else f"({n})") >= 1 for n in range(256))


def test_a_topology_that_knows_nothing_is_drawn() -> None:
    """-1 everywhere: no empty boxes, and CPUs are not taken for one core."""
    cpus = [{"cpu": n, "core": -1, "package": -1, "node": -1, "cache": -1} for n in range(3)]
    shown = text_of(draw(cpus, {0, 1}))
    assert "0  1  (2)" in shown
    assert not any(word in shown for word in ("package", "node", "cache"))


def observation(**changes: Any) -> _render.Observation:
    """An answer with extreme values."""
    counters = dict.fromkeys(
        ("scheduled", "started", "completed", "cancelled", "errors", "threads_started", "threads_left"), 10**9
    )
    counters["start_failures"] = 3
    pool = {
        "pri": 223, "cpu": 1023, "references": 100, "workers": 5000, "idle": 4000, "queued": ["x"] * 5000,
        "policy": "SCHED_RR 96", "refused": "SCHED_RR 96 refused (Operation not permitted), running at nice -20",
        "cpu_lost": True, "counters": counters,
    }  # fmt: skip
    worker = {
        "pool_pri": 223, "pool_cpu": 1023, "tid": 4194304, "cpu": 1023, "state": "running", "since": 1e6,
        "job": "a\nvery long\x1b[2Jname of a job [bold] " * 5, "scheduling": "SCHED_RR 96", "stack": [], "at": "x" * 99,
    }  # fmt: skip
    lane = {"cpu": 1023, "pending": 10**7, "running": ["<Task 'x'>"] * 9, "started": 10**9, "errors": 10**6}
    work = {
        "name": "q" * 99, "enqueued": 10**9, "started": 10**9, "completed": 10**9, "cancelled": 10**6, "errors": 10**6,
        "pending": 10**6, "running": 5000, "run_seconds": 1e12,
    }  # fmt: skip
    state: dict[str, Any] = {
        "pid": 4194304, "program": ["/usr/bin/python", "x" * 200], "python": "3.14.0 without GIL", "now": 10.0,
        "allowed": list(range(0, 1024, 2)), "stall_ms": 0,
        "threadpool9": {"pools": [pool], "workers": [worker], "counters": counters, "probe_errors": 7},
        "task9": {"queues": [{"name": "n" * 99, "shared": False, "frozen": True, "lanes": [lane]}], "armed": 10**6},
        "workqueue9": {"queues": [work]},
    }  # fmt: skip
    state.update(changes)
    return _render.Observation(state, _proc.Process(_proc.Usage("S", 1e6, 1), 0.0, {}), 1e8)


def test_extreme_values_fit_80_columns() -> None:
    """Long names and big numbers are cut, not wrapped; brackets in names are no markup."""
    before, now = observation(now=9.0), observation()
    shown = text_of(_render.render(now, before, stall=5))

    assert widest(shown) <= 80
    assert "a very long?[2" in shown
    assert "\x1b" not in shown
    assert "! stalled" in shown
    assert "7 errors in plugins" in shown


def test_queues_that_get_on_are_not_stalled() -> None:
    """A lane is one job for a long time; it is stuck only if its tasks do not follow each other."""
    before, now = observation(now=9.0), observation()
    for look in (before, now):
        look.state["threadpool9"]["workers"][0]["job"] = "n" * 99
    assert "! stalled" in text_of(_render.render(now, before, stall=5))
    now.state["task9"]["queues"][0]["lanes"][0]["started"] += 1
    assert "! stalled" not in text_of(_render.render(now, before, stall=5))


def test_tp35_the_watchdogs_word_counts() -> None:
    """TP-35: what the process's own watchdog has reported is red, whatever the viewer thinks of it."""
    now = observation()
    now.state["threadpool9"]["workers"][0].update(since=0.1, stalled=True)
    assert "! stalled" in text_of(_render.render(now, None, stall=5))
    now.state["threadpool9"]["workers"][0]["stalled"] = False
    assert "! stalled" not in text_of(_render.render(now, None, stall=5))


def test_a_layer_that_fails_hides_no_other() -> None:
    """The answer of a broken snapshot is its error."""
    shown = text_of(_render.render(observation(task9={"error": "KeyError(1)"}), None, stall=5))
    assert "! task9 has no snapshot: KeyError(1)" in shown
    assert "work queues" in shown
    shown = text_of(_render.render(observation(threadpool9={"error": "KeyError(1)"}), None, stall=5))
    assert "! threadpool9 has no snapshot: KeyError(1)" in shown


def test_numbers_and_times_are_short() -> None:
    """At most five and seven characters."""
    for n in (0, 9999, 10_000, 999_999, 10**6, 10**9 - 1, 10**12):
        assert len(_render.number(n)) <= 6
    for seconds in (0, 0.0004, 0.9999, 59.99, 60, 3599, 3600, 359_999, 360_000, 8e6):
        assert len(_render.duration(seconds)) <= 7
    assert _render.ranges([3, 0, 1, 2, 8]) == "0-3,8"


@pytest.mark.once
def test_the_live_view_follows_the_process(start: Start) -> None:
    """It shows the job, hides idle workers on demand, pauses, and closes with the reason when the process ends."""
    observed = start(SERVE)

    async def look() -> str | None:
        view = View(observed.pid, interval=0.1, stall=1000)
        async with view.run_test(size=(80, 40)) as pilot:

            def shown() -> str:
                content = view.query_one("#picture", Static).content
                return "" if isinstance(content, str) else text_of(content)

            async def until(condition: Callable[[], bool], what: str) -> None:
                deadline = time.monotonic() + LIMIT
                while not condition():
                    assert time.monotonic() < deadline, f"{what}: {shown()}"
                    await pilot.pause(0.02)

            await until(lambda: "wait for a [reply]" in shown() and "/s)" in shown(), "the job is not shown")
            assert widest(shown()) <= 80
            await until(lambda: " idle " in shown(), "the idle worker is not shown")
            await pilot.press("i")
            await until(lambda: " idle " not in shown(), "idle workers are still shown")
            await pilot.press("p")
            assert view.paused
            await pilot.press("p", "plus")
            assert view.interval == 0.05 or view.interval == 0.1
            observed.process.kill()
            await until(lambda: view.return_value is not None, "the view stays although the process has ended")
        return view.return_value

    assert asyncio.run(look()) == f"process {observed.pid} has ended or stopped serving"


@pytest.mark.once
def test_a_process_that_does_not_answer_leaves_the_view_alive(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped: the view says so and keeps the picture; continued: it goes on."""
    monkeypatch.setattr("threadpool9_top._client._PATIENCE", 0.3)
    observed = start(SERVE)

    async def look() -> None:
        view = View(observed.pid, interval=0.1, stall=1000)
        async with view.run_test(size=(80, 24)) as pilot:

            async def until(condition: Callable[[], bool]) -> None:
                deadline = time.monotonic() + LIMIT
                while not condition():
                    assert time.monotonic() < deadline
                    await pilot.pause(0.02)

            trouble = view.query_one("#trouble", Static)
            await until(lambda: view._now is not None)
            os.kill(observed.pid, signal.SIGSTOP)
            await until(lambda: trouble.display)
            assert "gave no answer" in str(trouble.content)
            os.kill(observed.pid, signal.SIGCONT)
            await until(lambda: not trouble.display)

    asyncio.run(look())


def test_a_stopped_process_is_an_error_with_a_reason(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out says what may be the matter."""
    monkeypatch.setattr("threadpool9_top._client._PATIENCE", 0.3)
    observed = start(SERVE)
    os.kill(observed.pid, signal.SIGSTOP)
    with Connection(observed.pid) as connection, pytest.raises(Unreachable, match="it is stopped, or some thread"):
        connection.ask("state")


@pytest.mark.once
def test_the_live_view_in_a_terminal(start: Start) -> None:
    """On a real pty of 80 columns: the command draws, q ends it with status 0 and the terminal as it was."""
    observed = start(SERVE)
    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(terminal)
    view = subprocess.Popen(
        [sys.executable, "-m", "threadpool9_top", str(observed.pid)],
        stdin=terminal, stdout=terminal, stderr=terminal, env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    try:
        read_until(main_end, b"pools")
        os.write(main_end, b"q")
        deadline = time.monotonic() + LIMIT
        while view.poll() is None:
            assert time.monotonic() < deadline
            if select.select([main_end], [], [], 0.05)[0]:
                os.read(main_end, 65536)
        assert view.returncode == 0
        assert termios.tcgetattr(terminal) == before
    finally:
        view.kill()
        view.wait()
        os.close(terminal)
        os.close(main_end)


def read_until(descriptor: int, word: bytes) -> bytes:
    """What the terminal is sent up to `word`."""
    seen, deadline = b"", time.monotonic() + LIMIT
    while word not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([descriptor], [], [], 1)[0]:
            seen += os.read(descriptor, 65536)
    return seen


@pytest.mark.once
def test_the_example_can_be_looked_at() -> None:
    """`example/busy.py` prints the command that shows it; its stuck job is found, and it ends in good order."""
    example = Path(__file__).parent.parent / "example" / "busy.py"
    with subprocess.Popen(
        [sys.executable, str(example), "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as busy:
        try:
            assert busy.stdout is not None
            words = busy.stdout.readline().split()
            shown = run("dump", words[-1], "--stall", "0.001")
            assert "! stalled" in shown.stdout
            assert "wait for a reply" in shown.stdout
            busy.send_signal(signal.SIGINT)
            _, errors = busy.communicate(timeout=LIMIT)
            assert (busy.returncode, errors) == (0, "")
        finally:
            busy.kill()
