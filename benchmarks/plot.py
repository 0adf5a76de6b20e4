"""Draw the manual's plots and write its table from the raw results: `python benchmarks/plot.py`.

Of each Python the newest file in `results` counts. Texts and axes have the colour of the page around them, which the
manual puts the plots into as they are, so that they can be read in the light and in the dark.
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STATIC = HERE.parent / "docs" / "_static"
TABLE = HERE.parent / "docs" / "_data" / "benchmarks.csv"
ORDER = ("3.11", "3.13", "3.14", "3.15", "3.13t")
SHOWN = ("3.11", "3.13t")  # in the plots: one with the GIL, one without
INK = "#123456"  # stands for the page's colour
OURS, THEIRS, LIMIT = "#1b87c9", "#d9772b", "#7a9a3a"
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)  # as `waits` has them

Results = dict[str, dict[str, Any]]


def load() -> Results:
    """The newest result of each Python, in the order of the table."""
    newest = {path.name.split("-", 1)[0]: path for path in sorted(RESULTS.glob("*.json"))}
    return {tag: json.loads(newest[tag].read_text()) for tag in ORDER if tag in newest}


def median(result: dict[str, Any], group: str, name: str) -> float | None:
    """Of a contestant's rounds; None if it was not there."""
    rounds = result["figures"].get(group, {}).get(name)
    return statistics.median(rounds) if rounds else None


def is_ours(name: str) -> bool:
    """Whether a contestant is one of the layers."""
    return name.split(",")[0].removeprefix("new ").split(" ")[0] in ("Task", "Work", "Job", "call", "task", "job")


def panels(results: Results, height: float, words: str) -> tuple[Any, list[tuple[Any, dict[str, Any]]]]:
    """A figure with a panel for each Python that is shown."""
    tags = [tag for tag in SHOWN if tag in results]
    figure, axes = plt.subplots(len(tags), 1, figsize=(6.2, height * len(tags)), squeeze=False)
    for axis, tag in zip(axes[:, 0], tags, strict=True):
        axis.set_title(f"{words}, Python {results[tag]['about']['python']}{' free-threaded' * tag.endswith('t')}")
        axis.spines[["top", "right"]].set_visible(False)
    return figure, [(axis, results[tag]) for axis, tag in zip(axes[:, 0], tags, strict=True)]


def save(figure: Any, name: str) -> None:
    """As an SVG that takes its ink from the page."""
    figure.tight_layout()
    path = STATIC / f"bench-{name}.svg"
    figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = path.read_text()
    text = text[text.index("<svg") :].replace(INK, "var(--color-foreground-primary,#7d8792)")
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def shown(nanoseconds: float, _place: object = None) -> str:
    """Three digits and the unit."""
    for limit, unit in ((1e3, "ns"), (1e6, "µs"), (1e9, "ms")):
        if nanoseconds < limit:
            return f"{nanoseconds / limit * 1e3:.3g} {unit}"
    return f"{nanoseconds / 1e9:.3g} s"


