#!/usr/bin/env python3
"""A deduplicating, compressing, verifiable backup of a directory tree.

    archive.py pack DIR ARCHIVE       add a snapshot of DIR to ARCHIVE; go on where an interrupted one ended
    archive.py verify ARCHIVE         read everything in it and check it
    archive.py restore ARCHIVE DEST   write a snapshot into the new directory DEST
    archive.py list ARCHIVE           the files of a snapshot, or the snapshots
    archive.py demo [DIR]             all of these, timed, beside other ways to do it

Here is the command line, and what is said at the end; the work is done by the modules beside. README.md describes the
format and how the layers are used.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import books
import codec
import demo
import far
from codec import Damaged, NotHere
from display import Screen, plural
from pack import Pack
from records import Busy
from report import report_left_out, run_pack, run_restore, run_verify
from restore import Occupied, Restore
from rich.filesize import decimal
from stopping import Stop
from store import Archive, NotAnArchive
from tree import printable

import threadpool9

OK, FAILED, USAGE, LEFT_OUT = 0, 1, 2, 3
EPILOG = """exit status: 0 all is well; 1 it failed, or the archive is damaged; 2 usage; 3 done, but something could not
be packed and is named; 128 + n stopped by signal n (130 is Ctrl-C)"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="archive", description=(__doc__ or "").splitlines()[0], epilog=EPILOG)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help_text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_text, description=help_text, epilog=EPILOG)
        sub.add_argument("--trace", metavar="FILE", help="write a trace for the Perfetto viewer")
        return sub

    sub = command("pack", "add a snapshot of DIR to ARCHIVE")
    sub.add_argument("directory", metavar="DIR")
    sub.add_argument("archive", metavar="ARCHIVE", type=Path, help="a directory, made if it is missing")
    sub.add_argument("--compress", choices=list(codec.NAMES), default="zlib", help="how (default: zlib)")
    sub.add_argument("--exclude", metavar="NAME", action="append", default=[], help="leave out what has this name")
    far.option(sub)
    sub.add_argument("--checkpoint", metavar="SECONDS", type=seconds, default=books.PERIOD, help="default: %(default)g")
    sub = command("verify", "read everything in ARCHIVE and check it")
    sub.add_argument("archive", metavar="ARCHIVE", type=Path)
    sub = command("restore", "write a snapshot into the new directory DEST")
    sub.add_argument("archive", metavar="ARCHIVE", type=Path)
    sub.add_argument("destination", metavar="DEST", type=Path)
    sub.add_argument("--snapshot", metavar="N", type=int, help="default: the latest")
    sub = command("list", "list the content of a snapshot")
    sub.add_argument("archive", metavar="ARCHIVE", type=Path)
    sub.add_argument("--snapshot", metavar="N", type=int, help="default: the latest")
    sub.add_argument("--snapshots", action="store_true", help="list the snapshots instead")
    sub = command("demo", "pack, verify, restore and compare DIR in a temporary place, and race other ways to pack it")
    sub.add_argument("directory", metavar="DIR", nargs="?", default=sysconfig.get_path("stdlib"))
    far.option(sub)
    return top


def seconds(text: str) -> float:
    """A period from the command line."""
    value = float(text)
    if not 0.01 <= value < 1e9:
        raise ValueError
    return value


def pack(options: argparse.Namespace, screen: Screen, stop: Stop) -> int:
    """``archive pack``."""
    with Archive(options.archive, write=True) as archive:
        screen.name_all(f"{line}; going on without it" for line in archive.damage)
        kind = codec.NAMES[options.compress]
        with far.cluster(options.cluster) as cluster:
            run = Pack(options.directory, archive, stop, kind, options.exclude, options.checkpoint, cluster)
            run_pack(run, screen)
        report_left_out(run, screen)
        snapshot = run.snapshot
        if stop():
            screen.note(
                f"interrupted; snapshot {snapshot.number} has the {plural(run.books.kinds['file'], 'file')} that were "
                "packed until then, and the next pack goes on from there"
            )
            return stop.status
    return LEFT_OUT if run.left_out or run.changing else OK


def verify(options: argparse.Namespace, screen: Screen, stop: Stop) -> int:
    """``archive verify``."""
    with Archive(options.archive) as archive:
        verdict = run_verify(archive, screen, stop)
        if stop():
            screen.note("interrupted; not everything was checked")
            return stop.status
    return FAILED if verdict.damage or verdict.damaged_files else OK


def restore(options: argparse.Namespace, screen: Screen, stop: Stop) -> int:
    """``archive restore``."""
    with Archive(options.archive) as archive:
        run = Restore(archive.blocks, archive.choose(options.snapshot), options.destination, stop)
        run_restore(run, screen)
        if stop():
            screen.note(f"interrupted; {options.destination} is incomplete")
            return stop.status
    return FAILED if run.failed else OK


def show(options: argparse.Namespace, screen: Screen, stop: Stop) -> int:
    """``archive list``."""
    with Archive(options.archive) as archive:
        if options.snapshots:
            for snapshot in reversed(list(archive.newest_first())):
                end = "" if snapshot.complete else ", did not reach its end"
                files = plural(sum(1 for _ in snapshot.files()), "file")
                screen.say(
                    f"{snapshot.number:6} {snapshot.begun} {files}, {decimal(snapshot.size)} of "
                    f"{printable(snapshot.source)}{end}"
                )
            screen.name_all(archive.damage)
            return FAILED if archive.damage else OK
        kinds = {"file": stat.S_IFREG, "dir": stat.S_IFDIR, "link": stat.S_IFLNK}
        for path, entry in sorted(archive.choose(options.snapshot).entries.items()):
            if stop():
                return stop.status
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.mtime_ns // 10**9))
            arrow = f" -> {printable(entry.target)}" if entry.kind == "link" else ""
            mode = stat.filemode(kinds[entry.kind] | entry.mode)
            screen.say(f"{mode} {entry.size:12} {when} {printable(path)}{arrow}")
    return OK


def tracing(file: str | None) -> contextlib.AbstractContextManager[object]:
    """A block that is traced to `file`, if one is given."""
    if file is None:
        return contextlib.nullcontext()
    try:
        import threadpool9_perfetto
    except ImportError:
        raise SystemExit("archive: --trace needs threadpool9-perfetto: pip install threadpool9-perfetto") from None
    return threadpool9_perfetto.tracing(file)


COMMANDS = {"pack": pack, "verify": verify, "restore": restore, "list": show}


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns the exit status."""
    stop = Stop()
    try:
        line = parser()
        options = line.parse_args(arguments)
        if "directory" in options and not os.path.isdir(options.directory):
            line.error(f"{printable(options.directory)} is not a directory")
        stop.install()
        threadpool9.get().put()  # loads the plugins now, or else the first command would be charged for it
        screen = Screen()
        with tracing(options.trace):
            if options.command == "demo":
                return demo.Demo(options.directory, screen, stop, options.cluster).run()
            return COMMANDS[options.command](options, screen, stop)
    except KeyboardInterrupt:  # the second Ctrl-C
        threadpool9.tunables.exit_policy = "abandon"
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (NotAnArchive, Occupied, Busy, Damaged, NotHere, OSError, threadpool9.Error) as error:
        print(f"archive: {printable(str(error))}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
