"""The registry: which pools there are, and how references are put (TP-1, TP-9). They are taken in `_references`.

One lock, `Registry.lock`, guards the tables and every pool's reference count; it is held for a few lines, never
while waiting and never around foreign code. It is re-entrant so that a finalizer that puts a reference while
its own thread is in here does not lock itself out; get and put are meant for thread context all the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from . import _atomic, _hooks, _osthread, _seam
from ._atomic import FREE
from ._autoload import autoload
from ._errors import Error, PriorityRefused, UsageError, WaitTimeout
from ._pool import Pool
from ._priority import Scheduling, check_scheduling, default_mapping
from ._probes import probes
from ._settle import apply_priority
from ._starter import Starter
from ._tunables import changed, tunables
from ._waiting import Blocking, Steps, Wait, run
from ._watchdog import Sight, sources
from ._worker import Worker

if TYPE_CHECKING:
    from ._job import Job
    from ._references import PerCPU

_RETIRED = 64


class Registry:
    """The tables of the process. L: written under `lock`."""

    def __init__(self) -> None:
        self.lock = _seam.RLock()
        self.unbound: dict[int, Pool] = {}  # L
        self.percpu: dict[int, PerCPU] = {}  # L
        self.pools: dict[Pool, None] = {}  # L: every pool that may have jobs or workers, the closing ones too
        self.totals = [0] * 8  # L: what pools that are gone had counted, in the order of _snapshot
        self.starter = Starter()  # S, but anew in a fork child
        self.gate: Callable[[Pool, Job], Error | None] | None = None  # A: what a new pool has for a gate, see there
        #: L: the cancels of pools that are gone. One may be counted after that; the oldest are added to the totals.
        self.retired: list[_atomic.Tally] = []

    # --- making

    def wanted(self, pri: int) -> Scheduling:
        """What the priority map says, checked; in strict mode tried on a thread (TP-10)."""
        autoload()
        _osthread.prepare()
        try:
            answer: Scheduling | None = _hooks.ask("threadpool9_map_priority", check_scheduling, pri=pri)
            wanted = default_mapping(pri) if answer is None else answer
            if tunables.strict_priorities and (refused := _try(wanted)) is not None:
                raise PriorityRefused(f"priority {pri}: {refused}; tunables.strict_priorities = False accepts that")
        except Exception as error:
            if (probe := probes.create__failure) is not None:
                probe(None, pri, error)
            raise
        return wanted

    def make(self, pri: int, cpu: int | None, wanted: Scheduling, name: str = "poolthread") -> Pool:
        """A fresh pool, for the caller to enter in the table when it publishes it. No thread is started (TP-3)."""
        if (probe := probes.create) is not None:
            probe(cpu, pri)
        self.prune()
        pool = Pool(pri, cpu, wanted, self, name)
        if (probe := probes.create__success) is not None:
            probe(cpu, pri, pool)
        return pool

    def forget(self, pool: Pool) -> None:
        """A pool without jobs, workers and references: keep only what it counted."""
        pool._gate = _refuse_closed
        counts = pool.counts()
        # No comprehension inside of a with statement: since 3.12 an asynchronous exception that comes when one goes
        # round leaves without ``__exit__``.
        with self.lock:
            if pool in self.pools:
                counts[3] = 0
                totals = list(map(operator.add, self.totals, counts))
                del self.pools[pool]; self.totals = totals; self.retired.append(pool._cancelled)  # fmt: skip
                if len(self.retired) > _RETIRED:
                    self.totals[3] += self.retired.pop(0).value()

    # --- putting

    def put(self, holder: Pool | PerCPU, wait: Wait, given: list[None]) -> Steps[None]:
        """`Pool.put`, `PerCPU.put`; `given` is not empty any more when the reference was given back."""
        table = self._table_of(holder)
        if isinstance(holder, Pool):
            probe, destroy_probe = probes.put, probes.put__destroy
        else:
            probe, destroy_probe = probes.percpu__put, probes.percpu__put__destroy
        if probe is not None:
            probe(holder, holder.pri)
        pools = members(holder)
        own = own_pool(pools)
        try:
            with self.lock:
                if own is not None and holder.references == 1:
                    raise UsageError(
                        f"the last reference to {own!r} can't be put by one of its own jobs: it would wait for itself"
                    )
                _give_back(holder, table, given)
            if holder._closing:
                if destroy_probe is not None:
                    destroy_probe(holder, holder.pri)
                yield from self.close(pools, wait)
        except BaseException:
            if holder._closing:
                self._dismiss(pools)  # nobody waits any more
            raise

    def release(self, holder: Pool | PerCPU, given: list[None]) -> None:
        """Give a reference back without waiting; pools without one finish their jobs and go. Any context."""
        table = self._table_of(holder)
        try:
            with self.lock:
                _give_back(holder, table, given)
        finally:
            if holder._closing:
                self._dismiss(members(holder))

    def _dismiss(self, pools: tuple[Pool, ...]) -> None:
        """Nobody gets `pools` any more: workers leave when they find no job. Any context; may be repeated."""
        for pool in pools:
            pool._closing = True
            pool._dismiss_idle()

    def _table_of(self, holder: Pool | PerCPU) -> dict[int, Any]:
        """Where `holder` is found by `get`; UsageError for a member of a per-CPU set, which has no references."""
        if not isinstance(holder, Pool):
            return self.percpu
        if holder.cpu is not None:
            raise UsageError(f"{holder!r} belongs to a per-CPU set: put() the object that percpu_get() gave")
        return self.unbound

    def all_pools(self) -> list[Pool]:
        """Every pool that may have jobs or workers. Any context."""
        with self.lock:
            return list(self.pools)

    def prune(self) -> None:
        """Forget pools that were released and have come to their end."""
        for pool in self.all_pools():
            if pool._closing and not pool.busy():
                self.forget(pool)

    def close(self, pools: tuple[Pool, ...], wait: Wait) -> Steps[None]:
        """Wait until every job of `pools` has run and every worker has left."""
        for pool in pools:
            if (probe := probes.destroy) is not None:
                probe(pool)
        self._dismiss(pools)
        for pool in pools:
            if pool.busy() and (probe := probes.destroy__wait) is not None:
                probe(pool, len(pool._workers))
            yield from self._wait_gone(pool, wait)
            self.forget(pool)

    def _wait_gone(self, pool: Pool, wait: Wait) -> Steps[None]:
        pause = 0.01
        while pool.busy():
            limit = None
            if pool._jobs and self.starter.absent and not self.starter.ensure_alive():
                # No thread can be had, and nobody is left who could try again: we are.
                limit = _seam.monotonic() + pause
                pause = min(pause * 2, 1.0)
            yield from pool._workers_gone.wait(pool.busy, wait, limit)
            if wait.over() and pool.busy():
                raise WaitTimeout(f"the last put of {pool!r}: the time limit ran out")


registry = Registry()


def _watched_jobs() -> Iterator[Sight]:
    """What the watchdog looks at in this layer."""
    limit = tunables.stall_ms / 1000
    for worker in list(registry.starter.workers):
        job = worker.job
        if job is not None and not job.plumbing:
            yield Sight(worker, worker.started, job, limit, worker.ident, repr(worker.pool))


def _look_at_tunables() -> None:
    """The starter may be asleep for long: have it look whether there is something to watch now."""
    if registry.starter.is_alive():
        registry.starter.requests.put(None)


sources.append((lambda: tunables.stall_ms / 1000, _watched_jobs))
changed.append(_look_at_tunables)


def _refuse_closed(pool: Pool, job: Job) -> Error:
    if registry.starter.finalizing:
        return registry.starter.why_not()
    return UsageError(f"cannot schedule {job!r}: the last reference to {pool!r} was put; get() it again")


def own_pool(pools: tuple[Pool, ...]) -> Pool | None:
    """The one of `pools` that the caller is a job of, if any."""
    me = _seam.get_ident()
    return next((pool for pool in pools if any(worker.ident == me for worker in list(pool._workers))), None)


def _give_back(holder: Pool | PerCPU, table: dict[int, Any], given: list[None]) -> None:
    """Under the registry's lock. The last one: nobody finds `holder` any more."""
    # Not a call: a handler on this thread might take a reference in between.
    if holder.references > 1:
        holder.references -= 1; given += FREE  # fmt: skip  # see _atomic
    elif holder.references == 1:
        holder._closing = True; holder.references = 0; given += FREE; del table[holder.pri]  # fmt: skip
    else:
        raise UsageError(f"one put() too many: nobody holds a reference to {holder!r}")


