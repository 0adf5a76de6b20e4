"""What the probes cost when nobody listens (HK-5): the layers beside a copy of them without the probe lines.

    python benchmarks/probes.py [--rounds N] [--json FILE]

The copy is made from the sources by an `ast` transformation that takes out every test of a probe's slot and of
`watch.plain`. Both are measured in processes of their own that take turns (A B B A ...), so that a loud moment of
the machine hits both. For each workload: the median of each, and the ratio with a 95 % interval by bootstrap over
the pairs. The exit status says nothing about speed.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import rich.console
import rich.progress
import rich.table

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [ROOT / "layers" / layer / "src" for layer in ("threadpool", "task", "workqueue")]

#: Run in a process of its own with the directories of the sources as arguments; prints nanoseconds per item.
CHILD = """
import json, os, sys, threading, time
sys.path[:0] = sys.argv[1:]
os.environ["THREADPOOL9_PLUGINS"] = "none"
import task9, threadpool9, workqueue9

NUMBER = 60_000

class NoLock:
    def __enter__(self): pass
    def __exit__(self, *exc): pass

def nothing(*arguments): pass

def jobs():
    over = threading.Event()
    def last(job):
        job.done()
        over.set()
    made = [threadpool9.Job(threadpool9.Job.done, NoLock()) for _ in range(NUMBER)] + [threadpool9.Job(last, NoLock())]
    with threadpool9.get() as pool:
        began = time.perf_counter()
        for job in made:
            pool.schedule(job)
        over.wait()
        return time.perf_counter() - began

def tasks():
    made = [task9.Task(nothing) for _ in range(NUMBER)]
    with task9.TaskQueue("bench") as queue:
        began = time.perf_counter()
        for task in made:
            queue.schedule(task)
        queue.drain()
        return time.perf_counter() - began

def works():
    made = [workqueue9.Work() for _ in range(NUMBER)]
    with workqueue9.WorkQueue("bench", nothing) as queue:
        began = time.perf_counter()
        for work in made:
            queue.enqueue(work)
        queue.flush()
        return time.perf_counter() - began

for call in (jobs, tasks, works):
    call()
print(json.dumps({call.__name__: min(call() for _ in range(3)) / NUMBER * 1e9 for call in (jobs, tasks, works)}))
"""


def _mentions_probe(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id in ("probes", "task_probes") for node in ast.walk(test))


class Strip(ast.NodeTransformer):
    """Takes out the tests of probe slots and of `watch.plain`; counts them."""

    def __init__(self) -> None:
        self.count = 0

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """An ``if`` that asks for a listener is gone; one that asks `watch.plain` has one branch."""
        self.generic_visit(node)
        text = ast.unparse(node.test)
        if text in ("watch.plain", "not watch.plain"):
            self.count += 1
            return node.body if text == "watch.plain" else node.orelse
        if _mentions_probe(node.test):
            self.count += 1
            return node.orelse or ast.Pass()
        return node


def stripped(into: Path) -> tuple[list[Path], int]:
    """Copies of the sources without probe lines; how many were taken out."""
    copies, count = [], 0
    for source in SOURCES:
        copy = into / source.parent.name
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in copy.rglob("*.py"):
            strip = Strip()
            tree = ast.fix_missing_locations(strip.visit(ast.parse(path.read_text())))
            count += strip.count
            path.write_text(ast.unparse(tree))
        copies.append(copy)
    return copies, count


def measure(sources: list[Path]) -> dict[str, float]:
    """One process, one measurement of each workload."""
    command = [sys.executable, "-c", CHILD, *map(str, sources)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    result: dict[str, float] = json.loads(run.stdout)
    return result


def interval(ratios: list[float]) -> tuple[float, float]:
    """A 95 % interval of the median, by bootstrap."""
    chance = random.Random(9)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what the probes cost when nobody listens")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of processes (default 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    console = rich.console.Console(width=79)
    pairs: list[tuple[dict[str, float], dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as directory:
        copies, count = stripped(Path(directory))
        for number in rich.progress.track(range(options.rounds), "measuring", console=console):
            if number % 2:
                without = measure(copies)
                pairs.append((measure(SOURCES), without))
            else:
                pairs.append((measure(SOURCES), measure(copies)))
    table = rich.table.Table(title=f"with probes, no listener / without ({count} places stripped)")
    for column in ("workload", "with, ns", "without, ns", "ratio", "95 % interval"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    result = {}
    for name in pairs[0][0]:
        ratios = [with_probes[name] / without[name] for with_probes, without in pairs]
        low, high = interval(ratios)
        medians = [statistics.median(pair[side][name] for pair in pairs) for side in (0, 1)]
        table.add_row(
            name, *(f"{value:.0f}" for value in medians), f"{statistics.median(ratios):.3f}", f"{low:.3f}..{high:.3f}"
        )
        result[name] = {
            "with": medians[0],
            "without": medians[1],
            "ratio": statistics.median(ratios),
            "interval": [low, high],
        }
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
