"""Awaiting a job and a pool (AW-1 to AW-4)."""

from __future__ import annotations

from typing import Any

import pytest

from conformance9.suite.crew import PRI, Crew
from conformance9.suite.loops import (
    Waiting,
    begun,
    cancelled,
    ends_the_waiting_only,
    every_waiter_is_woken,
    in_loop,
    lets_the_loop_go_on,
    looks_again_after_a_closed_loop,
    settles_once,
    soon,
    times_out,
)
from conformance9.suite.tools import Log, holds, need, timing, within

pytestmark = pytest.mark.capability("await")

#: What can be awaited, and the capability that it needs.
NEEDS = {"wait()": "waits", "drain()": "waits", "cancel()": "cancel waits", "put()": "put waits"}
#: Of these what many may wait for at once.
OFTEN = ["wait()", "drain()", "cancel()"]


def a_waiting(kind: str, crew: Crew) -> Waiting:
    """A job at a gate, and somebody who could wait for it."""
    adapter = crew.adapter
    need(adapter, NEEDS[kind])
    pool = adapter.get(PRI) if kind == "put()" else crew.pool()
    gate, job = crew.blocked("AW-1", pool)

    async def cancel(timeout: float | None) -> Any:
        with job.interlock:
            return await adapter.awaiting(pool).cancel(job, timeout)

    def cancel_here() -> Any:
        with job.interlock:
            return pool.cancel(job, timing.limit)

    def afterwards() -> None:
        again = crew.pool()
        within("AW-2", "the end of a run", lambda: crew.run("AW-2", again, lambda: None))
        if kind != "put()":
            within("AW-2", "put() beside another reference", adapter.get(PRI).put)
            crew.again(again, job)
            if kind == "cancel()":
                within("AW-2", "cancel()", cancel_here)

    match kind:
        case "wait()":
            call, blocking = adapter_call(adapter, job, "wait"), lambda: job.wait(timing.limit)
        case "drain()":
            call, blocking = adapter_call(adapter, pool, "drain"), lambda: pool.drain(timing.limit)
        case "cancel()":
            call, blocking = cancel, cancel_here
        case _:
            call, blocking = adapter_call(adapter, pool, "put"), lambda: pool.put(timing.limit)
    return Waiting(kind, gate, call, blocking, False if kind == "cancel()" else None, afterwards, kind in OFTEN)


def adapter_call(adapter: Any, thing: Any, name: str) -> Any:
    """A method of the twin of `thing`."""
    return lambda timeout: getattr(adapter.awaiting(thing), name)(timeout)


@pytest.mark.clause("AW-1")
@pytest.mark.parametrize("kind", NEEDS)
def test_awaiting_lets_the_loop_go_on(crew: Crew, kind: str) -> None:
    """AW-1: no thread waits, and the result is that of the call that blocks."""
    lets_the_loop_go_on(a_waiting(kind, crew))


@pytest.mark.clause("AW-1")
@pytest.mark.capability("timeouts")
@pytest.mark.parametrize("kind", OFTEN)
def test_awaiting_has_the_time_limit_of_the_call_that_blocks(crew: Crew, kind: str) -> None:
    """AW-1: the same error."""
    times_out(a_waiting(kind, crew), crew.adapter.timeout_error)


@pytest.mark.clause("AW-1")
@pytest.mark.capability("waits")
def test_awaiting_what_is_over_returns_at_once(crew: Crew) -> None:
    """AW-1: an idle job, an idle pool."""
    pool, log = crew.pool(), Log()
    job = crew.job(log.add)

    async def main() -> None:
        await soon("AW-1", "the awaited drain() of an idle pool", crew.adapter.awaiting(pool).drain())
        await soon("AW-1", "the awaited wait() for an idle job", crew.adapter.awaiting(job).wait())
        for number in range(1, 50):
            crew.again(pool, job)
            await soon("AW-1", "the awaited wait() for a job", crew.adapter.awaiting(job).wait())
            holds("AW-1", len(log.entries) == number, f"after {number} awaited runs there were {len(log.entries)}")

    in_loop("AW-1", "awaiting what is over", main)


@pytest.mark.clause("AW-2")
@pytest.mark.parametrize("kind", NEEDS)
def test_cancelling_the_await_ends_the_waiting_only(crew: Crew, kind: str) -> None:
    """AW-2: the job goes on, and everything works as ever."""
    ends_the_waiting_only(a_waiting(kind, crew))


@pytest.mark.clause("AW-2")
@pytest.mark.capability("cancel waits")
def test_a_cancelled_cancel_leaves_with_the_interlock_held(crew: Crew) -> None:
    """AW-2: as every cancel() does; the job can be scheduled again afterwards."""
    pool = crew.pool()
    gate, job = crew.blocked("AW-2", pool)

    async def cancel() -> None:
        with job.interlock:  # which is let go at its end, so it must be held then
            await crew.adapter.awaiting(pool).cancel(job)

    async def main() -> None:
        task = await begun("AW-2", "the awaited cancel()", cancel)
        held: list[bool] = []
        within("AW-2", "who takes the interlock during an awaited cancel()", lambda: held.append(_take(job.interlock)))
        holds("AW-2", held == [True], "an awaited cancel() holds the interlock while it waits")
        await cancelled("the awaited cancel()", task)
        gate.go.set()

    in_loop("AW-2", "the awaited cancel()", main)
    within("AW-2", "the interlock after a cancelled cancel()", lambda: _take(job.interlock))
    crew.again(pool, job)


def _take(interlock: Any) -> bool:
    with interlock:
        return True


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", OFTEN)
def test_a_hand_over_settles_once(crew: Crew, kind: str) -> None:
    """AW-3: what is waited for comes to pass and the await is cancelled, before the loop has come round."""
    settles_once(a_waiting(kind, crew))


@pytest.mark.clause("AW-3")
@pytest.mark.parametrize("kind", OFTEN)
def test_a_closed_loop_is_passed_over(crew: Crew, kind: str) -> None:
    """AW-3: the others who wait are woken, and nothing is raised where the job ends."""
    looks_again_after_a_closed_loop(crew.stage, a_waiting(kind, crew))


@pytest.mark.clause("AW-4")
@pytest.mark.parametrize("kind", OFTEN)
def test_loops_and_threads_wait_for_one_thing(crew: Crew, kind: str) -> None:
    """AW-4: each is woken."""
    every_waiter_is_woken(a_waiting(kind, crew))
