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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pace import patience
from rich.console import Console
from textual.widgets import Input, Static

import threadpool9
from threadpool9_top import _proc, _render, _wire
from threadpool9_top.__main__ import main
from threadpool9_top._client import Connection, Unreachable
from threadpool9_top._detail import histogram
from threadpool9_top._drawing import draw
from threadpool9_top._live import Help, View

LIMIT = patience(60.0)
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


@pytest.mark.once
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
@pytest.mark.once
def test_misuse_is_told_in_one_line(arguments: list[str], status: int, says: str) -> None:
    """No traceback for what the user got wrong."""
    shown = run(*arguments)
    assert shown.returncode == status
    assert says in shown.stderr
    assert "Traceback" not in shown.stderr
    assert widest(shown.stdout or "-") <= 80


@pytest.mark.once
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


COUNTERS = dict.fromkeys(
    ("scheduled", "started", "completed", "cancelled", "errors", "threads_started", "threads_left", "start_failures"),
    10**9,
)
#: A page of each tab with extreme values.
ROWS: dict[str, dict[str, Any]] = {
    "pools": {
        "key": "1", "pri": 223, "cpu": 1023, "references": 100, "working": 1000, "idle": 4000, "waiting": 5000,
        "completed": 10**9, "rate": 1e9, "errors": 10**9, "policy": "SCHED_RR 96", "next": ["x" * 99] * 50,
        "trouble": ["its CPU is gone", "SCHED_RR 96 refused (Operation not permitted), running at nice -20"],
    },
    "workers": {
        "key": "4194304", "pri": 223, "pool_cpu": 1023, "tid": 4194304, "cpu": 1023, "state": "running", "since": 1e6,
        "job": "a\nvery long\x1b[2Jname of a job [bold] " * 5, "scheduling": "SCHED_RR 96", "reported": False,
        "alive": False, "at": "/y/x.py:1 " + "x" * 99, "stack": [],
    },
    "tasks": {
        "key": "n", "queue": "n" * 99, "shared": False, "frozen": True, "cpu": 1023, "waiting": 10**7, "runs": 10**9,
        "rate": 1e9, "errors": 10**6, "running": ["<Task 'x'>"] * 9,
    },
    "works": {
        "key": "q", "queue": "q" * 99, "waiting": 10**6, "running": 5000, "enqueued": 10**9, "enqueued_rate": 1e9,
        "completed": 10**9, "rate": 1e9, "cancelled": 10**6, "errors": 10**6, "mean": 1e5, "p50": 1e5, "p95": 1e6,
        "waits": [10**9] * 64,
    },
}  # fmt: skip


def observation(tab: str = "workers", **changes: Any) -> _render.Observation:
    """An answer with extreme values, as the viewer has it."""
    head = {
        "pid": 4194304, "program": ["/usr/bin/python", "x" * 200], "python": "3.14.0 without GIL", "now": 10.0,
        "allowed": list(range(0, 1024, 2)), "stall_ms": 0, "counters": COUNTERS, "rate": 1e9, "hook_errors": 7,
        "pools": 9, "workers": 5000, "trouble": None,
    }  # fmt: skip
    page: dict[str, Any] = {
        "protocol": _wire.PROTOCOL, "head": head, "tab": tab, "rows": [dict(ROWS[tab])], "offset": 0, "cursor": 0,
        "total": 1, "of": 1, "armed": 10**6, "trouble": None, "cost": 0.0,
    }  # fmt: skip
    page.update(changes)
    page = {**_wire.check(page, _wire.PAGE, "it"), "rows": _wire.check(page["rows"], [_wire.ROWS[tab]], "rows")}
    return _render.Observation(page, _proc.Process(_proc.Usage("S", 1e6, 1), 0.0, {}), 1e8)


def whole(stall: float = 5, width: int = 80, **changes: Any) -> str:
    """All tabs as `dump` shows them."""
    pages = [observation(tab, **changes) for tab in ("pools", "workers", "tasks", "works")]
    return text_of(_render.render(pages, pages[0], stall, width), width)