def _try(wanted: Scheduling) -> str | None:
    """Ask for `wanted` on a throw-away thread; what was refused, or None."""
    refused: list[str | None] = []
    thread = _seam.Thread(lambda: refused.append(apply_priority(wanted)), "threadpool9-trial")
    thread.start()
    thread.join()
    return refused[0] if refused else f"{wanted}: could not be tried"


def members(holder: Pool | PerCPU) -> tuple[Pool, ...]:
    """The pools that a reference stands for."""
    return (holder,) if isinstance(holder, Pool) else tuple(holder._pools.values())


def claim_stall(runner: object, run: int) -> bool:
    """Take the right to report that run number `run` of `runner` took too long; True once. Thread context (TP-35)."""
    return registry.starter.watchdog.claim(runner, run)


def retire_idle(timeout: float | None = 5.0) -> int:
    """Make every idle worker leave now; returns how many left (TP-14).

    For tests, before fork, before suspend. Thread context; waits until they are gone, at most `timeout` seconds (None:
    as long as it takes).
    Busy workers are left alone; when none is left the starter goes too.
    """
    wait = Blocking(timeout)
    sent = []
    starter = registry.starter
    helper = starter.tid
    for pool in registry.all_pools():
        sent += [(pool, worker) for worker in pool._dismiss_idle()]
    left = 0
    for pool, worker in sent:
        # One that found a job after all stays.
        def still(pool: Pool = pool, worker: Worker = worker) -> bool:
            return worker in pool._workers and worker.leaving

        while still() and run(pool._workers_gone.wait(still, wait)):
            pass
        left += worker not in pool._workers
    _osthread.wait_gone([worker.tid for pool, worker in sent if worker not in pool._workers], wait.deadline)
    # The starter goes with the last worker, unless it is asked for another one.
    _osthread.wait_gone(
        [helper] * bool(helper), wait.deadline, lambda: starter.tid in (0, helper) and not starter.busy()
    )
    return left
