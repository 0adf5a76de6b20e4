"""Spans of runs, their links, and the context inside: with the real SDK (HK-5, issue 4)."""

from __future__ import annotations

import contextvars
import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import StatusCode
from pace import patience

import task9
import threadpool9
import threadpool9_opentelemetry
import workqueue9
from threadpool9 import Job
from threadpool9_opentelemetry import Instrumentor

LIMIT = patience(10.0)
PRI = 7  # ours alone, so that the put at the end of a block is the last one and waits for what is scheduled


class Gate:
    """A job's body that says it has begun and waits to be let go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def __call__(self, item: object, arg: object = None) -> None:
        """Enter, wait, be done."""
        self.entered.set()
        assert self.go.wait(LIMIT)
        if isinstance(item, Job):
            with item.interlock:
                item.done()


def finishing(body: Callable[[], object]) -> Callable[[Job], None]:
    """A job function that runs `body`, then done()."""

    def fn(job: Job) -> None:
        try:
            body()
        finally:
            with job.interlock:
                job.done()

    return fn


def linked(span: Any) -> list[int]:
    """The ids of the spans that `span` links to."""
    return [link.context.span_id for link in span.links]


def test_a_run_links_to_who_scheduled_it_and_is_a_trace_of_its_own(telemetry: Any) -> None:
    """A job's span is a root with one link; the attributes say where it ran."""
    with threadpool9.get(PRI) as pool:
        with telemetry.tracer.start_as_current_span("caller") as caller:
            pool.post(Job(finishing(lambda: None), name="tidy"))
        run = telemetry.span("job tidy")
    assert linked(run) == [caller.get_span_context().span_id]
    assert run.parent is None
    assert run.context.trace_id != caller.get_span_context().trace_id
    assert run.attributes["threadpool9.kind"] == "job"
    assert run.attributes["threadpool9.pool.priority"] == PRI
    assert run.attributes["code.function.name"] == f"{__name__}.finishing.<locals>.fn"
    assert run.attributes["thread.name"].startswith(f"poolthread@{PRI}")
    assert run.attributes["threadpool9.wait_time"] >= 0
    assert run.status.status_code is StatusCode.UNSET


def schedule_job(body: Callable[[], object]) -> str:
    """Run `body` as a job; returns the name of its span."""
    with threadpool9.get(PRI) as pool:
        pool.post(Job(finishing(body), name="it"))
    return "job it"


def schedule_task(body: Callable[[], object]) -> str:
    """Run `body` as a task."""

    def it(task: object) -> None:
        body()

    it.__qualname__ = "it"
    with task9.TaskQueue("q") as queue:
        queue.schedule(task9.Task(it))
    return "task it"


def schedule_delayed(body: Callable[[], object]) -> str:
    """Run `body` as a task that goes through the timer."""
    over = threading.Event()

    def it(task: object) -> None:
        try:
            body()
        finally:
            over.set()

    it.__qualname__ = "it"
    with task9.TaskQueue("q") as queue:
        queue.schedule_delayed(task9.DelayedTask(it), 0.001)
        assert over.wait(LIMIT)
    return "task it"


def schedule_work(body: Callable[[], object]) -> str:
    """Run `body` as the function of a work queue."""
    with workqueue9.WorkQueue("it", lambda work, arg: body()) as queue:
        queue.enqueue(workqueue9.Work())
    return "work it"


def schedule_delayed_work(body: Callable[[], object]) -> str:
    """Run `body` as the function of a work queue for a work that goes through the timer."""
    over = threading.Event()

    def it(work: object, arg: object) -> None:
        try:
            body()
        finally:
            over.set()

    with workqueue9.WorkQueue("it", it) as queue:
        queue.enqueue_delayed(workqueue9.Work(), 0.001)
        assert over.wait(LIMIT)
    return "work it"


WAYS = (schedule_job, schedule_task, schedule_delayed, schedule_work, schedule_delayed_work)


@pytest.mark.parametrize("schedule", WAYS)
def test_inside_the_run_the_context_is_that_of_the_scheduling_point(telemetry: Any, schedule: Any) -> None:
    """Baggage is there, the run's span is current and parent of what the run starts, for all kinds of items."""
    seen: dict[str, Any] = {}

    def body() -> None:
        seen["user"] = baggage.get_baggage("user")
        seen["span"] = trace.get_current_span().get_span_context().span_id
        with telemetry.tracer.start_as_current_span("inner"):
            pass

    token = context.attach(baggage.set_baggage("user", "ann"))
    try:
        with telemetry.tracer.start_as_current_span("caller") as caller:
            name = schedule(body)
    finally:
        context.detach(token)
    run = telemetry.span(name)
    assert seen == {"user": "ann", "span": run.context.span_id}
    assert telemetry.span("inner").parent.span_id == run.context.span_id
    assert linked(run) == [caller.get_span_context().span_id]


