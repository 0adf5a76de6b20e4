"""From a page to what stands on the screen: rich renderables, used by `dump` and the live view alike.

Everything fits 80 columns: numbers are short, names are cut with an ellipsis; a wider screen has more columns. What is
wrong is red, or reversed where there are no colours (NO_COLOR), and carries a "!".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import _proc
from ._wire import name

__all__ = ["COLUMNS", "TITLES", "Column", "Observation", "head", "is_stalled", "name", "observe", "ranges", "table"]

#: Red on a dark screen becomes dark grey where colours are taken away.
WRONG = "bold reverse" if os.environ.get("NO_COLOR") else "bold red"
#: From how many columns on a screen is a wide one.
WIDE, WIDER = 110, 140
BARS = " ▁▂▃▄▅▆▇█"

Row = Mapping[str, Any]
TITLES = {
    "workers": "workers",
    "pools": "pools",
    "tasks": "task queues, and those that work queues are made of",
    "works": "work queues",
}


@attrs.frozen
class Observation:
    """What the process said, and what the kernel says about it, at about the same moment."""

    page: Mapping[str, Any]
    process: _proc.Process
    boot_age: float


def observe(page: Mapping[str, Any]) -> Observation:
    """Add the kernel's view to an answer of the process."""
    return Observation(page, _proc.look(page["head"]["pid"]), _proc.since_boot())


def number(value: float) -> str:
    """A count in at most six characters."""
    if value < 1e4:
        return f"{value:.0f}"
    for unit in "kMG":
        value /= 1000
        if value < 999.95:
            return f"{value:.1f}{unit}"
    return f"{value:.0f}G"


def duration(seconds: float) -> str:
    """A time in at most seven characters."""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f}us" if seconds else "0ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 100 else f"{hours // 24}d{hours % 24:02}h"


def ranges(numbers: Iterable[int]) -> str:
    """CPU numbers the way the kernel lists them: "0-3,8"."""
    pieces: list[list[int]] = []
    for n in sorted(numbers):
        if pieces and n == pieces[-1][1] + 1:
            pieces[-1][1] = n
        else:
            pieces.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pieces) or "none"


def priority(pri: int, cpu: int | None) -> str:
    """A pool's name, as its threads carry it after "poolthread"."""
    return ("" if cpu is None else f"/{cpu}") + ("" if pri < 0 else f"@{pri}") or "any"


def short(place: str) -> str:
    """ "file:line function" with the file's last part only."""
    path, _, rest = place.rpartition(":")
    return f"{os.path.basename(path)}:{rest}" if path else place


def sparkline(counts: Sequence[int]) -> str:
    """The waiting times of a work queue in few characters: from a microsecond on, two powers of two in each."""
    pairs = [sum(counts[n : n + 2]) for n in range(10, 36, 2)] if counts else []
    most = max(pairs, default=0)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] if most else " " for count in pairs)


# --- the lines above the tables


def _seconds(now: Observation, before: Observation | None) -> float:
    return max(0.0, now.page["head"]["now"] - before.page["head"]["now"]) if before is not None else 0.0


def head(now: Observation, before: Observation | None) -> Iterator[Text]:
    """Who is looked at, and what it did altogether."""
    told, process = now.page["head"], now.process
    command = " ".join(os.path.basename(word) if n == 0 else word for n, word in enumerate(told["program"]))
    yield Text.assemble((str(told["pid"]), "bold"), f" {name(command)}", no_wrap=True, overflow="ellipsis")
    facts = [f"Python {told['python']}", f"{len(process.threads)} threads"]
    if process.whole is not None:
        facts.append(f"up {duration(max(0.0, now.boot_age - process.started))}")
        if before is not None and before.process.whole is not None and (seconds := _seconds(now, before)):
            facts.append(f"CPU {100 * (process.whole.cpu_seconds - before.process.whole.cpu_seconds) / seconds:.0f}%")
        else:
            facts.append(f"CPU {duration(process.whole.cpu_seconds)}")
    facts.append(f"may use CPU {ranges(told['allowed'])}")
    yield Text(" · ".join(facts), overflow="ellipsis", no_wrap=True)
    if told["trouble"] is not None:
        yield Text(f"! threadpool9 has no snapshot: {told['trouble']}", style=WRONG)
        return
    counters = told["counters"]
    rate = f" ({number(told['rate'])}/s)" if told["rate"] is not None else ""
    text = Text(
        f"jobs: {number(counters['scheduled'])} scheduled, "
        f"{number(counters['started'] - counters['completed'])} in flight, "
        f"{number(counters['completed'])} completed{rate}, {number(counters['cancelled'])} cancelled",
        overflow="ellipsis",
        no_wrap=True,
    )
    if counters["errors"]:
        text.append(f", ! {number(counters['errors'])} errors", style=WRONG)
    yield text
    text = Text(
        f"threads: {number(counters['threads_started'])} started, {number(counters['threads_left'])} left",
        overflow="ellipsis",
        no_wrap=True,
    )
    if counters["start_failures"]:
        text.append(f", ! {number(counters['start_failures'])} refused by the system", style=WRONG)
    yield text
    if told["hook_errors"]:
        yield Text(f"! {number(told['hook_errors'])} errors in plugins", style=WRONG)


