"""What a scrape says, in prometheus_client's own exposition formats (TP-34, WQ-12, HK-5, issue 4)."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import prometheus_client
import pytest
from pace import patience
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import task9
import threadpool9
import threadpool9_prometheus
import workqueue9
from threadpool9 import Job

LIMIT = patience(10.0)
PRI = 13  # ours alone, so that the put at the end of a block is the last one and waits for what is scheduled


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """A registry with a collector that measures."""
    made = CollectorRegistry()
    collector = threadpool9_prometheus.register(made)
    yield made
    assert not collector._times._running
    threadpool9_prometheus.unregister(collector, made)
    assert prometheus_client.generate_latest(made) == b""
    threadpool9.retire_idle()


def finish(item: Any, arg: object = None) -> None:
    """A job that does nothing."""
    if isinstance(item, Job):
        with item.interlock:
            item.done()


def value(registry: CollectorRegistry, name: str, **labels: object) -> float | None:
    """One sample of a scrape; `cpu` is unbound unless given, where the family has that label."""
    return registry.get_sample_value(name, {key: str(text) for key, text in labels.items()})


def until(condition: Callable[[], bool]) -> None:
    """Poll: a snapshot is a blur while something is going on."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def test_counters_threads_and_references_of_a_pool(registry: CollectorRegistry) -> None:
    """A pool's numbers, under its priority and CPU; process totals stay when the pool is gone."""
    before = value(registry, "threadpool9_process_jobs_completed_total")
    assert before is not None
    labels = {"pri": PRI, "cpu": "unbound"}
    entered, go = threading.Event(), threading.Event()

    def hold(job: Job) -> None:
        entered.set()
        assert go.wait(LIMIT)
        finish(job)

    with threadpool9.get(PRI) as pool:
        pool.post(Job(hold))
        assert entered.wait(LIMIT)
        assert value(registry, "threadpool9_threads", **labels, state="running") == 1
        assert value(registry, "threadpool9_references", **labels) == 1
        assert value(registry, "threadpool9_jobs_scheduled_total", **labels) == 1
        assert value(registry, "threadpool9_jobs_completed_total", **labels) == 0
        longest = value(registry, "threadpool9_longest_run_seconds", **labels)
        assert longest is not None
        assert longest > 0
        go.set()
    assert value(registry, "threadpool9_jobs_scheduled_total", **labels) is None
    after = value(registry, "threadpool9_process_jobs_completed_total")
    assert after is not None
    assert after >= before + 1


def test_times_of_jobs_tasks_and_works(registry: CollectorRegistry) -> None:
    """Each run is one observation of waiting and one of running, by pool and by queue; executors are no jobs."""
    with (
        threadpool9.get(PRI) as pool,
        task9.TaskQueue("chores", PRI) as chores,
        workqueue9.WorkQueue("mail", finish, pri=PRI) as mail,
    ):
        over = threading.Semaphore(0)

        def count(job: Job) -> None:
            finish(job)
            over.release()

        for _ in range(2):
            pool.post(Job(count))
        for _ in range(3):
            chores.schedule(task9.Task(finish))
        for _ in range(4):
            mail.enqueue(workqueue9.Work())
        assert all(over.acquire(timeout=LIMIT) for _ in range(2))
        chores.drain()
        mail.flush()
        until(lambda: value(registry, "workqueue9_works_enqueued_total", queue="mail") == 4)  # see until
        run = value(registry, "workqueue9_work_run_seconds_total", queue="mail")
        assert run is not None
        assert run > 0
        for kind in ("wait", "run"):
            for queue, runs in (("chores", 3), ("mail", 4)):
                name = f"task9_task_{kind}_seconds_count"
                until(lambda name=name, q=queue, n=runs: value(registry, name, queue=q, cpu="unbound") == n)  # type: ignore[misc]
            name = f"threadpool9_job_{kind}_seconds_count"
            until(lambda name=name: value(registry, name, pri=PRI, cpu="unbound") == 2)  # type: ignore[misc]


def test_the_waits_of_works_have_a_sum_and_a_count(registry: CollectorRegistry) -> None:
    """Their sum is what the works waited, their count is the last bucket."""
    held = 0.1
    with workqueue9.WorkQueue("held", finish, pri=PRI) as queue:
        queue.freeze()
        began = time.monotonic()
        for _ in range(4):
            queue.enqueue(workqueue9.Work())
        time.sleep(held)  # the time is what is measured
        queue.thaw()
        queue.flush()
        took = time.monotonic() - began
        count = value(registry, "workqueue9_work_wait_seconds_count", queue="held")
        total = value(registry, "workqueue9_work_wait_seconds_sum", queue="held")
        assert count == value(registry, "workqueue9_work_wait_seconds_bucket", queue="held", le="+Inf") == 4
        assert total is not None
        assert 4 * held <= total <= 4 * took


