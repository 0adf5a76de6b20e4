"""The demo: pack a tree, verify, restore, compare byte for byte; then see what the queues are worth.

Everything is written to a temporary directory, which is removed at the end. What can't be read, has vanished or leads
nowhere is counted and named, and is no failure.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import codec
import far
from display import Screen, plural, rate
from pack import Pack
from race import Race, subset
from report import report_left_out, run_pack, run_restore, run_verify
from restore import Restore
from rich import box
from rich.filesize import decimal
from rich.table import Table
from same import differences
from stopping import Stop
from store import Archive
from tree import printable

OK, FAILED = 0, 1


class Demo:
    """One run of ``archive demo``."""

    def __init__(self, directory: str, screen: Screen, stop: Stop, cluster: str | None = None) -> None:
        self.cluster = cluster
        self.directory = os.path.abspath(directory)
        self.screen = screen
        self.stop = stop
        self.status = OK

    def run(self) -> int:
        """Do everything; returns the exit status."""
        with tempfile.TemporaryDirectory(prefix="archive-demo-") as place:
            self._run(Path(place))
        if self.stop():
            self.screen.note("interrupted; the above is what was done until then")
            return self.stop.status
        return self.status

    def _run(self, place: Path) -> None:
        # What others have installed there is not of the standard library.
        standard = os.path.realpath(self.directory) == os.path.realpath(sysconfig.get_path("stdlib"))
        exclude = ("site-packages", "dist-packages") if standard else ()
        self.screen.say(f"packing {printable(self.directory)}{' without site-packages' if standard else ''}", "bold")
        with Archive(place / "archive", write=True) as archive, far.cluster(self.cluster) as cluster:
            if cluster is not None:
                self.screen.say(f"compressing on {cluster!r}")
            pack = Pack(self.directory, archive, self.stop, exclude=exclude, cluster=cluster)
            run_pack(pack, self.screen)
        report_left_out(pack, self.screen)
        if not self.stop():
            self._read_back(place)
        if not self.stop():
            self.screen.out.print(cpu_table(pack))
            self._race(pack, place)

    def _read_back(self, place: Path) -> None:
        with Archive(place / "archive") as archive:
            verdict = run_verify(archive, self.screen, self.stop)
            if self.stop():
                return
            if verdict.damage or verdict.damaged_files:
                self.status = FAILED
            snapshot = archive.choose(None)
            if snapshot.size * 1.1 > shutil.disk_usage(place).free:
                self.screen.note(f"not restored: {decimal(snapshot.size)} do not fit into {place.parent}")
                return
            restore = Restore(archive.blocks, snapshot, place / "restored", self.stop)
            run_restore(restore, self.screen)
            if self.stop():
                return
            if restore.failed:
                self.status = FAILED
            found = list(differences(snapshot, self.directory, place / "restored"))
            shutil.rmtree(place / "restored")
            if found:
                self.status = FAILED
                self.screen.name_all(f"{printable(path)}: {how}" for path, how in found)
            else:
                self.screen.say(
                    f"compared byte for byte: {plural(len(snapshot.entries), 'entry')}, all as in the source", "green"
                )

    def _race(self, pack: Pack, place: Path) -> None:
        """Pack a part of it in three ways."""
        sizes = [
            (os.path.join(self.directory, path), size)
            for path, (_, (size, *_)) in sorted(pack.watch.packed.items())
            if size
        ]
        files = subset(sizes)
        if not files:
            self.screen.say("No files with content: nothing to compare.")
            return
        race = Race(files, place, codec.ZLIB, self.stop)
        with self.screen.err.status("") as status:
            try:
                for line in race.run():
                    status.update(f"the same in three ways, {line}")
            except subprocess.CalledProcessError as error:
                if not self.stop():  # Ctrl-C hits them too
                    self.screen.note(f"`{' '.join(error.cmd)}` failed with status {error.returncode}")
                    self.status = FAILED
                return
        if self.stop():
            return
        size = sum(size for path, size in sizes if path in set(files))
        self.screen.say(f"The same in three ways: {plural(len(files), 'file')}, {decimal(size)}, median of 3 runs each")
        self.screen.out.print(race.table())
        for line in race.sentences():
            self.screen.say(line)
        self.screen.say()
        for line in next_commands(shlex.quote(self.directory)):
            self.screen.say(line)


def cpu_table(pack: Pack) -> Table:
    """Which CPU did what: a parcel counts where it was when it was done, as the threads are bound to none."""
    totals = pack.pipeline.totals
    table = Table(title="Which CPU packed what", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("CPU", "parcels", "bytes", "busy", "while busy"):
        table.add_column(title, justify="right", no_wrap=True)
    for cpu in sorted(totals.parcels):
        busy = totals.seconds[cpu]
        table.add_row(
            str(cpu),
            f"{totals.parcels[cpu]:,}",
            decimal(totals.bytes[cpu]),
            f"{busy:.2f} s",
            rate(totals.bytes[cpu], busy),
        )
    return table


def next_commands(source: str) -> list[str]:
    """What to try next: each as it can be pasted."""
    python = os.path.relpath(sys.executable)
    program = f"{python} {os.path.relpath(Path(__file__).with_name('archive.py'))}"
    place = os.path.join(tempfile.gettempdir(), "my-archive")
    return [
        "Try next:",
        "  watch the pools of a pack while it runs (q ends that):",
        f"    THREADPOOL9_TOP=1 {program} pack --compress lzma {source} {place} 2>/dev/null & "
        f"sleep 1; {python} -m threadpool9_top $!",
        "  see where the time goes, at https://ui.perfetto.dev:",
        f"    {program} pack --trace trace.json {source} {place}",
        "  read the manual page:",
        "    make docs && man docs/_build/man/man9/workqueue.9",
    ]
