"""Works that run elsewhere (WQ-15): the local queue is the authority, a back end runs one work at a time somewhere.

    enqueue   the payload is packed. What can't be is refused here, and the work is as it was.
    send      an executor takes the work as ever, shows that it has it, and hands a `RemoteCall` to the back end, which
              says `leaving` before anybody elsewhere can see it: its function may be called before the sending is over.
              From here to the end the work counts as being in the function, for everybody; no thread waits for it.
    end       the back end reports it, from any thread. That posts the executor's job, which settles the work and sends
              the next one.

So an executor of such a lane is not a thread's but a place, and there are as many as `max_active` says. What a queue
promises about order, pending works, cancelling, waiting, draining and freezing is kept by the same lanes.

Rules. A: atomic, any context. E: written by the executor's thread, of which there is one at a time. S: set at init.
"""

from __future__ import annotations

import contextlib
from typing import Any

from task9.lanes import TAKING, Executor, Lane, running
from threadpool9 import Error
from threadpool9.lowlevel import FREE, Tally, insist, monotonic_ns, report_error

from ._backend import Backend, KeyedWork
from ._errors import BackendDown
from ._group import WorkGroup
from ._probes import probes
from ._submitted import Submitted
from ._work import Work

#: The entry in `halts` while the back end is down.
DOWN = "down"


class RemoteCall:
    """One work on its way: what a back end is given to run, and what it reports to.

    Of `ended` and `failed` the first report counts, so a back end that is unsure whether it has reported may repeat it.
    Each may be called from any thread.

    Attributes:
        queue: the `RemoteGroup`.
        parcel: what `Backend.pack` has made of the work.
        key: the work's idempotency key, or None.
        name: the work, for people.
        left: whether it has left its queue, and counts as in the function.
        where: where it runs, as `started` said; None before.
    """

    __slots__ = ("_executor", "_open", "key", "left", "name", "outcome", "parcel", "queue", "sent", "where", "work")

    def __init__(self, executor: RemoteExecutor, queue: RemoteGroup, work: Work[Any], parcel: Any) -> None:
        self.queue = queue  # S
        self.parcel = parcel  # S
        self.key: str | None = work.key if isinstance(work, KeyedWork) else None  # S
        self.name = repr(work)  # S
        self.work = work  # S
        self.sent = monotonic_ns()  # S
        self.left = False  # E
        self.where: str | None = None  # A
        self.outcome: list[tuple[BaseException | None, Any]] = []  # A: how it ended
        self._open = [None]  # A: a token, taken by the report that counts
        self._executor = executor  # S

    def __repr__(self) -> str:
        where = "sent" if self.where is None else f"at {self.where}"
        return f"<{self.name} {where}>"

    def leaving(self) -> None:
        """The call is about to be sent. For `Backend.start`, before the function can run; returning implies it."""
        if not self.left:
            self.left = True
            self._executor.was_sent(self)

    def started(self, where: str) -> None:
        """It has been entered at `where`. A second time is a rerun, which is counted and probed (at least once)."""
        again, self.where = self.where is not None, where
        if again:
            self.queue.reruns.bump()
            if (probe := probes.rerun) is not None:
                probe(self.queue.wq(), self.work, where)
        elif (probe := probes.started) is not None:
            probe(self.queue.wq(), self.work, where)

    def ended(self, value: Any) -> None:
        """It returned `value`."""
        self._end(None, value)

    def failed(self, error: BaseException) -> None:
        """It raised, or can't be run; for people the error says where."""
        self._end(error, None)

    def _end(self, error: BaseException | None, value: Any) -> None:
        try:
            del self._open[0]; self.outcome += ((error, value),)  # fmt: skip  # see threadpool9's _atomic
        except IndexError:
            if not self.outcome or self._executor.call is not self:
                return  # else what has reported it before may have been broken off here
        executor = self._executor
        try:
            executor.lane.pool.post(executor)
        except Error as refused:  # no thread, or the exit refuses this one: then here
            report_error(refused, origin=self)
            if executor.settle_here(self):
                executor.rest()


class RemoteGroup(WorkGroup):
    """The group of a queue whose works run elsewhere."""

    __slots__ = ("backend", "dropped", "opened", "parcels", "pri", "reruns")

    def __init__(self, *args: Any, backend: Backend, pri: int) -> None:
        super().__init__(*args)
        self.backend = backend  # S
        self.pri = pri  # S
        self.parcels: dict[Work[Any], Any] = {}  # A: of what is pending
        self.reruns = Tally()  # A
        self.plain = False  # S
        self.dropped = False  # A: nobody will close the queue; whatever ends last of it does
        self.opened: list[None] = [None]  # A: a token, taken by who closes what was opened at the back end
        try:
            backend.open(self)
        except Exception:
            raise  # it was not opened
        except BaseException:  # it may have been
            self.ended()
            raise

    def ended(self) -> None:
        """As for any group."""
        try:
            del self.opened[0]
        except IndexError:
            return
        try:
            self.backend.close(self)
        except BaseException:
            self.opened += FREE  # for the next close
            raise

    def abandoned(self) -> None:
        """As for any group."""
        self.dropped = True
        self.look_ended()

    def look_ended(self) -> None:
        """After something has ended: if it was the last of a queue that was dropped, that is its end. Any context."""
        if self.dropped and self.quiet():
            try:
                self.ended()
            except Exception as error:  # nobody is there who could close it once more
                del self.opened[:]
                report_error(error, origin=f"queue {self.name!r}")

    def undone(self, item: Any) -> None:
        """As for any group."""
        super().undone(item)
        self.look_ended()

    def make_executor(self, lane: Lane) -> Executor:
        """A place at the back end."""
        return RemoteExecutor(lane)

    def pack(self, work: Work[Any]) -> Any:
        """What the back end makes of it."""
        if work.context is not None and not isinstance(work, Submitted):
            raise TypeError(f"{work!r} has a context, which can't run elsewhere")
        return self.backend.pack(self, work)

    def keep(self, work: Work[Any], parcel: Any) -> None:
        """As for any group."""
        self.parcels[work] = parcel

    def free(self, item: Any, hand: list[None]) -> None:
        """As for any group; before that, what was packed is thrown away."""
        if hand and item in self.parcels:
            del self.parcels[item]
        super().free(item, hand)

    def resume(self) -> None:
        """After `BackendDown`: there is somebody to send works to. Any context."""
        self.let_go(DOWN)

    def forget(self) -> None:
        """In a fork child: what was packed or sent is the parent's."""
        self.parcels.clear()
        self.halts.pop(DOWN, None)
        for executor in self.executors():
            if isinstance(executor, RemoteExecutor):
                executor.forget()

    @property
    def in_flight(self) -> list[RemoteCall]:
        """What was sent and has not ended. Any context; may already be stale."""
        calls = [getattr(executor, "call", None) for executor in self.executors()]
        return [call for call in calls if call is not None]


