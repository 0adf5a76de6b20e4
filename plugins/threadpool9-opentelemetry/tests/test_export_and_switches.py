"""The real OTLP exporter against a receiver on loopback; autoload and its switch; the example."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pace import patience

import threadpool9
import workqueue9
from threadpool9_opentelemetry import Instrumentor

HERE = Path(__file__).resolve().parents[1]


class Receiver:
    """An OTLP receiver: decodes what is posted to it."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                if self.path == "/v1/traces":
                    receiver.traces.append(ExportTraceServiceRequest.FromString(body))
                else:
                    assert self.path == "/v1/metrics"
                    receiver.metrics.append(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop and join."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver on loopback, reached without any proxy."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    made = Receiver()
    yield made
    made.close()


def values(attributes: Any) -> dict[str, Any]:
    """OTLP's key-value list as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def test_otlp_carries_links_attributes_errors_and_histograms(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives over http/protobuf, decoded, is what happened: a run for each work, linked to its caller."""
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    resource = Resource.create({"service.name": "otlp-test"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces")))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics"), 3_600_000)
    meters = MeterProvider(metric_readers=[reader], resource=resource)

    def send(work: workqueue9.Work, arg: object) -> None:
        if work.payload == 2:
            raise ValueError("no such address")

    Instrumentor().instrument(tracer_provider=provider, meter_provider=meters)
    try:
        with workqueue9.WorkQueue("mail", send, pri=11) as mail:
            with provider.get_tracer("app").start_as_current_span("request") as caller:
                for n in range(3):
                    mail.enqueue(workqueue9.Work(n))
            mail.flush()
            deadline = time.monotonic() + 10
            while mail.stats().enqueued != 3:  # the flush's own marker is counted for a moment
                assert time.monotonic() < deadline
                time.sleep(0.001)
            assert meters.force_flush()
    finally:
        Instrumentor().uninstrument()
    provider.shutdown()
    meters.shutdown()

    spans = [
        span
        for request in receiver.traces
        for resource_spans in request.resource_spans
        for scope in resource_spans.scope_spans
        for span in scope.spans
        if values(resource_spans.resource.attributes)["service.name"] == "otlp-test"
    ]
    runs = [span for span in spans if span.name == "work mail"]
    (request,) = [span for span in spans if span.name == "request"]
    assert len(runs) == 3
    assert request.span_id == caller.get_span_context().span_id.to_bytes(8, "big")
    for run in runs:
        assert [link.span_id for link in run.links] == [request.span_id]
        assert run.parent_span_id == b""
        assert run.start_time_unix_nano <= run.end_time_unix_nano
        attributes = values(run.attributes)
        assert (attributes["threadpool9.kind"], attributes["threadpool9.queue"]) == ("work", "mail")
    assert sorted(run.status.code for run in runs) == [0, 0, 2]

    metrics = {
        metric.name: metric
        for export in receiver.metrics
        for resource_metrics in export.resource_metrics
        for scope in resource_metrics.scope_metrics
        for metric in scope.metrics
    }
    points = metrics["threadpool9.run.duration"].histogram.data_points
    assert sum(point.count for point in points) == 3
    assert sum(point.sum for point in points) > 0
    (enqueued,) = [
        point
        for point in metrics["workqueue9.works.enqueued"].sum.data_points
        if values(point.attributes)["threadpool9.queue"] == "mail"
    ]
    assert enqueued.as_int == 3
    assert metrics["workqueue9.works.enqueued"].sum.is_monotonic


AUTOLOADED = """
import threadpool9
with threadpool9.get(): pass
from threadpool9_opentelemetry import Instrumentor
manager = threadpool9.plugin_manager()
print(Instrumentor().is_instrumented_by_opentelemetry, manager.has_plugin("threadpool9-opentelemetry"))
probes = [name for name in dir(threadpool9._probes.probes) if name.startswith("thread__job")]
print(sum(getattr(threadpool9._probes.probes, name) is not None for name in probes))
"""


def run_python(source: str, **environment: str) -> str:
    """What a fresh interpreter prints; it must say nothing on stderr."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("THREADPOOL9", "OTEL"))}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env={**plain, "THREADPOOL9_PLUGINS": "opentelemetry", **environment},
        capture_output=True,
        text=True,
        timeout=patience(60),
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def test_installed_it_does_nothing_until_switched_on() -> None:
    """Autoload registers no listener: the probes' slots stay empty (HK-5)."""
    assert run_python(AUTOLOADED) == "False False\n0\n"
    assert run_python(AUTOLOADED, THREADPOOL9_OPENTELEMETRY="off") == "False False\n0\n"


def test_the_environment_switches_it_on() -> None:
    """At the first use of a pool, with the global providers."""
    assert run_python(AUTOLOADED, THREADPOOL9_OPENTELEMETRY="1") == "True True\n3\n"


def test_a_bad_switch_is_a_warning_that_names_it() -> None:
    """Never fatal: autoload tells which distribution failed and why."""
    source = (
        "import threadpool9, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    with threadpool9.get(): pass\n"
        "print(caught[0].message)\n"
    )
    text = run_python(source, THREADPOOL9_OPENTELEMETRY="maybe")
    assert "threadpool9-opentelemetry" in text
    assert "THREADPOOL9_OPENTELEMETRY='maybe'" in text


def test_opentelemetrys_own_tool_finds_it() -> None:
    """The standard entry point, loaded and called as `opentelemetry-instrument` does."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="threadpool9")
    instrumentor = entry.load()
    instrumentor().instrument(skip_dep_check=True)
    try:
        assert threadpool9.plugin_manager().has_plugin("threadpool9-opentelemetry")
    finally:
        instrumentor().uninstrument()
    assert not threadpool9.plugin_manager().has_plugin("threadpool9-opentelemetry")


@pytest.mark.once
def test_the_example() -> None:
    """It prints a tree: each request, the work that it scheduled with its customer, and what that work did."""
    run = subprocess.run(
        [sys.executable, str(HERE / "example" / "baggage.py")], capture_output=True, text=True, timeout=60
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert re.sub(r"thread\.name=poolthread\S*", "thread.name=ANY", run.stdout).splitlines() == [
        "POST /order of ann",
        "└─ ~ work mail  customer=ann  thread.name=ANY",
        "   └─ smtp receipt",
        "POST /order of bob",
        "└─ ~ work mail  customer=bob  thread.name=ANY",
        "   └─ smtp receipt",
    ]


FORKED = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")  # 3.12 and newer warn of any fork beside threads
import task9, threadpool9
from threadpool9_opentelemetry import Instrumentor
Instrumentor().instrument()
tracing = Instrumentor()._tracing
entered, go = threading.Event(), threading.Event()

def hold(task):
    entered.set()
    go.wait(30)

queue = task9.TaskQueue("q")
queue.schedule(task9.Task(hold))
entered.wait(30)
waiting = task9.Task(print)
queue.schedule(waiting)
if (child := os.fork()) == 0:
    ok = len(tracing.schedules) == 0 and not tracing._open
    Instrumentor().uninstrument()
    os._exit(0 if ok and not threadpool9.plugin_manager().is_registered(tracing._endings) else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(status, len(tracing.schedules), len(tracing._open))
waiting.cancel()
go.set()
queue.close()
"""


def test_a_fork_child_starts_with_nothing() -> None:
    """TP-31: no schedule and no run of the parent's is remembered there, and the parent's are untouched."""
    assert run_python(FORKED) == "0 1 1\n"
