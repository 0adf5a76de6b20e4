#!/usr/bin/env python3
"""Make the picture of the manual: python plugins/threadpool9-perfetto/screenshot.py TRACE PICTURE

The trace of ``example/readings.py`` in the real viewer, all tracks open, and one work selected: its arrow shows.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "tests"), str(HERE.parents[1] / "tests" / "support")]

import viewer  # noqa: E402

OPEN_TRACKS = "for (const node of window.app.trace.workspaces.currentWorkspace.flatTracks) node.expand();"
SELECT = "window.app.trace.selection.selectSqlEvent('slice', arguments[0]);"
#: A work that another thread had enqueued, and that took some four milliseconds.
WORK = """
    select b.id as id, a.ts as begun, b.ts + b.dur as ended
    from flow join slice a on flow.slice_out = a.id join slice b on flow.slice_in = b.id
    where b.category = 'task' and a.track_id != b.track_id and b.name = 'Picture' order by abs(b.dur - 4000000) limit 1
"""
ZOOM = """
    const [begun, ended] = [BigInt(arguments[0]), BigInt(arguments[1])];
    const room = (ended - begun) * 2n;
    window.app.trace.timeline.setViewportTime(begun - room, ended + room);
"""


def main(trace: Path, picture: Path) -> None:
    """Take the picture."""
    with viewer.viewer() as browser:
        browser.driver.set_window_size(1300, 1110)
        browser.open(trace)
        browser.wait_for_text("CPU 0")
        run = browser.driver.execute_script
        run(OPEN_TRACKS)
        (work,) = browser.query(WORK)
        run(SELECT, work["id"])
        run(ZOOM, str(work["begun"]), str(work["ended"]))
        time.sleep(5)  # for the eye only: the viewer draws when it likes
        browser.screenshot(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
