"""The registry: which pools there are, and who holds references (TP-1, TP-9).

One lock, `Registry.lock`, guards the tables and every pool's reference count; it is held for a few lines, never
while waiting and never around foreign code. It is re-entrant so that a finalizer that puts a reference while
its own thread is in here does not lock itself out; get and put are meant for thread context all the same.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _atomic, _hooks, _osthread, _seam, _topology
from ._autoload import autoload
from ._errors import CPUError, Error, PriorityRefused, UsageError, WaitTimeout
from ._pool import Pool
from ._priority import Scheduling, check_priority, check_scheduling, default_mapping
from ._probes import probes
from ._settle import apply_priority
from ._starter import Starter
from ._tunables import changed, tunables
from ._watchdog import Sight, sources
from ._worker import Worker

if TYPE_CHECKING:
    from types import TracebackType

    from ._job import Job

_RETIRED = 64

__all__ = ["PerCPU", "get", "percpu_get", "retire_idle"]


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
        """A fresh pool, entered in the table. No thread is started (TP-3)."""
        if (probe := probes.create) is not None:
            probe(cpu, pri)
        self.prune()
        pool = Pool(pri, cpu, wanted, self, name)
        with self.lock:
            self.pools[pool] = None
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
                del self.pools[pool]
                counts[3] = 0
                self.totals = list(map(operator.add, self.totals, counts))
                self.retired.append(pool._cancelled)
                if len(self.retired) > _RETIRED:
                    self.totals[3] += self.retired.pop(0).value()

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

    def put_layer(self, holder: Pool | PerCPU, deadline: float | None, given: list[None]) -> None:
        """`put` for a layer's own reference: where the last put would wait for the calling job, it does not wait."""
        pools = members(holder)
        if own_pool(pools) is not None:
            self.release(pools, holder, given)
        elif isinstance(holder, Pool):
            self.put(holder, deadline, given)
        else:
            self.put_percpu(holder, deadline, given)

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

    def release(self, pools: tuple[Pool, ...], holder: Pool | PerCPU, given: list[None]) -> None:
        """Give a reference back without waiting; pools without one finish their jobs and go. Any context."""
        with self.lock:
            holder.references -= 1; given.append(None)  # fmt: skip  # noqa: E702 see _atomic
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


def _refuse_closed(pool: Pool, job: Job) -> Error:
    if registry.starter.finalizing:
        return registry.starter.why_not()
    return UsageError(f"cannot schedule {job!r}: the last reference to {pool!r} was put; get() it again")


def own_pool(pools: tuple[Pool, ...]) -> Pool | None:
    """The one of `pools` that the caller is a job of, if any."""
    me = _seam.get_ident()
    return next((pool for pool in pools if any(worker.ident == me for worker in list(pool._workers))), None)


def _refuse_own_worker(pools: tuple[Pool, ...]) -> None:
    if (pool := own_pool(pools)) is not None:
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
    hand: list[Pool] = []
    try:
        take_unbound(pri, hand)
    except BaseException:
        for pool in hand:
            pool.release()
        raise
    return hand[0]


def take_unbound(pri: int, hand: list[Pool]) -> None:
    """`get`; the reference is taken when the pool is in `hand`, whatever is raised."""
    check_priority(pri)
    if (probe := probes.get) is not None:
        probe(pri)
    with registry.lock:
        pool = registry.unbound.get(pri)
        if pool is not None:
            pool.references += 1; hand.append(pool)  # fmt: skip  # noqa: E702 see _atomic
            return
    # Hooks are asked and probes fired without the lock; whoever comes second throws its pool away.
    if (probe := probes.get__create) is not None:
        probe(pri)
    fresh = registry.make(pri, None, registry.wanted(pri))
    with registry.lock:
        pool = registry.unbound.setdefault(pri, fresh)
        pool.references += 1; hand.append(pool)  # fmt: skip  # noqa: E702
    if pool is not fresh:
        registry.forget(fresh)
        if (probe := probes.get__race) is not None:
            probe(pri)


def private_pool(name: str, pri: int = -1) -> Pool:
    """A pool of its own for a layer whose one job must not wait behind the jobs of others, such as a timer's.

    Its threads are named `name`. It is nobody else's, has no references to put, and lives as long as the process.
    Thread context, or any context when hooks have been asked before.
    """
    return registry.make(check_priority(pri), None, registry.wanted(pri), name)


