"""How fast the three layers are, beside what a user would take instead, in one run.

    python benchmarks/bench.py                        everything, in some minutes
    python benchmarks/bench.py --only 'new task'      the rows whose name or group has this in it
    python benchmarks/bench.py --json FILE            the raw rounds too

The workloads are in `bursts`, `waits` and `costs`, the goals in `goals`, the taking of turns in `contest`. README.md in
this directory has the method. The exit status says nothing about speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from typing import Any

import contest
import curves  # noqa: F401  registers its contestants
import rich.box
import rich.console
import rich.table
import waits
from contest import CALIBRATION, GROUPS, missing
from goals import KIND, KINDS, ROWS, Row

SHORT = {
    "ThreadPoolExecutor": "TPE",
    "ThreadPoolExecutor(8)": "TPE",
    "trio's thread cache": "trio",
    "two SimpleQueues": "queues",
    "of 40 000 futures": "TPE",
    "of 4 000 tasks": "few",
    "of 4 000 works": "few",
    "failing try-lock": "try-lock",
    "asyncio.to_thread": "to_thread",
    "trio.to_thread.run_sync": "run_sync",
    "call_soon_threadsafe": "call_soon",
    "run_sync_soon": "sync_soon",
    "import attrs, pluggy": "pluggy..",
    "executor": "TPE",
    "one thread": "1 thread",
    "new Task": "one",
}
LOUD_SPREAD = 0.15  # of the calibration loop: third quartile above the best
LOUD_LOAD = 0.5


def measure(group: str, names: list[str], rounds: int, scale: float) -> dict[str, Any]:
    """The contestants `names` in a process of their own, on one CPU from its start if the group says so."""
    command = [sys.executable, __file__, "--group", group, json.dumps([names, rounds, scale])]
    before = os.sched_getaffinity(0) if GROUPS[group].one_cpu else None
    if before:
        os.sched_setaffinity(0, {min(before)})  # threads are born with what the process has
    try:
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        if before:
            os.sched_setaffinity(0, before)
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return result


def measure_one(group: str, names: list[str], quick: bool) -> dict[str, Any]:
    """The same, in as many rounds as the group has; says how long it took."""
    rounds = math.ceil(GROUPS[group].rounds / 3) if quick else GROUPS[group].rounds
    began = time.monotonic()
    result = measure(group, names, rounds, 0.1 if quick else 1.0)
    print(f"{group}: {rounds} rounds, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return result


def measure_all(rows: list[Row], quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each group that `rows` need: figures of the contestants by round, and details."""
    figures: dict[str, Any] = {}
    details: dict[str, Any] = {}
    for group in dict.fromkeys(row.group for row in rows):
        wanted = [name for row in rows if row.group == group for name in (row.ours, row.peer) if name]
        result = measure_one(group, list(dict.fromkeys(wanted)), quick)
        figures[group], details[group] = result["figures"], result["details"]
    return figures, details


def measure_curves(quick: bool) -> dict[str, Any]:
    """Figures of the groups that have no row."""
    figures = {}
    for name, group in GROUPS.items():
        if group.for_page:
            wanted = [contestant for contestant in group.contestants if not missing(contestant)]
            figures[name] = measure_one(name, wanted, quick)["figures"]
    return figures


def loudness(figures: dict[str, Any], load: float) -> str:
    """Why the figures are not to be relied on, or an empty string."""
    spreads = {}
    for group, found in figures.items():
        loop = found[CALIBRATION]
        if len(loop) >= 3:
            spreads[group] = statistics.quantiles(loop, n=4)[2] / min(loop) - 1
    loud = [f"{group} {spread:.0%}" for group, spread in spreads.items() if spread > LOUD_SPREAD]
    words = []
    if load > LOUD_LOAD * waits.CPUS:
        words.append(f"the load was {load:.1f} on {waits.CPUS} CPUs when this began")
    if loud:
        words.append(f"the calibration loop varied: {', '.join(loud)}")
    return "; ".join(words)


def shown(value: float, unit: str) -> str:
    """Three digits and the unit."""
    if unit != "s":
        return f"{value:.0f}"
    for scale, name in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if value * scale < 1000:
            return f"{value * scale:.3g} {name}"
    return f"{value:.3g} s"