def plain(value: float, _place: object = None) -> str:
    """No powers of ten."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def per_item(results: Results) -> None:
    """Nanoseconds per item by peer."""
    figure, found = panels(results, 3.9, "A no-op, schedule to last run")
    for axis, result in found:
        burst = {name: median(result, "burst", name) for name in result["figures"]["burst"]}
        burst |= {name: median(result, "peers", name) for name in result["figures"].get("peers", {})}
        bars = sorted(
            ((value, name) for name, value in burst.items() if value and name != "calibration loop"), reverse=True
        )
        colours = [OURS if is_ours(name) else THEIRS for _, name in bars]
        drawn = axis.barh([name for _, name in bars], [value * 1e9 for value, _ in bars], color=colours)
        axis.bar_label(drawn, fmt=shown, padding=3, fontsize=8, color=INK)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(shown)
        axis.set_xlabel("time per item")
        axis.margins(x=0.14)
    save(figure, "per-item")


def latency(results: Results) -> None:
    """How round trips are distributed."""
    figure, found = panels(results, 3.1, "A round trip on one CPU")
    for axis, result in found:
        for name, style in (
            ("task", (OURS, "-")),
            ("job", (OURS, "--")),
            ("ThreadPoolExecutor", (THEIRS, "-")),
            ("trio's thread cache", (THEIRS, "--")),
            ("two SimpleQueues", (LIMIT, "-")),
        ):
            rounds = result["details"]["round trip"].get(name)
            if rounds:
                times = [statistics.median(values) * 1e6 for values in zip(*rounds, strict=True)]
                axis.plot(times, QUANTILES, color=style[0], linestyle=style[1], label=name)
        axis.set_xscale("log")
        axis.set_xlabel("microseconds")
        axis.set_ylabel("share that is faster")
        axis.legend(frameon=False, fontsize=8)
    save(figure, "latency")


def curves(
    results: Results,
    group: str,
    words: str,
    labels: tuple[str, str],
    point: Callable[[str, list[float], dict[str, list[float]]], tuple[float, float]],
    lines: Iterable[tuple[str, tuple[str, str]]],
    logarithmic: bool = True,
) -> None:
    """One line for each of `lines`: contestants are named "LINE, PLACE"; `point` makes x and y of them."""
    figure, found = panels(results, 3.1, words)
    for axis, result in found:
        measured = result["figures"].get(group, {})
        for name, (colour, style) in lines:
            points = [
                point(full.split(", ")[1], rounds, measured)
                for full, rounds in measured.items()
                if full.startswith(f"{name}, ")
            ]
            axis.plot(*zip(*points, strict=True), color=colour, linestyle=style, marker=".", label=name)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(plain)
        if logarithmic:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(plain)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.legend(frameon=False, fontsize=8)
    save(figure, group.replace(" ", "-"))


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(results: Results) -> None:
    """Every row with its figure on each Python and whether its goal is met."""
    rows: dict[tuple[str, str | None], dict[str, str]] = {}
    goals: dict[tuple[str, str | None], dict[str, str]] = {}
    for tag, result in results.items():
        for row in result["rows"]:
            key = (row["what"], row["peer"])
            cell = number(row["value"])
            if row["goal"] is not None:
                cell += " met" if row["met"] else " **missed**"
                sign = "\u2265 " if row["faster"] else "\u2264 "
                goals.setdefault(key, {sign: ""}).setdefault(f"{row['goal']:g}", tag)
            rows.setdefault(key, {})[tag] = cell
    with TABLE.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["What", "beside", "goal", *results])
        for key, cells in rows.items():
            sign, *numbers = goals.get(key, {"": ""})
            goal = sign + ", ".join(numbers)
            peer = (key[1] or "").removesuffix(", after 1 ms idle")
            out.writerow([key[0], peer, goal, *(cells.get(tag, "") for tag in results)])


def main() -> None:
    """Everything."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "section9", "font.family": "sans-serif"})
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    for what in ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"):
        mpl.rcParams[what] = INK
    results = load()
    table(results)
    per_item(results)
    latency(results)
    pair = [("call", (OURS, "-")), ("ThreadPoolExecutor", (THEIRS, "-"))]
    growing = [*pair, ("new Task", (OURS, "--")), ("SimpleQueue loop", (LIMIT, "-"))]
    curves(
        results,
        "growth",
        "Many items",
        ("items", "ns per item"),
        lambda place, rounds, _: (float(place), statistics.median(rounds) * 1e9),
        growing,
    )

    def speed(place: str, rounds: list[float], measured: dict[str, list[float]]) -> tuple[float, float]:
        pairs = zip(measured[f"one thread, {place}"], rounds, strict=True)
        return float(place.split()[0]), statistics.median(alone / took for alone, took in pairs)

    sized = [*pair, ("job", (OURS, "--"))]
    labels = ("milliseconds of work in an item", "times as fast as one thread")
    curves(results, "work size", "sha256 on all CPUs", labels, speed, sized, logarithmic=False)
    labels = ("threads", "items per second")
    rate = "Items that wait for 1 ms"
    curves(
        results, "threads", rate, labels, lambda place, rounds, _: (float(place), 1 / statistics.median(rounds)), pair
    )


if __name__ == "__main__":
    main()
