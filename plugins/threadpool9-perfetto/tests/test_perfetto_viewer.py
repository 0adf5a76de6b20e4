"""A traced run of the demo, opened in the real Perfetto viewer, which counts for itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pace import patience

from . import viewer

DEMO = Path(__file__).resolve().parents[3] / "examples" / "archive" / "archive.py"

SLICES = """
    select process.name as grp, thread.name as thread, slice.name as name, slice.category as cat, count(*) as n
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid)
    where slice.dur > 0
    group by 1, 2, 3, 4
"""

#: Job slices with the CPU that was measured when they began, and the row they lie in.
PLACES = """
    select thread.name as row, extract_arg(slice.arg_set_id, 'args.cpu') as cpu
    from slice join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid)
    where slice.category = 'job'
"""

ARROWS = """
    select a.name as tail, b.name as head, b.ts - a.ts as waited
    from flow join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id
"""

#: What the viewer's importer found wrong with the file.
COMPLAINTS = "select name, value from stats where value > 0 and severity in ('error', 'data_loss')"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trace of the demo on a small tree."""
    here = tmp_path_factory.mktemp("perfetto")
    for number in range(400):
        (here / "tree" / str(number % 7)).mkdir(parents=True, exist_ok=True)
        (here / "tree" / str(number % 7) / f"{number}.txt").write_bytes(b"some text " * 20 * number)
    command = [sys.executable, "-m", "threadpool9_perfetto", "run", "-o", "trace.json", "--"]
    command += [str(DEMO), "pack", "tree", "archive"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=patience(240))
    assert done.returncode == 0, done.stderr
    assert "snapshot 1: 400 files" in done.stdout
    return here / "trace.json"


@pytest.fixture(scope="module")
def events(trace: Path) -> list[dict[str, Any]]:
    """What is in the file."""
    read: list[dict[str, Any]] = json.loads(trace.read_text())["traceEvents"]
    return read


@pytest.mark.once
def test_the_demo_is_traced(events: list[dict[str, Any]]) -> None:
    """Every parcel of files is a slice on each of its two queues, with an arrow from where it was enqueued."""
    parcels = [e for e in events if e["ph"] == "X" and e["name"] == "Parcel"]
    assert len(parcels) >= 2 * 399 // 64
    heads = {(e["pid"], e["tid"], e["ts"]) for e in events if e["ph"] == "f"}
    assert {(e["pid"], e["tid"], e["ts"]) for e in parcels} <= heads


reason = viewer.missing()


@pytest.fixture(scope="module")
def opened(trace: Path) -> Iterator[viewer.Viewer]:
    """The viewer, with the demo's trace in it."""
    with viewer.viewer() as browser:
        browser.open(trace)
        yield browser


@pytest.mark.once
@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(reason is not None, reason=f"{reason}")
class TestViewer:
    """The viewer's own query engine answers."""

    def test_it_opens_without_complaint(self, opened: viewer.Viewer) -> None:
        """Nothing in the file that the importer refuses or drops."""
        assert opened.query(COMPLAINTS) == []

    def test_tracks_and_slices_are_all_there(self, opened: viewer.Viewer, events: list[dict[str, Any]]) -> None:
        """As many slices of each name on each track as the file has."""
        groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
        threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
        written = Counter(
            (groups[e["pid"]], threads[e["pid"], e["tid"]], e["name"], e["cat"]) for e in events if e["ph"] == "X"
        )
        shown = {(row["grp"], row["thread"], row["name"], row["cat"]): row["n"] for row in opened.query(SLICES)}
        assert shown == written
        (tracks,) = opened.query("select count(distinct track_id) as n from slice")
        assert tracks["n"] == len({(e["pid"], e["tid"]) for e in events if e["ph"] in "Xi"})

    def test_cpu_rows_show_only_their_cpu(self, opened: viewer.Viewer) -> None:
        """Each job in the row of CPU n was measured on CPU n."""
        places = [(row["row"], row["cpu"]) for row in opened.query(PLACES) if row["row"].startswith("CPU ")]
        assert places
        assert all(row.startswith(f"CPU {cpu}: ") for row, cpu in places)

    def test_arrows_connect(self, opened: viewer.Viewer, events: list[dict[str, Any]]) -> None:
        """Each arrow of the file is one of the viewer's, from a schedule to the run of the same name, forwards."""
        arrows = opened.query(ARROWS)
        assert len(arrows) == sum(e["ph"] == "s" for e in events) > 0
        for arrow in arrows:
            assert arrow["tail"].removeprefix("schedule ").removeprefix("arm ") == arrow["head"]
            assert arrow["waited"] >= 0

    def test_counters_are_tracks(self, opened: viewer.Viewer) -> None:
        """Queued, running and threads."""
        names = {row["name"] for row in opened.query("select distinct name from counter_track")}
        assert {"jobs queued", "jobs running", "pool threads", "tasks queued", "tasks running"} <= names

    def test_it_is_drawn(self, opened: viewer.Viewer, tmp_path: Path) -> None:
        """The one group opens unfolded, with the rows of the CPUs in their order below the program's name."""
        # The archive ran on the CPUs that the system gave it: on both, or on either.
        rows = sorted({row["row"].partition(": ")[0] + ": " for row in opened.query(PLACES) if "CPU " in row["row"]})
        text = opened.wait_for_text(rows[0])
        places = [text.index(row) for row in ["archive.py", *rows]]
        assert places == sorted(places)
        opened.screenshot(tmp_path / "viewer.png")
        assert (tmp_path / "viewer.png").stat().st_size > 10_000