@pytest.mark.parametrize("schedule", WAYS)
def test_an_exception_is_the_status_of_its_span(telemetry: Any, schedule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status error and the exception as an event, for all kinds of items."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)

    def body() -> None:
        raise KeyError("lost")

    run = telemetry.span(schedule(body))
    assert run.status.status_code is StatusCode.ERROR
    assert "KeyError" in run.status.description
    (event,) = run.events
    assert event.attributes["exception.type"] == "KeyError"


def test_nothing_stays_on_the_worker(telemetry: Any) -> None:
    """A thread that ran something with baggage, and a leak, is as it was: seen by runs that are not traced any more."""
    threads: list[int] = []

    def leaks() -> None:
        threads.append(threading.get_ident())
        context.attach(baggage.set_baggage("leak", "yes"))  # and no detach

    def look_there() -> Any:
        """On the thread that has the leak: two runs at once, as another thread may have come, and be taken first."""
        for _ in range(1000):
            seen: dict[int, Any] = {}
            both = threading.Barrier(2)

            def looks(seen: dict[int, Any] = seen, both: threading.Barrier = both) -> None:
                valid = trace.get_current_span().get_span_context().is_valid
                seen[threading.get_ident()] = (dict(baggage.get_all()), context.get_value("mine"), valid)
                both.wait(LIMIT)

            for _ in range(2):
                queue.schedule(task9.Task(lambda task, looks=looks: looks()))
            queue.drain()
            if threads[0] in seen:
                return seen[threads[0]]
        raise AssertionError("nothing runs any more on the thread with the leak")

    with task9.TaskQueue("q", PRI, concurrency=2) as queue:
        token = context.attach(context.set_value("mine", 1, baggage.set_baggage("user", "ann")))
        try:
            queue.schedule(task9.Task(lambda task: leaks()))
        finally:
            context.detach(token)
        queue.drain()
        assert look_there() == ({}, None, True)
        Instrumentor().uninstrument()
        assert look_there() == ({}, None, False)


def test_coalesced_schedules_are_links_up_to_the_bound(new_telemetry: Any) -> None:
    """The first schedule's context is the run's; the others are links, at most max_links of them."""
    telemetry = new_telemetry(max_links=3)
    seen: list[object] = []
    gate = Gate()
    task = task9.Task(lambda task: seen.append(baggage.get_baggage("n")))
    ids = []
    with task9.TaskQueue("q") as queue:
        queue.schedule(task9.Task(gate))
        assert gate.entered.wait(LIMIT)
        for n in range(6):
            token = context.attach(baggage.set_baggage("n", n))
            with telemetry.tracer.start_as_current_span(f"caller {n}") as caller:
                assert queue.schedule(task) is (n == 0)
            ids.append(caller.get_span_context().span_id)
            context.detach(token)
        gate.go.set()
    (run,) = [span for span in telemetry.exporter.get_finished_spans() if "<lambda>" in span.name]
    assert seen == [0]
    assert linked(run) == ids[:4]


def test_coalesced_posts_of_a_queued_job_are_links(telemetry: Any) -> None:
    """The same for a job that waits: its worker starts only when the interlock lets the starter's worker run."""
    job = Job(finishing(lambda: None), name="late")
    tracing = telemetry.tracing
    with telemetry.tracer.start_as_current_span("first") as first:
        tracing.schedules.add(job)
    with telemetry.tracer.start_as_current_span("second") as second:
        tracing.coalesced(job)
    tracing.enter(job, "job late", {})
    tracing.leave(job)
    run = telemetry.span("job late")
    assert linked(run) == [first.get_span_context().span_id, second.get_span_context().span_id]


def test_a_post_to_a_running_job_gives_its_context_to_the_run_that_follows(telemetry: Any) -> None:
    """TP-28: the post takes effect at done(), which schedules for the poster and not for the run that ends."""
    seen: list[object] = []
    gate = Gate()

    def fn(job: Job) -> None:
        seen.append(baggage.get_baggage("who"))
        gate(job)

    job = Job(fn, name="again")
    with threadpool9.get(PRI) as pool:
        callers = []
        for who in ("first", "second", "third"):
            token = context.attach(baggage.set_baggage("who", who))
            with telemetry.tracer.start_as_current_span(who) as caller:
                pool.post(job)
            callers.append(caller.get_span_context().span_id)
            context.detach(token)
            assert gate.entered.wait(LIMIT)
        gate.go.set()
    telemetry.until(lambda: len(telemetry.spans("job again")) == 2)
    one, two = sorted(telemetry.spans("job again"), key=lambda span: span.start_time)
    assert seen == ["first", "second"]
    assert linked(one) == callers[:1]
    assert linked(two) == callers[1:]


def test_cancelled_and_refused_runs_leave_nothing(telemetry: Any) -> None:
    """No context is kept for what was withdrawn, and none keeps its item alive."""
    gate = Gate()
    with task9.TaskQueue("q") as queue, workqueue9.WorkQueue("w", gate) as works:
        works.enqueue(workqueue9.Work())
        queue.schedule(task9.Task(gate))
        assert gate.entered.wait(LIMIT)
        task, delayed, work = task9.Task(print), task9.DelayedTask(print), workqueue9.Work()
        queue.schedule(task)
        queue.schedule_delayed(delayed, 3600)
        works.enqueue(work)
        waiting_for = telemetry.tracing.schedules._waiting
        withdrawn = {id(task), id(delayed), id(work)}
        assert withdrawn <= set(waiting_for)
        assert task.cancel()
        assert delayed.cancel()
        assert works.cancel(work)
        assert not withdrawn & set(waiting_for)
        waiting = weakref.ref(work)
        del task, delayed, work
        gate.go.set()
        queue.drain()
        works.drain()
    gc.collect()
    assert waiting() is None
    telemetry.until(lambda: len(telemetry.tracing.schedules) == 0)


def test_an_item_that_dies_scheduled_takes_its_record_along(telemetry: Any) -> None:
    """Where no probe tells (a schedule that was refused), the weak reference does."""
    job = Job(print)
    telemetry.tracing.schedules.add(job)
    assert len(telemetry.tracing.schedules) == 1
    del job
    gc.collect()
    assert len(telemetry.tracing.schedules) == 0


def test_executors_of_queues_make_no_spans(telemetry: Any) -> None:
    """A task is one span: the job that runs the queue is plumbing, and so is the timer's."""
    schedule_delayed(lambda: None)
    telemetry.span("task it")
    assert [span.name for span in telemetry.exporter.get_finished_spans()] == ["task it"]


def test_a_periodic_task_links_run_to_run(telemetry: Any) -> None:
    """Each run was armed by the one before it: links, not one endless trace."""
    runs = threading.Semaphore(0)

    def period(task: object) -> None:
        runs.release()

    with task9.TaskQueue("q") as queue:
        task = task9.PeriodicTask(period, 0.001)
        with telemetry.tracer.start_as_current_span("caller") as caller:
            task.start(queue=queue)
        for _ in range(3):
            assert runs.acquire(timeout=LIMIT)
        task.cancel()
    spans = sorted(telemetry.spans(f"task {period.__qualname__}"), key=lambda span: span.start_time)
    assert len({span.context.trace_id for span in spans}) == len(spans) >= 3
    assert linked(spans[0]) == [caller.get_span_context().span_id]
    assert linked(spans[1]) == [spans[0].context.span_id]


class Interrupt:
    """Calls `action` in the plugin's own code, at the n-th place where a signal handler could come in."""

    def __init__(self, at: int, action: Callable[[], object]) -> None:
        self.left = at
        self.action = action
        self.directory = os.path.dirname(threadpool9_opentelemetry.__file__)

    def __enter__(self) -> Interrupt:
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _call(self, frame: Any, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(self.directory):
            return None
        frame.f_trace_opcodes = True
        return self._opcode

    def _opcode(self, frame: Any, event: str, arg: object) -> Any:
        if event in ("opcode", "line"):  # newer versions may give only the latter
            self.left -= 1
            if self.left == 0:
                self.action()
        return self._opcode


def test_a_schedule_that_interrupts_a_schedule_anywhere(telemetry: Any) -> None:
    """Any context: capturing takes no lock that the interrupted code may hold, and mixes up nothing (TP-20, TK-1)."""
    seen: list[tuple[str, object]] = []
    gate = Gate()
    rounds = 0
    with task9.TaskQueue("q", PRI) as queue:
        queue.schedule(task9.Task(gate))
        assert gate.entered.wait(LIMIT)

        def scheduled_with(name: str) -> None:
            token = context.attach(baggage.set_baggage("n", name))
            queue.schedule(task9.Task(lambda task: seen.append((name, baggage.get_baggage("n")))))
            context.detach(token)

        while True:
            rounds += 1
            interrupt = Interrupt(rounds, partial(scheduled_with, f"inner {rounds}"))
            with interrupt:
                scheduled_with(f"outer {rounds}")
            if interrupt.left > 0:
                break
        gate.go.set()
    assert rounds > 10  # there is that much code
    assert len(seen) == 2 * rounds - 1
    assert all(name == found for name, found in seen)


def test_suppressed_instrumentation_makes_no_span_but_carries_the_context(telemetry: Any) -> None:
    """What an exporter schedules is not traced."""
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled, suppress_instrumentation

    seen: list[bool] = []
    with suppress_instrumentation():
        schedule_job(lambda: seen.append(is_instrumentation_enabled()))
    assert seen == [False]
    assert telemetry.exporter.get_finished_spans() == ()


def test_uninstrument_lets_what_has_begun_end_its_span(telemetry: Any) -> None:
    """And is effective for the next event (HK-7); the endings are gone with the last run."""
    gate = Gate()
    manager = threadpool9.plugin_manager()
    with threadpool9.get(PRI) as pool:
        pool.post(Job(gate, name="old"))
        assert gate.entered.wait(LIMIT)
        Instrumentor().uninstrument()
        assert not manager.has_plugin("threadpool9-opentelemetry")
        assert manager.is_registered(telemetry.tracing._endings)
        pool.post(Job(finishing(lambda: None), name="new"))
        gate.go.set()
    run = telemetry.span("job old")
    assert run.end_time is not None
    telemetry.until(lambda: not manager.is_registered(telemetry.tracing._endings))
    assert telemetry.spans("job new") == []


def test_instrument_inside_a_run_ignores_its_return(new_telemetry: Any) -> None:
    """A return without an entry that we saw is nobody's."""
    gate = Gate()
    with threadpool9.get(PRI) as pool:
        pool.post(Job(gate, name="before"))
        assert gate.entered.wait(LIMIT)
        telemetry = new_telemetry()
        gate.go.set()
    assert telemetry.exporter.get_finished_spans() == ()


def test_instrument_twice_warns_and_changes_nothing(telemetry: Any, caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry's rule for instrumentors."""
    Instrumentor().instrument()
    assert "already instrumented" in caplog.text
    with pytest.raises(threadpool9.Error, match="opentelemetry"):
        threadpool9.register(object(), "threadpool9-opentelemetry")


def test_a_bad_bound_is_a_clear_error() -> None:
    """The error names the option and what it takes."""
    with pytest.raises(ValueError, match="max_links is an int >= 0"):
        Instrumentor().instrument(max_links=-1)
    assert not Instrumentor().is_instrumented_by_opentelemetry


def test_a_task_with_a_context_of_its_own_runs_in_it(telemetry: Any) -> None:
    """TK-15 goes before: the given context's baggage; but the run's span is current there, and gone afterwards."""
    seen: list[object] = []
    mine = contextvars.Context()
    mine.run(lambda: context.attach(baggage.set_baggage("user", "own")))

    def it(task: object) -> None:
        seen.append(baggage.get_baggage("user"))
        seen.append(trace.get_current_span().get_span_context().span_id)

    token = context.attach(baggage.set_baggage("user", "caller"))
    with task9.TaskQueue("q") as queue:
        with telemetry.tracer.start_as_current_span("caller") as caller:
            queue.schedule(task9.Task(it, context=mine))
    context.detach(token)
    (run,) = [span for span in telemetry.exporter.get_finished_spans() if span.name.startswith("task ")]
    assert seen == ["own", run.context.span_id]
    assert linked(run) == [caller.get_span_context().span_id]
    assert not mine.run(trace.get_current_span).get_span_context().is_valid
    assert mine.run(baggage.get_baggage, "user") == "own"


def test_a_job_that_forgets_done_is_an_error(telemetry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TP-24: it counts as one, in its span too."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    with threadpool9.get(PRI) as pool:
        pool.post(Job(lambda job: None, name="forgets"))
    assert "done()" in telemetry.span("job forgets").status.description


def test_a_storm_mixes_up_no_contexts(telemetry: Any) -> None:
    """Many threads schedule at once: each work sees the baggage of its own enqueue and links to that alone."""
    senders, each = 4, 100
    seen: list[tuple[object, object]] = []

    def func(work: workqueue9.Work, arg: object) -> None:
        seen.append((work.payload, baggage.get_baggage("n")))
        with telemetry.tracer.start_as_current_span("inner"):
            pass

    callers: dict[int, str] = {}

    def sender(number: int) -> None:
        for n in range(each):
            name = f"{number}.{n}"
            token = context.attach(baggage.set_baggage("n", name))
            with telemetry.tracer.start_as_current_span(name) as caller:
                callers[caller.get_span_context().span_id] = name
                queue.enqueue(workqueue9.Work(name))
            context.detach(token)

    with workqueue9.WorkQueue("storm", func, pri=PRI, max_active=4) as queue:
        threads = [threading.Thread(target=sender, args=(number,)) for number in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    telemetry.until(lambda: len(telemetry.spans("work storm")) == senders * each)
    assert len(seen) == senders * each
    assert all(payload == found for payload, found in seen)
    runs = telemetry.spans("work storm")
    assert sorted(callers[only] for run in runs for only in linked(run)) == sorted(callers.values())
    inner = {span.parent.span_id for span in telemetry.spans("inner")}
    assert inner == {run.context.span_id for run in runs}
    assert len(telemetry.tracing.schedules) == 0


def test_a_storm_of_coalescing_schedules_leaves_no_run_without_its_caller(telemetry: Any) -> None:
    """TK-1, TP-28: a task and a job that everybody schedules run in the context of somebody who did, every time."""
    seen: list[object] = []
    task = task9.Task(lambda task: seen.append(baggage.get_baggage("n")))
    job = Job(finishing(lambda: seen.append(baggage.get_baggage("n"))), name="shared")

    def sender(number: int) -> None:
        for _ in range(200):
            token = context.attach(baggage.set_baggage("n", number))
            with telemetry.tracer.start_as_current_span("caller"):
                queue.schedule(task)
                pool.post(job)
            context.detach(token)

    with threadpool9.get(PRI) as pool, task9.TaskQueue("storm", PRI) as queue:
        threads = [threading.Thread(target=sender, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    telemetry.until(lambda: len(telemetry.tracing._open) == 0)
    runs = [span for span in telemetry.exporter.get_finished_spans() if span.name.startswith(("task", "job"))]
    assert len(runs) == len(seen)
    assert set(seen) <= {0, 1, 2, 3}
    assert all(linked(run) for run in runs)


def module_function(item: Any, arg: object = None) -> None:
    """Something with a name of its own."""
    threads.append((threading.get_ident(), threading.get_native_id()))
    if isinstance(item, threadpool9.Job):
        with item.interlock:
            item.done()


threads: list[tuple[int, int]] = []


class Callable_:
    """A callable that is no function."""

    def __call__(self, task: object) -> None:
        """Do nothing."""


def test_a_span_names_its_thread_and_function_as_the_conventions_do(telemetry: Any) -> None:
    """thread.id is Python's, the OS's has a name of ours; functions with their module, partials by what they call."""
    from threadpool9_opentelemetry._tracing import function_name

    threads.clear()
    with workqueue9.WorkQueue("named", module_function, pri=PRI) as queue:
        queue.enqueue(workqueue9.Work())
        queue.drain()
    run = telemetry.span("work named")
    assert run.attributes["code.function.name"] == f"{__name__}.module_function"
    assert (run.attributes["thread.id"], run.attributes["threadpool9.thread.native_id"]) == threads[0]

    assert function_name(module_function) == f"{__name__}.module_function"
    assert function_name(partial(partial(module_function), 1)) == f"{__name__}.module_function"
    assert function_name(Callable_()) == f"{__name__}.Callable_"
    assert function_name(Callable_().__call__) == f"{__name__}.Callable_.__call__"
    assert function_name(print) == "builtins.print"


@pytest.mark.parametrize("error", [None, ValueError("its own business")])
def test_a_submitted_call_has_its_functions_name_and_keeps_its_error(telemetry: Any, error: Exception | None) -> None:
    """What it raises goes to the future, so the run is none that failed."""

    def call() -> None:
        if error is not None:
            raise error

    with task9.TaskQueue("calls", PRI) as queue:
        assert queue.submit(call).exception(LIMIT) is error
    span = telemetry.span(f"task {call.__qualname__}")
    assert span.attributes["code.function.name"] == call.__qualname__
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events
