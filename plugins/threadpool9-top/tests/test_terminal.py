"""The live view in a real terminal emulator, which tells what stands on its screen and in which attributes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LIMIT = 60.0
SERVE = "import threadpool9_top; threadpool9_top.serve()"
pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed (Debian package tmux)"),
]


class Terminal:
    """A tmux server of our own with one terminal."""

    def __init__(self, socket: Path, columns: int, lines: int, command: list[str], **environment: str) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]
        size = ["-x", str(columns), "-y", str(lines)]
        plain = {
            name: text for name, text in os.environ.items() if name not in ("TMUX", "NO_COLOR", "COLUMNS", "LINES")
        }
        settings = [word for name, text in environment.items() for word in ("-e", f"{name}={text}")]
        subprocess.run([*self._tmux, "new-session", "-d", *size, *settings, *command], env=plain, check=True)

    def screen(self, *options: str) -> str:
        """What stands there."""
        shown = subprocess.run([*self._tmux, "capture-pane", "-p", *options], capture_output=True, text=True)
        return shown.stdout

    def press(self, *keys: str) -> None:
        """As if typed."""
        subprocess.run([*self._tmux, "send-keys", *keys], check=True)

    def until(self, condition: Callable[[str], object]) -> str:
        """Wait until the screen is like that; the screen."""
        deadline = time.monotonic() + LIMIT
        while not condition(shown := self.screen()):
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        return shown

    def close(self) -> None:
        """End it with what runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def terminal(runtime: Path) -> Iterator[Callable[..., Terminal]]:
    """Start the view of a process in a terminal of some size."""
    opened: list[Terminal] = []

    def go(pid: int, columns: int = 80, lines: int = 24, *options: str, **environment: str) -> Terminal:
        command = [sys.executable, "-m", "threadpool9_top", str(pid), *options]
        socket = runtime / f"tmux{len(opened)}"
        opened.append(Terminal(socket, columns, lines, command, XDG_RUNTIME_DIR=str(runtime), **environment))
        return opened[-1]

    yield go
    for each in opened:
        each.close()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (160, 45)])
def test_the_screen_is_used(start: Any, terminal: Callable[..., Terminal], columns: int, lines: int) -> None:
    """A large one shows where each worker is and the stack of the selected one; on a small one nothing is cut off."""
    shown = terminal(start(SERVE).pid, columns, lines).until(
        lambda text: "wait for a [reply]" in text and "q Quit" in text and (columns == 80 or "Event.wait" in text)
    )
    rows = shown.strip().splitlines()
    assert "q Quit" in rows[-1]
    assert max(map(len, rows)) <= columns
    assert ("Event.wait" in shown) == (columns > 80)
    assert (" AT\n" in shown) == (columns > 80)


@pytest.mark.parametrize("colours", [True, False], ids=["colours", "NO_COLOR"])
def test_a_stalled_row_can_be_read(start: Any, terminal: Callable[..., Terminal], colours: bool) -> None:
    """Red; and without colours reversed, since a dark red would become a dark grey on black."""
    observed = start(SERVE + "; pool.post(threadpool9.Job(fn, name='the second'))")
    tty = terminal(observed.pid, 80, 24, "--stall", "0.001", **({} if colours else {"NO_COLOR": "1"}))
    tty.until(lambda text: text.count("! stalled") == 2)
    tty.press("Home")
    tty.until(lambda text: text.count("! stalled") == 2)
    stalled = [line for line in tty.screen("-e").splitlines() if "! stalled" in line]
    assert len(stalled) == 2
    codes = {code for attributes in re.findall(r"\x1b\[([\d;]*)m", stalled[1]) for code in attributes.split(";")}
    assert ("7" in codes) == (not colours)


def test_keys(start: Any, terminal: Callable[..., Terminal]) -> None:
    """Tabs by number and by Tab, help over the picture, a filter, and q."""
    tty = terminal(start(SERVE).pid)
    tty.until(lambda text: "wait for a [reply]" in text)
    tty.press("2")
    tty.until(lambda text: "PRIORITY" in text)
    tty.press("Tab")
    tty.until(lambda text: "screen" in text)
    tty.press("?")
    tty.until(lambda text: "Any key closes this" in text)
    tty.press("x")
    tty.until(lambda text: "Any key closes this" not in text)
    tty.press("/")
    tty.until(lambda text: "show only names" in text)
    tty.press("screen", "Enter")
    tty.until(lambda text: "with 'screen'" in text and "hashes" not in text and "q Quit" in text)
    tty.press("q")
    deadline = time.monotonic() + LIMIT
    while tty.screen():  # the server ends with its only terminal
        assert time.monotonic() < deadline
        time.sleep(0.05)
