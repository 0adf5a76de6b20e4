"""The live view: a textual program around what `_render` draws.

Asking is done in a thread, so that a process that does not answer leaves the keys alive. When the process ends the
view closes and `View.run` returns why; a process that merely does not answer keeps the last picture and says so.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Static

from ._client import Connection, Ended, Unreachable
from ._render import Observation, observe, render

__all__ = ["View"]


class View(App[str]):
    """The screen; returns the reason why it closed by itself, None after ``q``."""

    CSS = """
    #trouble { dock: top; height: auto; background: $error; color: $text; display: none; }
    VerticalScroll { overflow-x: hidden; scrollbar-size-vertical: 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("p", "pause", "Pause"),
        Binding("i", "idle", "Idle workers"),
        Binding("plus", "slower(0.5)", "Faster", key_display="+"),
        Binding("minus", "slower(2)", "Slower", key_display="-"),
    ]

    def __init__(self, pid: int, interval: float, stall: float) -> None:
        super().__init__()
        self.pid, self.interval, self.stall = pid, interval, stall
        self.show_idle, self.paused = True, False
        self._connection: Connection | None = None
        self._now: Observation | None = None
        self._before: Observation | None = None

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield Static(id="trouble")
        with VerticalScroll():
            yield Static(id="picture")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self.query_one(VerticalScroll).focus()
        self.run_worker(self._watch(), exclusive=True)

    async def _watch(self) -> None:
        while True:
            if not self.paused:
                try:
                    new = await asyncio.to_thread(self._ask)
                except Ended as error:
                    self.exit(str(error))
                    return
                except Unreachable as error:
                    if self._now is None:
                        self.exit(str(error))
                        return
                    self._trouble(str(error))
                else:
                    self._before, self._now = self._now, new
                    self._trouble(None)
                    self._draw()
            await asyncio.sleep(self.interval)

    def _ask(self) -> Observation:
        if self._connection is None:
            self._connection = Connection(self.pid)
        try:
            return observe(self._connection.ask("state"))
        except Unreachable:
            # After a time-out the late answer would be taken for the next one.
            self._connection.close()
            self._connection = None
            raise

    def _draw(self) -> None:
        if self._now is not None:
            self.query_one("#picture", Static).update(render(self._now, self._before, self.stall, self.show_idle))

    def _trouble(self, text: str | None) -> None:
        widget = self.query_one("#trouble", Static)
        widget.display = text is not None
        widget.update(Text(text or ""))

    def action_pause(self) -> None:
        """Stop or go on asking."""
        self.paused = not self.paused
        self._trouble("paused: p goes on" if self.paused else None)

    def action_idle(self) -> None:
        """Show or hide idle workers."""
        self.show_idle = not self.show_idle
        self._draw()

    def action_slower(self, factor: float) -> None:
        """Change the time between two looks."""
        self.interval = min(max(self.interval * factor, 0.1), 60.0)
        self.notify(f"every {self.interval:g} s", timeout=2)

    def on_unmount(self) -> None:
        """Leave the process alone."""
        if self._connection is not None:
            self._connection.close()