@pytest.mark.parametrize("width", [80, 110, 160])
def test_extreme_values_fit_the_screen(width: int) -> None:
    """Long names and big numbers are cut, not wrapped; brackets in names are no markup; a wide screen shows more."""
    shown = whole(width=width)

    assert widest(shown) <= width
    assert "a very long?[2" in shown
    assert "\x1b" not in shown
    assert "! stalled" in shown
    assert "7 errors in plugins" in shown
    assert ("WAIT95" in shown) == (width >= 110)
    assert ("WAITED" in shown) == (width >= 140)


def test_queues_that_get_on_are_not_stalled() -> None:
    """A lane is one job for a long time; it is stuck only if its tasks do not follow each other."""
    row = ROWS["workers"]
    assert _render.is_stalled(row, 5)
    assert not _render.is_stalled({**row, "alive": True}, 5)
    assert not _render.is_stalled({**row, "state": "idle"}, 5)
    assert not _render.is_stalled(row, 0)


def test_tp35_the_watchdogs_word_counts() -> None:
    """TP-35: what the process's own watchdog has reported is red, whatever the viewer thinks of it."""
    row = {**ROWS["workers"], "since": 0.1, "alive": True}
    assert _render.is_stalled({**row, "reported": True}, 5)
    assert not _render.is_stalled(row, 5)


def test_a_layer_that_fails_hides_no_other() -> None:
    """The answer of a broken snapshot is its error."""
    pages = [observation("pools"), observation("tasks", trouble="KeyError(1)", rows=[]), observation("works")]
    shown = text_of(_render.render(pages, None, 5, 80))
    assert "! task9 has no snapshot: KeyError(1)" in shown
    assert "work queues" in shown
    head = {**observation().page["head"], "trouble": "KeyError(1)"}
    shown = whole(head=head)
    assert "! threadpool9 has no snapshot: KeyError(1)" in shown
    assert "work queues" in shown


def test_the_histogram_of_waiting_adds_up() -> None:
    """Every count is in one line, the lines fit, and the longest bar is the largest count's."""
    counts = [0] * 64
    counts[12], counts[13], counts[20], counts[35] = 5, 50, 500, 7
    for height in (1, 2, 3, 8, 40):
        lines = histogram(counts, 80, height)
        assert 1 <= len(lines) <= height
        assert sum(int(line.split()[3]) for line in lines) == 562
        assert all(len(line) <= 80 for line in lines)
        assert max(lines, key=lambda line: line.count("█")) == max(lines, key=lambda line: int(line.split()[3]))
    assert histogram([0] * 64, 80, 5) == []
    assert histogram(counts, 80, 0) == []
    assert len(_render.sparkline(counts)) == len(_render.sparkline([0] * 64)) == 13


def test_numbers_and_times_are_short() -> None:
    """At most five and seven characters."""
    for n in (0, 9999, 10_000, 999_999, 10**6, 10**9 - 1, 10**12):
        assert len(_render.number(n)) <= 6
    for seconds in (0, 0.0004, 0.9999, 59.99, 60, 3599, 3600, 359_999, 360_000, 8e6):
        assert len(_render.duration(seconds)) <= 7
    assert _render.ranges([3, 0, 1, 2, 8]) == "0-3,8"


class Looking:
    """A live view under a pilot, and what it shows."""

    def __init__(self, view: View, pilot: Any) -> None:
        self.view, self.pilot = view, pilot

    def part(self, name: str) -> str:
        """What one part of the screen shows."""
        content = self.view.query_one(name, Static).content
        return content if isinstance(content, str) else text_of(content, self.view.size.width)

    def rows(self) -> list[str]:
        """The rows of the table."""
        return self.part("#table").splitlines()[1:]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Poll: the process does not announce what it does."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.part('#tabs')}{self.part('#table')}"
            await self.pilot.pause(0.02)