# --- the tables


@attrs.frozen
class Context:
    """What a cell may need besides its row."""

    now: Observation
    before: Observation | None
    stall: float


@attrs.frozen
class Column:
    """A column: its heading, the field that it is sorted by, ``<``, ``>`` or ``*`` (takes what is left), and a cell."""

    heading: str
    field: str
    kind: str
    cell: Callable[[Row, Context], Text | str]
    #: Shown on screens of that width only.
    width: int = 0


def _count(field: str) -> Callable[[Row, Context], str]:
    return lambda row, _: number(row[field])


def _rate(field: str = "rate") -> Callable[[Row, Context], str]:
    return lambda row, _: "-" if row[field] is None else number(row[field])


def _time(field: str) -> Callable[[Row, Context], str]:
    return lambda row, _: "-" if row[field] is None else duration(row[field])


def _errors(row: Row, _: Context) -> Text:
    return Text(number(row["errors"]), style=WRONG if row["errors"] else "")


def _policy(row: Row, _: Context) -> Text:
    return Text("! " + "; ".join(row["trouble"]), style=WRONG) if row["trouble"] else Text(row["policy"])


def is_stalled(row: Row, stall: float) -> bool:
    """Whether a worker runs one job for longer than `stall` seconds (0: never), or its process says it is stuck."""
    if not stall or row["state"] == "idle":
        return False
    # The process's own watchdog, where it is on, also sees tasks that are stuck in a queue that is one long job.
    return bool(row["reported"]) or (row["since"] > stall and not row["alive"])


def _state(row: Row, context: Context) -> str:
    return "! stalled" if is_stalled(row, context.stall) else str(row["state"])


def _where(row: Row, context: Context) -> str:
    if row["cpu"] is not None:
        return f"={row['cpu']}"  # bound to it; else where it was last
    usage = context.now.process.threads.get(row["tid"])
    return "-" if usage is None else str(usage.cpu)


def _os(row: Row, context: Context) -> str:
    usage = context.now.process.threads.get(row["tid"])
    return "-" if usage is None else usage.state


def _percent(row: Row, context: Context) -> str:
    usage = context.now.process.threads.get(row["tid"])
    earlier = context.before.process.threads.get(row["tid"]) if context.before is not None else None
    seconds = _seconds(context.now, context.before)
    if usage is None or earlier is None or not seconds:
        return "-"
    return f"{100 * (usage.cpu_seconds - earlier.cpu_seconds) / seconds:.0f}"


