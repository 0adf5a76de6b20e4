"""What runs at the workers, one call of `enter` for a work. Not a process of ours: it may have no other module of ours.

The code goes there by value, with each work, so it imports nothing of ours at the top, and is always of the version
that has sent it. The Dask task is ``pickle.loads(task)``, and to load it is to run it: so the scheduler, which loads
what it is sent, sees nothing but bytes; nothing in them is taken for the key of another task, and no module of the user
is needed there.

Messages to the client go by Dask's log of events: the worker's stream to the scheduler, and from there to who has
subscribed.
"""

from __future__ import annotations

from typing import Any

#: A result of no more bytes comes home inside of the message; a larger one is fetched from the worker. The scheduler
#: keeps the last 1000 messages of a topic.
INLINE = 8192


class StandIn:
    """In place of `workqueue9.Work` where workqueue9 is not installed."""

    def __init__(self, payload: Any, key: str | None = None) -> None:
        self.payload = payload
        self.key = key

    def __repr__(self) -> str:
        return f"<Work {self.payload!r}>"


def make_work(payload: Any, key: str | None) -> Any:
    """What the function is called with."""
    try:
        from workqueue9 import KeyedWork, Work
    except ImportError:
        return StandIn(payload, key)
    return Work(payload) if key is None else KeyedWork(payload, key)


def enter(number: int, topic: str, queue: str, key: str | None, function: bytes, payload: bytes) -> bytes | None:
    """Run one work, and say so. Returns what is too large for a message."""
    from importlib import import_module

    pickle: Any = import_module("distributed.protocol.pickle")
    sync: Any = import_module("distributed.utils").sync
    worker: Any = import_module("distributed").get_worker()
    worker.log_event(topic, {"op": "started", "number": number})
    result: bytes | None = None
    if key is not None:
        # From before a worker died, or from an equal work: the scheduler remembers it.
        result = sync(worker.loop, worker.scheduler.workqueue9_recall, queue=ascii(queue), key=ascii(key))
    if result is None:
        func, arg = pickle.loads(function)
        try:
            value = func(make_work(pickle.loads(payload), key), arg)
        except (SystemExit, KeyboardInterrupt) as error:  # by which Dask would end the worker
            raise RuntimeError(f"the function of queue {queue!r} raised {error!r}") from error
        try:
            result = pickle.dumps(value)
        except Exception as error:
            raise TypeError(f"what the function of queue {queue!r} returned can't be pickled: {error}") from error
        if key is not None:
            result = sync(
                worker.loop, worker.scheduler.workqueue9_remember, queue=ascii(queue), key=ascii(key), result=result
            )
    assert result is not None
    if len(result) > INLINE:
        return result
    worker.log_event(topic, {"op": "ended", "number": number, "result": result})
    return None
