"""Who changes the source while it is packed? A job that looks again (threadpool9).

The job belongs to this object and shares a lock with it, the interlock: it is scheduled whenever there is a reason to
look, and if it runs already that run does it. It goes round through everything that was packed, a part each time, so
a tree of ten million files costs no more at a time than a small one. `finish` ends the job and looks once at all.

What has changed since it was packed is found by its stamp; whoever packs can read it once more.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from index import Stamp
from tree import stamp_of

import threadpool9

AT_A_TIME = 2000
"""Files looked at for each request."""


class Watch:
    """Looks again at what was packed; `stop` is asked before each look."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self.stop = stop
        self.pool = threadpool9.get()
        self.job = threadpool9.Job(self._look_again, name="watch the source")
        # Under the interlock:
        self.packed: dict[str, tuple[str, Stamp]] = {}  # path to full path and stamp
        self.changed: set[str] = set()
        self._todo = 0
        self._round: list[str] = []
        # The job's:
        self.looks = 0

    def add(self, path: str, full: str, stamp: Stamp) -> None:
        """Watch a file from now on. Any thread."""
        with self.job.interlock:
            self.packed[path] = full, stamp
            self.changed.discard(path)

    def look(self) -> None:
        """Look at some of them now. Any thread; the job does it."""
        with self.job.interlock:
            self._todo = min(AT_A_TIME, len(self.packed))
            if self._todo:
                self.pool.schedule(self.job)

    def _look_again(self, job: threadpool9.Job) -> None:
        while True:
            with job.interlock:
                if not self._todo or self.stop():
                    self._todo = 0
                    job.done()  # said under the interlock, after finding nothing: no request is ever missed
                    return
                self._todo -= 1
                if not self._round:
                    self._round = list(reversed(self.packed))
                path = self._round.pop()
                full, stamp = self.packed[path]
            self._compare(path, full, stamp)

    def _compare(self, path: str, full: str, stamp: Stamp) -> None:
        self.looks += 1
        try:
            same = stamp_of(os.lstat(full)) == stamp
        except OSError:
            return  # gone: what was packed is the last there was
        if not same:
            with self.job.interlock:
                if self.packed.get(path) == (full, stamp):
                    self.changed.add(path)

    def finish(self) -> set[str]:
        """End the job, look at everything once; the paths that have changed since they were packed."""
        with self.job.interlock:
            self.pool.cancel(self.job)  # when it returns the job is not running
        for path, (full, stamp) in self.packed.items():
            if self.stop():
                break
            self._compare(path, full, stamp)
        return self.changed

    def close(self) -> None:
        """Give back the job and the pool."""
        with self.job.interlock:
            self.pool.cancel(self.job)
        self.job.destroy()
        self.pool.put()
