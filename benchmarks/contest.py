"""Contestants that take turns: where workloads register, and the process in which those of one group are measured.

A contestant is a function of a scale (1.0, less for a quick look) that does its work once and returns a figure, mostly
seconds per item. Contestants of one group are called in rounds, each round beginning with another one, so that a loud
moment of the machine hits all of them. Each group runs in a process of its own.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import threadpool9

CLOCK = time.perf_counter
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
CALIBRATION = "calibration loop"

Figure = Callable[[float], float]


@dataclass
class Group:
    """Contestants that are measured together, and how their figures are shown."""

    unit: str  # "s", "bytes" or "count"
    rounds: int
    one_cpu: bool = False
    for_page: bool = False  # only with --page: for the curves of the manual's page
    contestants: dict[str, Figure] = field(default_factory=dict)


GROUPS = {
    "burst": Group("s", 9),
    "cold burst": Group("s", 9),
    "cancel": Group("s", 5),
    "coalesce": Group("s", 9),
    "round trip": Group("s", 9, one_cpu=True),
    "await": Group("s", 9, one_cpu=True),
    "home": Group("s", 9),
    "short jobs": Group("s", 7),
    "workers": Group("count", 7),
    "cold start": Group("s", 25),
    "bytes": Group("bytes", 1),
    "import": Group("s", 9),
    "peers": Group("s", 5, for_page=True),
    "growth": Group("s", 1, for_page=True),
    "work size": Group("s", 5, for_page=True),
    "threads": Group("s", 5, for_page=True),
}
NEEDS: dict[str, str] = {}  # contestant: the module that it needs
DETAILS: dict[str, list[list[float]]] = {}  # what a contestant has to say beside its figure, one list per call


def contestant(group: str, name: str, needs: str = "") -> Callable[[Figure], Figure]:
    """Register the decorated function in `group`."""

    def register(figure: Figure) -> Figure:
        GROUPS[group].contestants[name] = figure
        if needs:
            NEEDS[name] = needs
        return figure

    return register


def missing(name: str) -> str:
    """The module that contestant `name` needs and that is not installed, or an empty string."""
    needs = NEEDS.get(name, "")
    return needs if needs and importlib.util.find_spec(needs) is None else ""


def detail(name: str, values: list[float]) -> None:
    """Keep `values` for the raw results."""
    DETAILS.setdefault(name, []).append(values)


def calibrate(_scale: float) -> float:
    """The same bytecodes each time: the spread of this says how loud the machine is."""
    began = CLOCK()
    total = 0
    for number in range(100_000):
        total += number
    return CLOCK() - began


def go_cold() -> None:
    """Return when the layers have no thread: the next job finds what the first job of a process finds."""
    for _ in range(20_000):
        threadpool9.retire_idle()
        seen = threadpool9.snapshot()
        if seen.starter is None and not seen.workers:
            return
        time.sleep(0.0005)
    raise RuntimeError(f"threads of the layers do not leave: {threadpool9.snapshot()}")


def run_group(group: str, names: list[str], rounds: int, scale: float) -> None:
    """In a process of its own: measure `names` of `group`, print JSON."""
    found = GROUPS[group].contestants
    calls = {name: found[name] for name in names} | {CALIBRATION: calibrate}
    for call in calls.values():  # imports, the specialising interpreter, units that are made once
        call(min(scale, 0.1))
    DETAILS.clear()
    # Units that live on would make each full collection cost more than what is measured.
    gc.collect()
    gc.freeze()
    order = list(calls)
    figures: dict[str, list[float]] = {name: [] for name in order}
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            figures[name].append(calls[name](scale))
    print(json.dumps({"figures": figures, "details": DETAILS}))
