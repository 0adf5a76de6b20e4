"""From two observations to what stands on the screen: rich renderables, used by `dump` and the live view alike.

Everything fits 80 columns: numbers are short, names are cut with an ellipsis. What is wrong is red and carries a
"!", so that it is seen without colours too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import _proc

__all__ = ["Observation", "observe", "render"]

_RED = "bold red"


@attrs.frozen
class Observation:
    """What the process said, and what the kernel says about it, at about the same moment."""

    state: Mapping[str, Any]
    process: _proc.Process
    boot_age: float


def observe(state: Mapping[str, Any]) -> Observation:
    """Add the kernel's view to an answer of the process."""
    return Observation(state, _proc.look(state["pid"]), _proc.since_boot())


def name(text: object) -> str:
    """A name from the program as one line; what a terminal would take for a command becomes a "?"."""
    line = " ".join(str(text).split())
    return "".join(character if character.isprintable() else "?" for character in line)


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
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 100 else f"{hours // 24}d{hours % 24:02}h"


def priority(pri: int, cpu: int | None) -> str:
    """A pool's name, as its threads carry it after "poolthread"."""
    return ("" if cpu is None else f"/{cpu}") + ("" if pri < 0 else f"@{pri}") or "any"


def _table(title: str, *columns: tuple[str, str]) -> Table:
    """A table without lines; a column is ("name", "<" | ">" | "*"): left, right, or left and taking what is left."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, expand=True)
    for name, kind in columns:
        if kind == "*":
            table.add_column(name, ratio=1, no_wrap=True, overflow="ellipsis")
        else:
            table.add_column(name, justify="right" if kind == ">" else "left", no_wrap=True)
    return table


class _Rates:
    """Events per second between two observations."""

    def __init__(self, now: Mapping[str, Any], before: Mapping[str, Any] | None) -> None:
        self.seconds = now["now"] - before["now"] if before is not None else 0.0

    def __call__(self, now: float, before: float | None) -> str:
        if self.seconds <= 0 or before is None:
            return "-"
        return number(max(0.0, now - before) / self.seconds)


def render(now: Observation, before: Observation | None, stall: float, idle: bool = True) -> RenderableType:
    """The whole screen. A worker that runs one job for longer than `stall` seconds (0: never) is red."""
    state = now.state
    past = before.state if before is not None else None
    rates = _Rates(state, past)
    parts: list[RenderableType] = [*_header(now, before, rates)]
    own = state["threadpool9"]
    if "error" in own:
        parts.append(Text(f"! threadpool9 has no snapshot: {own['error']}", style=_RED))
    else:
        parts += ["", _pools(own, past, rates), "", _workers(now, before, stall, idle, rates)]
    for layer, show in (("task9", _task_queues), ("workqueue9", _work_queues)):
        if layer not in state:
            continue
        if "error" in state[layer]:
            parts.append(Text(f"! {layer} has no snapshot: {state[layer]['error']}", style=_RED))
        elif state[layer]["queues"]:
            parts += ["", show(state[layer], (past or {}).get(layer), rates)]
    return Group(*parts)


def _header(now: Observation, before: Observation | None, rates: _Rates) -> Iterable[RenderableType]:
    state, process = now.state, now.process
    command = " ".join(os.path.basename(word) if n == 0 else word for n, word in enumerate(state["program"]))
    yield Text.assemble((str(state["pid"]), "bold"), f" {name(command)}", no_wrap=True, overflow="ellipsis")
    facts = [f"Python {state['python']}", f"{len(process.threads)} threads"]
    if process.whole is not None:
        facts.append(f"up {duration(max(0.0, now.boot_age - process.started))}")
        if before is not None and before.process.whole is not None and rates.seconds > 0:
            spent = process.whole.cpu_seconds - before.process.whole.cpu_seconds
            facts.append(f"CPU {100 * spent / rates.seconds:.0f}%")
        else:
            facts.append(f"CPU {duration(process.whole.cpu_seconds)}")
    facts.append(f"may use CPU {ranges(state['allowed'])}")
    yield Text(" · ".join(facts), overflow="ellipsis", no_wrap=True)
    counters = state["threadpool9"].get("counters")
    if counters is None:
        return
    past = before.state["threadpool9"].get("counters") if before is not None else None
    words = [
        f"jobs: {number(counters['scheduled'])} scheduled",
        f"{number(counters['started'] - counters['completed'])} in flight",
        f"{number(counters['completed'])} completed"
        + (f" ({rates(counters['completed'], past['completed'])}/s)" if past else ""),
        f"{number(counters['cancelled'])} cancelled",
    ]
    text = Text(", ".join(words), overflow="ellipsis", no_wrap=True)
    if counters["errors"]:
        text.append(f", ! {number(counters['errors'])} errors", style=_RED)
    yield text
    text = Text(
        f"threads: {number(counters['threads_started'])} started, {number(counters['threads_left'])} left",
        overflow="ellipsis",
        no_wrap=True,
    )
    if counters["start_failures"]:
        text.append(f", ! {number(counters['start_failures'])} refused by the system", style=_RED)
    yield text
    if failures := state["threadpool9"].get("probe_errors"):
        yield Text(f"! {number(failures)} errors in plugins", style=_RED)


def _pools(own: Mapping[str, Any], past: Mapping[str, Any] | None, rates: _Rates) -> Table:
    table = _table(
        "pools", ("POOL", "<"), ("REFS", ">"), ("WORK", ">"), ("IDLE", ">"), ("WAIT", ">"),
        ("DONE", ">"), ("/s", ">"), ("ERR", ">"), ("PRIORITY", "*"),
    )  # fmt: skip
    earlier = {}
    if past is not None:
        earlier = {(pool["pri"], pool["cpu"]): pool["counters"] for pool in past["threadpool9"].get("pools", ())}
    for pool in sorted(own["pools"], key=lambda pool: (pool["pri"], -1 if pool["cpu"] is None else pool["cpu"])):
        done = pool["counters"]["completed"]
        before = earlier.get((pool["pri"], pool["cpu"]))
        trouble = ["its CPU is gone"] if pool["cpu_lost"] else []
        if pool["refused"]:
            trouble.append(pool["refused"])
        table.add_row(
            priority(pool["pri"], pool["cpu"]),
            str(pool["references"]),
            number(pool["workers"] - pool["idle"]),
            number(pool["idle"]),
            number(len(pool["queued"])),
            number(done),
            rates(done, before["completed"] if before else None),
            _errors(pool["counters"]["errors"]),
            Text("! " + name("; ".join(trouble)), style=_RED) if trouble else Text(pool["policy"]),
        )
    if not own["pools"]:
        table.add_row(Text("none", style="dim"))
    return table


def _errors(count: int) -> Text:
    return Text(number(count), style=_RED if count else "")


def _workers(now: Observation, before: Observation | None, stall: float, idle: bool, rates: _Rates) -> Table:
    table = _table(
        "workers", ("TID", ">"), ("POOL", "<"), ("CPU", ">"), ("OS", "<"), ("CPU%", ">"), ("STATE", "<"),
        ("SINCE", ">"), ("JOB", "*"),
    )  # fmt: skip
    workers = now.state["threadpool9"]["workers"]
    alive = _alive(now.state, before.state if before is not None else {})
    shown = [worker for worker in workers if idle or worker["state"] != "idle"]
    # Longest running first: what hangs is what one looks for.
    for worker in sorted(shown, key=lambda worker: (worker["state"] == "idle", -worker["since"], worker["tid"])):
        tid = worker["tid"]
        usage = now.process.threads.get(tid)
        earlier = before.process.threads.get(tid) if before is not None else None
        percent = "-"
        if usage is not None and earlier is not None and rates.seconds > 0:
            percent = f"{100 * (usage.cpu_seconds - earlier.cpu_seconds) / rates.seconds:.0f}"
        long = worker["since"] > stall and worker["job"] not in alive
        # The process's own watchdog, where it is on, also sees tasks that are stuck in a queue that is one long job.
        stalled = bool(stall) and worker["state"] != "idle" and (long or worker.get("stalled", False))
        # "=3" is bound to CPU 3, "3" was there last.
        where = f"={worker['cpu']}" if worker["cpu"] is not None else "-" if usage is None else str(usage.cpu)
        table.add_row(
            str(tid),
            priority(worker["pool_pri"], worker["pool_cpu"]),
            where,
            "-" if usage is None else usage.state,
            percent,
            "! stalled" if stalled else worker["state"],
            duration(worker["since"]),
            Text(name(worker["job"] or "")),
            style=_RED if stalled else "dim" if worker["state"] == "idle" else "",
        )
        if stalled:
            table.add_row("", "", "", "", "", "", "at", Text(_short(name(worker["at"]))), style=_RED)
    if not shown:
        hidden = f" ({len(workers)} idle)" if workers else ""
        table.add_row(Text("none", style="dim"), hidden)
    return table


def _alive(state: Mapping[str, Any], past: Mapping[str, Any]) -> set[str]:
    """Names of jobs that run for long and do no harm: the timer, and queues that get on from task to task."""
    earlier = {_lane_key(*pair): pair[1]["started"] for pair in _lanes(past.get("task9"))}
    alive = {"task9 timer"}
    for queue, lane in _lanes(state.get("task9")):
        if lane["started"] > earlier.get(_lane_key(queue, lane), lane["started"]):
            alive.add(queue["name"])
    return alive


def _short(place: str) -> str:
    """ "file:line function" with the file's last part only."""
    path, _, rest = place.rpartition(":")
    return f"{os.path.basename(path)}:{rest}"


