"""What is shown of one selected row: a worker's stack, how long works waited, the names of what waits or runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from ._render import duration, number, priority

__all__ = ["detail", "histogram"]


def detail(tab: str, row: Mapping[str, Any], width: int, height: int) -> Text:
    """At most `height` lines about `row`, the first of which says what they are."""
    match tab:
        case "workers":
            doing = f"runs {row['job']}" if row["job"] else "is idle"
            title, lines = f"worker {row['tid']} {doing}", list(row["stack"])
            lines = lines[max(0, len(lines) - height + 1) :]  # the innermost frame is last, and what one looks for
        case "works":
            title = f"how long the works of {row['queue']} waited"
            lines = histogram(row["waits"], width, height - 1) or ["none has been started yet"]
        case "pools":
            title = f"waits for a worker of pool {priority(row['pri'], row['cpu'])}"
            lines = row["next"] or ["nothing"]
        case _:
            where = "" if row["cpu"] is None else f" on CPU {row['cpu']}"
            title, lines = f"runs now in {row['queue']}{where}", row["running"] or ["nothing"]
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(title, style="bold")
    for line in lines[: max(0, height - 1)]:
        text.append(f"\n{line}")
    return text


def histogram(counts: Sequence[int], width: int, height: int) -> list[str]:
    """Bars for counts by powers of two nanoseconds: as many neighbours in each as there must be for `height` lines."""
    seen = [n for n, count in enumerate(counts) if count]
    if not seen or height < 1:
        return []
    first, last = seen[0], seen[-1]
    step = 1
    while (last // step) - (first // step) + 1 > height:
        step += 1
    rows = [(n * step, sum(counts[n * step : (n + 1) * step])) for n in range(first // step, last // step + 1)]
    most, everything = max(count for _, count in rows), sum(counts)
    room = max(1, width - 36)
    lines = []
    for n, count in rows:
        # Bucket n counts what took less than 2**n ns and not less than half of that.
        low, high = (2 ** (n - 1) if n else 0) / 1e9, 2 ** (n + step - 1) / 1e9
        bar = _bar(count / most * room)
        lines.append(f"{_time(low):>7} to {_time(high):>7} {number(count):>6} {100 * count / everything:3.0f}% {bar}")
    return lines


def _bar(length: float) -> str:
    eighths = round(length * 8)
    partial = " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    return "█" * (eighths // 8) + partial


def _time(seconds: float) -> str:
    return f"{seconds * 1e9:.0f}ns" if seconds < 0.9995e-6 else duration(seconds)
