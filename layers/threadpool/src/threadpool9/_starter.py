"""The starter: the one helper thread of the process, which starts workers and sees them off (TP-5, TP-12, TP-13).

Why a thread for it: what a new thread inherits (CPU set, nice value, class, context) is then the starter's and
not that of whoever scheduled; ``Thread.start`` runs on a clean stack, never inside somebody's signal handler;
and there is somebody to try again when the OS refuses a thread. It costs one hop on a cold start.

It comes with the first request and leaves with the last worker. `absent` holds its token while there is none: the
scheduler that takes it boots the thread. Leaving is publish-then-look: give the token back, *then* look at the
requests once more.

How many workers: one for a pool without any; after that one more only while the job at the head of the queue
does not move, looked at every `_GRACE` seconds (less often while it does move). A queue whose head moves is being
served; a queue whose head stands still has only blocked workers, and gets one more each time (TP-6). This keeps
a burst of short jobs from making a thread each, and delays a job behind blocked ones by a tenth of a millisecond.

Rules. A: atomic, any context. T: this thread only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _hooks, _osthread, _seam
from ._errors import Error, FinalizingError, StartError
from ._priority import Scheduling
from ._probes import probes
from ._topology import allowed, refresh, refresh_unwitnessed
from ._watchdog import Watchdog
from ._worker import Worker

if TYPE_CHECKING:
    from ._job import Job
    from ._pool import Pool

NAME = "poolstarter"
_GRACE = 1e-4
_GRACE_LAST = 2e-3
_BACK_OFF_FIRST = 0.01
_BACK_OFF_LAST = 1.0
_READY_LIMIT = 1.0
_CPU_BACK = 1.0  # how often to look whether a lost CPU is back, while workers of its pool live


def _job_of(ticket: list[Job]) -> Job | None:
    """The job of a ticket, None if it was claimed meanwhile."""
    return next(iter(tuple(ticket)), None)


class _Look:
    """What the starter remembers of a pool that may need a worker."""

    __slots__ = ("back_off", "grace", "head", "when")

    def __init__(self) -> None:
        self.head: object = None  # the ticket that was first in the queue at the last look
        self.when = 0.0  # not to look again before
        self.back_off = 0.0
        self.grace = _GRACE


class Starter:
    """Starts workers; see the module's text."""

    def __init__(self) -> None:
        #: A: pools that ask, workers that left, None: look at the tunables.
        self.requests: _seam.Mailbox[Pool | Worker | None] = _seam.Mailbox()
        self.tid = 0  # T
        self.finalizing = False  # A: written once, by the exit policy
        self.failed: BaseException | None = None  # A: why the last boot did not work
        self.workers: dict[Worker, None] = {}  # T: all that were started and not joined yet
        self.absent = _seam.token()  # A: taken while the thread exists or is being started
        self.watchdog = Watchdog()  # T
        self._looks: dict[Pool, _Look] = {}  # T
        self._next_watch = 0.0  # T: when the watchdog looks again

    def ensure_alive(self) -> bool:
        """See that somebody reads the requests; False if nobody does and no thread can be had. Any context."""
        if self._boot():
            return True
        # Others may have taken our attempt for a starter that lives. The token is back: so look, and try once more.
        return not self.finalizing and not self.requests.empty() and self._boot()

    def _boot(self) -> bool:
        if self.finalizing:
            return False
        if not self.absent:
            return True
        claimed = booted = False
        try:
            del self.absent[0]; claimed = True  # fmt: skip  # noqa: E702
            booted = True; _seam.start_new_thread(self._main, ())  # fmt: skip  # noqa: E702
        except IndexError:
            return True
        except (RuntimeError, MemoryError) as error:
            self.failed = error
            self.absent.append(None)
            # 3.12.0 to 3.12.2 start no thread once the main thread has come to its end, long before our exit function:
            # that will run what is queued by then.
            return "interpreter shutdown" in str(error)
        except BaseException:
            if claimed and not booted:
                self.absent.append(None)
            raise
        return True

    def is_alive(self) -> bool:
        """True while the thread exists or is being started. Any context."""
        return not self.absent

    def busy(self) -> bool:
        """True while there are workers or requests. Any context; a moment's truth."""
        return bool(self.workers) or bool(self._looks) or not self.requests.empty()

    def why_not(self) -> Error:
        """The error for a schedule that `ensure_alive` could not serve."""
        if self.finalizing:
            return FinalizingError("the interpreter is exiting; nothing can be scheduled any more")
        return StartError(f"no thread could be started and none is left that could try again: {self.failed}")

    # --- the thread

    def _main(self) -> None:
        self._guarded(self._settle)
        while True:
            self._guarded(self._serve)
            # Nothing to do and no worker left: go, then look again.
            self.tid = allowed.witness = 0
            self.absent.append(None)
            if self.requests.empty():
                return
            try:
                del self.absent[0]
            except IndexError:  # another one was booted
                return
            self._guarded(self._settle)

    def _guarded(self, step: Callable[[], None]) -> None:
        """A bug of ours or of a hook: say so and go on, since jobs depend on this thread; each time less soon."""
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
            _osthread.set_affinity(refresh_unwitnessed())
            _osthread.apply_scheduling(Scheduling("inherit"))
        except OSError:
            pass  # each worker puts itself in order too, and tells what it could not
        # From now on whoever changes the CPU set of all threads from outside changes ours too (TP-8).
        allowed.witness = self.tid
        refresh()

    def _serve(self) -> None:
        """Serve requests until none is left and no worker is alive."""
        looks = self._looks
        while True:
            whens = [look.when for look in looks.values()]
            if not (whens or self.workers) and self.requests.empty():
                return
            if (period := self.watchdog.period()) > 0:
                now = _seam.monotonic()
                if now >= self._next_watch:
                    self.watchdog.look()
                    self._next_watch = now + period
                whens.append(min(self._next_watch, now + period))
            if not all(worker.bound for worker in self.workers):
                whens.append(_seam.monotonic() + _CPU_BACK)
            self._take_requests(max(0.0, min(whens) - _seam.monotonic()) if whens else None)
            self._bind_again()
            self._examine_all()

    # In methods of their own: who sleeps keeps no pool alive by a local variable.

    def _take_requests(self, timeout: float | None) -> None:
        try:
            item = self.requests.get(True, timeout)
            while True:
                self._take(item)
                item = self.requests.get(False)
        except _seam.Empty:
            pass

    def _examine_all(self) -> None:
        for pool in list(self._looks):
            self._examine(pool, self._looks[pool])

    def _bind_again(self) -> None:
        """The CPU of some workers was lost: if it is back, bind also those that are never idle (TP-8)."""
        for worker in self.workers:
            if not worker.bound and worker.pool.cpu in refresh():
                worker.bind_from_outside()

    def _take(self, item: Pool | Worker | None) -> None:
        if item is None:
            return
        if isinstance(item, Worker):
            self._see_off(item)
            return
        # Give the token back *before* looking at the queue: a job that comes later asks again. It may be there
        # already, after a request that was repeated because an exception came in its middle; only we give it back.
        if not item._asked:
            item._asked.append(None)
        if item not in self._looks:
            self._looks[item] = _Look()
            if (probe := probes.dispatcher__start) is not None:
                probe(item)

    def _see_off(self, worker: Worker) -> None:
        worker.thread.join(_READY_LIMIT)
        pool = worker.pool
        # The totals and the worker's going are one store each for a snapshot: see `Pool.counts`.
        pool._left[0] = pool._left[0].with_worker(worker)
        pool._workers.pop(worker, None)
        pool._threads_left += 1
        self.workers.pop(worker, None)  # of a fork's parent, if it is not there
        pool._workers_gone.wake_all()
        if pool._closing and not pool._workers and (probe := probes.dispatcher__dying) is not None:
            probe(pool)

    def _examine(self, pool: Pool, look: _Look) -> None:
        """Start a worker for `pool` if its queue stands still; forget the pool when its queue is empty."""
        now = _seam.monotonic()
        if now < look.when:
            return
        try:
            head = pool._jobs[0]
        except IndexError:
            del self._looks[pool]
            pool._workers_gone.wake_all()  # the last put may wait for a job that was withdrawn before a worker came
            if (probe := probes.dispatcher__exit) is not None:
                probe(pool)
            return
        if pool._workers and head is not look.head:
            look.grace = min(look.grace * 2, _GRACE_LAST)
        elif pool._workers and pool._idle:
            if (probe := probes.dispatcher__race) is not None:
                probe(pool, _job_of(head))
        else:
            look.grace = _GRACE
            if not self._start(pool, look, head):
                return
            try:
                head = pool._jobs[0]
            except IndexError:
                head = []
            now = _seam.monotonic()
        look.head = head
        look.when = now + look.grace

    def _start(self, pool: Pool, look: _Look, head: list[Job]) -> bool:
        ready = _seam.Lock()
        ready.acquire()
        if (probe := probes.dispatcher__spawn) is not None:
            probe(pool)
        worker = None
        try:
            worker = Worker(pool, ready)
            # Entered before it begins: the last put waits for it, however late it comes.
            pool._workers[worker] = None
            worker.thread.start()
        except (RuntimeError, MemoryError, OSError):
            if worker is not None:
                pool._workers.pop(worker, None)
            pool._workers_gone.wake_all()
            pool._start_failures += 1
            look.back_off = min(max(_BACK_OFF_FIRST, look.back_off * 2), _BACK_OFF_LAST)
            look.when = _seam.monotonic() + look.back_off
            return False
        look.back_off = 0.0
        self.workers[worker] = None
        pool._threads_started += 1
        if (probe := probes.dispatcher__assign) is not None:
            probe(pool, _job_of(head), worker)
        # Until it has its first job or has seen that there is none, the queue says nothing about need.
        ready.acquire(True, _READY_LIMIT)
        return True