def looked_at(
    pid: int, looks: Callable[[Looking], Awaitable[None]], size: tuple[int, int] = (80, 40), **options: Any
) -> str | None:
    """Run `looks` on a live view of that size; why the view closed."""

    async def run_it() -> str | None:
        view = View(pid, **{"interval": 0.1, "stall": 1000, **options})
        async with view.run_test(size=size) as pilot:
            looking = Looking(view, pilot)
            await looking.until(lambda: view._now is not None, "nothing is shown")
            await looks(looking)
        return view.return_value

    return asyncio.run(run_it())


@pytest.mark.once
def test_the_live_view_follows_the_process(start: Start) -> None:
    """It shows the job, hides idle workers on demand, pauses, and closes with the reason when the process ends."""
    observed = start(SERVE)

    async def looks(at: Looking) -> None:
        await at.until(lambda: "wait for a [reply]" in at.part("#table"), "the job is not shown")
        await at.until(lambda: "/s)" in at.part("#head"), "no rate is shown")
        assert widest(at.part("#table")) <= 80
        await at.until(lambda: " idle " in at.part("#table"), "the idle worker is not shown")
        await at.pilot.press("i")
        await at.until(lambda: " idle " not in at.part("#table"), "idle workers are still shown")
        await at.pilot.press("p")
        assert at.view.paused
        await at.pilot.press("p", "plus")
        assert at.view.interval == 0.1
        await at.pilot.press("minus")
        assert at.view.interval == 0.2
        observed.process.kill()
        await at.until(lambda: at.view.return_value is not None, "the view stays although the process has ended")

    assert looked_at(observed.pid, looks) == f"process {observed.pid} has ended or stopped serving"


MANY = """
queues = [task9.TaskQueue(f"queue {n:04}") for n in range(1200)]
works = [workqueue9.WorkQueue(f"works {n:04}", lambda work, arg: None) for n in range(1200)]
for n in range(7):
    works[500].enqueue(workqueue9.Work())
works[500].flush()
"""


@pytest.mark.once
def test_of_many_queues_only_those_that_are_seen_are_sent(start: Start) -> None:
    """2400 queues: a page has as many rows as there is room for, from where one looks; sorted and filtered there."""
    observed = start(SERVE, after=MANY)
    sent: list[int] = []

    async def looks(at: Looking) -> None:
        inner = at.view._accept

        def accept(asked: Any, new: Any) -> None:
            sent.append(len(new.page["rows"]))
            inner(asked, new)

        at.view._accept = accept  # type: ignore[method-assign]
        await at.pilot.press("4")
        await at.until(lambda: "works 0000" in at.part("#table"), "the first work queues are not shown")
        assert "4 Work queues 1201" in at.part("#tabs")
        await at.pilot.press("end")
        await at.until(lambda: "works 1199" in at.rows()[-1], "the last one is not shown")
        await at.pilot.press("pageup")
        await at.until(lambda: "works 1199" not in at.part("#table"), "a page up shows the same")
        while at.view.query_.sort != "completed":
            await at.pilot.press("s")
        await at.pilot.press("home")
        await at.until(lambda: "works 0500" in at.rows()[0], "the busiest queue is not first")
        await at.until(lambda: "how long the works of works 0500 waited" in at.part("#detail"), "no histogram")
        assert "█" in at.part("#detail")
        await at.pilot.press("r")
        await at.until(lambda: "works 0500" in at.rows()[-1], "reversed it is not last, and followed there")
        await at.pilot.press("slash")
        await at.until(lambda: isinstance(at.view.focused, Input), "nothing asks for the text")
        await at.pilot.press(*"050", "enter")
        await at.until(lambda: "with '050'" in at.part("#tabs"), "no filter is told")
        await at.until(lambda: any("works 0500" in row for row in at.rows()), "the filter hides what it is for")
        assert all("050" in row for row in at.rows())
        await at.pilot.press("escape")
        await at.until(lambda: "works 0001" in at.part("#table"), "the filter stays")
        await at.pilot.press("3")
        await at.until(lambda: "queue 0000" in at.part("#table"), "the task queues are not shown")

    looked_at(observed.pid, looks)
    assert len(sent) > 5
    assert max(sent) < 40


