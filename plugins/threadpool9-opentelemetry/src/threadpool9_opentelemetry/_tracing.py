"""The listeners: from a schedule to the run's span, and the context that is current inside the run.

    schedule   any context: remember the current OpenTelemetry context (`_schedules`)
    entry      worker: make the remembered context current, start the span, make it current too
    return     worker: end the span, put the worker's context back

A run is a trace of its own that *links* to who scheduled it: the two may be far apart in time, one run may serve many
schedules, and a periodic task must not grow one endless trace. Runs of task9's own jobs (the executors of queues,
the timer) are no runs of anybody's and make no spans.

Listening is two plugins, beginnings and endings. `stop` unregisters the first; the second goes with the last run
that has begun, so no span stays open and no context stays on a worker. Both sides publish, then look: an entry shows
its run before it looks whether we are stopping, `stop` says so before it looks for runs.
"""

from __future__ import annotations

import contextvars
import functools
import os
import sys
import threading
import types
import weakref
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import INVALID_SPAN, Link, Span, Status, StatusCode, Tracer, set_span_in_context

import threadpool9
from threadpool9 import Job, Pool, hookimpl

from ._metrics import Instruments
from ._schedules import Schedules, span_of

_optional = hookimpl(optionalhook=True)  # hooks of layers that may be absent

NAME = "threadpool9-opentelemetry"  # of the plugin; autoload registers its own module as "opentelemetry"


class Run:
    """One run between its entry and its return."""

    __slots__ = ("attributes", "error", "ident", "item", "late", "span", "start", "token", "waited", "within")

    def __init__(self, item: int, ident: int) -> None:
        self.item = item
        self.ident = ident
        self.start = monotonic()
        self.token: contextvars.Token[Context] | None = None
        self.within: Callable[..., Any] = _here  # calls a function in the `contextvars.Context` of the run
        self.span: Span | None = None
        self.attributes: dict[str, Any] = {}
        self.waited: float | None = None
        self.error: BaseException | None = None
        #: Contexts of those who scheduled the item while it ran; appended in any context.
        self.late: list[Context] = []


