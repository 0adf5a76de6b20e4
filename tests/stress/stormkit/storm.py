"""The storm: a main thread that schedules, cancels and drains while every event does the same beneath it.

Each event launches a fresh unit, often a shared one too, and now and then cancels one. A round is some hundred
events. After each round nothing new is launched and *nothing is kicked*: what was launched must run by itself,
so a wake-up that was lost, or a task that comes too late, has no later event to hide behind. Then the accounts:

    fresh units    one run each; if it was cancelled: none, or one, and none after the cancel said so
    shared units   as many runs as launches that said True, and the last run saw all that was produced
    churned units  launched and cancelled by everybody at once; no more runs than launches, and usable afterwards
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import Any

from pace import patience

from .contexts import Context
from .kinds import LIMIT, Kind
from .watchdog import Hang, Watchdog, stacks

PER_ROUND = 400


class Storm:
    """One storm of `events` events of `context` on units of one kind."""

    def __init__(self, kind: type[Kind], context: Context, events: int, seconds: float = 90.0) -> None:
        self.context = context
        self.kind = kind(context.provoke)
        self.wait_for_locks = context.reaches == "main"
        self.events = events
        self.seconds = seconds
        self.tickets: deque[int] = deque()  # events still to come in this round
        self.active: deque[None] = deque()  # one entry for each event that is going on, on whichever thread
        self.errors: deque[BaseException] = deque()
        self.made: deque[Any] = deque()  # fresh units whose launch said True
        self.victims: deque[Any] = deque()  # the same, for whoever wants to cancel one
        self.verdicts: deque[tuple[Any, str, bool, int]] = deque()  # unit, how, answer, runs when it came
        # As many as there are queues of one kind, so that each gets one.
        self.shared = [self.kind.fresh() for _ in range(4)]
        self.churned = [self.kind.fresh() for _ in range(4)]
        self.newly: deque[Any] = deque()  # shared and churned units, once for each launch that said True
        self.turn = itertools.count()
        self.totals = {"events": 0, "fresh": 0, "runs": 0, "withdrawn": 0, "waited": 0, "coalesced": 0, "refused": 0}

    # --- any context

    def fire(self) -> None:
        """One event, if there is one left."""
        self.active.append(None)  # before the ticket is taken: see `settle`
        try:
            number = self.take_ticket()
            if number is not None:
                self.event(number)
        except Hang:
            raise
        except BaseException as error:
            self.errors.append(error)
        finally:
            self.active.pop()

    def take_ticket(self) -> int | None:
        """The number of the next event of this round."""
        try:
            return self.tickets.pop()
        except IndexError:
            return None

    def event(self, number: int) -> None:
        """What one event does."""
        self.launch_fresh(self.wait_for_locks)
        if number % 2:
            self.launch_known(self.shared[number // 2 % len(self.shared)], self.wait_for_locks)
        if number % 5 == 0:
            self.launch_known(self.churned[number // 5 % len(self.churned)], self.wait_for_locks)
        if number % 7 == 0 and self.kind.has_cancel_async:
            self.cancel_one("cancel_async", self.wait_for_locks)

    def launch_fresh(self, wait: bool) -> None:
        """A unit of its own."""
        unit = self.kind.fresh()
        unit.produced.append(None)
        answer = self.kind.launch(unit, wait)
        if answer is None:
            self.totals["refused"] += 1
            return
        assert answer, "a fresh unit coalesced"
        self.made.append(unit)
        self.victims.append(unit)

    def launch_known(self, unit: Any, wait: bool) -> None:
        """A unit that may be pending or running."""
        unit.produced.append(None)
        answer = self.kind.launch(unit, wait)
        if answer is None:
            unit.produced.pop()  # refused: nobody promised to look at it
        elif answer:
            self.newly.append(unit)
        else:
            self.totals["coalesced"] += 1

    def cancel_one(self, how: str, wait: bool) -> None:
        """Cancel a fresh unit whose launch has returned."""
        try:
            unit = self.victims.pop()
        except IndexError:
            return
        answer = self.kind.cancel_async(unit, wait) if how == "cancel_async" else self.kind.cancel(unit)
        if answer is not None:
            self.verdicts.append((unit, how, answer, len(unit.runs)))

    # --- the main thread

    def step(self) -> None:
        """What the main thread does while it is interrupted."""
        number = next(self.turn)
        self.launch_fresh(True)
        self.launch_known(self.shared[number % len(self.shared)], True)
        self.launch_known(self.churned[number // 2 % len(self.churned)], True)
        if number % 2 and self.kind.has_cancel_async:
            self.cancel_one("cancel_async", True)
        else:
            self.cancel_one("cancel", True)
        if number % 3 == 0:
            self.kind.cancel(self.churned[number // 3 % len(self.churned)])
        if number % 8 == 0:
            self.kind.drain()
        self.context.provoke()

    def run(self) -> dict[str, int]:
        """The whole storm; returns what it counted."""
        with Watchdog(self.seconds, self.counts):
            left = self.events
            while left:
                now = min(PER_ROUND, left)
                left -= now
                self.tickets.extend(range(now))
                self.context.start(self.fire)
                try:
                    while self.tickets:
                        self.step()
                finally:
                    self.context.stop()
                self.settle()
                self.totals["events"] += now
            self.kind.close()
            self.context.close()
            self.check_nothing_came_later()
        return self.totals

    def counts(self) -> dict[str, object]:
        """For the watchdog: exact as far as it got."""
        return {**self.totals, "events left in this round": len(self.tickets), "fresh in this round": len(self.made)}

    # --- the accounts

    def settle(self) -> None:
        """Wait for quiescence without touching anything, then compare."""
        self.wait_for(lambda: ["an event that does not end"] * len(self.active))
        assert not self.errors, list(self.errors)
        final = {id(unit): (unit, how, answer, runs) for unit, how, answer, runs in self.verdicts}
        due = []
        for unit in self.made:
            verdict = final.get(id(unit))
            if verdict is None or not verdict[2]:
                due.append(unit)
        launches = {id(unit): 0 for unit in (*self.shared, *self.churned)}
        for unit in self.newly:
            launches[id(unit)] += 1

        def missing() -> list[str]:
            out = [
                f"no run of {unit!r} on {unit.place!r}, {final.get(id(unit), ('', 'not cancelled', ''))[1:3]}"
                for unit in due
                if not unit.runs
            ]
            for unit in self.shared:
                if len(unit.runs) < launches[id(unit)]:
                    out.append(f"{len(unit.runs)} runs for {launches[id(unit)]} launches of {unit!r} on {unit.place!r}")
                if self.kind.sees and unit.seen < len(unit.produced):
                    out.append(f"{unit!r} saw {unit.seen} of {len(unit.produced)} on {unit.place!r}")
            out += [f"{unit!r} is not idle" for unit in (*self.shared, *self.churned) if not self.kind.idle(unit)]
            return out

        self.wait_for(missing)
        self.kind.drain()
        for unit in self.made:
            verdict = final.get(id(unit))
            runs = len(unit.runs)
            if verdict is None:
                assert runs == 1, f"{runs} runs of {unit!r} on {unit.place!r}, launched once"
                self.totals["runs"] += 1
                continue
            _, how, answer, before = verdict
            if answer:
                assert runs == before <= 1, f"{how} of {unit!r} said True after {before} runs, now there are {runs}"
                self.totals["withdrawn"] += not runs
            else:
                assert runs == 1, f"{how} of {unit!r} said False, it ran {runs} times"
                self.totals["waited"] += 1
            self.totals["runs"] += runs
        for unit in self.shared:
            runs, most = len(unit.runs), launches[id(unit)] if self.kind.exact else len(unit.produced)
            assert launches[id(unit)] <= runs <= most, f"{runs} runs of {unit!r}, at most {most} were asked for"
        for unit in (*self.shared, *self.churned):
            self.check_usable(unit, launches[id(unit)])
        self.totals["fresh"] += len(self.made)
        self.last_round = [(unit, len(unit.runs)) for unit in (*self.made, *self.shared, *self.churned)]
        for log in (self.made, self.victims, self.verdicts, self.newly):
            log.clear()

    def check_usable(self, unit: Any, launches: int) -> None:
        """After all that: one launch, one run."""
        if self.kind.exact and unit in self.churned:
            assert len(unit.runs) <= launches, f"{len(unit.runs)} runs for {launches} launches of {unit!r}"
        ticket = getattr(unit, "item_ticket", None) or getattr(unit, "_ticket", [None, None])
        assert ticket == [None, None], f"{unit!r} is idle, with the ticket {ticket}"
        before = len(unit.runs)
        unit.produced.append(None)
        assert self.kind.launch(unit) is True, f"{unit!r} is stuck: idle, but a launch does not say True"
        self.wait_for(lambda: [] if len(unit.runs) > before else [f"{unit!r} is stuck: launched, but does not run"])
        self.wait_for(lambda: [] if self.kind.idle(unit) else [f"{unit!r} does not become idle"])
        assert len(unit.runs) == before + 1
        unit.runs.clear()
        unit.produced.clear()
        unit.seen = 0

    def check_nothing_came_later(self) -> None:
        """After the queues and pools are gone the counts are still those of the last round."""
        for unit, _ in self.last_round[: -len(self.shared) - len(self.churned)]:
            assert len(unit.runs) <= 1
        assert not self.errors, list(self.errors)

    def wait_for(self, missing: Any) -> None:
        """Poll until `missing()` is empty: nobody may be woken here, so there is nothing to wait on."""
        end = time.monotonic() + patience(LIMIT)
        pause = 0.00002
        while out := missing():
            if time.monotonic() > end:
                raise AssertionError("\n".join(["lost or stuck:", *out[:20], str(self.counts()), stacks()]))
            threading.Event().wait(pause)
            pause = min(pause * 2, 0.002)