def _task_queues(own: Mapping[str, Any], past: Mapping[str, Any] | None, rates: _Rates) -> Table:
    armed = own.get("armed", 0)
    table = _table(
        "task queues, and those that work queues are made of" + (f" ({number(armed)} delayed)" if armed else ""),
        ("QUEUE", "*"), ("CPU", ">"), ("WAIT", ">"), ("RUNS", ">"), ("/s", ">"), ("ERR", ">"), ("RUNNING", "*"),
    )  # fmt: skip
    earlier = {_lane_key(*pair): pair[1] for pair in _lanes(past)}
    for queue, lane in _lanes(own):
        before = earlier.get(_lane_key(queue, lane))
        table.add_row(
            Text(name(queue["name"]) + (" (frozen)" if queue["frozen"] else "")),
            "any" if lane["cpu"] is None else str(lane["cpu"]),
            number(lane["pending"]),
            number(lane["started"]),
            rates(lane["started"], before["started"] if before else None),
            _errors(lane["errors"]),
            Text(name(", ".join(lane["running"]))),
            style="" if lane["running"] or lane["pending"] else "dim",
        )
    return table


def _lanes(own: Mapping[str, Any] | None) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    return [(queue, lane) for queue in (own or {}).get("queues", ()) for lane in queue["lanes"]]


