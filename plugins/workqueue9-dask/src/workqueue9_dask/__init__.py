"""workqueue9_dask: a work queue whose works run on a Dask cluster (WQ-15).

`Cluster` is a back end for any number of queues::

    cluster = workqueue9_dask.Cluster("tcp://scheduler:8786")
    with workqueue9.WorkQueue("thumbs", shrink, max_active=64, backend=cluster) as queue:
        ...

Order, `max_active`, pending works, exact cancels, waits, delays, freezes, back-pressure and counters are the queue's,
here; Dask runs one work at a time somewhere, and may run it more than once.
"""

from __future__ import annotations

from ._cluster import Cluster

__all__ = ["Cluster"]