def test_plumbing_is_no_long_run(registry: CollectorRegistry) -> None:
    """The timer's job and a queue's executor run for as long as they have to; a task that they run counts as one."""
    entered, go = threading.Event(), threading.Event()

    def hold(task: task9.Task) -> None:
        entered.set()
        assert go.wait(LIMIT)

    with task9.TaskQueue("long", PRI) as queue:
        later = task9.DelayedTask(finish)
        queue.schedule_delayed(later, 3600)
        queue.schedule(task9.Task(hold))
        assert entered.wait(LIMIT)
        until(lambda: (value(registry, "task9_longest_run_seconds", queue="long", cpu="unbound") or 0) > 0.05)
        ages = [
            sample.value
            for family in registry.collect()
            if family.name == "threadpool9_longest_run_seconds"
            for sample in family.samples
        ]
        assert ages
        assert not any(ages)
        go.set()
        later.cancel()


def test_queues_that_are_gone_leave_nothing(registry: CollectorRegistry) -> None:
    """Two hundred names that come and go: a scrape afterwards is as large as before, and so is what is kept."""
    (collector,) = registry._collector_to_names
    names = [f"gone {n}" for n in range(200)]
    before = len(prometheus_client.generate_latest(registry))
    for name in names:
        with task9.TaskQueue(name, PRI) as queue:
            queue.schedule(task9.Task(finish))
        with workqueue9.WorkQueue(name, finish, pri=PRI) as works:
            works.enqueue(workqueue9.Work())
    del queue, works
    gc.collect()
    text = prometheus_client.generate_latest(registry).decode()
    assert "gone " not in text
    assert len(text) < before + 10_000
    assert not [key for key in collector._times._children if str(key[1]).startswith("gone ")]


def test_a_delayed_task_waits_from_the_time_it_was_set_for(registry: CollectorRegistry) -> None:
    """The delay itself is no waiting: the note of the time is made when the timer hands the task over."""
    over = threading.Event()
    with task9.TaskQueue("later", PRI) as queue:
        task = task9.DelayedTask(lambda task: over.set())
        queue.schedule_delayed(task, 0.2)
        (collector,) = registry._collector_to_names
        assert id(task) not in collector._times._scheduled
        assert over.wait(LIMIT)
        assert value(registry, "task9_task_wait_seconds_count", queue="later", cpu="unbound") == 1


def test_per_cpu_pools_and_queues_carry_their_cpu(registry: CollectorRegistry) -> None:
    """The label is the CPU's number."""
    cpu = min(threadpool9.allowed_cpus())
    with (
        threadpool9.percpu_get(PRI) as percpu,
        workqueue9.WorkQueue("each", finish, flags=workqueue9.WQ_PERCPU) as each,
    ):
        job = Job(finish)
        pool = percpu.ref_remote(cpu)
        pool.post(job)
        with job.interlock:
            pool.cancel(job)
        each.enqueue(workqueue9.Work(), cpu=cpu)
        each.flush()
        assert value(registry, "threadpool9_jobs_scheduled_total", pri=PRI, cpu=cpu) == 1
        until(lambda: value(registry, "task9_tasks_started_total", queue="each", cpu=cpu) == 1)


