"""What is remembered of a schedule until its run begins: the OpenTelemetry context, the time, and links.

Written in ANY context (a signal handler, ``__del__``), so there is no lock here: one dict from ``id(item)`` to an
immutable-but-for-links record, and only operations on single items and list appends. An item has one schedule at a
time: the layers tell of a schedule before the item can be taken, and of an entry before the next schedule can be told.

Nothing leaks: a run takes its record, a cancel drops it, the next schedule replaces it, and should none of these
come (a fork, a schedule that was refused), the record goes with the item, to which it holds a weak reference.
"""

from __future__ import annotations

import weakref
from time import monotonic

from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanContext, get_current_span


class _Item(weakref.ref[object]):
    """A weak reference that knows the key of what it refers to, whose memory is gone when it is asked."""

    __slots__ = ("key",)
    key: int


class Scheduled:
    """One schedule that waits for its run."""

    __slots__ = ("context", "due", "item", "links", "since")

    def __init__(self, context: Context, item: _Item) -> None:
        self.context = context
        self.since = monotonic()
        self.links: list[SpanContext] = []
        self.due = False  # the timer has it in hand: the schedule that follows is the second half of this one
        self.item = item

    def link(self, span: SpanContext, limit: int) -> None:
        """Remember one more schedule that this run will serve, up to `limit`. Any context."""
        if span.is_valid and len(self.links) < limit:
            self.links.append(span)


class Schedules:
    """All schedules that wait; every method may be called in any context."""

    def __init__(self, max_links: int) -> None:
        self.max_links = max_links
        waiting: dict[int, Scheduled] = {}
        self._waiting = waiting
        self._forget = lambda gone: waiting.pop(gone.key, None)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, item: object, context: Context | None = None) -> Scheduled:
        """`item` was scheduled by the caller, or by whoever `context` is from."""
        reference = _Item(item, self._forget)
        reference.key = id(item)
        record = Scheduled(get_current() if context is None else context, reference)
        self._waiting[reference.key] = record
        return record

    def arm(self, item: object) -> None:
        """`item` was put into the timer; if it had been there it was moved, and links to that too."""
        before = self._waiting.get(id(item))
        record = self.add(item)
        if before is not None:
            for span in (span_of(before.context), *before.links):
                record.link(span, self.max_links)

    def fire(self, item: object) -> None:
        """The timer is about to schedule `item`, which waits from now on."""
        record = self._waiting.get(id(item))
        if record is not None:
            record.since = monotonic()
            record.due = True

    def schedule(self, item: object) -> None:
        """`item` was scheduled, or comes from the timer: then whoever armed it is the one who scheduled it."""
        record = self._waiting.get(id(item))
        if record is not None and record.due:
            record.due = False
        else:
            self.add(item)

    def coalesce(self, item: object) -> bool:
        """`item` waits already and the caller wanted it too: one more link. False if it does not wait here."""
        record = self._waiting.get(id(item))
        if record is None:
            return False
        record.link(span_of(get_current()), self.max_links)
        return True

    def take(self, item: object) -> Scheduled | None:
        """The run of `item` begins, or it was withdrawn: the record, which is forgotten here."""
        return self._waiting.pop(id(item), None)

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()


def span_of(context: Context) -> SpanContext:
    """The identity of the span that is current in `context`; invalid if there is none."""
    return get_current_span(context).get_span_context()
