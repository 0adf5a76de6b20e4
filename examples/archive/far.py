"""Compressing on a Dask cluster: ``--cluster ADDRESS`` (workqueue9-dask).

    "squeeze", here          "compress", max_active=2 for each thread there     "write", one at a time
    read, hash       ═════>  what is new: compress                        ════>  _store, as ever

Files are read and hashed here, so nothing is asked of the cluster's file systems, and what the archive has already does
not travel. The middle queue is a work queue like the others: the bound, the order of ends and the errors are its own.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import codec
import crew
from pipeline import File, Parcel, Pipeline
from records import BlockFile, NewBlock
from stopping import Stop

import task9
import threadpool9
import workqueue9

_SLICE = 0.1  # seconds until somebody who waits looks whether to stop


def compress(work: workqueue9.Work[list[bytes]], kind: int) -> list[tuple[int, bytes]]:
    """The function of the middle queue. At a worker."""
    return [codec.pack(kind, data) for data in work.payload]


class FarPipeline(Pipeline):
    """A pipeline that compresses on `cluster`, a `workqueue9_dask.Cluster`."""

    def __init__(
        self, blocks: BlockFile, kind: int, stop: Stop, settled: Callable[[File], object], cluster: Any
    ) -> None:
        super().__init__(blocks, codec.RAW, stop, settled)
        places = 2 * max(1, sum(cluster.client.nthreads().values()))
        self.far: workqueue9.WorkQueue = workqueue9.WorkQueue(
            "compress", compress, kind, max_active=places, max_pending=crew.LOADED_PER_CPU * places, backend=cluster
        )
        self.stages = (self.squeezers, self.far)
        threadpool9.register(self)

    def pass_on(self, parcel: Parcel) -> None:
        """What was read goes to the cluster, and from there to the writer."""
        new = [piece for piece in parcel.pieces if piece.block is not None]
        while new and not self.stop():
            with contextlib.suppress(workqueue9.Full):
                future = self.far.submit([piece.block.payload for piece in new if piece.block], timeout=_SLICE)
                future.add_done_callback(lambda future: self._arrived(parcel, future))
                return
        if not new:
            super().pass_on(parcel)

    @threadpool9.hookimpl
    def threadpool9_error(self, error: Any) -> None:
        """A scheduler that is lost is not waited for: nobody here would reconnect."""
        cluster: Any = self.far.group.backend
        if isinstance(error.exc_value, workqueue9.BackendDown) and not cluster.ready():
            self.stop.fail(error.exc_value)
            cluster.give_up()

    def close(self) -> None:
        """As for any pipeline; after a request to stop what was not sent is not sent any more."""
        if self.stop():
            self.far.cancel_pending()
        super().close()
        threadpool9.unregister(self)

    def _arrived(self, parcel: Parcel, future: task9.Future[list[tuple[int, bytes]]]) -> None:
        """On a thread of the queue's."""
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self.stop.fail(error, parcel)
            return
        packed = iter(future.result())
        for piece in parcel.pieces:
            if piece.block is not None:
                piece.block = NewBlock(piece.block.digest, piece.block.size, *next(packed))
        super().pass_on(parcel)


def option(line: argparse.ArgumentParser) -> None:
    """Add ``--cluster`` to a command line."""
    line.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="compress on the Dask cluster of this scheduler; local: one for this run",
    )


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """A back end at the scheduler's address; ``local`` starts one on this machine, with a process for each CPU."""
    if address is None:
        yield None
        return
    try:
        import cloudpickle
        import dask
        import distributed

        import workqueue9_dask
    except ImportError as error:
        raise SystemExit(f"archive: --cluster needs workqueue9-dask, which needs distributed: {error}") from None
    for module in (codec, sys.modules[compress.__module__]):  # the workers have no such modules
        cloudpickle.register_pickle_by_value(module)
    with contextlib.ExitStack() as stack:
        if address == "local":
            # A worker whose heartbeat meets the end of the cluster logs an error with its traceback. What goes wrong
            # with a parcel is in its future.
            quiet = {"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"}
            with dask.config.set(quiet):
                # Its HTTP server, which there is without a dashboard too, on any port: 8787 may be taken.
                here = distributed.LocalCluster(
                    threads_per_worker=1, dashboard_address=None, scheduler_kwargs={"dashboard_address": ":0"}
                )
            address = stack.enter_context(here).scheduler_address
        try:
            backend = workqueue9_dask.Cluster(address)
        except ValueError as error:
            raise SystemExit(f"archive: --cluster: {error}") from None
        yield stack.enter_context(backend)
