"""What threadpool9 loads at the first use of a pool: ``backend="dask:ADDRESS"`` names a back end (HK-6).

Dask itself is imported when somebody asks for it.
"""

from __future__ import annotations

from threadpool9 import hookimpl

from ._cluster import Cluster

_clusters: dict[str, Cluster] = {}  # atomic


@hookimpl
def workqueue9_backend(name: str) -> Cluster | None:
    """The `Cluster` at an address; one for all queues of this process."""
    scheme, _, address = name.partition(":")
    if scheme != "dask":
        return None
    cluster = _clusters.get(address)
    if cluster is None or cluster.foreign:
        cluster = _clusters[address] = Cluster(address)
    elif not cluster.ready():
        cluster.reconnect()  # its scheduler was lost, and there may be another one by now
    return cluster