def _lane_key(queue: Mapping[str, Any], lane: Mapping[str, Any]) -> tuple[object, ...]:
    return queue["name"], queue["shared"], lane["cpu"]


def _work_queues(own: Mapping[str, Any], past: Mapping[str, Any] | None, rates: _Rates) -> Table:
    table = _table(
        "work queues", ("QUEUE", "*"), ("WAIT", ">"), ("RUN", ">"), ("IN", ">"), ("/s", ">"), ("DONE", ">"),
        ("/s", ">"), ("CANC", ">"), ("ERR", ">"), ("MEAN", ">"),
    )  # fmt: skip
    earlier = {queue["name"]: queue for queue in (past or {}).get("queues", ())}
    for queue in sorted(own["queues"], key=lambda queue: str(queue["name"])):
        before = earlier.get(queue["name"], {})
        done = queue["completed"]
        table.add_row(
            Text(name(queue["name"])),
            number(queue["pending"]),
            number(queue["running"]),
            number(queue["enqueued"]),
            rates(queue["enqueued"], before.get("enqueued")),
            number(done),
            rates(done, before.get("completed")),
            number(queue["cancelled"]),
            _errors(queue["errors"]),
            duration(queue["run_seconds"] / done) if done else "-",
            style="" if queue["running"] or queue["pending"] else "dim",
        )
    return table


def ranges(numbers: Iterable[int]) -> str:
    """CPU numbers the way the kernel lists them: "0-3,8"."""
    pieces: list[list[int]] = []
    for n in sorted(numbers):
        if pieces and n == pieces[-1][1] + 1:
            pieces[-1][1] = n
        else:
            pieces.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pieces) or "none"
