"""The snapshot: what pools, workers and jobs there are, as immutable records (TP-34).

Taken without stopping anybody: each record is true, all of them together a moment's blur. When nothing is
going on the counters are exact, and started - completed is what is in flight.
"""

from __future__ import annotations

import attrs

from . import _atomic, _hooks, _seam
from ._registry import registry
from ._topology import refresh


@attrs.frozen
class WorkerRecord:
    """One worker."""

    pool_pri: int
    pool_cpu: int | None
    tid: int
    """The OS's thread id, as `ps -L` shows it."""
    cpu: int | None
    """The CPU that it is bound to now, None if to none (or its CPU is gone, TP-8)."""
    state: str
    """``"running"`` or ``"idle"``."""
    job: str | None
    """Name of the job that it runs."""
    since: float
    """Seconds that it has been in this state."""
    scheduling: str
    """Class and priority as the OS tells: ``"nice 0"``, ``"SCHED_RR 20"``."""
    stalled: bool
    """True if the watchdog has reported what it runs now (TP-35)."""


@attrs.frozen
class Counters:
    """Event counts since the start of the process; `started` - `completed` is what is in flight."""

    scheduled: int
    started: int
    completed: int
    cancelled: int
    errors: int
    threads_started: int
    threads_left: int
    start_failures: int


@attrs.frozen
class PoolRecord:
    """One pool."""

    pri: int
    cpu: int | None
    references: int
    workers: int
    idle: int
    queued: tuple[str, ...]
    """Names of the jobs that wait for a worker, the next one first."""
    policy: str
    """What the priority map asks for: ``"inherit"``, ``"nice 5"``, ``"SCHED_RR 20"``."""
    refused: str | None
    """What the OS did not grant, if anything (TP-10)."""
    cpu_lost: bool
    """True while the CPU of a bound pool can't be used (TP-8)."""
    counters: Counters


@attrs.frozen
class Snapshot:
    """Everything at one moment."""

    pools: tuple[PoolRecord, ...]
    workers: tuple[WorkerRecord, ...]
    counters: Counters
    """Totals for the process, including pools that are gone."""
    starter: int | None
    """Thread id of the helper thread, None if there is none now."""
    stalls: int
    """Reports of the watchdog (TP-35)."""
    hook_errors: int
    """Exceptions that left hooks and probe listeners; each was reported (HK-5)."""

    @property
    def queued(self) -> tuple[str, ...]:
        """Names of all jobs that wait for a worker."""
        return tuple(name for pool in self.pools for name in pool.queued)


def snapshot() -> Snapshot:
    """Look at everything (TP-34). Thread context; takes the registry's lock for a moment, disturbs nobody."""
    now = _seam.monotonic()
    registry.prune()
    with registry.lock:
        pools = list(registry.pools)
        sets = dict(registry.percpu)
        totals = list(registry.totals)
        totals[3] += sum(map(_atomic.Tally.value, registry.retired))
        totals[0] = max(totals[0], totals[1] + totals[3])  # a cancel may be counted when its pool has gone already
    refresh()
    stalled = registry.starter.watchdog.stalled
    records, workers = [], []
    for pool in pools:
        # Before it is counted: so what is queued is among the scheduled.
        queued = tuple(job.name for ticket in _atomic.contents(pool._jobs) for job in tuple(ticket))
        counts = pool.counts()
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        holder = pool if pool.cpu is None else sets.get(pool.pri)
        alive = [worker for worker in list(pool._workers) if worker.tid]
        records.append(
            PoolRecord(
                pri=pool.pri,
                cpu=pool.cpu,
                references=0 if holder is None else holder.references,
                workers=len(alive),
                idle=len(pool._idle),
                queued=queued,
                policy=str(pool.wanted),
                refused=pool._refused,
                cpu_lost=bool(pool._unbound),
                counters=Counters(*counts),
            )
        )
        for worker in alive:
            job = worker.job
            workers.append(
                WorkerRecord(
                    pool_pri=pool.pri,
                    pool_cpu=pool.cpu,
                    tid=worker.tid,
                    cpu=pool.cpu if worker.settled.bound else None,
                    state="idle" if job is None else "running",
                    job=None if job is None else job.name,
                    since=max(0.0, now - worker.since),
                    scheduling=worker.settled.scheduling,
                    stalled=worker.ident in stalled,
                )
            )
    starter = registry.starter
    return Snapshot(
        pools=tuple(records),
        workers=tuple(workers),
        counters=Counters(*totals),
        starter=starter.tid or None,
        stalls=starter.watchdog.reports,
        hook_errors=_hooks.failures.value(),
    )
