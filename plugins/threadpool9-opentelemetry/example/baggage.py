"""Two requests hand their slow half to a work queue; the spans and the baggage find their way back.

python example/baggage.py        (needs opentelemetry-sdk)
"""

from __future__ import annotations

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import workqueue9
from threadpool9_opentelemetry import Instrumentor

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("shop")


def send(work: workqueue9.Work, arg: object) -> None:
    """The slow half, on a pooled thread, long after the request was answered."""
    customer = baggage.get_baggage("customer")
    trace.get_current_span().set_attribute("customer", str(customer))
    with tracer.start_as_current_span(f"smtp {work.payload}"):
        pass


Instrumentor().instrument(tracer_provider=provider)
with workqueue9.WorkQueue("mail", send) as mail:
    for customer in ("ann", "bob"):
        token = context.attach(baggage.set_baggage("customer", customer))
        with tracer.start_as_current_span(f"POST /order of {customer}"):
            mail.enqueue(workqueue9.Work("receipt"))
        context.detach(token)
Instrumentor().uninstrument()

names = {span.context.span_id: span.name for span in exporter.get_finished_spans()}
for span in exporter.get_finished_spans():
    if span.name == "work mail":
        (link,) = span.links
        print(f"{span.name} for {span.attributes['customer']}, scheduled by {names[link.context.span_id]!r}")
