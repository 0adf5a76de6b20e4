"""The registry: which pools there are, and who holds references (TP-1, TP-9).

One lock, `Registry.lock`, guards the tables and every pool's reference count; it is held for a few lines, never
while waiting and never around foreign code. It is re-entrant so that a finalizer that puts a reference while
its own thread is in here does not lock itself out; get and put are meant for thread context all the same.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from . import _hooks, _osthread, _seam, _topology
from ._autoload import autoload
from ._errors import CPUError, PriorityRefused, UsageError, WaitTimeout
from ._pool import Pool
from ._priority import Scheduling, check_priority, check_scheduling, default_mapping
from ._probes import probes
from ._starter import Starter
from ._tunables import changed, tunables
from ._watchdog import Sight, sources
from ._worker import Worker, apply_priority

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["PerCPU", "get", "percpu_get", "retire_idle"]


class Registry:
    """The tables of the process. L: written under `lock`."""

    def __init__(self) -> None:
        self.lock = _seam.RLock()
        self.unbound: dict[int, Pool] = {}  # L
        self.percpu: dict[int, PerCPU] = {}  # L
        self.pools: dict[Pool, None] = {}  # L: every pool that may have jobs or workers, the closing ones too
        self.totals = [0] * 8  # L: what pools that are gone had counted, in the order of _snapshot
        self.starter = Starter()  # S

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

    def make(self, pri: int, cpu: int | None, wanted: Scheduling) -> Pool:
        """A fresh pool, entered in the table. No thread is started (TP-3)."""
        if (probe := probes.create) is not None:
            probe(cpu, pri)
        self.prune()
        pool = Pool(pri, cpu, wanted, self.starter)
        with self.lock:
            self.pools[pool] = None
        if (probe := probes.create__success) is not None:
            probe(cpu, pri, pool)
        return pool

    def forget(self, pool: Pool) -> None:
        """A pool without jobs, workers and references: keep only what it counted."""
        pool._closed = True
        counts = pool.counts()
        # No comprehension inside of a with statement: since 3.12 an exception from nowhere that comes when one goes
        # round leaves without ``__exit__``.
        with self.lock:
            if pool in self.pools:
                del self.pools[pool]
                self.totals = list(map(operator.add, self.totals, counts))

    # --- putting

    def put(self, pool: Pool, deadline: float | None, given: list[None]) -> None:
        """`Pool.put`; `given` is not empty any more when the reference was given back."""
        if pool.cpu is not None:
            raise UsageError(f"{pool!r} belongs to a per-CPU set: put() the object that percpu_get() gave")
        if (probe := probes.put) is not None:
            probe(pool, pool.pri)
        self._put(pool, (pool,), self.unbound, deadline, given, probes.put__destroy)

    def put_percpu(self, percpu: PerCPU, deadline: float | None, given: list[None]) -> None:
        """`PerCPU.put`; as above."""
        if (probe := probes.percpu__put) is not None:
            probe(percpu, percpu.pri)
        pools = tuple(percpu._pools.values())
        self._put(percpu, pools, self.percpu, deadline, given, probes.percpu__put__destroy)

    def _put(
        self,
        holder: Pool | PerCPU,
        pools: tuple[Pool, ...],
        table: dict[int, Any],
        deadline: float | None,
        given: list[None],
        destroy_probe: Any,
    ) -> None:
        try:
            with self.lock:
                if holder.references == 0:
                    raise UsageError(f"one put() too many: nobody holds a reference to {holder!r}")
                if holder.references == 1:
                    _refuse_own_worker(pools)
                    # Each step may be repeated after an exception; the last one is what counts.
                    if table.get(holder.pri) is holder:
                        del table[holder.pri]
                    for pool in pools:
                        pool._closing = True
                    holder._closing = True
                holder.references -= 1; given.append(None)  # fmt: skip  # noqa: E702 see _seam
            if holder._closing:
                if destroy_probe is not None:
                    destroy_probe(holder, holder.pri)
                self.close(pools, deadline)
        except BaseException:
            if holder._closing:
                for pool in pools:  # nobody waits any more, but idle workers need not idle out
                    pool._dismiss_idle()
            raise

    def release(self, pools: tuple[Pool, ...], holder: Pool | PerCPU) -> None:
        """Give a reference back without waiting; pools without one finish their jobs and go. Any context."""
        with self.lock:
            holder.references -= 1
            if holder.references == 0:
                table: dict[int, Any] = self.unbound if isinstance(holder, Pool) else self.percpu
                if table.get(holder.pri) is holder:
                    del table[holder.pri]
                for pool in pools:
                    pool._closing = True
        for pool in pools:
            if pool._closing:
                pool._dismiss_idle()

    def prune(self) -> None:
        """Forget pools that were released and have come to their end."""
        with self.lock:
            pools = list(self.pools)
        for pool in pools:
            if pool._closing and not pool.busy():
                self.forget(pool)

    def close(self, pools: tuple[Pool, ...], deadline: float | None) -> None:
        """Wait until every job of `pools` has run and every worker has left. `_closing` is set."""
        for pool in pools:
            if (probe := probes.destroy) is not None:
                probe(pool)
            pool._dismiss_idle()
        for pool in pools:
            if pool.busy() and (probe := probes.destroy__wait) is not None:
                probe(pool, len(pool._workers))
            self._wait_gone(pool, deadline)
            self.forget(pool)

    def _wait_gone(self, pool: Pool, deadline: float | None) -> None:
        pause = 0.01
        while pool.busy():
            limit = deadline
            if pool._jobs and self.starter.absent and not self.starter.ensure_alive():
                # No thread can be had, and nobody is left who could try again: we are.
                limit = _seam.monotonic() + pause
                limit = limit if deadline is None else min(limit, deadline)
                pause = min(pause * 2, 1.0)
            pool._workers_gone.wait(pool.busy, limit)
            if deadline is not None and _seam.monotonic() >= deadline and pool.busy():
                raise WaitTimeout(f"the last put of {pool!r}: the time limit ran out")


registry = Registry()


def _watched_jobs() -> list[Sight]:
    """What the watchdog looks at in this layer."""
    limit = tunables.stall_ms / 1000
    sights = []
    for worker in list(registry.starter.workers):
        job = worker.job
        if job is not None and not job.plumbing:
            sights.append(Sight(worker, worker.started, job, limit, worker.ident, repr(worker.pool)))
    return sights


def _look_at_tunables() -> None:
    """The starter may be asleep for long: have it look whether there is something to watch now."""
    if registry.starter.is_alive():
        registry.starter.requests.put(None)


sources.append((lambda: tunables.stall_ms / 1000, _watched_jobs))
changed.append(_look_at_tunables)


def _refuse_own_worker(pools: tuple[Pool, ...]) -> None:
    me = _seam.get_ident()
    for pool in pools:
        if any(worker.ident == me for worker in list(pool._workers)):
            raise UsageError(
                f"the last reference to {pool!r} can't be put by one of its own jobs: it would wait for itself"
            )


def _try(wanted: Scheduling) -> str | None:
    """Ask for `wanted` on a throw-away thread; what was refused, or None."""
    refused: list[str | None] = []
    thread = _seam.Thread(lambda: refused.append(apply_priority(wanted)), "threadpool9-trial")
    thread.start()
    thread.join()
    return refused[0] if refused else f"{wanted}: could not be tried"


def get(pri: int = -1) -> Pool:
    """Take a reference to THE unbound pool of priority `pri`, made if need be (TP-1, TP-2).

    Thread context; may block for a moment. Give it back with `Pool.put` or use it in a ``with`` statement.
    Raises TypeError or PriorityError (a ValueError) that names the range; in strict mode PriorityRefused.
    Follows ``threadpool_get`` of threadpool(9).
    """
    check_priority(pri)
    if (probe := probes.get) is not None:
        probe(pri)
    with registry.lock:
        pool = registry.unbound.get(pri)
        if pool is not None:
            pool.references += 1
            return pool
    # Hooks are asked and probes told without the lock; whoever comes second throws its pool away.
    if (probe := probes.get__create) is not None:
        probe(pri)
    fresh = registry.make(pri, None, registry.wanted(pri))
    with registry.lock:
        pool = registry.unbound.setdefault(pri, fresh)
        pool.references += 1
    if pool is not fresh:
        registry.forget(fresh)
        if (probe := probes.get__race) is not None:
            probe(pri)
    return pool


class PerCPU:
    """THE per-CPU pools of one priority, one for each CPU that the process may use; from `percpu_get`."""

    def __init__(self, pri: int, wanted: Scheduling) -> None:
        self.pri = pri  # S
        self.references = 0  # L
        self._wanted = wanted  # S
        self._closing = False  # L
        # L to write, read by anyone: an entry is never replaced
        self._pools = {cpu: registry.make(pri, cpu, wanted) for cpu in _topology.allowed_cpus()}

    def __repr__(self) -> str:
        return f"<PerCPU pri {self.pri} cpus {','.join(map(str, self._pools))}>"

    @property
    def cpus(self) -> tuple[int, ...]:
        """The CPUs that have a pool, in order. Any context."""
        return tuple(sorted(self._pools))

    def ref(self) -> Pool:
        """The pool of the CPU that the caller runs on (TP-7). Any context; takes no reference of its own."""
        cpu = _topology.current_cpu()
        pool = self._pools.get(cpu)
        return pool if pool is not None else self._late(cpu)

    def ref_remote(self, cpu: int) -> Pool:
        """The pool of CPU `cpu` (TP-8). Any context; takes no reference of its own.

        Raises TypeError, or CPUError naming the CPUs that the process may use.
        """
        if type(cpu) is not int:
            raise TypeError(f"a CPU is an int, not {cpu!r}")
        pool = self._pools.get(cpu)
        if pool is None:
            if cpu not in _topology.refresh():
                usable = ", ".join(map(str, _topology.allowed_cpus()))
                raise CPUError(f"CPU {cpu} does not exist or may not be used by this process; it may use {usable}")
            pool = self._late(cpu)
        return pool

    def _late(self, cpu: int) -> Pool:
        """The pool of a CPU that came after we were made; for one that we may not use, some pool."""
        if cpu not in _topology.refresh():
            cpus = self.cpus
            return self._pools[cpus[cpu % len(cpus)]]
        fresh = registry.make(self.pri, cpu, self._wanted)
        pool = self._pools.setdefault(cpu, fresh)
        if pool is not fresh:
            registry.forget(fresh)
        return pool

    def release(self) -> None:
        """`Pool.release` for the set. Any context."""
        registry.release(tuple(self._pools.values()), self)

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one waits as `Pool.put` does, for all CPUs. Thread context."""
        registry.put_percpu(self, _seam.deadline_after(timeout), [])

    def put_until(self, deadline: float | None, given: list[None]) -> None:
        """As `Pool.put_until`."""
        registry.put_percpu(self, deadline, given)

    def __enter__(self) -> PerCPU:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.put()