def claim_stall(runner: object, run: int) -> bool:
    """Take the right to report that run number `run` of `runner` took too long; True once. Thread context (TP-35)."""
    return registry.starter.watchdog.claim(runner, run)


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
        registry.release(tuple(self._pools.values()), self, [])

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one waits as `Pool.put` does, for all CPUs. Thread context."""
        registry.put_percpu(self, _atomic.deadline_after(timeout), [])

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
    hand: list[PerCPU] = []
    try:
        take_percpu(pri, hand)
    except BaseException:
        for percpu in hand:
            percpu.release()
        raise
    return hand[0]


def take_percpu(pri: int, hand: list[PerCPU]) -> None:
    """`percpu_get`; as `take_unbound`."""
    check_priority(pri)
    if (probe := probes.percpu__get) is not None:
        probe(pri)
    with registry.lock:
        percpu = registry.percpu.get(pri)
        if percpu is not None:
            percpu.references += 1; hand.append(percpu)  # fmt: skip  # noqa: E702
            return
    if (probe := probes.percpu__get__create) is not None:
        probe(pri)
    fresh = PerCPU(pri, registry.wanted(pri))
    _topology.current_cpu()  # finds the system's call now, so that ref() never has to import in a handler
    with registry.lock:
        percpu = registry.percpu.setdefault(pri, fresh)
        percpu.references += 1; hand.append(percpu)  # fmt: skip  # noqa: E702
    if percpu is not fresh:
        for pool in fresh._pools.values():
            registry.forget(pool)
        if (probe := probes.percpu__get__race) is not None:
            probe(pri)


class Reference:
    """A layer's reference to pools, taken when it is made and given back once (TP-37).

    Args:
        pri: the priority of the pools.
        percpu: the per-CPU pools in place of the unbound one.

    Making one is for thread context and raises as `get`. Whatever is raised in the middle, `release` gives back what
    was taken.
    """

    def __init__(self, pri: int, percpu: bool) -> None:
        self._hand: list[Any] = []  # A: whoever takes the pools out of it gives them back
        self._pools: list[Any] = []
        if percpu:
            take_percpu(pri, self._hand)
        else:
            take_unbound(pri, self._hand)
        self._pools.append(self._hand[0])

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "_hand", None) and not finalizing():
            self.release()  # of one that was never finished, or whose queue was

    @property
    def pool(self) -> Pool | PerCPU:
        """What it is a reference to. Any context."""
        pools: Pool | PerCPU = self._pools[0]
        return pools

    @property
    def held(self) -> bool:
        """True until it was given back. Any context."""
        return bool(self._hand)

    def put(self, deadline: float | None = None) -> None:
        """Give it back, if that has not been done; as `Pool.put`, until `deadline` (monotonic seconds). Thread context.

        From inside a job of these very pools the last reference is given back without waiting for the job itself.
        """
        self._give_back(lambda pools, given: registry.put_layer(pools, deadline, given))

    def release(self) -> None:
        """Give it back without waiting, if that has not been done. Any context."""
        self._give_back(lambda pools, given: registry.release(members(pools), pools, given))

    def _give_back(self, give: Callable[[Any, list[None]], None]) -> None:
        hand, given, mine = self._hand, list[None](), False
        try:
            pools = hand[0]
            del hand[0]; mine = True  # fmt: skip  # noqa: E702
            give(pools, given)
        except BaseException as error:
            if mine and not given:
                hand += [pools]  # still ours
            if mine or not isinstance(error, IndexError):
                raise


def members(holder: Pool | PerCPU) -> tuple[Pool, ...]:
    """The pools that a reference stands for."""
    return (holder,) if isinstance(holder, Pool) else tuple(holder._pools.values())


def retire_idle(timeout: float | None = 5.0) -> int:
    """Make every idle worker leave now; returns how many left (TP-14).

    For tests, before fork, before suspend. Thread context; waits until they are gone, at most `timeout` seconds (None:
    as long as it takes).
    Busy workers are left alone; when none is left the starter goes too.
    """
    deadline = _atomic.deadline_after(timeout)
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
