"""A run that somebody looks at: probes around it, and a time limit for tasks of shared queues (TK-4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from threadpool9 import Stalled
from threadpool9.lowlevel import blank_ticket, claim_stall, insist, monotonic, report_error

from ._watch import probes, tunables

if TYPE_CHECKING:
    from ._executor import Executor

__all__ = ["run_watched"]


def run_watched(executor: Executor, item: Any, call: Callable[[Any], object] | None) -> None:
    """Run `item`, which `executor` has taken; the long way round. The worker's thread."""
    lane = executor.lane
    # Fired first: once the item is idle its next run may be scheduled, and the probe of that fired.
    try:
        lane.group.entering(lane, item)
    finally:
        if call is None:
            item.item_ticket = insist(blank_ticket)
    run, start = executor.runs, monotonic()
    try:
        if call is None:
            item.run()
        else:
            call(item)
    except BaseException as error:
        if (probe := probes.error) is not None:
            probe(lane, item, error)
        raise
    finally:
        took = (monotonic() - start) * 1000
        lane.group.returned(lane, item)
        limit = tunables.limit_ms
        if limit and took > limit and lane.group.shared and claim_stall(executor, run):
            late = Stalled(
                f"{item!r} took {took:.1f} ms on the shared queue {lane.group.name!r}, whose tasks are to be "
                f"shorter than {limit:g} ms; give it a TaskQueue of its own"
            )
            report_error(late, origin=item)
        del item  # an exception that a future holds keeps this frame