def test_errors_are_counted(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a pool, a task queue, a work queue, and of hooks."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def fail(item: object, arg: object = None) -> None:
        raise OSError("no")

    class Broken:
        @threadpool9.hookimpl
        def workqueue9_enqueue(self) -> None:
            raise OSError("no")

    before = value(registry, "threadpool9_hook_errors_total")
    assert before is not None
    broken = Broken()
    threadpool9.register(broken)
    try:
        with threadpool9.get(PRI) as pool, workqueue9.WorkQueue("bad", fail, pri=PRI) as bad:
            job = Job(fail)
            pool.post(job)
            bad.enqueue(workqueue9.Work())
            bad.flush()
            with job.interlock:
                pool.cancel(job)
            assert value(registry, "workqueue9_works_failed_total", queue="bad") == 1
            assert value(registry, "task9_tasks_failed_total", queue="bad", cpu="unbound") == 1
            assert value(registry, "threadpool9_jobs_failed_total", pri=PRI, cpu="unbound") in (
                0,
                1,
            )  # withdrawn or run
            assert value(registry, "threadpool9_hook_errors_total") == before + 1
    finally:
        threadpool9.unregister(broken)


def test_two_queues_of_one_name_are_one_series(registry: CollectorRegistry) -> None:
    """A scrape with a series twice would be refused whole."""
    with task9.TaskQueue("twin", PRI) as one, task9.TaskQueue("twin", PRI) as two:
        for queue in (one, two):
            queue.schedule(task9.Task(finish))
            queue.drain()
        until(lambda: value(registry, "task9_tasks_started_total", queue="twin", cpu="unbound") == 2)
        text = prometheus_client.generate_latest(registry).decode()
        assert text.count('task9_tasks_started_total{cpu="unbound",queue="twin"} 2.0') == 1
    with (
        workqueue9.WorkQueue("twin", finish, pri=PRI) as first,
        workqueue9.WorkQueue("twin", finish, pri=PRI) as second,
    ):
        for works, runs in ((first, 2), (second, 3)):
            for _ in range(runs):
                works.enqueue(workqueue9.Work())
            works.flush()
        until(lambda: value(registry, "workqueue9_works_completed_total", queue="twin") == 5)
        assert value(registry, "workqueue9_works_enqueued_total", queue="twin") == 5
        assert value(registry, "workqueue9_work_wait_seconds_count", queue="twin") == 5


def test_both_formats_parse_and_say_the_same(registry: CollectorRegistry) -> None:
    """The classic text and OpenMetrics, read by the strict parsers; odd queue names are escaped."""
    with workqueue9.WorkQueue('odd "name"\\\n', finish) as queue:
        queue.enqueue(workqueue9.Work())
        queue.flush()
        classic = list(parse_text(prometheus_client.generate_latest(registry).decode()))
        open_ = list(parse_openmetrics(openmetrics.generate_latest(registry).decode()))
    assert {family.name for family in classic if not family.name.endswith("_created")} == {f.name for f in open_}
    names = {sample.labels["queue"] for family in open_ for sample in family.samples if "queue" in sample.labels}
    assert 'odd "name"\\\n' in names
    keys = [(s.name, *sorted(s.labels.items())) for family in classic for s in family.samples]
    assert len(keys) == len(set(keys))
    for family in open_:
        assert family.documentation


def test_what_was_withdrawn_leaves_no_note(registry: CollectorRegistry) -> None:
    """Cancelled jobs, tasks and works are forgotten; nothing is timed for them."""
    (collector,) = registry._collector_to_names
    entered, go = threading.Event(), threading.Event()

    def hold(item: object, arg: object = None) -> None:
        entered.set()
        assert go.wait(LIMIT)

    with task9.TaskQueue("q", PRI) as queue, workqueue9.WorkQueue("w", finish, pri=PRI) as works:
        queue.schedule(task9.Task(hold))
        assert entered.wait(LIMIT)
        works.freeze()
        task, work = task9.Task(finish), workqueue9.Work()
        queue.schedule(task)
        works.enqueue(work)
        notes = collector._times._scheduled
        assert {id(task), id(work)} <= set(notes)
        assert task.cancel()
        assert works.cancel(work)
        assert not {id(task), id(work)} & set(notes)
        works.thaw()
        go.set()


def test_unregistered_it_measures_nothing() -> None:
    """The probes' slots are empty again: it costs only while it is registered (HK-5)."""
    from threadpool9._probes import probes, watch

    registry = CollectorRegistry()
    before = probes.schedule__job
    collector = threadpool9_prometheus.register(registry)
    assert probes.schedule__job is not before
    assert not watch.plain
    threadpool9_prometheus.unregister(collector, registry)
    assert probes.schedule__job is before


def test_a_registry_has_one_collector(registry: CollectorRegistry) -> None:
    """Registering again gives the same one; other buckets, or names taken by others, are refused in few words."""
    (collector,) = registry._collector_to_names
    plugins = set(threadpool9.plugin_manager().get_plugins())
    assert threadpool9_prometheus.register(registry) is collector
    with pytest.raises(ValueError, match="has a collector already, with the buckets"):
        threadpool9_prometheus.register(registry, buckets=(1.0,))
    taken = CollectorRegistry()
    prometheus_client.Counter("task9_tasks_started", "Somebody else's", registry=taken)
    with pytest.raises(ValueError, match="from elsewhere") as caught:
        threadpool9_prometheus.register(taken)
    assert len(str(caught.value)) < 200
    assert set(threadpool9.plugin_manager().get_plugins()) == plugins


def run_python(source: str, **environment: str) -> str:
    """What a fresh interpreter prints; it must say nothing on stderr."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("THREADPOOL9")}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env={**plain, "THREADPOOL9_PLUGINS": "prometheus", **environment},
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


USE = """
import prometheus_client, sys, threadpool9
with threadpool9.get(): pass
print(prometheus_client.REGISTRY.get_sample_value("threadpool9_process_jobs_scheduled_total"))
"""


def test_installed_it_does_nothing_until_switched_on() -> None:
    """And it works without the upper layers, which it does not import."""
    assert run_python(USE) == "None\n"
    source = USE + "print('task9' in sys.modules, 'workqueue9' in sys.modules)"
    assert run_python(source, THREADPOOL9_PROMETHEUS="1") == "0.0\nFalse False\n"


def test_without_the_upper_layers() -> None:
    """Where task9 and workqueue9 are not installed the pools are there, and nothing is missed."""
    hide = "import sys; sys.modules['task9'] = sys.modules['workqueue9'] = None\n"
    source = (
        hide
        + """
import prometheus_client, threadpool9, threadpool9_prometheus
threadpool9_prometheus.register()
def fn(job):
    with job.interlock:
        job.done()
with threadpool9.get() as pool:
    pool.post(threadpool9.Job(fn))
value = prometheus_client.REGISTRY.get_sample_value
print(value("threadpool9_process_jobs_completed_total"))
print(value("threadpool9_job_run_seconds_count", {"pri": "-1", "cpu": "unbound"}))
print("task9_tasks_queued{" in prometheus_client.generate_latest().decode())
"""
    )
    assert run_python(source) == "1.0\n1.0\nFalse\n"


@pytest.mark.parametrize(
    "program",
    [
        "with threadpool9.get(): pass",
        "import threadpool9_prometheus as p; p.register()\nwith threadpool9.get(): pass",
        "with threadpool9.get(): pass\nimport threadpool9_prometheus as p; p.register()",
    ],
    ids=["alone", "after the program's register", "before it"],
)
def test_the_environment_can_have_it_served(program: str) -> None:
    """HOST:PORT starts prometheus_client's server on that address; here on a port that is free a moment before."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = (
        "import threadpool9, urllib.request\n"
        f"{program}\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
        f"print('threadpool9_threads' in opener.open('http://127.0.0.1:{port}/metrics').read().decode())\n"
    )
    assert run_python(source, THREADPOOL9_PROMETHEUS=f"127.0.0.1:{port}") == "True\n"