class Tracing:
    """Everything that one `instrument` call switches on."""

    def __init__(self, tracer: Tracer, instruments: Instruments, max_links: int) -> None:
        self.schedules = Schedules(max_links)
        self._tracer = tracer
        self._instruments = instruments
        self._open: dict[int, list[Run]] = {}  # by thread, innermost last; written by that thread
        self._running: dict[int, Run] = {}  # by item
        self._stopping = False
        self._gone = threading.Lock()  # taken once, by who unregisters the endings
        self._beginnings = Beginnings(self)
        self._endings = Endings(self)
        forked = weakref.WeakMethod(self._forked)
        os.register_at_fork(after_in_child=lambda: (call := forked()) and call())

    def _forked(self) -> None:
        """In a fork child everything is unscheduled, and of the runs there is at most the one that forked."""
        self.schedules.clear()
        mine = self._open.get(get_ident())
        self._open = {} if mine is None else {get_ident(): mine}

    def start(self) -> None:
        """Begin to listen."""
        # Endings first: no run may begin whose end nobody would see.
        threadpool9.register(self._endings, f"{NAME}-endings-{id(self):x}")
        try:
            threadpool9.register(self._beginnings, NAME)
        except BaseException:
            threadpool9.unregister(self._endings)
            raise
        self._instruments.live = True

    def stop(self) -> None:
        """Listen no more, but for the ends of what has begun."""
        self._stopping = True
        self._instruments.live = False
        threadpool9.unregister(self._beginnings)
        self.schedules.clear()
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        if not self._open and self._gone.acquire(False):
            threadpool9.unregister(self._endings)

    # --- schedules; any context

    def scheduled_job(self, job: Job) -> None:
        """`job` was scheduled; if its own run does that for somebody who came while it ran, for that one."""
        run = self._running.get(id(job))
        if run is not None and run.late and run.ident == get_ident():
            first, *others = run.late
            run.late = []
            record = self.schedules.add(job, first)
            for context in others:
                record.link(span_of(context), self.schedules.max_links)
        else:
            self.schedules.add(job)

    def coalesced(self, item: object) -> None:
        """A schedule of `item` did nothing because it waits or runs."""
        if not self.schedules.coalesce(item):
            run = self._running.get(id(item))
            if run is not None and len(run.late) < self.schedules.max_links:
                run.late.append(get_current())

    # --- runs; the worker's thread

    def enter(self, item: Any, name: str, attributes: dict[str, Any], own: contextvars.Context | None = None) -> None:
        """The function of `item` is about to be called, in the `contextvars.Context` `own` if it has one (TK-15)."""
        record = self.schedules.take(item)
        ident = get_ident()
        run = Run(id(item), ident)
        self._open.setdefault(ident, []).append(run)
        if self._stopping:
            self._close(run)
            return
        self._running[run.item] = run
        run.attributes = attributes
        context = Context() if record is None else record.context
        links = []
        if record is not None:
            run.waited = max(0.0, run.start - record.since)
            spans = [span_of(record.context), *record.links]
            links = [Link(span) for span in {span.span_id: span for span in spans if span.is_valid}.values()]
        if own is not None:  # who gave the item a context has decided what is in it
            run.within = own.run
            context = own.run(get_current)
        run.token = run.within(attach, context)
        if run.within(is_instrumentation_enabled):  # of the one who scheduled: an exporter's own work is not traced
            thread = threading.current_thread()
            run.span = self._tracer.start_span(
                name,
                set_span_in_context(INVALID_SPAN, context),  # a root that keeps baggage for processors and samplers
                # The conventions' thread.id is Python's number of the thread; the OS's has no name there.
                attributes={
                    **attributes,
                    "thread.id": ident,
                    "thread.name": thread.name,
                    "threadpool9.thread.native_id": threading.get_native_id(),
                },
                links=links,
            )
            if run.waited is not None:
                run.span.set_attribute("threadpool9.wait_time", run.waited)
            if attributes.get("threadpool9.kind") in ("job", "task"):  # a work's function is the queue's, see `called`
                fn = getattr(item, "fn", None)  # what was submitted keeps its function to itself, but for the name
                called = item.task_name if fn is None else function_name(fn)
                run.span.set_attribute("code.function.name", called)
            run.within(attach, set_span_in_context(run.span, context))

    def called(self, item: object, function: object) -> None:
        """`function` is called for `item`, which has been entered."""
        runs = self._open.get(get_ident())
        if runs and runs[-1].item == id(item) and (span := runs[-1].span) is not None:
            span.set_attribute("code.function.name", function_name(function))

    def failed(self, item: object, error: BaseException) -> None:
        """The function of `item` raised."""
        runs = self._open.get(get_ident())
        if runs and runs[-1].item == id(item):
            runs[-1].error = error

    def leave(self, item: object) -> None:
        """The function of `item` returned or raised."""
        runs = self._open.get(get_ident())
        if not runs or runs[-1].item != id(item):
            return  # began before we listened
        run = runs[-1]
        error = run.error
        try:
            self._instruments.record(run.waited, monotonic() - run.start, run.attributes, error)
            if run.span is not None:
                for context in run.late:  # whoever wanted it while it ran and got no run of their own
                    if (span := span_of(context)).is_valid:
                        run.span.add_link(span)
                if error is not None:
                    run.span.record_exception(error)
                    run.span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                run.span.end()
        finally:
            run.error = error = None  # no cycle through this frame
            try:
                if run.token is not None:
                    run.within(detach, run.token)
            finally:
                self._close(run)

    def _close(self, run: Run) -> None:
        if self._running.get(run.item) is run:
            del self._running[run.item]
        runs = self._open[run.ident]
        runs.pop()
        if not runs:
            del self._open[run.ident]
            if self._stopping:
                self._leave_if_idle()


