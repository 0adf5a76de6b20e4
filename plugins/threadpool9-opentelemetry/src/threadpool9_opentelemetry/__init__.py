"""OpenTelemetry for threadpool9, task9 and workqueue9.

For example::

    from threadpool9_opentelemetry import Instrumentor

    Instrumentor().instrument()        # the global providers, or tracer_provider=..., meter_provider=...

Each run of a job, task or work becomes a span that links to the span which scheduled it, and runs in the
OpenTelemetry context (baggage too) of whoever scheduled it. Metrics count runs, threads and queues.
"""

from __future__ import annotations

from ._instrumentor import Instrumentor

__all__ = ["Instrumentor"]
