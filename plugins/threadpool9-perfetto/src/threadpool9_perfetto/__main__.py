"""``python -m threadpool9_perfetto run [-o FILE] [--capacity N] -- app.py arguments`` (or ``-- -m module ...``)."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from . import _session


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; exits with status 2 if it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m threadpool9_perfetto",
        description="Trace a program that uses threadpool9, task9 or workqueue9, for the Perfetto viewer.",
    )
    commands = parser.add_subparsers(required=True, metavar="run")
    run = commands.add_parser(
        "run",
        help="run a Python program and write a trace of it",
        usage="%(prog)s [-o FILE] [--capacity N] [-q] [--] (app.py | -m module) [arguments]",
        description="The trace is written when the program ends, also by an exception, but not if a signal or os._exit "
        "ends it on the spot. The exit status is the program's.",
    )
    run.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="trace.json",
        help="where the trace goes (default: trace.json); .gz at the end compresses it, {pid} is the process's number "
        "and lets fork children write their own",
    )
    run.add_argument(
        "--capacity",
        metavar="N",
        type=int,
        default=_session.CAPACITY,
        help="records to keep, the newest (default: %(default)s; some 200 bytes of memory each)",
    )
    run.add_argument("-q", "--quiet", action="store_true", help="say nothing when the trace is written")
    run.add_argument("-m", dest="module", action="store_true", help="the program is a module's name")
    run.add_argument("program", help="a Python file, a directory or zip file with __main__.py, or with -m a module")
    run.add_argument("arguments", nargs=argparse.REMAINDER, help="for the program")
    options = parser.parse_args(arguments)
    if options.program == "-m" and options.arguments:  # after a --
        options.module, (options.program, *options.arguments) = True, options.arguments
    if not options.module and not os.path.exists(options.program):
        run.error(f"there is no {options.program!r}; for a module say -m")
    if options.capacity < 1:
        run.error(f"--capacity is a number of records, at least 1, not {options.capacity}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program as Python would, traced."""
    options = parse(arguments)
    try:
        _session.start(options.output, capacity=options.capacity, quiet=options.quiet)
    except OSError as error:
        sys.exit(f"threadpool9-perfetto: can't write the trace to {options.output}: {error.strerror}")
    sys.argv = [options.program, *options.arguments]
    # What Python puts first on the path: for a module the current directory, else where the program lies.
    if options.module:
        sys.path[0] = os.getcwd()
        runpy.run_module(options.program, run_name="__main__", alter_sys=True)
    else:
        if not os.path.isdir(options.program):
            sys.path[0] = os.path.dirname(os.path.abspath(options.program))
        runpy.run_path(options.program, run_name="__main__")


if __name__ == "__main__":
    main()
