"""Two requests hand their slow half to a work queue; the spans and the baggage find their way back.

    python example/baggage.py        (needs `pip install opentelemetry-sdk`)

It prints the spans as a tree: a request, the run that it scheduled, and what that run did.
"""

from __future__ import annotations

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
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


def show(spans: list[ReadableSpan]) -> None:
    """Print the spans as a tree: what a span began is below it, and so are the runs that link to it ("~")."""
    below: dict[int, list[tuple[str, ReadableSpan]]] = {}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        above = [("", span.parent)] if span.parent is not None else [("~ ", link.context) for link in span.links]
        for mark, where in above or [("", None)]:
            below.setdefault(where.span_id if where is not None else 0, []).append((mark, span))

    def branch(number: int, indent: str) -> None:
        children = below.get(number, [])
        for n, (mark, span) in enumerate(children, 1):
            joint, rest = ("", "") if not number else ("└─ ", "   ") if n == len(children) else ("├─ ", "│  ")
            attributes = span.attributes or {}
            facts = "".join(f"  {key}={attributes[key]}" for key in ("customer", "thread.name") if key in attributes)
            print(f"{indent}{joint}{mark}{span.name}{facts}")
            branch(span.context.span_id, indent + rest)

    branch(0, "")


show(list(exporter.get_finished_spans()))
