"""The back end: what a queue hands over is sent to Dask, and what comes home is reported to the queue.

    start     the queue's thread submits a Dask task with a key of its own, and leaves
    started   a message of the worker's, by way of the scheduler
    ended     a message of the worker's; or, for a large result and for whatever goes wrong, Dask's future, which a
              coroutine on the client's event loop awaits
    lost      the client has lost its scheduler: everything under way is kept here until `Cluster.reconnect`

No thread is started here: one of the client's, that of its event loop, reports all ends.

Rules. A: atomic. B: by `_lock`. S: set at init.
"""

from __future__ import annotations

import importlib
import os
import pickle
import threading
import uuid
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any

from threadpool9 import UsageError
from threadpool9.lowlevel import report_error
from workqueue9 import BackendDown, RemoteCall, RemoteGroup, Work

__all__ = ["Cluster"]


class _Loaded:
    """A function that was pickled already: it is loaded from these bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.data,)

    def __call__(self) -> None:
        """Callable, or pickle would not have it in place of a function."""


class _Task:
    """To load it is to call `_worker.enter` with these arguments."""

    def __init__(self, enter: _Loaded, *args: Any) -> None:
        self.enter = enter
        self.args = args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.enter, self.args


class _Flight:
    """One call on its way. B."""

    __slots__ = ("call", "future")

    def __init__(self, call: RemoteCall) -> None:
        self.call = call
        self.future: Any = None


#: A: those on each client, by topic. A client has one handler for a topic, and how many workers there are concerns all.
_present: weakref.WeakKeyDictionary[Any, weakref.WeakValueDictionary[str, Cluster]] = weakref.WeakKeyDictionary()


class Cluster:
    """A back end (`workqueue9.Backend`) on the Dask cluster of a scheduler.

    Args:
        client_or_address: a `distributed.Client`, which stays the caller's; or an address, for a client of its own.
        remember: bytes for the results of works with a key, at the scheduler (see `workqueue9.KeyedWork`); what the
            first `Cluster` at a scheduler says counts.
        executor: the name of an executor that the workers have, to run on; None is their own threads. It may be a
            `task9.futures.ThreadPoolExecutor`, for threads with a priority or bound to CPUs. Where a worker has none of
            that name, the work fails and the error says so.

    Works run **at least once**: a worker's death, a scheduler's death or a network that stalls can make one run again.
    Thread context, but not on an event loop. ``with`` closes it at its end (`close_client`).
    Raises ValueError for an address that can't be one, OSError if nobody answers there.
    """

    def __init__(self, client_or_address: Any, *, remember: int = 64 * 2**20, executor: str | None = None) -> None:
        if type(remember) is not int or remember < 0:
            raise TypeError(f"remember is a number of bytes, an int >= 0, not {remember!r}")
        self._dask: Any = importlib.import_module("distributed")  # S
        self._annotate: Any = importlib.import_module("dask").annotate  # S
        self._annotations = {} if executor is None else {"executor": executor}  # S
        self._pid = os.getpid()  # S
        self._own = isinstance(client_or_address, str)  # B: the client is ours to close
        self._topic = f"workqueue9-dask/{uuid.uuid4().hex}"  # S
        self._remember = remember  # S
        self._numbers = count()  # A
        self._lock = threading.RLock()  # a handler may ask whether it is ready
        self._flights: dict[int, _Flight] = {}  # B: by number, in the order of sending
        self._lost: list[RemoteCall] = []  # B: what was under way when the scheduler was lost
        #: A: and the function of each, packed. Weak: a queue may be dropped without a close.
        self._queues: weakref.WeakKeyDictionary[RemoteGroup, bytes] = weakref.WeakKeyDictionary()
        self._halted: dict[RemoteGroup, None] = {}  # A: those that wait for `reconnect`, dropped or not
        self._down = False  # B: the scheduler is lost
        self._workers = 0  # written by the client's event loop
        self._lonely = False  # A: it has been reported that there is no worker
        self._client: Any = None  # B
        self._comm: Any = None  # B: the client's connection for which it has subscribed
        self._attach(self._client_at(client_or_address) if self._own else client_or_address)

    def __repr__(self) -> str:
        state = "down" if self._down else f"{self._workers} workers, {len(self._flights)} works under way"
        return f"<Cluster {self.address} {state}>"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close_client()

    @property
    def foreign(self) -> bool:
        """True in a child of the process that made it."""
        return os.getpid() != self._pid

    @property
    def client(self) -> Any:
        """The `distributed.Client`."""
        return self._client

    # --- connecting

    def _client_at(self, address: str) -> Any:
        # Dask looks only when the client is half made, and that keeps the process from ending.
        try:
            importlib.import_module("distributed.comm.addressing").get_address_host(address)
        except ValueError as error:
            raise ValueError(f"{address!r} is no address of a Dask scheduler: {error}") from None
        return self._dask.Client(address, set_as_default=False)

    def _attach(self, client: Any) -> None:
        """Work with this client: subscribe, and see that the scheduler has our plugin."""
        if not isinstance(client, self._dask.Client) or client.asynchronous:
            raise TypeError(f"a Dask client that is not asynchronous, or an address, not {client!r}")
        if client.status != "running":
            raise BackendDown(f"the Dask client is {client.status}; hand over another one")
        from . import _scheduler, _worker

        cloudpickle = importlib.import_module("cloudpickle")
        for module in (_scheduler, _worker):
            cloudpickle.register_pickle_by_value(module)
        #: S: Dask's own would pack by value only what is registered so itself, not what is in a tuple.
        self._dump_function = cloudpickle.dumps
        self._enter = _Loaded(cloudpickle.dumps(_worker.enter))  # S
        self._dumps = importlib.import_module("distributed.protocol.pickle").dumps  # S
        self._loads = importlib.import_module("distributed.protocol.pickle").loads  # S
        comm = client.scheduler_comm
        client.register_plugin(_scheduler.Memory(self._remember))
        # Dask keeps handlers as long as the client, whoever unsubscribes: so they do not keep us.
        present = _present.setdefault(client, weakref.WeakValueDictionary())
        present[self._topic] = self
        client.subscribe_topic(self._topic, _weakly(self._event))
        client.subscribe_topic(_scheduler.TOPIC, lambda event: _count_all(present, event))
        self._workers = len(client.nthreads())
        self.address = str(client.scheduler.address)  # S, for people
        with self._lock:
            self._lost += [flight.call for flight in self._flights.values()]  # at another one, that we leave
            self._flights.clear()
            self._client, self._comm, self._down = client, comm, False

    def reconnect(self, client_or_address: Any = None) -> int:
        """After the scheduler was lost: send again what was under way, and let the queues go on.

        Args:
            client_or_address: where to; None is the same client, or for one of our own, the same address.

        Returns how many works were sent again: some of them may have run, so they run *at least once*. Thread context.
        Raises BackendDown, and changes nothing, if nobody answers there. Does nothing if nothing was lost.
        """
        self._check_process()
        if client_or_address in (None, self._client) and not self._look() and not self._lost:
            return 0
        before, own = self._client, self._own
        client: Any = None
        try:
            if client_or_address is None:
                client = before if before.status == "running" or not own else self._client_at(self.address)
            else:
                own = isinstance(client_or_address, str)
                client = self._client_at(client_or_address) if own else client_or_address
            self._attach(client)
        except OSError as error:
            if own and client is not None and client is not before:
                client.close()
            raise BackendDown(f"no Dask scheduler answers at {client_or_address or self.address}: {error}") from error
        if client is not before:
            self._leave(before)
        self._own = own
        lost: list[RemoteCall] = []
        try:
            with self._lock:
                lost, self._lost = self._lost, []
            for call in lost:
                try:
                    self._submit(call)
                except BackendDown:
                    raise
                except Exception as error:
                    self._failed(call, error)
            for queue in list(self._halted):
                queue.resume()
                self._halted.pop(queue, None)
        except BaseException:  # Ctrl-C too: another reconnect sends them all
            self._lose()
            with self._lock:
                self._lost += [call for call in lost if not call.outcome and call not in self._lost]
            raise
        return len(lost)

    def give_up(self) -> int:
        """After the scheduler was lost for good: what was under way fails with `BackendDown`; how many works.

        What waits in the queues stays there, and can be cancelled. Thread context.
        """
        with self._lock:
            lost, self._lost = self._lost, []
        for call in lost:
            call.failed(BackendDown(f"the Dask scheduler at {self.address} is lost, and {call.name} with it"))
        return len(lost)

    def close_client(self) -> None:
        """Close the client, if it is our own; be done with it, if it is the caller's.

        The queues should have ended before: what is under way is kept as if the scheduler had been lost.
        """
        if not self.foreign:
            self._lose()
            self._leave(self._client)

    def _leave(self, client: Any) -> None:
        """Close it, if it is our own; else unsubscribe.

        The topic of all stays: others on this client need it, and it is a number when a worker comes or goes.
        """
        if self._own:
            client.close()
            return
        _present[client].pop(self._topic, None)
        if client.status == "running":
            client.unsubscribe_topic(self._topic)

    # --- a back end's methods

    def open(self, queue: RemoteGroup) -> None:
        """As `workqueue9.Backend.open`: the function and its argument are packed, once."""
        self._check_process()
        try:
            self._queues[queue] = self._dump_function((queue.func, queue.arg))
        except Exception as error:
            raise TypeError(
                f"the function of queue {queue.name!r}, or its argument, can't be pickled: {error}"
            ) from error

    def pack(self, queue: RemoteGroup, work: Work[Any]) -> bytes:
        """As `workqueue9.Backend.pack`: the payload, as it is now."""
        self._check_process()
        payload = work.payload
        try:
            packed: bytes = self._dumps(payload)
        except Exception as error:
            raise TypeError(
                f"the payload of {work!r}, a {type(payload).__name__}, can't be pickled: {error}"
            ) from error
        return packed

    def start(self, call: RemoteCall) -> None:
        """As `workqueue9.Backend.start`."""
        self._check_process()
        if self._look():
            self._halted[call.queue] = None
            raise BackendDown(
                f"the Dask scheduler at {self.address} is lost: queue {call.queue.name!r} keeps its works until "
                "Cluster.reconnect()"
            )
        call.leaving()  # a worker may have it before `submit` has returned: what can't be sent now is kept
        while not self._send(call):
            pass  # it was lost, and there is another one by now
        if not self._workers:
            self._say_lonely()

    def ready(self) -> bool:
        """As `workqueue9.Backend.ready`."""
        return not self.foreign and not self._look()

    def close(self, queue: RemoteGroup) -> None:
        """As `workqueue9.Backend.close`. The client stays."""
        self._queues.pop(queue, None)
        self._halted.pop(queue, None)

    # --- sending

    def _check_process(self) -> None:
        if self.foreign:
            raise UsageError(
                f"the Dask client of {self.address} belongs to process {self._pid}, and this one was forked from it: "
                "make a Cluster and its queues here"
            )

    def _look(self) -> bool:
        """True if the scheduler is lost; what was under way is kept then."""
        client = self._client
        if not self._down and (client.status != "running" or client.scheduler_comm is not self._comm):
            self._lose()
        return self._down

    def _send(self, call: RemoteCall) -> bool:
        """Send it, or keep it until `reconnect`. False if that has been, meanwhile."""
        try:
            self._submit(call)
        except BackendDown:
            with self._lock:
                self._lost.append(call)
            if not self._look():
                with self._lock:
                    if call in self._lost:  # or it was sent again
                        self._lost.remove(call)
                        return False
        return True

    def _submit(self, call: RemoteCall) -> None:
        """Send it. Whatever goes wrong on the way, its flight says where it is."""
        number, queue = next(self._numbers), call.queue
        task = _Task(self._enter, number, self._topic, queue.name, call.key, self._queues[queue], call.parcel)
        flight = _Flight(call)
        with self._lock:
            if self._down:
                self._lost.append(call)
                return
            client = self._client
            self._flights[number] = flight
        try:
            with self._annotate(**self._annotations):
                future = client.submit(
                    pickle.loads,
                    pickle.dumps(task, pickle.HIGHEST_PROTOCOL),
                    key=(f"{ascii(queue.name)[1:-1]}-{self._topic[-32:]}", number),  # Dask takes no surrogates
                    pure=False,
                    priority=queue.pri,
                    fifo_timeout=0,  # or what is sent within 100 ms has one rank
                )
        except BaseException as error:
            if self._land(number) is None:
                return  # it is kept with what was lost
            if client.status != "running":
                raise BackendDown(f"the Dask scheduler at {self.address} is lost: {error}") from error
            raise
        with self._lock:
            flight.future = future
            under_way = number in self._flights
        if under_way:
            client.loop.add_callback(self._watch, number, future, client)

    # --- coming home, on the client's event loop

    def _event(self, event: tuple[float, dict[str, Any]]) -> None:
        """A message of a worker's."""
        message = event[1]
        number = message["number"]
        if message["op"] == "started":
            with self._lock:
                flight = self._flights.get(number)
            if flight is not None:
                flight.call.started(message["worker"])
        elif (call := self._land(number)) is not None:
            self._ended(call, message["result"])

    def _land(self, number: int) -> RemoteCall | None:
        """The call of that number, which is under way no more; None if it was not."""
        with self._lock:
            flight = self._flights.pop(number, None)
        return None if flight is None else flight.call

    def _ended(self, call: RemoteCall, result: bytes) -> None:
        try:
            value = self._loads(result)
        except BaseException as error:  # whatever it is, on the client's event loop it concerns this work only
            self._failed(call, error)
        else:
            call.ended(value)

    async def _watch(self, number: int, future: Any, client: Any) -> None:
        """Wait for a Dask future, and report what no message has reported."""
        error = await future.exception(asynchronous=True)
        if number not in self._flights:
            return
        if error is not None:
            traceback = await future.traceback(asynchronous=True)
        elif future.status == "cancelled":
            if client.status != "running" or client.scheduler_comm is not self._comm:
                return self._lose()
            error, traceback = RuntimeError("it was cancelled on the cluster, not by its queue; it may have run"), None
        else:
            try:
                result = await client.gather(future, asynchronous=True)
            except BaseException as lost:
                if client.status != "running" or client.scheduler_comm is not self._comm:
                    return self._lose()
                error, traceback = lost, None
            else:
                if result is None:
                    # The message is lost, and so the result: nothing says that it ever is.
                    error, traceback = RuntimeError("its end was reported without a result"), None
                elif (call := self._land(number)) is not None:
                    return self._ended(call, result)
        if (call := self._land(number)) is not None:
            self._failed(call, error, traceback)

    def _failed(self, call: RemoteCall, error: BaseException, *traceback: Any) -> None:
        """Report it, with what people want to know, and the remote traceback if there is one."""
        try:
            self._explain(call, error)
            if traceback:
                error.with_traceback(*traceback)
        except BaseException as refused:  # the error is of the user's making, and so are its methods
            report_error(refused, origin=call)
        finally:
            call.failed(error)

    def _explain(self, call: RemoteCall, error: BaseException) -> None:
        where = "before any worker has reported it" if call.where is None else f"at worker {call.where}"
        error.add_note(f"{call.name} of queue {call.queue.name!r} on the Dask cluster {self.address}, {where}")
        if type(error).__name__ == "KilledWorker":
            error.add_note(
                "every worker that ran it died: it may be what kills them, or may just have been beside such a one; it "
                "is not tried again (Dask's setting distributed.scheduler.allowed-failures)"
            )

    def _lose(self) -> None:
        """The scheduler is lost. Any thread."""
        with self._lock:
            said, self._down = self._down, True
            flights = list(self._flights.values())
            self._flights.clear()
            self._lost += [flight.call for flight in flights]
            under_way = len(self._lost)
        if not said and under_way:
            report_error(
                BackendDown(
                    f"the Dask scheduler at {self.address} is lost; {under_way} works that were under way are kept, "
                    "and run again after Cluster.reconnect()"
                ),
                origin=self,
            )

    def _count(self, event: tuple[float, int]) -> None:
        """So many workers there are."""
        self._workers = event[1]
        if self._workers:
            self._lonely = False
        elif self._flights:
            self._say_lonely()

    def _say_lonely(self) -> None:
        if not self._lonely:
            self._lonely = True
            report_error(
                BackendDown(
                    f"there is no worker at the Dask scheduler {self.address}; {len(self._flights)} works wait there "
                    "until one comes"
                ),
                origin=self,
            )


def _weakly(method: Callable[[Any], None]) -> Callable[[Any], None]:
    """A handler that calls `method` as long as its object lives."""
    ref = weakref.WeakMethod(method)
    return lambda event: None if (call := ref()) is None else call(event)


def _count_all(present: weakref.WeakValueDictionary[str, Cluster], event: tuple[float, int]) -> None:
    for ref in present.valuerefs():
        if (cluster := ref()) is not None:
            cluster._count(event)
