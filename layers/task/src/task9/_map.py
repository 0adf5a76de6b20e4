"""`TaskQueue.map`: as many calls ahead as the buffer holds, and one more for each result that is taken (TK-18)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from threadpool9.lowlevel import monotonic

if TYPE_CHECKING:
    from ._future import Future
    from ._queue import TaskQueue

T = TypeVar("T")


def map_lazily(
    queue: TaskQueue,
    fn: Callable[..., T],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[T]:
    """See `TaskQueue.map`."""
    if buffersize is None:
        buffersize = 2 * sum(lane.limit for lane in queue.group.lanes)
    elif type(buffersize) is not int:
        raise TypeError(f"buffersize is an int >= 1 or None, not {buffersize!r}")
    elif buffersize < 1:
        raise ValueError(f"buffersize is an int >= 1 or None, not {buffersize!r}")
    deadline = None if timeout is None else monotonic() + timeout
    context = copy_context()
    calls = (queue.submit(fn, *args, context=context.copy()) for args in zip(*iterables, strict=False))
    futures: deque[Future[T]] = deque()
    try:
        futures.extend(islice(calls, buffersize))
        results = _results(futures, calls, deadline)
        next(results)  # into its ``try``: who leaves off before the first result is to have the calls cancelled, too
    except BaseException:
        _cancel(futures)
        raise
    return results


def _results(futures: deque[Future[T]], calls: Iterator[Future[T]], deadline: float | None) -> Iterator[T]:
    try:
        yield None  # type: ignore[misc]  # to `map_lazily`
        while futures:
            # Nothing of ours keeps a result while somebody works on it.
            yield _result(futures, deadline)
            futures.extend(islice(calls, 1))
    finally:
        _cancel(futures)


def _result(futures: deque[Future[T]], deadline: float | None) -> T:
    try:
        return futures[0].result(None if deadline is None else max(0.0, deadline - monotonic()))
    finally:
        futures.popleft().cancel()  # if it was too late; and not kept by this frame, which is in the traceback then


def _cancel(futures: deque[Future[T]]) -> None:
    for future in futures:
        future.cancel()
