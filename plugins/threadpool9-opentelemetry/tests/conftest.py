"""What the tests of this plugin share: the real SDK with its in-memory exporter and reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pace import patience

import threadpool9
from threadpool9_opentelemetry import Instrumentor

LIMIT = patience(10.0)


class Telemetry:
    """An instrumented process and what came out of it."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider(metric_readers=[self.reader])
        Instrumentor().instrument(tracer_provider=self.provider, meter_provider=self.meters, **options)
        tracing = Instrumentor()._tracing
        assert tracing is not None
        self.tracing = tracing

    def spans(self, name: str) -> list[ReadableSpan]:
        """The finished spans of that name, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        """The one finished span of that name; a run's span ends a moment after the run is seen to be over."""
        self.until(lambda: self.spans(name))
        (span,) = self.spans(name)
        return span

    @staticmethod
    def until(condition: Callable[[], object]) -> None:
        """Poll: nobody is told when a span ends."""
        deadline = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.001)

    def metric(self, name: str) -> dict[tuple[tuple[str, Any], ...], Any]:
        """The points of one metric by their attributes."""
        data = self.reader.get_metrics_data()
        points = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            points[tuple(sorted((point.attributes or {}).items()))] = point
        return points


@pytest.fixture
def new_telemetry() -> Iterator[Callable[..., Telemetry]]:
    """Make a `Telemetry` with options for `instrument`; switched off and shut down at the end."""
    made: list[Telemetry] = []

    def make(**options: Any) -> Telemetry:
        made.append(Telemetry(**options))
        return made[-1]

    yield make
    if Instrumentor().is_instrumented_by_opentelemetry:
        Instrumentor().uninstrument()
    for telemetry in made:
        telemetry.provider.shutdown()
        telemetry.meters.shutdown()
        assert not telemetry.tracing._open
        assert not telemetry.tracing._running
    threadpool9.retire_idle()
    left = [
        name
        for name, _ in threadpool9.plugin_manager().list_name_plugin()
        if name.startswith("threadpool9-opentelemetry")
    ]
    assert not left


@pytest.fixture
def telemetry(new_telemetry: Callable[..., Telemetry]) -> Telemetry:
    """A `Telemetry` with the defaults."""
    return new_telemetry()
