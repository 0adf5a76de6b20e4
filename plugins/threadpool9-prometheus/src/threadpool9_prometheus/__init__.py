"""Prometheus metrics for threadpool9, task9 and workqueue9.

For example::

    import threadpool9_prometheus

    threadpool9_prometheus.register()              # into prometheus_client.REGISTRY
    prometheus_client.start_http_server(9109, "127.0.0.1")

What there is (pools, threads, queues, counters) is read from the layers' snapshots when somebody scrapes. How long
things wait and run is measured while the collector is registered. `dashboard` gives a Grafana dashboard for all of it.
"""

from __future__ import annotations

import os
import threading
import weakref
from importlib.resources import files

from prometheus_client import REGISTRY, CollectorRegistry

from ._collector import Collector
from ._times import BUCKETS

_lock = threading.Lock()
_collectors: weakref.WeakKeyDictionary[CollectorRegistry, Collector] = weakref.WeakKeyDictionary()

__all__ = ["BUCKETS", "Collector", "dashboard", "register", "unregister"]


def register(registry: CollectorRegistry = REGISTRY, buckets: tuple[float, ...] = BUCKETS) -> Collector:
    """Put a collector into `registry` and begin to measure; give it to `unregister` later. Thread context.

    A registry has one: if there is one already, put there by the environment say, that is the answer.
    `buckets` are the upper bounds, in seconds, of the histograms. Raises ValueError if the registry has a collector
    with other buckets, or metrics of these names from elsewhere.
    """
    with _lock:
        collector = _collectors.get(registry)
        if collector is not None:
            if collector.buckets != tuple(buckets):
                raise ValueError(f"this registry has a collector already, with the buckets {collector.buckets}")
            return collector
        collector = Collector(buckets)
        try:
            registry.register(collector)
        except ValueError:
            # The text of the original names every series of ours.
            raise ValueError(
                "this registry has metrics that begin with threadpool9_, task9_ or workqueue9_ already, "
                "from elsewhere than threadpool9_prometheus.register()"
            ) from None
        try:
            collector.start()
        except BaseException:
            registry.unregister(collector)
            raise
        _collectors[registry] = collector
        return collector


def unregister(collector: Collector, registry: CollectorRegistry = REGISTRY) -> None:
    """Take `collector` out of `registry` and measure no more, whoever else registered it too. Thread context.

    Raises KeyError, and changes nothing, if it is not in there.
    """
    with _lock:
        if _collectors.get(registry) is not collector:
            raise KeyError("this collector is not in that registry")
        del _collectors[registry]
        collector.stop()
        registry.unregister(collector)


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def dashboard() -> str:
    """A Grafana dashboard as JSON text, to import there; it asks which Prometheus data source to use."""
    return files(__name__).joinpath("dashboard.json").read_text(encoding="utf-8")