class RemoteExecutor(Executor):
    """One place at a back end."""

    __slots__ = ("call", "future", "settling")

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane)
        self.call: RemoteCall | None = None  # E: in flight
        self.future: Any = None  # E: of a submitted work
        self.settling = [None]  # A: a token; whoever settles has it

    def _run(self) -> None:
        lane: Any = self.lane
        self._begin()
        while self.call is None or self.settle_here(self.call):
            if self._send():
                continue  # it may have ended already
            self.rest()
            # Look again: whoever appended before the line above saw no idle executor.
            if not lane.items or lane.group.halted():
                break
            self._begin()
        else:
            self.ident = 0
        self.done()

    def _send(self) -> bool:
        """Take a work and send it; False if there is none."""
        lane, items = self.lane, self.lane.items
        group: Any = lane.group
        tickets = iter(items.popleft, None)
        while items and not group.halted():
            # What one sends stays in its order: no other executor takes anything meanwhile.
            with lane.guard or contextlib.nullcontext():
                self.current = TAKING
                try:
                    work = self._take_guarded(tickets)
                except IndexError:
                    continue  # it was withdrawn
                if work is None:
                    continue
                ticket = self.ticket
                call = RemoteCall(self, group, work, group.parcels.pop(work, None))
                try:
                    group.backend.start(call)
                except BaseException as error:
                    if isinstance(error, BackendDown) and not call.left:
                        group.parcels[work] = call.parcel
                        ticket.append(work)
                        # The taking was no start. Before it is back on the lane: the counters would have it twice.
                        self.moves += 1; self.started -= 1  # fmt: skip
                        self._put_back(ticket)
                        self.current = TAKING
                        self._halt(error)
                        return False
                    call.failed(error)
                call.leaving()
            if items and lane.idle and not lane.promise:
                lane.kick_another()
            return True
        return False

    def _halt(self, error: BackendDown) -> None:
        """Nothing is sent until `RemoteGroup.resume`."""
        group: Any = self.lane.group
        report_error(error, origin=f"queue {group.name!r}")
        group.halts[DOWN] = None
        # Published, then looked: one that came meanwhile has found nothing to resume.
        try:
            if group.backend.ready():
                group.resume()
        except Exception as refused:  # it is somebody else's code
            report_error(refused, origin=f"queue {group.name!r}")

    def was_sent(self, call: RemoteCall) -> None:
        """From here on it counts as called: see `WorkGroup.make_call`."""
        group: Any = self.lane.group
        work: Any = call.work
        stats, waited = group.stats_of(self), max(0, call.sent - work.since)
        stats.wait_ns += waited
        stats.waits[waited.bit_length()] += 1
        if not running.plain:
            group.entering(self.lane, work)
        if isinstance(work, Submitted):
            self.future = work.give_up_future(group.func, group.arg)
        self.call = call
        group.release(work)
        if group.sleepers:
            insist(group.sleepers.wake, work)

    def settle_here(self, call: RemoteCall) -> bool:
        """If `call` has ended, settle its work: True. Any thread; one does it."""
        group: Any = self.lane.group
        if not call.outcome:
            return False
        try:
            del self.settling[0]
        except IndexError:
            return False
        try:
            if self.call is not call:
                return False
            (error, value), work = call.outcome[0], call.work
            group.stats_of(self).run_ns += monotonic_ns() - call.sent
            future, self.future = self.future, None
            if future is not None:
                try:
                    future.answer(error, value)
                except BaseException as raised:  # by a callback
                    self._failed(raised, work)
            elif error is not None:
                self._failed(error, work)
            if not running.plain:
                group.returned(self.lane, work)
            self.call = None
            self.current = TAKING
            insist(group.sleepers.wake, self)
        finally:
            self.settling.append(None)
        return True

    def rest(self) -> None:
        """Idle again."""
        self.current = None
        insist(self.lane.group.sleepers.wake, self)
        self.ident = 0
        self.lane.idle.append(self)
        group: Any = self.lane.group
        group.look_ended()

    def forget(self) -> None:
        """In a fork child: what is under way is the parent's."""
        self.call = self.future = None
        self.settling = [None]
