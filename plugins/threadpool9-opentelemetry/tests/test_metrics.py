"""Metrics through the real SDK: histograms of runs, and what the snapshots tell (TP-34, WQ-12, issue 4)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pace import patience

import task9
import threadpool9
import workqueue9
from threadpool9 import Job
from threadpool9_opentelemetry import Instrumentor

LIMIT = patience(10.0)
PRI = 9  # ours alone


def with_attributes(points: dict[tuple[tuple[str, Any], ...], Any], **wanted: Any) -> list[Any]:
    """The points that carry these attributes; underscores stand for dots."""
    pairs = {(f"threadpool9.{name.replace('_', '.')}", value) for name, value in wanted.items()}
    return [point for attributes, point in points.items() if pairs <= set(attributes)]


def total(telemetry: Any, name: str, queue: str) -> int:
    """The one point of a queue; a snapshot is a blur while something is going on, a drain's own marker included."""
    (point,) = with_attributes(telemetry.metric(name), queue=queue)
    return int(point.value)


def finish(job: Job) -> None:
    """A job that does nothing."""
    with job.interlock:
        job.done()


def test_runs_are_recorded_by_kind(telemetry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One observation of waiting and run time for each run; an error is an attribute of the latter."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def fail(work: object, arg: object) -> None:
        raise OSError("no")

    with threadpool9.get(PRI) as pool:
        pool.post(Job(finish))
    with task9.TaskQueue("tasks", PRI) as queue:
        for _ in range(3):
            queue.schedule(task9.Task(lambda task: None))
    with workqueue9.WorkQueue("works", fail, pri=PRI) as works:
        works.enqueue(workqueue9.Work())
    waits = telemetry.metric("threadpool9.run.wait_time")
    (jobs,) = with_attributes(waits, kind="job", pool_priority=PRI)
    (tasks,) = with_attributes(waits, kind="task", queue="tasks")
    (failed,) = with_attributes(telemetry.metric("threadpool9.run.duration"), kind="work", queue="works")
    assert (jobs.count, tasks.count, failed.count) == (1, 3, 1)
    assert failed.attributes["error.type"] == "OSError"
    assert 0 <= jobs.sum < LIMIT
    assert jobs.explicit_bounds[0] == 1e-5


def test_a_delayed_task_waits_from_the_time_it_was_set_for(telemetry: Any) -> None:
    """The delay itself is no waiting: of 0.3 s little may be counted."""
    over = threading.Event()
    with task9.TaskQueue("later") as queue:
        queue.schedule_delayed(task9.DelayedTask(lambda task: over.set()), 0.3)
        record = next(iter(telemetry.tracing.schedules._waiting.values()))
        armed = record.since
        assert over.wait(LIMIT)
        assert record.since - armed >= 0.3
    (waits,) = with_attributes(telemetry.metric("threadpool9.run.wait_time"), queue="later")
    assert waits.count == 1


def test_pools_threads_and_queues(telemetry: Any) -> None:
    """Counters and amounts of the snapshots, by pool and by queue."""
    entered, go = threading.Event(), threading.Event()

    def hold(item: object, arg: object = None) -> None:
        entered.set()
        assert go.wait(LIMIT)

    with workqueue9.WorkQueue("held", hold, pri=PRI) as works:
        works.enqueue(workqueue9.Work())
        assert entered.wait(LIMIT)
        works.enqueue(workqueue9.Work())
        (queued,) = with_attributes(telemetry.metric("workqueue9.works.queued"), queue="held")
        (running,) = with_attributes(telemetry.metric("task9.tasks.running"), queue="held")
        (busy,) = with_attributes(telemetry.metric("threadpool9.threads"), pool_priority=PRI, thread_state="running")
        (jobs,) = with_attributes(telemetry.metric("threadpool9.jobs.scheduled"), pool_priority=PRI)
        assert (queued.value, running.value, busy.value) == (1, 1, 1)
        assert jobs.value >= 1
        go.set()
        works.drain()
        telemetry.until(lambda: total(telemetry, "workqueue9.works.enqueued", "held") == 2)


def test_queues_of_one_name_are_one_number(telemetry: Any) -> None:
    """The API takes one observation for each set of attributes: the sum of both queues."""
    with task9.TaskQueue("twin", PRI) as one, task9.TaskQueue("twin", PRI) as two:
        for queue in (one, two):
            queue.schedule(task9.Task(lambda task: None))
            queue.drain()
        telemetry.until(lambda: total(telemetry, "task9.tasks.started", "twin") == 2)


def test_after_uninstrument_there_is_nothing_and_again_afterwards_there_is(telemetry: Any) -> None:
    """Instruments cannot be removed: they fall silent, and speak again when the same provider comes back."""
    with threadpool9.get(PRI):
        assert telemetry.metric("threadpool9.jobs.queued")
        Instrumentor().uninstrument()
        assert not telemetry.metric("threadpool9.jobs.queued")
        Instrumentor().instrument(tracer_provider=telemetry.provider, meter_provider=telemetry.meters)
        assert len(with_attributes(telemetry.metric("threadpool9.jobs.queued"), pool_priority=PRI)) == 1


def test_another_provider_gets_instruments_of_its_own(telemetry: Any) -> None:
    """The numbers go to the provider that was named last."""
    Instrumentor().uninstrument()
    reader = InMemoryMetricReader()
    other = MeterProvider(metric_readers=[reader])
    Instrumentor().instrument(tracer_provider=telemetry.provider, meter_provider=other)
    with threadpool9.get(PRI):
        assert reader.get_metrics_data() is not None
        assert not telemetry.metric("threadpool9.jobs.queued")
    other.shutdown()