class Beginnings:
    """Listens for schedules and entries."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @hookimpl
    def threadpool9_schedule__job(self, job: Job) -> None:
        """Any context."""
        if not job.plumbing:
            self._tracing.scheduled_job(job)

    @hookimpl
    def threadpool9_schedule__job__running(self, job: Job) -> None:
        """Any context."""
        self._tracing.coalesced(job)

    @hookimpl
    def threadpool9_cancel__job(self, job: Job) -> None:
        """Any context."""
        self._tracing.schedules.take(job)

    @hookimpl
    def threadpool9_thread__job(self, pool: Pool, job: Job) -> None:
        """The worker's thread."""
        if not job.plumbing:
            attributes: dict[str, Any] = {"threadpool9.kind": "job", "threadpool9.pool.priority": pool.pri}
            if pool.cpu is not None:
                attributes["threadpool9.pool.cpu"] = pool.cpu
            self._tracing.enter(job, f"job {job.name}", attributes)

    @_optional
    def task9_schedule(self, task: Any) -> None:
        """Any context."""
        self._tracing.schedules.schedule(task)

    @_optional
    def workqueue9_enqueue(self, wk: Any) -> None:
        """Any context."""
        self._tracing.schedules.schedule(wk)

    @_optional
    def task9_timer__arm(self, task: Any) -> None:
        """Any context."""
        self._tracing.schedules.arm(task)

    @_optional
    def task9_timer__fire(self, task: Any) -> None:
        """The timer's worker."""
        self._tracing.schedules.fire(task)

    @_optional
    def task9_coalesced(self, task: Any) -> None:
        """Any context."""
        self._tracing.coalesced(task)

    @_optional
    def task9_cancel(self, task: Any) -> None:
        """Any context; for works too. Told before the next schedule can be."""
        self._tracing.schedules.take(task)

    @_optional
    def task9_entry(self, lane: Any, task: Any) -> None:
        """The worker's thread; for works too."""
        kind = kind_of(task)
        attributes: dict[str, Any] = {
            "threadpool9.kind": kind,
            "threadpool9.queue": lane.name,
            "threadpool9.pool.priority": lane.pri,
        }
        if lane.cpu is not None:
            attributes["threadpool9.pool.cpu"] = lane.cpu
        name = f"work {lane.name}" if kind == "work" else f"task {name_of(task)}"
        self._tracing.enter(task, name, attributes, task.context)

    @_optional
    def workqueue9_entry(self, wk: Any, func: Any) -> None:
        """The worker's thread, after `task9_entry`."""
        self._tracing.called(wk, func)


class Endings:
    """Listens for errors and returns."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    @hookimpl
    def threadpool9_thread__job__error(self, job: Job, error: BaseException) -> None:
        """The worker's thread."""
        self._tracing.failed(job, error)

    @hookimpl
    def threadpool9_thread__job__done(self, job: Job) -> None:
        """The worker's thread."""
        self._tracing.leave(job)

    @_optional
    def task9_error(self, task: Any, error: BaseException) -> None:
        """The worker's thread."""
        self._tracing.failed(task, error)

    @_optional
    def task9_return(self, task: Any) -> None:
        """The worker's thread."""
        self._tracing.leave(task)


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def function_name(function: Any) -> str:
    """The fully qualified name; of a callable that is no function its type's, as its attributes may be anything."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__wrapped__", function) if isinstance(function, types.FunctionType) else function
    if not isinstance(function, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
        function = type(function)
    module, name = function.__module__, function.__qualname__
    return f"{module}.{name}" if module else name


def kind_of(task: object) -> str:
    """``"work"`` or ``"task"``."""
    workqueue9 = sys.modules.get("workqueue9")
    return "work" if workqueue9 is not None and isinstance(task, workqueue9.Work) else "task"


def name_of(task: Any) -> str:
    """What to call a task: its function, or its class where the function is a method of its own."""
    function = getattr(task, "fn", None)
    if function is None:  # it was submitted
        submitted: str = task.task_name
        return submitted
    fn = getattr(function, "__wrapped__", function)
    if getattr(fn, "__self__", None) is task:
        return type(task).__qualname__
    return getattr(fn, "__qualname__", type(fn).__qualname__)
