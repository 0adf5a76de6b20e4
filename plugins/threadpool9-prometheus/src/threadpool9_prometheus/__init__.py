"""Prometheus metrics for threadpool9, task9 and workqueue9.

For example::

    import threadpool9_prometheus

    threadpool9_prometheus.register()              # into prometheus_client.REGISTRY
    prometheus_client.start_http_server(9109, "127.0.0.1")

What there is (pools, threads, queues, counters) is read from the layers' snapshots when somebody scrapes. How long
things wait and run is measured while the collector is registered. `dashboard` gives a Grafana dashboard for all of it.
"""

from __future__ import annotations

from importlib.resources import files

from prometheus_client import REGISTRY, CollectorRegistry

from ._collector import Collector
from ._times import BUCKETS

__all__ = ["BUCKETS", "Collector", "dashboard", "register", "unregister"]


def register(registry: CollectorRegistry = REGISTRY, buckets: tuple[float, ...] = BUCKETS) -> Collector:
    """Put a new collector into `registry` and begin to measure; give it to `unregister` later. Thread context.

    `buckets` are the upper bounds, in seconds, of the histograms. Raises ValueError if the registry has these
    metrics already.
    """
    collector = Collector(buckets)
    registry.register(collector)
    try:
        collector.start()
    except BaseException:
        registry.unregister(collector)
        raise
    return collector


def unregister(collector: Collector, registry: CollectorRegistry = REGISTRY) -> None:
    """Take `collector` out of `registry` and measure no more. Thread context."""
    collector.stop()
    registry.unregister(collector)


def dashboard() -> str:
    """A Grafana dashboard as JSON text, to import there; it asks which Prometheus data source to use."""
    return files(__name__).joinpath("dashboard.json").read_text(encoding="utf-8")
