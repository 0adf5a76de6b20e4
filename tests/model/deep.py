"""The deep search: every world up to three preemptions, then at random; every seeded bug; printed as a table.

    .venv/bin/python tests/model/deep.py                   all worlds, each search at most 300 s of CPU time
    .venv/bin/python tests/model/deep.py -j 2 -s 1000      two processes, more time
    .venv/bin/python tests/model/deep.py get_race          some worlds
    .venv/bin/python tests/model/deep.py --csv docs/_data  the tables of docs/model-checking.rst; rows of other worlds stay

Exit status 1 if a world does not hold or a seeded bug is not found; failing schedules are printed with their timelines.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import worlds_loops  # noqa: F401
import worlds_task  # noqa: F401
import worlds_threadpool  # noqa: F401
import worlds_watched  # noqa: F401
import worlds_workqueue  # noqa: F401
from explore9 import Copies, Search
from explore9.gallery import EXHIBITS, Exhibit

#: The columns of the manual's two tables.
WORLDS = ["World", "Clauses", "Preemptions", "Executions", "States", "CPU s", "Sampled"]
BUGS = ["World", "Seeded bug", "Found at", "Executions", "As", "CPU s"]


def explore(exhibit: Exhibit, bound: int, seconds: float) -> tuple[list[list[str]], list[str]]:
    """Rows of the table of one world, and what went wrong."""
    search = Search(exhibit.world, Copies(signals=exhibit.signals))
    rows, wrong = [], []
    reached, cells = -1, ["-", "-", "-", "-"]
    for depth in range(min(bound, exhibit.bound) + 1):
        result = search.exhaust(depth, seconds)
        if result.failure is not None:
            wrong.append(str(result.failure))
            break
        if not result.finished:
            break
        reached = depth
        cells = [str(depth), str(result.executions), str(result.states), f"{result.seconds:.1f}"]
    sampled = 0
    for mode in ("random", "pct"):
        result = search.sample(2000, mode=mode, seconds=seconds / 20)
        sampled += result.executions
        if result.failure is not None:
            wrong.append(str(result.failure))
    rows.append([exhibit.name, exhibit.clauses, *cells, str(sampled)])
    if reached < 0:
        wrong.append(f"{exhibit.name}: not finished at any bound")
    for name, patch in exhibit.bugs.items():
        search = Search(exhibit.world, Copies((patch,), exhibit.signals))
        start, count = time.process_time(), 0
        for depth in range(bound + 1):
            result = search.exhaust(depth, seconds)
            count += result.executions
            if result.failure is not None:
                kind = type(result.failure.error).__name__
                took = time.process_time() - start
                rows.append(["", name.replace("_", " "), str(depth), str(count), kind, f"{took:.1f}", ""])
                break
        else:
            rows.append(["", name.replace("_", " "), "not found", str(count), "", "", ""])
            wrong.append(f"{exhibit.name}: the seeded bug {name} was not found")
    return rows, wrong


def _explore(task: tuple[int, int, float]) -> tuple[list[list[str]], list[str]]:
    number, bound, seconds = task
    try:
        return explore(EXHIBITS[number], bound, seconds)
    except Exception as error:  # a patch that does not fit, say: the other worlds go on
        return [], [f"{EXHIBITS[number].name}: {type(error).__name__}: {error}"]


def write_csv(path: Path, title: list[str], rows: list[list[str]]) -> None:
    """Put `rows` into a table of the manual in place of those of the same worlds; new worlds go to its end."""
    table: dict[str, list[list[str]]] = {}
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                table.setdefault(row[0], []).append(row)
    for world in {row[0] for row in rows}:
        table.setdefault(world, []).clear()
    for row in rows:
        table[row[0]].append(row)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([title, *(row for world in table.values() for row in world)])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="deep search of the worlds of tests/model")
    parser.add_argument("worlds", nargs="*", help="names, with underscores; default all")
    parser.add_argument("-b", "--bound", type=int, default=3, help="preemptions (default 3)")
    parser.add_argument("-s", "--seconds", type=float, default=300, help="CPU time for one search (default 300)")
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--csv", type=Path, metavar="DIRECTORY", help="where the manual's tables are, to be brought up to date"
    )
    arguments = parser.parse_args()
    known = [exhibit.world.__name__ for exhibit in EXHIBITS]
    for name in arguments.worlds:
        if name not in known:
            parser.error(f"no world {name!r}; there are {', '.join(known)}")
    numbers = [known.index(name) for name in arguments.worlds] or range(len(known))
    tasks = [(number, arguments.bound, arguments.seconds) for number in numbers]
    worlds, bugs, wrong = [], [], []
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        for rows, bad in pool.imap(_explore, tasks):
            wrong += bad
            for row in rows:
                if row[0]:
                    worlds.append(row)
                else:
                    bugs.append([worlds[-1][0], *row[1:]])
                print(
                    "  ".join(cell.ljust(width) for cell, width in zip(row, (38, 34, 4, 8, 9, 7, 6), strict=True)),
                    flush=True,
                )
            for text in bad:
                print(text, file=sys.stderr, flush=True)
    if arguments.csv:
        write_csv(arguments.csv / "model-worlds.csv", WORLDS, worlds)
        write_csv(arguments.csv / "model-bugs.csv", BUGS, [row[:6] for row in bugs])
    print(f"{len(worlds)} worlds, {len(bugs)} seeded bugs, {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
