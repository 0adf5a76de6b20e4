"""The clusters that the tests of this plugin run on: one inside of this process, and one of real processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grid import Grid

import threadpool9

# Dask is imported where it is used: without it the tests say so, and are skipped.


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[Grid]:
    """A scheduler without workers."""
    grid = Grid(tmp_path)
    yield grid
    grid.close()


@pytest.fixture
def client(grid: Grid) -> Iterator[Any]:
    """A client of that grid."""
    import dask
    import distributed

    with dask.config.set({"distributed.comm.timeouts.connect": "5s"}):
        client = distributed.Client(grid.address, set_as_default=False)
    yield client
    client.close()


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """A client of a cluster in threads of this process: two workers of two threads."""
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as cluster, distributed.Client(cluster, set_as_default=False) as client:  # fmt: skip
        yield client


@pytest.fixture
def cluster(local: Any) -> Any:
    """The back end on that."""
    import workqueue9_dask

    return workqueue9_dask.Cluster(local)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What reaches `threading.excepthook`."""
    reports: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reports.append)
    return reports


@pytest.fixture(autouse=True)
def all_settled() -> Iterator[None]:
    """No thread of a pool outlives a test."""
    yield
    threadpool9.retire_idle()
