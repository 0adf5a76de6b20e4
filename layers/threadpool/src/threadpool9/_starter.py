"""The starter: the one helper thread of the process, which starts workers and sees them off (TP-5, TP-12, TP-13).

Why a thread for it: what a new thread inherits (CPU set, nice value, class, context) is then the starter's and
not that of whoever scheduled; ``Thread.start`` runs on a clean stack, never inside somebody's signal handler;
and there is somebody to try again when the OS refuses a thread. It costs one hop on a cold start.

It comes with the first request and leaves with the last worker. Whoever schedules and finds `absent` full starts the
thread, and leaves a promise (see `_atomic`) when that has worked; the thread takes the token itself, so that two that
were started agree which of them is the starter. Leaving is publish-then-look: give the token back, *then* look at the
requests once more. How many workers a pool needs is the matter of `_demand`.

Rules. A: atomic, any context. T: this thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _atomic, _hooks, _osthread, _seam
from ._demand import Demand
from ._errors import Error, FinalizingError, StartError
from ._priority import Scheduling
from ._probes import probes
from ._topology import allowed, ask_the_kernel, refresh
from ._watchdog import Watchdog
from ._worker import Worker

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool

NAME = "poolstarter"
_BACK_OFF_FIRST = 0.01
_BACK_OFF_LAST = 1.0
_JOIN_LIMIT, _JOIN_FIRST, _JOIN_AGAIN = 1.0, 0.001, 0.01
_LOOK_AT_CPUS = 1.0  # how often to look whether busy bound workers still have their CPU, or have it back


class Starter:
    """Starts workers; see the module's text."""

    def __init__(self) -> None:
        #: A: lists with a pool that asks, workers that left, None: look at the tunables.
        self.requests: _seam.Mailbox[list[Pool] | Worker | None] = _seam.Mailbox()
        self.tid = 0  # T
        self.finalizing = False  # A: written once, by the exit policy
        self.failed: BaseException | None = None  # A: why the last boot did not work
        self.workers: dict[Worker, None] = {}  # T: all that were started and not joined yet
        self.bound: dict[Worker, None] = {}  # T: those of them that belong to a CPU
        self.absent = _atomic.token()  # A: taken while the thread exists
        self.booting: list[None] = []  # A: a promise: full from when a thread was started until it is there
        self.watchdog = Watchdog()  # T
        self._demands: dict[Pool, Demand] = {}  # T: the pools that may need a worker
        self._leaving: dict[Worker, float] = {}  # T: whose threads have yet to end, and until when that is waited for
        self._next_watch = 0.0  # T: when the watchdog looks again
        self._next_cpus = 0.0  # T: when to look at the CPUs of bound workers again

    def ensure_alive(self) -> bool:
        """Make sure that the starter runs; False if it does not and no thread can be started. Any context."""
        if self.finalizing:
            return False
        if self.is_alive():
            return True
        boot = _atomic.token()
        try:
            _seam.start_new_thread(self._main, (boot,))
        except RecursionError:  # that is the caller's, though it is a RuntimeError
            raise
        except (RuntimeError, MemoryError) as error:
            self.failed = error
            # 3.12.0 to 3.12.2 start no thread once the main thread has come to its end, long before our exit function:
            # that will run what is queued by then.
            return "interpreter shutdown" in str(error)
        self.booting = boot
        return True

    def is_alive(self) -> bool:
        """True while the thread exists or is being started. Any context."""
        return not self.absent or bool(self.booting)

    def busy(self) -> bool:
        """True while there are workers or requests. Any context; may already be stale."""
        return bool(self.workers) or bool(self._demands) or not self.requests.empty()

    def why_not(self) -> Error:
        """The error for a schedule that `ensure_alive` could not serve."""
        if self.finalizing:
            return FinalizingError("the interpreter is exiting; nothing can be scheduled any more")
        return StartError(f"no thread could be started and none is left to retry: {self.failed}")

    def adopt(self, worker: Worker) -> None:
        """`worker` is there: to be seen off when it leaves. The starter's thread, or the only one of a fork child."""
        self.workers[worker] = None
        if worker.pool.cpu is not None:
            self.bound[worker] = None

    # --- the thread

    def _main(self, boot: list[None]) -> None:
        while True:
            try:
                del self.absent[0]
            except IndexError:  # another one was faster
                return
            finally:
                boot.clear()
            self._guarded(self._settle)
            self._guarded(self._serve)
            # Nothing to do and no worker left: go, then look again.
            self.tid = allowed.witness = 0
            self._guarded(_seam.forget_dummy)
            self.absent.append(None)
            if self.requests.empty():
                return

    def _guarded(self, step: Callable[[], None]) -> None:
        """A bug of ours or of a hook: report it and go on, since jobs depend on this thread; each time less soon."""
        pause = _BACK_OFF_FIRST
        while True:
            try:
                return step()
            except BaseException as error:
                _hooks.report_error(error, origin="threadpool9 starter")
                _seam.doze(pause)
                pause = min(pause * 2, _BACK_OFF_LAST)

    def _settle(self) -> None:
        self.tid = _seam.get_native_id()
        _osthread.clean_signal_mask()
        _osthread.set_name(NAME)
        try:
            ask_the_kernel()
            _osthread.apply_scheduling(Scheduling("inherit"))
        except OSError:
            pass  # each worker puts itself in order too, and reports what it could not
        # From now on whoever changes the CPU set of all threads from outside changes ours too (TP-8).
        allowed.witness = self.tid
        refresh()

    def _serve(self) -> None:
        """Serve requests until none is left and no worker is alive."""
        demands = self._demands
        while True:
            whens = [demand.when for demand in demands.values()]
            if not (whens or self.workers) and self.requests.empty():
                return
            now = _seam.monotonic()
            if (period := self.watchdog.period()) > 0:
                if now >= self._next_watch:
                    self.watchdog.look()
                    # With many queues a look takes long: not more than a tenth of the time.
                    self._next_watch = now + max(period, 10 * (_seam.monotonic() - now))
                whens.append(min(self._next_watch, now + _LOOK_AT_CPUS))
            else:
                self.watchdog.rest()
            if self._leaving:
                self._see_off_leaving()
                whens.append(now + _JOIN_AGAIN)
            if self.bound:  # one that is idle may get a job without us
                if now >= self._next_cpus:
                    self._look_at_cpus()
                    self._next_cpus = now + _LOOK_AT_CPUS
                whens.append(self._next_cpus)
            until = min(whens) if whens else None
            self._take_requests(None if until is None else max(0.0, until - _seam.monotonic()))
            now = _seam.monotonic()
            if until is not None:
                Demand.lateness = max(0.0, now - until)
            self._examine_all(now)

    # In methods of their own: a thread that sleeps keeps no pool alive by a local variable.

    def _examine_all(self, now: float) -> None:
        demands = self._demands
        for pool in list(demands):
            if now >= demands[pool].when:
                self._examine(pool, demands[pool])

    def _take_requests(self, timeout: float | None) -> None:
        try:
            item = self.requests.get(True, timeout)
            while True:
                self._take(item)
                item = self.requests.get(False)
        except _seam.Empty:
            pass

    def _look_at_cpus(self) -> None:
        """Bound workers that are busy for long: has their CPU gone, or is it back (TP-8)?"""
        for worker in self.bound:
            if worker.job is not None and worker.ident:
                worker.settled.bind_from_outside(worker.tid)

    def _take(self, item: list[Pool] | Worker | None) -> None:
        if item is None:
            return
        if isinstance(item, Worker):
            pool = item.pool
            item.away = True
            if item.forked:
                self._see_off(item)
            else:
                # What a job left in a threading.local may be slow to go, and others wait for us.
                item.thread.join(_JOIN_FIRST)
                self._leaving[item] = _seam.monotonic() + _JOIN_LIMIT
                self._see_off_leaving()
            if not pool._jobs:  # else it has left though there are jobs, so somebody else is needed
                return
        else:
            # Empty the promise *before* looking at the queue: whoever schedules later asks again.
            pool = item.pop()
        if pool not in self._demands:
            self._demands[pool] = Demand(pool)
            if (probe := probes.dispatcher__start) is not None:
                probe(pool)
        if not self._demands[pool].back_off:
            self._demands[pool].when = 0.0

    def _see_off_leaving(self) -> None:
        for worker, until in list(self._leaving.items()):
            if not worker.thread.is_alive() or _seam.monotonic() >= until:
                del self._leaving[worker]
                self._see_off(worker)

    def _see_off(self, worker: Worker) -> None:
        pool = worker.pool
        pool._see_off(worker)
        self.workers.pop(worker, None)  # of a fork's parent, if it is not there
        self.bound.pop(worker, None)
        if pool._closing and not pool._workers and (probe := probes.dispatcher__dying) is not None:
            probe(pool)

    def _examine(self, pool: Pool, demand: Demand) -> None:
        """Start what `pool` needs; forget the pool when nothing waits there."""
        head = demand.head()
        if head is None:
            del self._demands[pool]
            pool._workers_gone.wake_all()  # the last put may wait for a job that was withdrawn before a worker came
            if (probe := probes.dispatcher__exit) is not None:
                probe(pool)
            return
        wanted = demand.workers_wanted(head)
        if wanted and pool._idle and pool._workers:
            wanted = 0
            if (probe := probes.dispatcher__race) is not None:
                probe(pool, _job_of(head))
        for _ in range(wanted):
            if not self._start(pool, demand, head):
                return
        demand.when = _seam.monotonic() + demand.grace

    def _start(self, pool: Pool, demand: Demand, head: list[Any]) -> bool:
        if (probe := probes.dispatcher__spawn) is not None:
            probe(pool)
        worker = None
        try:
            worker = Worker(pool)
            # Entered before it begins: the last put waits for it, however late it comes.
            pool._workers[worker] = None
            worker.thread.start()
        except (RuntimeError, MemoryError, OSError):
            if worker is not None:
                pool._workers.pop(worker, None)
            pool._workers_gone.wake_all()
            pool._start_failures += 1
            demand.back_off = min(max(_BACK_OFF_FIRST, demand.back_off * 2), _BACK_OFF_LAST)
            demand.when = _seam.monotonic() + demand.back_off
            return False
        demand.back_off = 0.0
        self.adopt(worker)
        pool._threads_started += 1
        if (probe := probes.dispatcher__assign) is not None:
            probe(pool, _job_of(head), worker)
        return True


def _job_of(ticket: list[Any]) -> Job | None:
    """The job of a ticket, None if it was taken meanwhile."""
    return next(iter(tuple(ticket)), None)