def test_a_bad_switch_is_a_warning_that_names_it() -> None:
    """Never fatal: autoload tells which distribution failed and why."""
    source = (
        "import threadpool9, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    with threadpool9.get(): pass\n"
        "print(caught[0].message)\n"
    )
    text = run_python(source, THREADPOOL9_PROMETHEUS="maybe")
    assert "threadpool9-prometheus" in text
    assert "THREADPOOL9_PROMETHEUS='maybe'" in text


def test_a_name_that_is_not_utf_8_is_escaped(registry: CollectorRegistry) -> None:
    """As `os.fsdecode` gives it; everything else is exposed beside it."""
    with workqueue9.WorkQueue("bad\ud800", finish, pri=PRI) as bad, task9.TaskQueue("bad\ud801", PRI) as worse:
        bad.enqueue(workqueue9.Work())
        bad.drain()
        worse.schedule(task9.Task(finish))
        worse.drain()
        for text in (prometheus_client.generate_latest(registry), openmetrics.generate_latest(registry)):
            lines = text.decode().splitlines()
            for label, name in (
                (r"bad\\ud800", "workqueue9_work_wait_seconds_count"),
                (r"bad\\ud801", "task9_task_run_seconds_count"),
            ):
                assert [line for line in lines if line.startswith(name) and f'queue="{label}"' in line]


def test_to_unregister_from_another_registry_changes_nothing(registry: CollectorRegistry) -> None:
    """Both go on."""
    collector, other = threadpool9_prometheus.register(registry), CollectorRegistry()
    theirs = threadpool9_prometheus.register(other)
    for wrong in (other, CollectorRegistry()):
        with pytest.raises(KeyError, match="this collector is not in that registry"):
            threadpool9_prometheus.unregister(collector, wrong)
    assert threadpool9_prometheus.register(other) is theirs
    with task9.TaskQueue("goes on", PRI) as queue:
        queue.schedule(task9.Task(finish))
        queue.drain()
        for each in (registry, other):
            assert value(each, "task9_task_run_seconds_count", queue="goes on", cpu="unbound") == 1
    threadpool9_prometheus.unregister(theirs, other)
    assert threadpool9_prometheus.register(registry) is collector
