"""The switch: `Instrumentor().instrument()` and `uninstrument()`, as OpenTelemetry's own tools call them.

One for the process, as there is one plugin manager. Switching off ends nothing early: runs that have begun keep
their span and context until they return, see `_tracing`.
"""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # it is untyped
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from ._metrics import Instruments
from ._tracing import Tracing

SCOPE = "threadpool9_opentelemetry"


class Instrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Spans and metrics for the three layers; a singleton.

    ``instrument(tracer_provider=None, meter_provider=None, max_links=16)``: None is the global provider, which
    may be set later. `max_links` bounds how many coalesced schedules a run remembers. Thread context.
    ``uninstrument()`` takes effect for the next event; runs under way still end their spans. Thread context.
    """

    _tracing: Tracing | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """What is instrumented, as requirement lines."""
        return ("threadpool9 >= 0.1, < 0.2",)

    def _instrument(self, **kwargs: Any) -> None:
        tracer_provider: TracerProvider | None = kwargs.get("tracer_provider")
        meter_provider: MeterProvider | None = kwargs.get("meter_provider")
        max_links = kwargs.get("max_links", 16)
        if type(max_links) is not int or max_links < 0:
            raise ValueError(f"max_links is an int >= 0, not {max_links!r}")
        number = version("threadpool9-opentelemetry")
        tracer = trace.get_tracer(SCOPE, number, tracer_provider)
        instruments = Instruments.of(meter_provider or metrics.get_meter_provider(), SCOPE, number)
        tracing = Tracing(tracer, instruments, max_links)
        tracing.start()
        self._tracing = tracing

    def _uninstrument(self, **kwargs: Any) -> None:
        tracing, self._tracing = self._tracing, None
        if tracing is not None:
            tracing.stop()
