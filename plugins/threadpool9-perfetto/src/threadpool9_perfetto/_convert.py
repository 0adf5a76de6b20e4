"""From records to trace events of the Chrome JSON format, which the Perfetto viewer reads.

What comes out. One group, the process, because the viewer opens a single group unfolded; in it a row for each thread:

    main thread
    CPU n: ...     the workers bound to CPU n, in the order of the CPUs, each called by what it did most
    ...            every other thread: unbound workers, whoever schedules, the starter

The viewer orders rows by the format's thread number and by nothing else, so that is the row's place, 1, 2, 3; the OS's
number of the thread stands in the row's name, and of a job also in the argument ``thread``.

A job's slice holds the slices of the tasks and works that it ran, and those hold a short slice for each schedule
made in them; an arrow leads from a schedule to the run that it caused. A slice lies in a CPU's row only if the
worker was on that CPU when the job began, by its own word to `threadpool9.current_cpu`; the argument ``cpu`` of a
job's slice is that measurement, so the trace can be checked against itself. A bound worker that lost its CPU has its
slices in a second row, which names no CPU; the thread that runs left-over jobs at exit has them in its own.

Gaps. The ring may have dropped the start of what the records tell. A run without a start is left out and counted
(`cut`); one without an end is drawn to the end of the trace and marked ``unfinished``. Counters are running sums,
so dropped records shift them: they are put right by what is known of their end, and never go below zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from . import _record as r
from ._record import WORK

Event = dict[str, Any]

#: A row while the records are read: the CPU that it is for, None if for none, and the thread's number.
Row = tuple[int | None, int]
MOST_NAMES = 2  # of what a thread did, in its name

SCHEDULE_NS = 1000  # how wide a schedule is drawn, at most: arrows need a slice to start from

JOB, TASK = "job", "task"
#: The counters: what the viewer calls them, by the name and the argument of the event.
THREADS, JOBS_QUEUED, JOBS_RUNNING = ("pool", "threads"), ("jobs", "queued"), ("jobs", "running")
TASKS_QUEUED, TASKS_RUNNING = ("tasks", "queued"), ("tasks", "running")
COUNTERS = (THREADS, JOBS_QUEUED, JOBS_RUNNING, TASKS_QUEUED, TASKS_RUNNING)


class Track:
    """One thread while the records are read."""

    __slots__ = ("last", "mark", "row", "stack", "tid", "waits")

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.row: Row = (None, tid)
        self.stack: list[tuple[str, int, Event]] = []  # open slices: kind, ident, event
        self.last: tuple[str, int, Event] | None = None  # the slice that was closed last
        self.mark: Event | None = None  # a schedule that ends at the next record at the latest
        self.waits: dict[int, Event] = {}


class Converter:
    """Reads the records of one process once; `events` is the result.

    Args:
        records: in any order.
        pid: of the process; also the number of its main thread on Linux.
        program: what the viewer is to call the process.
        main_tid: the main thread's number.
        thread_names: of those threads that are known otherwise, by number.
        began: the time that counts as zero; `ended`: when the trace was stopped.
        at_end: values of counters that are known for the end.
    """

    def __init__(
        self,
        records: Iterable[r.Record],
        *,
        pid: int,
        program: str,
        main_tid: int,
        thread_names: Mapping[int, str],
        began: int,
        ended: int,
        at_end: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self.pid = pid
        self.main_tid = main_tid
        self.began = began
        self.ended = ended
        self.events: list[Event] = []
        self.cut = 0
        self.arrows = 0
        self._names = dict(thread_names)
        self._worker_names: dict[int, str] = {}
        self._tracks: dict[int, Track] = {}
        self._did: dict[Row, Counter[str]] = {}  # by row that is used: which jobs it ran, how often
        self._open_arrows: dict[tuple[str, int], Event] = {}
        self._queued: set[tuple[str, int]] = set()
        self._functions: dict[str, str] = {}
        self._deltas: list[tuple[int, tuple[str, str], int]] = []
        for record in sorted(records, key=itemgetter(0)):
            self._take(*record)
        self._finish()
        self._count(at_end or {})
        self._name_tracks(program)

    # --- records

    def _take(self, ts: int, kind: int, tid: int, ident: int, name: Any, a: Any, b: Any) -> None:
        track = self._tracks.get(tid)
        if track is None:
            track = self._tracks[tid] = Track(tid)
        mark, track.mark = track.mark, None
        if mark is not None:
            self._close(mark, ts)
            mark["dur"] = min(SCHEDULE_NS / 1000, mark["dur"])
        if kind == r.JOB_SCHEDULE:
            self._schedule(track, ts, JOB, ident, text(name), {"pool": a})
        elif kind == r.JOB_START:
            self._place(track, a, *b)
            self._start(track, ts, JOB, ident, text(name), {"pool": a, "cpu": b[1], "thread": tid})
            self._did[track.row][text(name)] += 1
        elif kind == r.JOB_END:
            self._end(track, ts, JOB, ident)
        elif kind in (r.JOB_COALESCED, r.TASK_COALESCED):
            label = text(name) if kind == r.JOB_COALESCED else task_label(name, a, b)
            self._instant(track, ts, f"coalesced {label}")
        elif kind in (r.JOB_CANCEL, r.TASK_CANCEL):
            layer = JOB if kind == r.JOB_CANCEL else TASK
            self._cancel(layer, ident, ts)
            self._instant(track, ts, f"cancelled {text(name) if layer == JOB else task_label(name, a, b)}")
        elif kind in (r.JOB_ERROR, r.TASK_ERROR):
            self._error(track, ts, JOB if kind == r.JOB_ERROR else TASK, ident, a)
        elif kind == r.TASK_SCHEDULE:
            self._schedule_task(track, ts, ident, name, a, b)
        elif kind == r.TASK_START:
            args = {"queue": a}
            if name == WORK:
                args["function"] = self._functions.get(a, "?")
            self._start(track, ts, TASK, ident, task_label(name, a, b), args)
        elif kind == r.TASK_END:
            self._end(track, ts, TASK, ident)
        elif kind == r.TIMER_ARM:
            event = self._slice(track, ts, f"arm {task_label(name, '', b)}", "timer", {})
            track.mark = event
            self._open_arrows[TASK, ident] = event
        elif kind == r.TIMER_FIRE:
            self._instant(track, ts, f"timer {task_label(name, '', b)}", {"late_ms": round(a * 1000, 3)})
            if (TASK, ident) in self._open_arrows:
                self._enqueue(TASK, ident, ts)
        elif kind == r.THREAD_START:
            self._place(track, text(name), a, a)
            self._deltas.append((ts, THREADS, +1))
            self._instant(track, ts, "thread start")
        elif kind == r.THREAD_EXIT:
            self._deltas.append((ts, THREADS, -1))
            self._instant(track, ts, "thread exit")
        elif kind == r.THREAD_DYING:
            self._instant(track, ts, "idle exit")
        elif kind == r.SPAWN:
            self._names[tid] = "poolstarter"
            self._instant(track, ts, f"spawn {text(name)}")
        elif kind in (r.BIND_LOST, r.BIND_RESTORED):
            what = "lost" if kind == r.BIND_LOST else "restored"
            self._instant(track, ts, f"binding {what}", {"cpu": a})
        elif kind == r.WAIT_START:
            track.waits[ident] = self._slice(track, ts, text(name), "wait", {})
        elif kind == r.WAIT_END:
            if ident in track.waits:
                self._close(track.waits.pop(ident), ts)
        elif kind == r.QUEUE_MADE:
            self._functions[name] = a

    def _us(self, ns: int) -> float:
        return (ns - self.began) / 1000

    def _place(self, track: Track, name: str, bound: int | None, measured: int) -> None:
        """From here on the thread's slices lie in its CPU's row, or in one that is for no CPU."""
        here = bound is not None and bound == measured and track.tid != self.main_tid
        track.row = (measured if here else None, track.tid)
        if track.tid != self.main_tid:
            self._worker_names[track.tid] = name

    def _slice(self, track: Track, ts: int, name: str, cat: str, args: Event) -> Event:
        self._did.setdefault(track.row, Counter())
        event = {
            "ph": "X",
            "name": name,
            "cat": cat,
            "ts": self._us(ts),
            "dur": 0.0,
            "pid": self.pid,
            "tid": track.row,  # its place is known when all rows are
        }
        if args:
            event["args"] = args
        self.events.append(event)
        return event

    def _close(self, event: Event, ts: int) -> None:
        # Nanoseconds are what a float's noise must not hide.
        event["dur"] = max(0.0, round(self._us(ts) - event["ts"], 3))

    def _instant(self, track: Track, ts: int, name: str, args: Event | None = None) -> None:
        self._did.setdefault(track.row, Counter())
        event = {"ph": "i", "s": "t", "name": name, "ts": self._us(ts), "pid": self.pid, "tid": track.row}
        self.events.append(event | ({"args": args} if args else {}))

    # --- runs

    def _schedule(self, track: Track, ts: int, layer: str, ident: int, name: str, args: Event) -> None:
        event = self._slice(track, ts, f"schedule {name}", "schedule", args)
        track.mark = event
        self._open_arrows[layer, ident] = event
        self._enqueue(layer, ident, ts)

    def _schedule_task(self, track: Track, ts: int, ident: int, name: Any, queue: Any, kind: Any) -> None:
        self._schedule(track, ts, TASK, ident, task_label(name, queue, kind), {"queue": queue})

    def _enqueue(self, layer: str, ident: int, ts: int) -> None:
        if (layer, ident) not in self._queued:
            self._queued.add((layer, ident))
            self._deltas.append((ts, JOBS_QUEUED if layer == JOB else TASKS_QUEUED, +1))

    def _dequeue(self, layer: str, ident: int, ts: int) -> None:
        if (layer, ident) in self._queued:
            self._queued.remove((layer, ident))
            self._deltas.append((ts, JOBS_QUEUED if layer == JOB else TASKS_QUEUED, -1))

    def _cancel(self, layer: str, ident: int, ts: int) -> None:
        self._open_arrows.pop((layer, ident), None)
        self._dequeue(layer, ident, ts)

    def _start(self, track: Track, ts: int, layer: str, ident: int, name: str, args: Event) -> None:
        event = self._slice(track, ts, name, layer, args)
        track.stack.append((layer, ident, event))
        self._dequeue(layer, ident, ts)
        self._deltas.append((ts, JOBS_RUNNING if layer == JOB else TASKS_RUNNING, +1))
        cause = self._open_arrows.pop((layer, ident), None)
        if cause is not None:
            self.arrows += 1
            arrow = {"name": "scheduled", "cat": "schedule", "id": self.arrows}
            self.events.append({"ph": "s", **arrow, **{key: cause[key] for key in ("ts", "pid", "tid")}})
            # bp "e": to the slice that is open there, not to the next one.
            self.events.append({"ph": "f", "bp": "e", **arrow, "ts": event["ts"], "pid": self.pid, "tid": track.row})

    def _end(self, track: Track, ts: int, layer: str, ident: int) -> None:
        stack = track.stack
        if not any(entry[:2] == (layer, ident) for entry in stack):
            self.cut += 1
            return
        while True:
            entry = stack.pop()
            self._close(entry[2], ts)
            self._deltas.append((ts, JOBS_RUNNING if entry[0] == JOB else TASKS_RUNNING, -1))
            if entry[:2] == (layer, ident):
                track.last = entry
                return

    def _error(self, track: Track, ts: int, layer: str, ident: int, error: str) -> None:
        """Mark the run, which may have been closed just before."""
        for entry in (*reversed(track.stack), *((track.last,) if track.last else ())):
            if entry[:2] == (layer, ident):
                entry[2].setdefault("args", {})["error"] = error
                break
        self._instant(track, ts, f"error {error}")

    # --- the end

    def _finish(self) -> None:
        for track in self._tracks.values():
            if track.mark is not None:
                track.mark["dur"] = SCHEDULE_NS / 1000
            for _, _, event in track.stack:
                self._close(event, self.ended)
                event.setdefault("args", {})["unfinished"] = True
            for event in track.waits.values():  # timed out, which nobody tells us
                del event["dur"]
                event |= {"ph": "i", "s": "t"}

    def _count(self, at_end: Mapping[tuple[str, str], int]) -> None:
        """Turn the changes of each counter into its values."""
        for counter in COUNTERS:
            changes = [(ts, delta) for ts, which, delta in self._deltas if which == counter]
            lowest = value = 0
            for _, delta in changes:
                value += delta
                lowest = min(lowest, value)
            base = max(-lowest, at_end.get(counter, 0) - value)
            name, arg = counter
            value = base
            for ts, delta in changes:
                value += delta
                self.events.append({"ph": "C", "name": name, "ts": self._us(ts), "pid": self.pid, "args": {arg: value}})

    def _name_tracks(self, program: str) -> None:
        """Give each row its place and its name."""
        self._meta("process_name", {"name": program}, self.pid)
        main = (None, self.main_tid)
        bound = sorted(row for row in self._did if row[0] is not None)
        others = sorted(row for row in self._did if row[0] is None and row != main)
        # The number that is the process's own is the main thread's, to the viewer too; in a container it may be 1.
        first = 1 if len(bound) + len(others) < self.pid else self.pid + 1
        places = {row: place for place, row in enumerate([*bound, *others], first)} | {main: self.pid}
        for order, row in enumerate([main, *bound, *others]):
            if row in self._did:
                self._meta("thread_name", {"name": self._row_name(row)}, places[row])
                self._meta("thread_sort_index", {"sort_index": order}, places[row])  # for chrome://tracing
        for event in self.events:
            if isinstance(event.get("tid"), tuple):
                event["tid"] = places[event["tid"]]

    def _row_name(self, row: Row) -> str:
        """Which CPU it is for, what the thread does, and who it is."""
        cpu, tid = row
        thread = self._worker_names.get(tid) or self._names.get(tid) or "thread"
        if tid == self.main_tid:
            return thread
        names = [name for name, _ in self._did[row].most_common(MOST_NAMES)]
        more = ", ..." if len(self._did[row]) > MOST_NAMES else ""
        does = ", ".join(names) + more or thread
        where = f"CPU {cpu}: " if cpu is not None else ""
        return f"{where}{does} ({thread} {tid})" if does != thread else f"{where}{thread} ({tid})"

    def _meta(self, what: str, args: Event, tid: int) -> None:
        self.events.append({"ph": "M", "name": what, "pid": self.pid, "tid": tid, "args": args})


def text(name: Any) -> str:
    """A name as the trace needs it: a job may have been given anything for a name."""
    return name if isinstance(name, str) else type(name).__name__


def task_label(function: Any, queue: Any, kind: Any) -> str:
    """What a task or work is called: a task by its function, a work by its type or, if that says nothing, its queue."""
    if function != WORK:
        return text(function)
    return text(queue) if kind == "Work" and queue else text(kind)
