"""What a trace holds: slices, arrows, counters, instants, tracks; bound and any context (HK-5)."""

from __future__ import annotations

import gc
import gzip
import json
import os
import signal
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pace import patience

import task9
import threadpool9
import threadpool9_perfetto
import workqueue9
from threadpool9_perfetto import _convert, _record, _session

LIMIT = patience(60)
PRI = 17  # a priority of our own: no other test's pool


class Trace:
    """A trace file, read."""

    def __init__(self, path: Path) -> None:
        content = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        self.events: list[dict[str, Any]] = content["traceEvents"]
        self.other: dict[str, Any] = content["otherData"]
        self.slices = [event for event in self.events if event["ph"] == "X"]
        self._starts: dict[tuple[int, int, float], list[dict[str, Any]]] = {}
        for event in self.slices:
            self._starts.setdefault((event["pid"], event["tid"], event["ts"]), []).append(event)
        self.groups = {e["pid"]: e["args"]["name"] for e in self.events if e["name"] == "process_name"}
        self.threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in self.events if e["name"] == "thread_name"}

    def named(self, name: str) -> list[dict[str, Any]]:
        """The slices of that name."""
        return [event for event in self.slices if event["name"] == name]

    def instants(self) -> Counter[str]:
        """How many marks there are of each name."""
        return Counter(event["name"] for event in self.events if event["ph"] == "i")

    def at(self, arrow: dict[str, Any]) -> dict[str, Any]:
        """The one slice at an arrow's end: the innermost that begins there."""
        (there,) = self._starts[arrow["pid"], arrow["tid"], arrow["ts"]]
        return there

    def arrows(self) -> Counter[tuple[str, str]]:
        """Names of the slices at both ends of each arrow."""
        tails = {event["id"]: event for event in self.events if event["ph"] == "s"}
        heads = {event["id"]: event for event in self.events if event["ph"] == "f"}
        assert tails.keys() == heads.keys()
        for number, tail in tails.items():
            assert tail["ts"] <= heads[number]["ts"]
        return Counter((self.at(tails[n])["name"], self.at(heads[n])["name"]) for n in tails)

    def counter(self, name: str, arg: str) -> list[int]:
        """The values that a counter went through."""
        return [e["args"][arg] for e in self.events if e["ph"] == "C" and e["name"] == name and arg in e["args"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test's trace goes."""
    return tmp_path / "trace.json"


def finish(job: threadpool9.Job) -> None:
    """done(), as a job's function has to."""
    with job.interlock:
        job.done()


def run_job(pool: threadpool9.Pool, name: str, work: Callable[[], object] = lambda: None) -> threadpool9.Job:
    """Have a job run to its end on `pool`."""
    over = threading.Event()

    def fn(job: threadpool9.Job) -> None:
        try:
            work()
        finally:
            finish(job)
            over.set()

    job = threadpool9.Job(fn, name=name)
    pool.post(job)
    assert over.wait(LIMIT)
    return job


def test_hk5_jobs_tasks_and_works_are_slices_with_names(path: Path) -> None:
    """Every run is one slice under its name, and an arrow leads to it from its schedule."""

    def tidy(task: task9.Task) -> None:
        pass

    class Picture(workqueue9.Work):
        pass

    with threadpool9_perfetto.tracing(path):
        with threadpool9.get(PRI) as pool:
            for _ in range(3):
                run_job(pool, "mine")
        with task9.TaskQueue("house") as queue:
            queue.schedule(task9.Task(tidy))
        with workqueue9.WorkQueue("album", lambda work, arg: None) as wq:
            for _ in range(5):
                wq.enqueue(Picture())
            wq.enqueue(workqueue9.Work())

    trace = Trace(path)
    label = tidy.__qualname__
    assert len(trace.named("mine")) == 3
    assert [s["args"]["queue"] for s in trace.named(label)] == ["house"]
    assert [s["args"]["queue"] for s in trace.named("Picture")] == ["album"] * 5
    assert len([s for s in trace.named("album") if s["cat"] == "task"]) == 1
    arrows = trace.arrows()
    assert arrows["schedule mine", "mine"] == 3
    assert arrows[f"schedule {label}", label] == 1
    assert arrows["schedule Picture", "Picture"] == 5
    assert trace.other["dropped_records"] == trace.other["cut_runs"] == 0


def test_hk5_slices_of_a_track_nest(path: Path) -> None:
    """On each track a slice lies inside another or beside it: what the format asks for."""
    with threadpool9_perfetto.tracing(path):
        with workqueue9.WorkQueue("nest", lambda work, arg: again(), flags=workqueue9.WQ_PERCPU) as wq:
            left = [50]

            def again() -> None:
                left[0] -= 1
                if left[0] > 0:
                    wq.enqueue(workqueue9.Work())

            wq.enqueue(workqueue9.Work())
            wq.drain()

    trace = Trace(path)
    tracks: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in trace.slices:
        tracks.setdefault((event["pid"], event["tid"]), []).append(event)
    for events in tracks.values():
        open_until: list[float] = []
        for event in sorted(events, key=lambda e: e["ts"]):
            while open_until and open_until[-1] <= event["ts"]:
                open_until.pop()
            end = event["ts"] + event["dur"]
            assert not open_until or end <= open_until[-1] + 1e-6
            open_until.append(end)


def test_hk5_cpu_rows_show_only_their_cpu(path: Path) -> None:
    """A job's slice is in the row of CPU n only if it began on CPU n; the OS agrees about the thread."""
    bound: dict[int, set[int]] = {}
    with threadpool9_perfetto.tracing(path):
        percpu = threadpool9.percpu_get(PRI)
        for cpu in threadpool9.allowed_cpus():
            with_me: list[set[int]] = []
            tids: list[int] = []

            def look(with_me: list[set[int]] = with_me, tids: list[int] = tids) -> None:
                with_me.append(os.sched_getaffinity(0))
                tids.append(threading.get_native_id())

            run_job(percpu.ref_remote(cpu), f"job {cpu}", look)
            bound[tids[0]] = with_me[0]
        percpu.put()
        with threadpool9.get(PRI) as pool:
            run_job(pool, "free")

    trace = Trace(path)
    assert set(trace.groups) == {os.getpid()}
    seen = 0
    for event in trace.slices:
        row = trace.threads[event["pid"], event["tid"]]
        if event["cat"] == "job" and row.startswith("CPU "):
            cpu = int(row[4:].partition(":")[0])
            assert event["args"]["cpu"] == cpu
            assert bound[event["args"]["thread"]] == {cpu}
            assert row == f"CPU {cpu}: job {cpu} (poolthread/{cpu}@{PRI} {event['args']['thread']})"
            seen += 1
    assert seen == len(bound)
    (free,) = trace.named("free")
    assert "CPU" not in trace.threads[free["pid"], free["tid"]]
    cpus = [name for _, name in sorted(trace.threads.items()) if name.startswith("CPU ")]
    assert cpus == sorted(cpus, key=lambda name: int(name[4:].partition(":")[0]))


def test_tp8_a_worker_without_its_cpu_is_not_in_the_cpus_group() -> None:
    """A bound worker that is elsewhere has its slices in a row that names no CPU."""
    records: list[_record.Record] = [
        (10, _record.JOB_START, 7, 1, "home", "poolthread/3", (3, 3)),
        (20, _record.JOB_END, 7, 1, None, None, None),
        (30, _record.JOB_START, 7, 1, "away", "poolthread/3", (3, 2)),
        (40, _record.JOB_END, 7, 1, None, None, None),
        (50, _record.JOB_START, 1, 2, "left over", "poolthread/3", (3, 3)),  # on the main thread, at exit
        (60, _record.JOB_END, 1, 2, None, None, None),
    ]
    events = convert(records).events
    rows = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    where = {event["name"]: rows[event["tid"]] for event in events if event["ph"] == "X"}
    assert where == {
        "home": "CPU 3: home (poolthread/3 7)",
        "away": "away (poolthread/3 7)",
        "left over": "thread",
    }
    assert {event["pid"] for event in events} == {1}


def test_rows_are_ordered_by_cpu_and_named_by_what_their_thread_does() -> None:
    """Main first, then the CPUs in their order whichever thread came first, then the others."""
    records: list[_record.Record] = []
    for n, (tid, pool, cpu) in enumerate([(9, "p/10", 10), (8, "p/2", 2), (7, "p", None), (1, "", None)]):
        for m, name in enumerate(["often", "often", "rarely", "seldom"] if tid == 7 else [f"job {tid}"]):
            at = 100 * n + 10 * m
            if tid == 1:
                records.append((at, _record.JOB_SCHEDULE, tid, 50, "next", "p", None))
            else:
                records.append((at, _record.JOB_START, tid, 1, name, pool, (cpu, cpu or 0)))
                records.append((at + 5, _record.JOB_END, tid, 1, None, None, None))
    names = {e["args"]["name"]: e["tid"] for e in convert(records).events if e["name"] == "thread_name"}
    assert names == {
        "thread": 1,  # main: the process's own number
        "CPU 2: job 8 (p/2 8)": 2,
        "CPU 10: job 9 (p/10 9)": 3,
        "often, rarely, ... (p 7)": 4,
    }


def convert(records: list[_record.Record], **at_end: int) -> _convert.Converter:
    """The events of hand-made records."""
    known = {_convert.THREADS: at_end.get("threads", 0)}
    return _convert.Converter(
        records, pid=1, program="p", main_tid=1, thread_names={}, began=0, ended=1000, at_end=known
    )


def test_hk5_runs_that_the_ring_cut() -> None:
    """A run without its start is left out and counted; one without an end lasts to the end of the trace."""
    converter = convert(
        [
            (10, _record.JOB_END, 7, 1, None, None, None),
            (20, _record.JOB_START, 7, 2, "half", "poolthread", (None, 0)),
        ]
    )
    (event,) = [event for event in converter.events if event["ph"] == "X"]
    assert converter.cut == 1
    assert event["args"]["unfinished"] is True
    assert event["dur"] == pytest.approx(0.98)


def test_hk5_counters_that_dropped_records_shifted() -> None:
    """Counters end at what is known of the end, and never go below zero."""
    gone = convert([(t, _record.THREAD_EXIT, t, 0, "poolthread", None, None) for t in (1, 2, 3)])
    assert [e["args"]["threads"] for e in gone.events if e["ph"] == "C"] == [2, 1, 0]
    come = convert([(1, _record.THREAD_START, 1, 0, "poolthread", None, None)], threads=4)
    assert [e["args"]["threads"] for e in come.events if e["ph"] == "C"] == [4]


def test_hk5_counters(path: Path) -> None:
    """Queued, running and threads: up and down as things happen, zero after all is over."""
    with threadpool9_perfetto.tracing(path):
        with threadpool9.get(PRI) as pool:
            hold, inside = threading.Event(), threading.Semaphore(0)

            def blocked(job: threadpool9.Job) -> None:
                inside.release()
                hold.wait(LIMIT)
                finish(job)

            for _ in range(3):
                pool.post(threadpool9.Job(blocked))
            for _ in range(3):
                assert inside.acquire(timeout=LIMIT)
            hold.set()

    trace = Trace(path)
    assert max(trace.counter("jobs", "running")) == 3
    assert max(trace.counter("pool", "threads")) >= 3
    for counter in _convert.COUNTERS[:3]:
        values = trace.counter(*counter)
        assert min(values) >= 0
        assert values[-1] == 0 or counter == _convert.THREADS  # threads of another test's pool may idle on


def test_hk5_instants(path: Path) -> None:
    """Spawn, idle exit, coalesced, cancelled and error are marks on their threads."""
    taken: list[object] = []

    class Take:
        @threadpool9.hookimpl
        def threadpool9_error(self, error: threadpool9.ErrorReport) -> bool:
            taken.append(error)
            return True

    def fail(task: task9.Task) -> None:
        raise ZeroDivisionError

    take = Take()
    threadpool9.register(take)
    try:
        with threadpool9_perfetto.tracing(path):
            with threadpool9.get(PRI) as pool:
                hold, inside = threading.Event(), threading.Event()

                def blocked(job: threadpool9.Job) -> None:
                    inside.set()
                    hold.wait(LIMIT)
                    raise KeyError

                job = threadpool9.Job(blocked, name="blocked")
                with job.interlock:
                    pool.schedule(job)
                assert inside.wait(LIMIT)
                with job.interlock:
                    pool.schedule(job)
                hold.set()
            with task9.TaskQueue("marks") as queue:
                late = task9.DelayedTask(lambda task: None)
                queue.schedule_delayed(late, 3600)
                assert late.cancel()
                queue.schedule(task9.Task(fail))
    finally:
        threadpool9.unregister(take)

    marks = Trace(path).instants()
    assert marks["spawn poolthread@17"] >= 1
    assert marks["thread start"] >= 1
    assert marks["idle exit"] + marks["thread exit"] >= 1
    assert marks["coalesced blocked"] == 1
    assert any(name.startswith("cancelled ") for name in marks)
    assert marks["error KeyError"] == marks["error ZeroDivisionError"] == 1
    assert [s["args"]["error"] for s in Trace(path).named("blocked")] == ["KeyError"]
    assert [s["args"]["error"] for s in Trace(path).named(fail.__qualname__)] == ["ZeroDivisionError"]


def test_hk5_a_submitted_call_has_its_functions_name(path: Path) -> None:
    """It has no other function to show; cancelled too."""

    def call() -> None:
        pass

    with threadpool9_perfetto.tracing(path):
        with task9.TaskQueue("calls") as queue:
            queue.submit(call).result(LIMIT)
            hold = threading.Event()
            queue.call(hold.wait, LIMIT)
            assert queue.submit(call).cancel()
            hold.set()
    (run,) = Trace(path).named(call.__qualname__)
    assert run["args"]["queue"] == "calls"
    assert "function" not in run["args"], "its name says it"
    assert Trace(path).named(f"schedule {call.__qualname__}")
    assert Trace(path).instants()[f"cancelled {call.__qualname__}"] == 1


def test_hk5_a_wait_that_timed_out_is_a_mark() -> None:
    """A wait is a slice; one that nobody saw end does not swallow the rest of the track."""
    converter = convert(
        [
            (10, _record.WAIT_START, 1, 5, "drain q", None, None),
            (20, _record.WAIT_START, 1, 6, "drain r", None, None),
            (30, _record.WAIT_END, 1, 6, None, None, None),
        ]
    )
    shapes = {event["name"]: event["ph"] for event in converter.events if event["ph"] in "Xi"}
    assert shapes == {"drain q": "i", "drain r": "X"}


def test_hk5_delayed_tasks_have_an_arrow_from_where_they_were_armed_or_scheduled(path: Path) -> None:
    """The run of a delayed task is the end of an arrow too."""
    with threadpool9_perfetto.tracing(path):
        ran = threading.Event()
        with task9.TaskQueue("later") as queue:
            queue.schedule_delayed(task9.DelayedTask(lambda task: ran.set()), 0.001)
            assert ran.wait(LIMIT)

    trace = Trace(path)
    name = next(s["name"] for s in trace.slices if s["name"].startswith("arm "))[4:]
    heads = [head for (_, head), _ in trace.arrows().items()]
    assert name in heads
    assert f"timer {name}" in trace.instants()


# --- the ring


def test_hk5_the_ring_keeps_the_newest_and_says_what_it_dropped(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bounded, and the sum is right: in the summary, in the file and on stderr."""
    task = task9.Task(lambda task: None)
    with task9.TaskQueue("many") as queue:
        threadpool9_perfetto.start(path, capacity=500)
        for _ in range(3000):
            queue.schedule(task)
            queue.drain()
        ring = _session._state.trace.ring  # type: ignore[union-attr]
        newest = ring.records[-1]
        summary = threadpool9_perfetto.stop()

    assert summary.records <= 500 + _record.BATCH
    assert summary.dropped >= _record.BATCH
    assert summary.records + summary.dropped >= 3 * 3000
    assert newest in ring.records
    assert Trace(path).other["dropped_records"] == summary.dropped
    assert f"{summary.dropped:,} older ones were dropped" in capsys.readouterr().err


def test_hk5_drops_are_counted_exactly_when_threads_race() -> None:
    """Threads that make room at the same time count what each of them dropped."""
    ring = _record.Ring(100)
    (plugin, *_) = _record.listeners(ring)
    job = threadpool9.Job(finish, name="counted")
    pool = type("P", (), {"thread_name": "poolthread", "cpu": None})()
    each = 20_000

    def storm() -> None:
        for _ in range(each):
            plugin.threadpool9_schedule__job(pool, job)  # type: ignore[attr-defined]

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert ring.dropped() + len(ring.records) == 4 * each
    assert len(ring.records) <= ring.limit + 4


def test_hk5_a_record_keeps_nothing_alive(path: Path) -> None:
    """Jobs, tasks and works die while their records are kept."""
    with threadpool9_perfetto.tracing(path):
        with threadpool9.get(PRI) as pool:
            job = weakref.ref(run_job(pool, "short-lived"))
        with task9.TaskQueue("q") as queue:
            obj = task9.Task(lambda task: None)
            task = weakref.ref(obj)
            queue.schedule(obj)
            del obj
        gc.collect()
        assert job() is None
        assert task() is None


# --- any context


def test_hk5_listeners_may_interrupt_themselves_at_every_line(path: Path) -> None:
    """A schedule from a trace function, at each line and opcode of a listener: nothing hangs, nothing is lost."""
    source = _record.__file__
    inner = threadpool9.Job(finish, name="inner")
    outer = threadpool9.Job(finish, name="outer")
    fired = [0]
    busy: list[bool] = []
    with threadpool9.get(PRI) as pool, threadpool9_perfetto.tracing(path):
        plugin = _session._state.trace.plugins[0]  # type: ignore[union-attr]
        listener = plugin.threadpool9_schedule__job  # type: ignore[attr-defined]

        def interrupt(frame: Any, event: str, arg: object) -> Any:
            if frame.f_code.co_filename != source:
                return None
            frame.f_trace_opcodes = True
            if not busy:
                busy.append(True)
                listener(pool, inner)
                fired[0] += 1
                busy.pop()
            return interrupt

        sys.settrace(interrupt)
        try:
            listener(pool, outer)
        finally:
            sys.settrace(None)

    trace = Trace(path)
    assert fired[0] > 3  # 3.12 traces no opcodes in a frame that is entered already, just lines
    assert len(trace.named("schedule inner")) == fired[0]
    assert len(trace.named("schedule outer")) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signal handlers belong to the main thread"
)
def test_hk5_schedules_from_a_signal_handler(path: Path) -> None:
    """A handler that schedules while the main thread schedules: each run has its slice and its arrow."""
    done = threading.Semaphore(0)
    handled = [0]

    def beat(task: task9.Task) -> None:
        done.release()

    with task9.TaskQueue("beats") as queue, threadpool9_perfetto.tracing(path):

        def handler(number: int, frame: object) -> None:
            queue.schedule(task9.Task(beat))
            handled[0] += 1

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            scheduled = 0
            while handled[0] < 50:
                queue.drain()
                queue.schedule(task9.Task(beat))
                scheduled += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        for _ in range(scheduled + handled[0]):
            assert done.acquire(timeout=LIMIT)
        queue.drain()

    trace = Trace(path)
    assert len(trace.named(beat.__qualname__)) == scheduled + handled[0]
    assert trace.arrows()[f"schedule {beat.__qualname__}", beat.__qualname__] > 0


# --- start and stop


def test_hk7_nobody_listens_after_stop(path: Path) -> None:
    """Registered by start, gone after stop."""
    from threadpool9._probes import probes

    with threadpool9_perfetto.tracing(path):
        assert probes.schedule__job is not None
    assert probes.schedule__job is None


def test_errors_name_the_way_out(tmp_path: Path) -> None:
    """What is called in the wrong order or with the wrong arguments."""
    with pytest.raises(RuntimeError, match="start\\(\\) one first"):
        threadpool9_perfetto.stop()
    with threadpool9_perfetto.tracing(tmp_path / "a.json"):
        with pytest.raises(RuntimeError, match=r"a\.json; stop\(\) it first"):
            threadpool9_perfetto.start(tmp_path / "b.json")
    for capacity in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="at least 1"):
            threadpool9_perfetto.start(tmp_path / "c.json", capacity=capacity)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        threadpool9_perfetto.start(tmp_path / "nowhere" / "d.json")
    with pytest.raises(IsADirectoryError):
        threadpool9_perfetto.start(tmp_path)
    assert not _session.active()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.json"]


def test_the_file_may_be_compressed_and_names_may_be_anything(tmp_path: Path) -> None:
    """``.gz``; and a job whose name is not valid text."""
    path = tmp_path / "trace.json.gz"
    odd = 'quote " and \udc80 and \n'
    with threadpool9_perfetto.tracing(path), threadpool9.get(PRI) as pool:
        run_job(pool, odd)
    trace = Trace(path)
    assert trace.named(odd)
