"""The live view: a textual program around what `_render` draws.

It asks for the rows that it has room for and no others, so a process with thousands of queues is as quick to look at
as a small one; and it asks the more seldom the more an answer costs the process. Asking is done in a thread, so that
a process that does not answer leaves the keys alive. Twice a second it looks whether the picture is still true: a
process that was stopped or gives no answer is said to be so within two seconds, and the last picture stays. When the
process ends the view closes and `View.run` returns why.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, ClassVar

import attrs
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static

from . import _proc
from ._client import Connection, Ended, Unreachable
from ._detail import detail
from ._render import Observation, columns, duration, head, observe, table
from ._wire import TABS, Query

__all__ = ["View"]

_TABS = {"workers": "Workers", "pools": "Pools", "tasks": "Task queues", "works": "Work queues"}
#: Seconds that an answer may take before the picture is called stale, and between two looks at that.
_PATIENCE, _TICK = 1.2, 0.5
#: Of the process's time, what looking at it may take.
_SHARE = 0.1

HELP = """\
1 2 3 4, Tab      workers, pools, task queues, work queues
Up Down PgUp PgDn Home End    select a row
Enter             show or hide what is known of the selected row:
                  a worker's stack, how long works waited, what is next
s S               sort by the next column, by the one before
r                 reverse the order
/ Esc             only rows with some text in their name; all rows
i                 idle workers on and off
p                 pause
+ -               look more often, less often
q                 quit