COLUMNS: dict[str, tuple[Column, ...]] = {
    "workers": (
        Column("TID", "tid", ">", lambda row, _: str(row["tid"])),
        Column("POOL", "pri", "<", lambda row, _: priority(row["pri"], row["pool_cpu"])),
        Column("CPU", "cpu", ">", _where),
        Column("OS", "", "<", _os),
        Column("CPU%", "", ">", _percent),
        Column("STATE", "state", "<", _state),
        Column("SINCE", "since", ">", _time("since")),
        Column("SCHED", "scheduling", "<", lambda row, _: row["scheduling"], WIDER),
        Column("JOB", "job", "*", lambda row, _: row["job"]),
        Column("AT", "", "*", lambda row, _: short(row["at"]), WIDE),
    ),
    "pools": (
        Column("POOL", "pri", "<", lambda row, _: priority(row["pri"], row["cpu"])),
        Column("REFS", "references", ">", _count("references")),
        Column("WORK", "working", ">", _count("working")),
        Column("IDLE", "idle", ">", _count("idle")),
        Column("WAIT", "waiting", ">", _count("waiting")),
        Column("DONE", "completed", ">", _count("completed")),
        Column("/s", "rate", ">", _rate()),
        Column("ERR", "errors", ">", _errors),
        Column("PRIORITY", "policy", "*", _policy),
        Column("NEXT", "", "*", lambda row, _: ", ".join(row["next"]), WIDE),
    ),
    "tasks": (
        Column("QUEUE", "queue", "*", lambda row, _: row["queue"] + (" (frozen)" if row["frozen"] else "")),
        Column("CPU", "cpu", ">", lambda row, _: "any" if row["cpu"] is None else str(row["cpu"])),
        Column("WAIT", "waiting", ">", _count("waiting")),
        Column("RUNS", "runs", ">", _count("runs")),
        Column("/s", "rate", ">", _rate()),
        Column("ERR", "errors", ">", _errors),
        Column("RUNNING", "running", "*", lambda row, _: ", ".join(row["running"])),
    ),
    "works": (
        Column("QUEUE", "queue", "*", lambda row, _: row["queue"]),
        Column("WAIT", "waiting", ">", _count("waiting")),
        Column("RUN", "running", ">", _count("running")),
        Column("IN", "enqueued", ">", _count("enqueued")),
        Column("/s", "enqueued_rate", ">", _rate("enqueued_rate")),
        Column("DONE", "completed", ">", _count("completed")),
        Column("/s", "rate", ">", _rate()),
        Column("CANC", "cancelled", ">", _count("cancelled")),
        Column("ERR", "errors", ">", _errors),
        Column("MEAN", "mean", ">", _time("mean")),
        Column("WAIT50", "p50", ">", _time("p50"), WIDE),
        Column("WAIT95", "p95", ">", _time("p95"), WIDE),
        Column("1us WAITED 1min", "", "<", lambda row, _: sparkline(row["waits"]), WIDER),
    ),
}


def columns(tab: str, width: int) -> list[Column]:
    """The columns of a tab that a screen of that width has."""
    return [column for column in COLUMNS[tab] if width >= column.width]


def _quiet(tab: str, row: Row) -> bool:
    match tab:
        case "workers":
            return bool(row["state"] == "idle")
        case "pools":
            return not (row["working"] or row["waiting"])
    return not (row["running"] or row["waiting"])


def table(
    now: Observation, before: Observation | None, stall: float, width: int, title: str = "", selected: int = -1
) -> RenderableType:
    """The rows of a page. A worker that runs one job for longer than `stall` seconds (0: never) stands out."""
    page, context = now.page, Context(now, before, stall)
    tab = page["tab"]
    if page["trouble"] is not None:
        return Text(f"! {LAYER[tab]} has no snapshot: {page['trouble']}", style=WRONG)
    chosen = columns(tab, width)
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, expand=True,
        header_style="bold",
    )  # fmt: skip
    for column in chosen:
        if column.kind == "*":
            made.add_column(column.heading, ratio=1, no_wrap=True, overflow="ellipsis")
        else:
            made.add_column(column.heading, justify="right" if column.kind == ">" else "left", no_wrap=True)
    for index, row in enumerate(page["rows"]):
        stalled = tab == "workers" and is_stalled(row, stall)
        style = WRONG if stalled else "dim" if _quiet(tab, row) else ""
        if index == selected:
            style = f"{style} reverse".replace("dim ", "") if "reverse" not in style else f"{style} underline"
        cells = [column.cell(row, context) for column in chosen]
        made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells), style=style)
        if stalled and width < WIDE and selected < 0:
            place = Text(short(row["at"]), style=WRONG)
            made.add_row(*([""] * (len(chosen) - 2)), Text("at", style=WRONG), place)
    if not page["rows"]:
        made.add_row(Text("none", style="dim"))
    return made


LAYER = {"workers": "threadpool9", "pools": "threadpool9", "tasks": "task9", "works": "workqueue9"}


def render(pages: Iterable[Observation], before: Observation | None, stall: float, width: int) -> RenderableType:
    """All tabs, one below the other, as `dump` shows them."""
    parts: list[RenderableType] = []
    for now in pages:
        page = now.page
        if not parts:
            parts += head(now, before)
        if page["head"]["trouble"] is not None and LAYER[page["tab"]] == "threadpool9":
            continue
        if page["rows"] or page["trouble"] is not None or LAYER[page["tab"]] == "threadpool9":
            delayed = f" ({number(page['armed'])} delayed)" if page["armed"] else ""
            parts += ["", table(now, before, stall, width, TITLES[page["tab"]] + delayed)]
    return Group(*parts)
