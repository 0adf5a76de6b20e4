"""Packing, verifying and restoring as the user sees them: progress while it goes on, then what came of it."""

from __future__ import annotations

import time

from display import Screen, plural, rate
from pack import Pack
from restore import Restore
from rich.filesize import decimal
from stopping import Stop
from store import Archive
from tree import printable
from verify import Verdict, Verify, is_empty


def run_pack(run: Pack, screen: Screen) -> None:
    """Pack with a progress display, then say what came of it."""

    def state() -> list[str]:
        queue, totals = run.pipeline.squeezers.stats(), run.pipeline.totals
        return [
            f"{plural(run.books.kinds['file'], 'file')} packed, {run.unchanged:,} of them as before; "
            f"{len(run.left_out):,} left out",
            f"{plural(totals.blocks, 'block')}, {totals.known:,} known; {decimal(totals.written)} written",
            f"{plural(queue.pending, 'parcel')} waiting, {queue.running} in work; "
            f"last checkpoint {time.monotonic() - run.books.written_at:.1f} s ago",
        ]

    with screen.progress("pack", lambda: run.bytes_done, lambda: run.total, state):
        run.run()
    totals, kinds = run.pipeline.totals, run.books.kinds
    screen.say(
        f"snapshot {run.snapshot.number}: {plural(kinds['file'], 'file')}, {plural(kinds['dir'], 'directory')}, "
        f"{plural(kinds['link'], 'link')}; {decimal(run.bytes_done)} in {run.seconds:.1f} s, "
        f"{rate(run.bytes_done, run.seconds)}"
    )
    screen.say(f"  {plural(run.unchanged, 'file')} as before, not read; {decimal(totals.read)} read")
    screen.say(
        f"  {decimal(totals.read - totals.new)} of them the same as blocks stored before; "
        f"{decimal(totals.new)} compressed to {decimal(totals.written)}"
    )


def report_left_out(run: Pack, screen: Screen) -> None:
    """Count and name what is not in the snapshot, or not as one might think."""
    screen.name_all(f"{printable(path)}: {why}; left out" for path, why in run.left_out)
    for why, count in run.reasons().most_common():
        screen.note(f"left out: {count:,} ({why})")
    screen.name_all(f"{printable(path)}: changed while it was read; packed as it was read" for path in run.changing)
    screen.name_all(f"{printable(path)}: dangling link; packed as it is" for path in run.dangling)
    if run.dangling:
        screen.note(f"{plural(len(run.dangling), 'dangling link')} packed as they are")


def run_verify(archive: Archive, screen: Screen, stop: Stop) -> Verdict:
    """Verify with a progress display, then say what was found."""
    run = Verify(archive, stop)
    begun = time.perf_counter()
    with screen.progress("verify", lambda: run.done.value, lambda: run.total, lambda: []):
        verdict = run.run()
    took = time.perf_counter() - begun
    if stop():
        return verdict
    screen.name_all(line for line in verdict.damage)
    screen.name_all(f"snapshot {number}: {printable(path)} is damaged" for number, path in verdict.damaged_files)
    if verdict.tail:
        screen.note(f"{decimal(verdict.tail)} behind the last checkpoint belong to no block; the next pack drops them")
    if verdict.unfinished:
        screen.note(f"{plural(verdict.unfinished, 'snapshot')} of a pack that did not reach its end")
    if is_empty(archive):
        screen.note("nothing was packed yet")
    count = f"{plural(verdict.snapshots, 'snapshot')}, {plural(verdict.files, 'file')}, "
    count += f"{plural(verdict.blocks, 'block')}, {decimal(run.total)} in {took:.1f} s, {rate(run.total, took)}"
    if verdict.damage or verdict.damaged_files:
        screen.say(f"DAMAGED: {plural(len(verdict.damaged_files), 'file')} of {count}", "red")
    else:
        screen.say(f"verified: {count}")
    return verdict


def run_restore(run: Restore, screen: Screen) -> None:
    """Restore with a progress display, then say what came of it."""
    begun = time.perf_counter()
    with screen.progress("restore", lambda: run.done.value, lambda: run.total, lambda: []):
        run.run()
    took = time.perf_counter() - begun
    if not run.snapshot.complete:
        screen.note(f"snapshot {run.snapshot.number} is of a pack that did not reach its end")
    screen.name_all(f"{printable(path)}: {why}; not restored" for path, why in run.failed)
    files = sum(1 for _ in run.snapshot.files()) - len(run.failed)
    if not run.stop():
        size = run.done.value
        screen.say(f"restored: {plural(files, 'file')}, {decimal(size)} in {took:.1f} s, {rate(size, took)}")