@pytest.mark.once
def test_the_selected_workers_stack(start: Start) -> None:
    """A tall screen shows it; Enter hides it and shows it on a small one; it follows the worker, not the row."""
    observed = start(SERVE)

    async def looks(at: Looking) -> None:
        await at.until(lambda: "Event.wait" in at.part("#detail"), "no stack is shown")
        assert "runs wait for a [reply]" in at.part("#detail")
        await at.pilot.press("enter")
        assert not at.view.query_one("#detail", Static).display
        tid = at.view.query_.key
        assert tid in at.part("#table")
        await at.pilot.press("r")
        await at.until(lambda: tid in at.rows()[-1], "the order is the same")
        assert at.view.query_.key == tid
        await at.pilot.press("question_mark")
        await at.until(lambda: isinstance(at.view.screen, Help), "no help")
        await at.pilot.press("x")
        await at.until(lambda: not isinstance(at.view.screen, Help), "help stays")

    looked_at(observed.pid, looks)

    async def on_a_small_one(at: Looking) -> None:
        assert not at.view.query_one("#detail", Static).display
        await at.pilot.press("enter")
        await at.until(lambda: "Event.wait" in at.part("#detail"), "no stack is shown")

    looked_at(observed.pid, on_a_small_one, size=(80, 24))


@pytest.mark.once
def test_a_stopped_process_is_stale_within_two_seconds(start: Start) -> None:
    """Stopped: the view says so and keeps the picture, and its keys work; continued: it goes on; it quits at once."""
    observed = start(SERVE)

    async def looks(at: Looking) -> None:
        trouble = at.view.query_one("#trouble", Static)
        os.kill(observed.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        await at.until(lambda: trouble.display, "nothing is said")
        assert time.monotonic() - stopped < 2
        assert f"process {observed.pid} is stopped" in str(trouble.content)
        assert "wait for a [reply]" in at.part("#table")
        await at.pilot.press("enter")
        assert not at.view.query_one("#detail", Static).display
        os.kill(observed.pid, signal.SIGCONT)
        await at.until(lambda: not trouble.display, "it goes on and is still called stopped")
        os.kill(observed.pid, signal.SIGSTOP)
        await at.until(lambda: trouble.display, "nothing is said")

    looked_at(observed.pid, looks)
    os.kill(observed.pid, signal.SIGCONT)


KEEPS_THE_GIL = """
import ctypes, signal
# PyDLL keeps the GIL during the call: all that a process of one GIL can do is wait.
signal.signal(signal.SIGUSR1, lambda *_: ctypes.PyDLL(None).sleep(4))
"""


@pytest.mark.once
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL to keep")
def test_a_process_that_does_not_answer_is_stale_too(start: Start) -> None:
    """One that runs and does not answer: said within two seconds, and gone when it answers."""
    observed = start(SERVE + KEEPS_THE_GIL, after="threading.Thread(target=sys.stdin.read, daemon=True)")

    async def looks(at: Looking) -> None:
        trouble = at.view.query_one("#trouble", Static)
        os.kill(observed.pid, signal.SIGUSR1)
        sent = time.monotonic()
        await at.until(lambda: trouble.display, "nothing is said")
        assert time.monotonic() - sent < 2.5
        assert "does not answer" in str(trouble.content)
        await at.until(lambda: not trouble.display, "it answers and is still called stale")

    looked_at(observed.pid, looks)


def test_a_stopped_process_is_an_error_with_a_reason(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where it is stopped already; else the time-out says what may be the matter."""
    monkeypatch.setattr("threadpool9_top._client._PATIENCE", 0.3)
    observed = start(SERVE)
    with Connection(observed.pid) as connection:
        os.kill(observed.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, observed.pid, os.WSTOPPED | os.WNOWAIT)  # it may take the kernel a moment
        with pytest.raises(Unreachable, match="it is stopped, or some thread"):
            connection.state()
    with pytest.raises(Unreachable, match=f"is stopped and can't answer; `kill -CONT {observed.pid}`"):
        Connection(observed.pid)
    os.kill(observed.pid, signal.SIGCONT)


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
        read_until(main_end, b"Workers")
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