def number(value: float) -> str:
    """A ratio."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def short(peer: str | None) -> str:
    """A name that fits the table."""
    if peer is None:
        return ""
    peer = peer.removesuffix(", after 1 ms idle")
    peer = peer.rsplit(", ", 1)[1] if peer.startswith(("sleep", "sha256")) else peer
    return SHORT.get(peer, "TPE" if "thread of the executor" in peer else peer)


def report(rows: list[Row], figures: dict[str, Any], console: rich.console.Console) -> list[dict[str, Any]]:
    """The table; the same as plain data."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("", "ours", "beside", "", "ratio", "range", "goal", ""):
        table.add_column(heading, justify="right" if heading in ("ours", "ratio", "goal") else "left", no_wrap=True)
    table.columns[0].no_wrap = False  # the only one that gives way
    table.columns[3].justify = "right"
    records = []
    for place, row in enumerate(rows):
        if place and row.group != rows[place - 1].group:
            table.add_section()
        found, unit = figures[row.group], GROUPS[row.group].unit
        ratios = row.ratios(found)
        value, met = row.value(ratios), row.met(ratios)
        ours = statistics.median(found[row.ours])
        theirs = None if row.peer is None else statistics.median(found[row.peer])
        table.add_row(
            row.what,
            shown(ours, unit),
            short(row.peer),
            "" if theirs is None else shown(theirs, unit),
            "" if row.peer is None else number(value),
            f"{number(min(ratios))}..{number(max(ratios))}" if len(ratios) > 1 else "",
            "" if row.goal is None else f"{'>=' if row.faster else '<='} {row.goal:g}",
            {None: "", True: "[green]met[/]", False: "[bold red]missed[/]"}[met],
        )
        record = {"what": row.what, "group": row.group, "ours": row.ours, "peer": row.peer, "faster": row.faster}
        figure = {"our_median": ours, "peer_median": theirs, "value": value, "range": [min(ratios), max(ratios)]}
        records.append(record | figure | {"unit": unit, "goal": row.goal, "met": met})
    console.print(table)
    return records


def select(pattern: str | None) -> list[Row]:
    """The rows whose name or group matches, and whose contestants can be had."""
    wanted = re.compile(pattern or "", re.IGNORECASE)
    rows = [row for row in ROWS if wanted.search(row.what) or wanted.search(row.group)]
    if not rows:
        sys.exit(f"no row matches {pattern!r}; there are:\n  " + "\n  ".join(row.what for row in ROWS))
    for name in sorted({missing(name) for row in rows for name in (row.ours, row.peer or "")} - {""}):
        print(f"{name} is not installed: its rows are left out")
    return [row for row in rows if not missing(row.ours) and not (row.peer and missing(row.peer))]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="compare the layers with other ways of deferring work")
    parser.add_argument("--only", metavar="PATTERN", help="the rows whose name or group matches, a regular expression")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: a smoke test")
    parser.add_argument("--page", action="store_true", help="the curves of the manual's page too; needs --json")
    parser.add_argument("--json", metavar="FILE", help="write table and raw rounds here")
    parser.add_argument("--group", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.group:
        names, rounds, scale = json.loads(options.group[1])
        contest.run_group(options.group[0], names, rounds, scale)
        return
    load = os.getloadavg()[0]
    rows = select(options.only)
    figures, details = measure_all(rows, options.quick)
    console = rich.console.Console(width=100)
    build = "free-threaded" if contest.FREE_THREADED else "with the GIL"
    console.print(
        f"Python {platform.python_version()} {build}, {waits.CPUS} CPUs, load {load:.2f}; TPE = ThreadPoolExecutor"
    )
    console.print("Medians of the rounds. Ratio and its range: times as fast where the goal is >=, else times as long.")
    records = report(rows, figures, console)
    goals = [record["met"] for record in records if record["met"] is not None]
    console.print(f"{sum(goals)} of {len(goals)} goals met." if goals else "No goals here.")
    if loud := loudness(figures, load):
        console.print(f"[bold yellow]Loud machine, measure again:[/] {loud}.")
    if options.json:
        curves = measure_curves(options.quick) if options.page else {}
        about = {
            "python": platform.python_version(),
            "build": KINDS[KIND],
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "cpus": waits.CPUS,
            "machine": platform.machine(),
            "load": load,
            "loud": loud,
            "quick": options.quick,
        }
        everything = {"about": about, "rows": records, "figures": figures | curves, "details": details}
        rounded = json.loads(json.dumps(everything), parse_float=lambda digits: float(f"{float(digits):.5g}"))
        with open(options.json, "w") as file:
            json.dump(rounded, file, separators=(",", ":"))


if __name__ == "__main__":
    main()
