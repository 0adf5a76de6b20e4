"""References to pools: how they are taken (TP-1, TP-2, TP-7), and what holds them.

    get, percpu_get    for users
    Reference          for a layer: taken when it is made, given back once
    private_pool       for a layer whose one job must not wait behind others

Taking is one step: the reference is in the caller's hand or was not taken, whatever is raised. The tables, the lock
that guards them (L), and putting are in `_registry`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from . import _topology
from ._aio import PerCPUAio
from ._errors import CPUError
from ._job import refuse_copy
from ._pool import Pool
from ._priority import Scheduling, check_priority
from ._probes import probes
from ._registry import members, own_pool, registry
from ._waiting import Blocking, Steps, Wait, run


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
            pool.references += 1; hand.append(pool)  # fmt: skip  # see _atomic
            return
    # Hooks are asked and probes fired without the lock; the loser of a race throws its pool away.
    if (probe := probes.get__create) is not None:
        probe(pri)
    fresh = registry.make(pri, None, registry.wanted(pri))
    with registry.lock:
        pool = registry.unbound.get(pri, fresh)
        # Known, published and taken, or none of it.
        registry.pools[pool] = None; registry.unbound[pri] = pool; pool.references += 1; hand.append(pool)  # fmt: skip
    if pool is not fresh and (probe := probes.get__race) is not None:
        probe(pri)


def private_pool(hand: list[Pool], name: str, pri: int = -1) -> None:
    """Put into `hand`, unless one is there, a pool for a layer whose one job must not wait behind the jobs of others.

    Its threads are named `name`. It is not shared, has no references to put, and lives as long as the process, so the
    list should too; only one is kept however many callers race, and whatever is raised in one of them.
    Thread context, or any context when hooks have been asked before.
    """
    pool = registry.make(check_priority(pri), None, registry.wanted(pri), name)
    with registry.lock:
        if not hand:
            registry.pools[pool] = None; hand.append(pool)  # fmt: skip  # see _atomic


class PerCPU:
    """THE per-CPU pools of one priority, one for each CPU that the process may use; from `percpu_get`."""

    __reduce_ex__ = refuse_copy

    def __init__(self, pri: int, wanted: Scheduling) -> None:
        self.pri = pri  # S
        self.references = 0  # L
        self._wanted = wanted  # S
        self._closing = False  # L, as of a pool
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
        with registry.lock:
            pool = self._pools.get(cpu, fresh)
            registry.pools[pool] = None; self._pools[cpu] = pool  # fmt: skip
        return pool

    def release(self) -> None:
        """`Pool.release` for the set. Any context."""
        registry.release(self, [])

    def put(self, timeout: float | None = None) -> None:
        """Give the reference back; the last one waits as `Pool.put` does, for all CPUs. Thread context."""
        run(self.put_steps(Blocking(timeout)))

    def put_steps(self, wait: Wait) -> Steps[None]:
        """`put`, for layers: by a thread or by a task of an event loop."""
        yield from registry.put(self, wait, [])

    @property
    def aio(self) -> PerCPUAio:
        """`put` for event loops: ``await percpu.aio.put()`` (AW-1)."""
        return PerCPUAio(self)

    def __enter__(self) -> PerCPU:
        return self

    def __exit__(self, *exc: object) -> None:
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
            percpu.references += 1; hand.append(percpu)  # fmt: skip
            return
    if (probe := probes.percpu__get__create) is not None:
        probe(pri)
    fresh = PerCPU(pri, registry.wanted(pri))
    _topology.current_cpu()  # finds the system's call now, so that ref() never has to import in a handler
    with registry.lock:
        percpu = registry.percpu.get(pri, fresh)
        known = dict.fromkeys(percpu._pools.values())
        registry.pools |= known; registry.percpu[pri] = percpu; percpu.references += 1; hand.append(percpu)  # fmt: skip
    if percpu is not fresh and (probe := probes.percpu__get__race) is not None:
        probe(pri)


class Reference:
    """A layer's reference to pools, taken when it is made and given back once (TP-37).

    Args:
        pri: the priority of the pools.
        percpu: the per-CPU pools in place of the unbound one.

    Making one is for thread context and raises as `get`. Whatever is raised in the middle, `release` gives back what
    was taken.
    """

    __slots__ = ("_hand", "pool")

    def __init__(self, pri: int, percpu: bool) -> None:
        self._hand: list[Any] = []  # A: whoever takes the pools out of it gives them back
        if percpu:
            take_percpu(pri, self._hand)
        else:
            take_unbound(pri, self._hand)
        self.pool: Pool | PerCPU = self._hand[0]  # S: what it is a reference to

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if getattr(self, "_hand", None) and not finalizing():
            self.release()  # of one that was never finished, or whose queue was

    @property
    def held(self) -> bool:
        """True until it was given back. Any context."""
        return bool(self._hand)

    def release(self) -> None:
        """Give it back without waiting, if that has not been done. Any context."""
        run(self.put_steps(None))

    def put_steps(self, wait: Wait | None) -> Steps[None]:
        """Give it back, if that has not been done; as `Pool.put`, or without waiting if `wait` is None.

        From inside a job of these very pools the last reference is given back without waiting for the job itself.
        """
        hand, given, mine = self._hand, list[None](), False
        try:
            pools = hand[0]
            del hand[0]; mine = True  # fmt: skip
            if wait is None or own_pool(members(pools)) is not None:
                registry.release(pools, given)
            else:
                yield from registry.put(pools, wait, given)
        except BaseException as error:
            if mine and not given:
                hand += [pools]  # still ours
            if mine or not isinstance(error, IndexError):
                raise
