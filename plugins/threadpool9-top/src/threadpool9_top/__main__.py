"""The command: ``python -m threadpool9_top PID``, and ``dump``, ``topology`` and ``list``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from . import _address
from ._client import Connection, Unreachable
from ._drawing import draw
from ._render import observe, render
from ._wire import Query, name

_STALL = 5.0
_USAGE = """\
%(prog)s [PID]           live view
       %(prog)s dump [PID]      once, as text or --json
       %(prog)s topology [PID]  the CPUs, as PID sees them
       %(prog)s list            who can be looked at
PID may be left out if just one process can be looked at.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"top": _top, "dump": _dump, "topology": _topology, "list": _list}
    command = words.pop(0) if words and words[0] in commands else "top"
    parser = argparse.ArgumentParser(
        prog="python -m threadpool9_top",
        usage=_USAGE,
        description="Look into the pools and queues of a process that runs with THREADPOOL9_TOP=1.",
    )
    if command != "list":
        parser.add_argument("pid", type=_pid, nargs="?", metavar="PID", help="the process to look at")
    if command in ("top", "dump"):
        parser.add_argument(
            "--stall",
            type=_seconds,
            metavar="SECONDS",
            help=f"a job that runs longer is red; 0: none is (default: the process's stall_ms, else {_STALL:g})",
        )
        looks = 1.0 if command == "top" else 0.5
        parser.add_argument(
            "--interval",
            type=_seconds,
            default=looks,
            metavar="SECONDS",
            help="time between two looks, of which rates are made (default %(default)s)",
        )
    if command == "dump":
        parser.add_argument("--json", action="store_true", help="as JSON")
        parser.add_argument("--stacks", action="store_true", help="with the stacks of all that run")
    options = parser.parse_args(words)
    try:
        return commands[command](options)
    except Unreachable as error:
        print(f"threadpool9_top: {name(error)}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has enough; what Python would flush at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _pid(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"a process id is a positive number, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"seconds are a number from 0 on, not {text!r}")
    return seconds


def _chosen(pid: int | None) -> int:
    if pid is not None:
        return pid
    found = [other for other in _address.served(os.geteuid()) if other != os.getpid()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise Unreachable("no process of yours can be looked at: start one with THREADPOOL9_TOP=1")
    raise Unreachable(f"say which process: {', '.join(map(str, found))}")


def _limit(options: argparse.Namespace, page: Mapping[str, Any]) -> float:
    if options.stall is not None:
        return float(options.stall)
    return float(page["head"]["stall_ms"] / 1000 or _STALL)


def _top(options: argparse.Namespace) -> int:
    pid = _chosen(options.pid)
    # Ask once before the screen is taken over, so that errors stand where the user typed.
    with Connection(pid) as connection:
        limit = _limit(options, connection.page(Query(limit=1)))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Unreachable("the live view needs a terminal; `dump` needs none")
    from ._live import View

    reason = View(pid, max(options.interval, 0.1), limit).run()
    if reason is not None:
        print(f"threadpool9_top: {name(reason)}", file=sys.stderr)
        return 1
    return 0


def _dump(options: argparse.Namespace) -> int:
    with Connection(_chosen(options.pid)) as connection:
        if options.json:
            json.dump(connection.state(), sys.stdout, indent=2)  # escapes whatever a terminal would act on
            print()
            return 0
        stall = _limit(options, connection.page(Query(limit=1)))
        queries = [Query(tab, stall=stall) for tab in ("pools", "workers", "tasks", "works")]
        before = None
        if options.interval:
            before, *_ = [observe(connection.page(query)) for query in queries]
            time.sleep(options.interval)
        pages = [observe(connection.page(query)) for query in queries]
    console = _console()
    console.print(render(pages, before, stall, console.width))
    if options.stacks:
        for worker in pages[1].page["rows"]:
            if worker["stack"]:
                console.print(f"\n{worker['tid']} runs {worker['job']}", markup=False, style="bold")
                for place in worker["stack"]:
                    console.print(f"  {place}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _topology(options: argparse.Namespace) -> int:
    if options.pid is not None:
        with Connection(options.pid) as connection:
            answer = connection.cpus()
    else:
        from ._state import describe_cpus

        answer = describe_cpus()
    _console().print(draw(answer["topology"], answer["allowed"]))
    return 0


def _list(_: argparse.Namespace) -> int:
    for pid in _address.served(os.geteuid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            words = []
        print(f"{pid:>8}  {name(b' '.join(words).decode(errors='replace'))}")
    return 0


def _console() -> Console:
    return Console(highlight=False, emoji=False)


if __name__ == "__main__":
    sys.exit(main())