def percpu_get(pri: int = -1) -> PerCPU:
    """Take a reference to THE per-CPU pools of priority `pri`, made if need be (TP-1, TP-2, TP-7).

    Thread context; may block for a moment. Raises as `get`. Follows ``threadpool_percpu_get``.
    """
    check_priority(pri)
    if (probe := probes.percpu__get) is not None:
        probe(pri)
    with registry.lock:
        percpu = registry.percpu.get(pri)
        if percpu is not None:
            percpu.references += 1
            return percpu
    if (probe := probes.percpu__get__create) is not None:
        probe(pri)
    fresh = PerCPU(pri, registry.wanted(pri))
    _topology.current_cpu()  # finds the system's call now, so that ref() never has to import in a handler
    with registry.lock:
        percpu = registry.percpu.setdefault(pri, fresh)
        percpu.references += 1
    if percpu is not fresh:
        for pool in fresh._pools.values():
            registry.forget(pool)
        if (probe := probes.percpu__get__race) is not None:
            probe(pri)
    return percpu


def retire_idle(timeout: float | None = 5.0) -> int:
    """Make every idle worker leave now; returns how many left (TP-14).

    For tests, before fork, before suspend. Thread context; waits until they are gone, at most `timeout` seconds (None:
    as long as it takes).
    Busy workers are left alone; when none is left the starter goes too.
    """
    deadline = _seam.deadline_after(timeout)
    sent = []
    with registry.lock:
        pools = list(registry.pools)
    starter = registry.starter
    helper = starter.tid
    for pool in pools:
        sent += [(pool, worker) for worker in pool._dismiss_idle()]
    left = 0
    for pool, worker in sent:
        # One that found a job after all stays.
        def still(pool: Pool = pool, worker: Worker = worker) -> bool:
            return worker in pool._workers and worker.leaving

        while still() and pool._workers_gone.wait(still, deadline):
            pass
        left += worker not in pool._workers
    _osthread.wait_gone([worker.tid for pool, worker in sent if worker not in pool._workers], deadline)
    # The starter goes with the last worker, unless it is asked for another one.
    _osthread.wait_gone([helper] * bool(helper), deadline, lambda: starter.tid in (0, helper) and not starter.busy())
    return left