A worker is "! stalled" if it runs one job for longer than the limit.
CPU =1 is bound to CPU 1, CPU 1 was there last. OS is the kernel's state:
R on a CPU or ready, S asleep, D in the kernel, T stopped.
Any key closes this."""


class Help(ModalScreen[None]):
    """What the keys do."""

    CSS = """
    Help { align: center middle; }
    #help { width: 78; height: auto; max-height: 100%; border: round $primary; padding: 0 1; }
    """

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(Text(HELP), id="help")

    def on_key(self) -> None:
        """Any key."""
        self.dismiss()


class View(App[str]):
    """The screen; returns the reason why it closed by itself, None after ``q``."""

    CSS = """
    #trouble { height: auto; background: $error; color: $text; text-style: bold; display: none; }
    #head { height: auto; }
    #tabs { height: 1; margin-top: 1; }
    #table { height: 1fr; }
    #detail { height: 33%; min-height: 5; border-top: solid $primary; display: none; }
    #filter { display: none; height: 1; border: none; padding: 0; }
    """
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = ""  # not the line for the filter, which would take the keys
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", show=False),
        Binding("r", "reverse", "Reverse"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("enter", "detail", "Detail"),
        Binding("p", "pause", "Pause"),
        Binding("i", "idle", "Idle"),
        Binding("plus", "slower(0.5)", "Faster", key_display="+", show=False),
        Binding("minus", "slower(2)", "Slower", key_display="-", show=False),
        Binding("tab", "tab(1)", show=False, priority=True),
        Binding("shift+tab", "tab(-1)", show=False, priority=True),
        Binding("escape", "no_filter", show=False),
        Binding("down", "move(1)", show=False),
        Binding("up", "move(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("home", "move(-1000000000)", show=False),
        Binding("end", "move(1000000000)", show=False),
        *(Binding(str(n), f"choose('{tab}')", show=False) for n, tab in enumerate(TABS, 1)),
    ]

    def __init__(self, pid: int, interval: float, stall: float) -> None:
        super().__init__()
        self.pid, self.interval, self.stall = pid, interval, stall
        self.paused = False
        self.query_ = Query(stall=stall)
        self._detail: bool | None = None  # None: as there is room
        self._places: dict[str, Query] = {}  # of the other tabs: where one was, and the order
        self._connection: Connection | None = None
        self._now: Observation | None = None
        self._before: Observation | None = None
        self._asked: float | None = None  # since when an answer is waited for
        self._answered = monotonic()
        self._wake = asyncio.Event()
        # Not looked up when they are needed: that finds nothing while help is in front, or on the way out.
        self._parts = {part: Static(id=part) for part in ("trouble", "head", "tabs", "table", "detail")}
        self._entry = Input(placeholder="show only names with this in them; Enter", id="filter")

    def compose(self) -> ComposeResult:
        """Lay the screen out."""
        yield from self._parts.values()
        yield self._entry
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self.run_worker(self._watch(), exclusive=True)
        self.set_interval(_TICK, self._tick)

    def on_resize(self) -> None:
        """There is room for more rows, or for fewer."""
        self._wake.set()

    # --- asking

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            if not self.paused and not self._is_stopped():
                asked = attrs.evolve(self.query_, limit=self._room())
                try:
                    self._asked = monotonic()
                    new = await asyncio.to_thread(self._ask, asked)
                except Ended as error:
                    self.exit(str(error))
                    return
                except Unreachable as error:
                    if self._now is None:
                        self.exit(str(error))
                        return
                    self._trouble(str(error))
                else:
                    self._answered = monotonic()
                    self._trouble(None)
                    self._accept(asked, new)
                finally:
                    self._asked = None
            pause = self.interval
            if self._now is not None:
                pause = max(pause, self._now.page["cost"] / _SHARE)
            try:
                await asyncio.wait_for(self._wake.wait(), min(pause, 60.0))
            except TimeoutError:
                pass

    def _ask(self, query: Query) -> Observation:
        if self._connection is None:
            self._connection = Connection(self.pid)
        try:
            return observe(self._connection.page(query))
        except Unreachable:
            # After a time-out the late answer would be taken for the next one.
            self._connection.close()
            self._connection = None
            raise

    def _accept(self, asked: Query, new: Observation) -> None:
        page = new.page
        self._before, self._now = self._now, new
        if asked.tab != self.query_.tab:
            return  # a key was faster; the next answer is under way
        changes: dict[str, Any] = {"offset": page["offset"]}
        if (asked.cursor, asked.key) == (self.query_.cursor, self.query_.key):
            changes["cursor"] = page["cursor"]
            selected = page["cursor"] - page["offset"]
            changes["key"] = page["rows"][selected]["key"] if 0 <= selected < len(page["rows"]) else ""
        self.query_ = attrs.evolve(self.query_, **changes)
        self._draw()

    def _is_stopped(self) -> bool:
        whole = _proc.look_whole(self.pid)
        return whole is not None and whole.state in "Tt"

    def _tick(self) -> None:
        """Say so when the picture is not true any more."""
        if self.paused or self._now is None:
            return
        age = duration(monotonic() - self._answered)
        if self._is_stopped():
            self._trouble(f"STALE for {age}: process {self.pid} is stopped (SIGSTOP, or a debugger)")
        elif self._asked is not None and monotonic() - self._asked > _PATIENCE:
            self._trouble(f"STALE for {age}: process {self.pid} does not answer; some thread keeps the GIL?")

    def on_unmount(self) -> None:
        """Leave the process alone."""
        if (connection := self._connection) is not None:
            connection.interrupt()  # the thread that waits for an answer would hold up our exit

    # --- drawing

    def _room(self) -> int:
        return max(1, self._parts["table"].size.height - 1)

    def _draw(self) -> None:
        now = self._now
        if now is None or now.page["tab"] != self.query_.tab:
            return
        page, query = now.page, self.query_
        before = self._before if self._before is not None and self._before.page["tab"] == query.tab else None
        self._parts["head"].update(Text("\n").join(head(now, self._before)))
        self._parts["tabs"].update(self._tab_line())
        selected = query.cursor - page["offset"]
        width = self.size.width
        self._parts["table"].update(table(now, before, self.stall, width, selected=selected))
        panel = self._parts["detail"]
        panel.display = self.size.height >= 30 if self._detail is None else self._detail
        if panel.display and 0 <= selected < len(page["rows"]):
            height = max(2, panel.content_size.height or self.size.height // 3 - 1)
            panel.update(detail(query.tab, page["rows"][selected], width, height))
        elif panel.display:
            panel.update("")

    def _tab_line(self) -> Text:
        assert self._now is not None
        page, query = self._now.page, self.query_
        counts = {"workers": page["head"]["workers"], "pools": page["head"]["pools"], query.tab: page["of"]}
        text = Text(no_wrap=True, overflow="ellipsis")
        for n, tab in enumerate(TABS, 1):
            label = f"{n} {_TABS[tab]}" + (f" {counts[tab]}" if tab in counts else "")
            text.append(f" {label} ", style="bold reverse" if tab == query.tab else "")
            text.append(" ")
        first, last = page["offset"] + 1, page["offset"] + len(page["rows"])
        if last < page["total"] or first > 1:
            text.append(f" {first}-{last} of {page['total']}")
        if query.sort or query.reverse:
            heading = next((c.heading for c in columns(query.tab, 999) if c.field == query.sort), "usual order")
            text.append(f"  by {heading}{' reversed' if query.reverse != bool(query.sort) else ''}")
        if query.filter:
            text.append(f"  with {query.filter!r}", style="bold")
        if page["armed"]:
            text.append(f"  {page['armed']} delayed")
        return text

    def _trouble(self, text: str | None) -> None:
        widget = self._parts["trouble"]
        widget.display = text is not None
        widget.update(Text(text or ""))

    # --- keys

    def _change(self, **changes: Any) -> None:
        self.query_ = attrs.evolve(self.query_, **changes)
        self._draw()
        self._wake.set()

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Help())

    def action_choose(self, tab: str) -> None:
        """Go to a tab; what was chosen there the last time is kept."""
        self._places[self.query_.tab] = self.query_
        self._change(**attrs.asdict(self._places.get(tab, Query(tab, stall=self.stall, idle=self.query_.idle))))

    def action_tab(self, step: int) -> None:
        """Go to the next tab, or the one before."""
        self.action_choose(TABS[(TABS.index(self.query_.tab) + step) % len(TABS)])

    def action_move(self, rows: int) -> None:
        """Select another row."""
        total = self._now.page["total"] if self._now is not None else 1
        self._change(cursor=max(0, min(self.query_.cursor + rows, total - 1)), key="")

    def action_page(self, direction: int) -> None:
        """Select a row a page away."""
        room = self._room()
        self.query_ = attrs.evolve(self.query_, offset=max(0, self.query_.offset + direction * room))
        self.action_move(direction * room)

    def action_sort(self, step: int) -> None:
        """Sort by another column: numbers begin with the largest."""
        fields = ["", *(c.field for c in columns(self.query_.tab, self.size.width) if c.field)]
        here = fields.index(self.query_.sort) if self.query_.sort in fields else 0
        field = fields[(here + step) % len(fields)]
        self._change(sort=field, reverse=field not in ("", "queue", "job", "pri", "state", "policy", "tid"))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._change(reverse=not self.query_.reverse)

    def action_filter(self) -> None:
        """Ask for the text."""
        entry = self._entry
        entry.display = True
        entry.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as one types."""
        self._change(filter=event.value[:200], cursor=0, offset=0, key="")

    def on_input_submitted(self) -> None:
        """The text is as it should be."""
        self._entry.display = False
        self.set_focus(None)

    def action_no_filter(self) -> None:
        """Show all rows."""
        entry = self._entry
        entry.value = ""
        entry.display = False
        self.set_focus(None)
        self._change(filter="")

    def action_detail(self) -> None:
        """Show or hide what is known of the selected row."""
        self._detail = not self._parts["detail"].display
        self._draw()
        self._wake.set()

    def action_pause(self) -> None:
        """Stop or go on asking."""
        self.paused = not self.paused
        self._trouble("paused: p goes on" if self.paused else None)
        self._wake.set()

    def action_idle(self) -> None:
        """Show or hide idle workers."""
        self._change(idle=not self.query_.idle)

    def action_slower(self, factor: float) -> None:
        """Change the time between two looks."""
        self.interval = min(max(self.interval * factor, 0.1), 60.0)
        self.notify(f"every {self.interval:g} s", timeout=2)
