"""The lane: a FIFO of tasks and the executors that empty it. Every queue of this stack is made of lanes.

    Lane      items            tasks that wait, oldest left
              idle             executors that are not on a pool's queue
    Executor  one pool job, run by one worker at a time; `current` is what it is doing

A private queue is one lane with `concurrency` executors on an unbound pool; a shared queue is one lane with one
executor for each CPU, on that CPU's pool. A task walks like this:

    schedule   take the task's token; append to items; if an executor is idle, claim it and post its job.
               A burst posts once: on the edge from empty to not empty.
    execute    current = TAKING; popleft; current = task; give the token back; call; current = TAKING ...; None
    idle       publish itself in idle; *look again* at items; done()

Who has popped an item (an executor by popleft, a canceller by remove) owns it and its token with it: the
deque decides the race, and nothing stale is left behind. From TAKING to the end of the call an executor shows
that it has something in hand, and it counts in `runs` whenever it takes something or puts it down elsewhere: who
looks for a task in several places and sees the same counts before and after has looked at one moment
(`Task._locate`). The timer does the same.

A task never runs beside itself (TK-3): an executor that pops a task which runs elsewhere puts it into that
other executor's `deferred`, *then* looks whether it still runs; the other one ends the run, *then* looks at
`deferred`. Whoever takes it out again, owns it.

Executors take nothing while `frozen` of their group has an entry: a work queue's freeze makes one, and a close, which
is the end, one for itself. It makes it when nothing is left, *then* looks once more; an executor says TAKING, *then*
looks at `frozen`; who puts something on a lane *then* looks at `frozen`. So what comes too late for a close is found by
the close, which takes its entry back and waits for it, or by who has put it there, who takes it off again.

Rules. A: atomic, any context. E: written by the executor's thread while it runs, read by anybody. S: set at init.
G: written under the lane's guard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from threadpool9 import Error, Job, Pool, Stalled, UsageError, _hooks, _seam
from threadpool9 import tunables as pool_tunables
from threadpool9._registry import registry
from threadpool9._watchdog import Sight, Watchdog, sources

from ._errors import QueueClosed
from ._watch import probes, tunables, watch

if TYPE_CHECKING:
    from ._task import Task

TRANSIENT = 1e-4  # how long to doze while an executor is between two steps
#: What an executor shows while it takes something, or has something in hand that it puts down elsewhere.
TAKING: Any = type("Taking", (), {"__repr__": lambda self: "TAKING"})()
#: Entries in `frozen`: a work queue's freeze, and the end; every other one is a close that is looking round.
FREEZE, CLOSED = "freeze", "closed"


class PlumbingJob(Job):
    """A job that is no unit of work itself: tracers and the watchdog look at what runs inside."""

    plumbing = True


class NoLock:
    """The interlock of an executor's job: the lane's protocol needs none."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


class Group:
    """What the lanes of one queue share. Lanes know the group, never the queue: a queue can be dropped."""

    __slots__ = ("__weakref__", "frozen", "lanes", "name", "set_aside", "shared")

    def __init__(self, name: str, shared: bool) -> None:
        self.name = name  # S
        self.shared = shared  # S: a shared queue, whose tasks are to be short
        self.frozen: dict[object, None] = {}  # A: executors take nothing while there is an entry, see above
        self.set_aside = False  # A: an executor has ever put a task into another one's `deferred`
        self.lanes: list[Lane] = []  # S, but for CPUs that come later: appended
        groups.add(self)

    def report(self, error: BaseException, task: Task) -> None:
        """An exception left a task (TK-14). Replaced by queues that have a handler of their own."""
        _hooks.report_error(error, origin=task)

    def make_call(self, executor: Executor) -> Callable[[Any], object] | None:
        """What `executor` is to call with each task of the batch that begins; None: the task's own function."""
        return None

    def undone(self, task: Task) -> None:
        """`task` was taken off a lane because nobody can run it. Any context."""

    def refuse_closed(self) -> NoReturn:
        """Raise what a schedule on a queue that is closed raises."""
        raise QueueClosed(f"queue {self.name!r} is closed and takes no new tasks")

    def look_closed(self) -> None:
        """Raise QueueClosed if the queue has come to its end; called while `frozen` has entries. Any context."""
        if any(why is not FREEZE for why in list(self.frozen)):
            self.refuse_closed()

    def let_go(self, why: object) -> None:
        """Take the entry `why` out of `frozen`; run what was held. Any context."""
        self.frozen.pop(why, None)
        # Cleared, then look: who appended while we were frozen has left the kick to us.
        for lane in self.lanes:
            for _ in lane.executors:
                if lane.items and lane.idle:
                    lane.kick()

    def quiet(self) -> bool:
        """True if nothing waits and nothing runs on any lane. Any context."""
        # Nor has an executor of one put anything on another that we had looked at before.
        runs = [lane.runs() for lane in self.lanes]
        return all(lane.quiet() for lane in self.lanes) and runs == [lane.runs() for lane in self.lanes]

    def withdraw(self, task: Task) -> None:
        """Take `task`, which waits on a lane of ours, out of it (TP-32)."""
        task.cancel_async()

    def entering(self, lane: Lane, task: Task) -> None:
        """`task` is about to be called; only while `watch.plain` is False."""
        if (probe := probes.entry) is not None:
            probe(lane, task)

    def returned(self, lane: Lane, task: Task) -> None:
        """`task` returned or raised; only while `watch.plain` is False."""
        if (probe := probes.return_) is not None:
            probe(lane, task)

    def executors(self) -> list[Executor]:
        """All executors of the queue."""
        return [executor for lane in self.lanes for executor in lane.executors]

    def is_own_thread(self) -> bool:
        """True if the caller is inside one of the queue's own tasks. Any context."""
        me = _seam.get_ident()
        return any(executor.ident == me for executor in self.executors())


groups: _seam.Flock[Group] = _seam.Flock()  # for snapshots, the watchdog, fork and exit


class Lane:
    """A FIFO with its executors; see the module's text."""

    __slots__ = ("executors", "group", "guard", "idle", "items", "pool")

    def __init__(self, group: Group, pool: Pool, executors: int, name: str) -> None:
        self.group = group  # S
        self.pool = pool  # S
        self.items: _seam.deque[Task] = _seam.deque()  # A
        #: With several executors, taking an item and saying so must be one step for a drain's marker (G).
        self.guard = _seam.Lock() if executors > 1 else None  # S
        self.executors = tuple(Executor(self, name) for _ in range(executors))  # S
        self.idle: _seam.deque[Executor] = _seam.deque(self.executors)  # A
        group.lanes.append(self)

    @property
    def name(self) -> str:
        """The queue's name. Any context."""
        return self.group.name

    @property
    def cpu(self) -> int | None:
        """The CPU that the lane is bound to, None if to none. Any context."""
        return self.pool.cpu

    @property
    def pri(self) -> int:
        """The priority of its threads. Any context."""
        return self.pool.pri

    @property
    def shared(self) -> bool:
        """True for a lane of a shared queue, whose tasks are to be short. Any context."""
        return self.group.shared

    # --- putting tasks on

    def put(self, task: Task) -> bool:
        """Take the task's token and put it here: True; False if it is pending already. Any context.

        Raises UsageError for a task that is dead or elsewhere (TK-10), QueueClosed, and what `Pool.post` raises; then,
        and if anything else is raised meanwhile, the task is as it was, unless an executor has it already.
        """
        free = task._free
        if not free:
            return task._coalesced(self.group)
        claimed = published = False
        try:
            del free[0]; claimed = True  # fmt: skip  # noqa: E702 nothing may come between, see _seam
            if task._lane is not self:
                task._adopt(self)
            if probes.schedule is not None:
                task._tell_scheduled(self)
            published = True; self.items.append(task)  # fmt: skip  # noqa: E702 said, then done
            if self.idle:
                self.kick()
            if self.group.frozen:
                self.group.look_closed()
        except BaseException as error:
            if not claimed:
                if isinstance(error, IndexError):  # somebody else took the token between our two looks
                    return task._coalesced(self.group)
            elif not published:
                free.append(None)
            elif not self.still_here(error, task):
                return True
            raise
        return True

    def still_here(self, error: BaseException, task: Task) -> bool:
        """After `error` when `task` had been put on: False if all is well because an executor has taken it.

        No thread could be had, or the queue is closed: take the task off, which puts its token into our hand, and back
        where it was. An exception from nowhere: the task stays (it is not certain that what is there is not a later
        schedule), and an executor is told once more.
        """
        if isinstance(error, Error):
            undone = _seam.discard(self.items, task)
            if undone:
                task._free.append(None)
                self.group.undone(task)
            return undone
        if self.items and self.idle:
            self.kick()
        return True

    def put_held(self, task: Task, held: list[object]) -> None:
        """Put a task here whose token the caller has in hand: `held` is empty when it is out of it. Any context.

        Raises as `put`; then the task is as it was before the token was taken, if `held` is empty.
        """
        if task._lane is not self:
            task._adopt(self)
        task._tell_scheduled(self)
        try:
            del held[0]; self.items.append(task)  # fmt: skip  # noqa: E702 out of our hand when it is there
            if self.idle:
                self.kick()
            if self.group.frozen:
                self.group.look_closed()
        except BaseException as error:
            if held or self.still_here(error, task):
                raise

    def kick(self) -> None:
        """Have an idle executor run, if there is one. Any context. Raises what `Pool.post` raises."""
        if self.group.frozen:
            return
        taken: list[Executor] = []
        try:
            _seam.collect(self.idle.pop, taken)
            self.pool.post(taken[0].job)
        except IndexError:
            return
        except BaseException as error:
            if taken:
                self.idle.append(taken[0])
                if not isinstance(error, Error):
                    # It may have been posted or not; once more does no harm, an executor takes itself off the stack.
                    self.pool.post(taken[0].job)
            raise

    def quiet(self) -> bool:
        """True if nothing waits and nothing runs here. Any context."""
        # Items first: an executor shows TAKING before it takes. And nothing was put back meanwhile by one that was not
        # busy any more when we looked at it.
        runs = self.runs()
        idle = not self.items and all(e.current is None and not e.deferred for e in self.executors)
        return idle and runs == self.runs()

    def runs(self) -> list[int]:
        """The same twice means that nothing was taken and nothing put down in between. Any context."""
        return [executor.runs for executor in self.executors]


class Executor:
    """One job of one lane; runs tasks until there are none."""

    __slots__ = ("__weakref__", "current", "deferred", "errors", "ident", "job", "lane", "runs", "started", "waiters")

    def __init__(self, lane: Lane, name: str) -> None:
        self.lane = lane  # S
        self.job = PlumbingJob(self._run, interlock=NoLock(), name=name)  # S
        self.current: Any = None  # E: the task in hand, TAKING, or None
        self.ident = 0  # E: thread that runs us, 0 if none
        self.runs = 0  # E: number of the run in `current`; goes up whenever something is taken or put down elsewhere
        self.started = 0  # E: runs begun so far
        self.errors = 0  # E
        self.waiters = _seam.Waiters()  # A: threads that wait for the end of the current run
        self.deferred: _seam.deque[Task] = _seam.deque()  # A: scheduled elsewhere while we run them

    def _run(self, job: Job) -> None:
        lane = self.lane
        group, guard, items, idle = lane.group, lane.guard, lane.items, lane.idle
        popleft, taking = items.popleft, TAKING
        waiting, deferred = self.waiters.locks, self.deferred
        self.ident = _seam.get_ident()
        # A post that met a run at its end may mean one run more than was asked for, and nobody has claimed us.
        while idle and _seam.discard(idle, self):
            pass
        while True:
            call = group.make_call(self)
            started = self.started
            self.current = taking
            waiting_here = () if group.frozen else items  # a close that has not seen TAKING has made its entry
            while waiting_here:
                self.runs += 1
                try:
                    # Frozen is looked at when we have it: what is put here after the freeze may be what we have.
                    if guard is None:
                        task = popleft()
                        if group.frozen:
                            self._put_back(task)
                            break
                    else:
                        with guard:
                            task = popleft()
                            if group.frozen:
                                self._put_back(task)
                                break
                            self.current = task
                            if task._marker:
                                task.fn.note_others(self)  # type: ignore[attr-defined]  # a marker's fn is its Drain
                except IndexError:
                    break
                other = task._exec
                if other is not self:
                    if task._marker or (other is not None and other.current is task):
                        if not self._take_over(task):
                            self.current = taking
                            self.runs += 1  # put down
                            continue
                    else:
                        task._exec = self
                self.current = task
                self.started = started = started + 1
                try:
                    if not watch.plain:
                        self._run_watched(task, call)
                    elif call is None:
                        task._free.append(None)  # from here on a schedule means another run
                        task.fn(task)
                    else:
                        call(task)  # gives the token back when it has read what the next enqueue will overwrite
                except BaseException as error:
                    self._failed(error, task)
                self.current = taking
                if waiting:
                    self.waiters.wake_all()
                if deferred:
                    self._undefer()
            task = None  # type: ignore[assignment]  # an idle executor keeps nobody alive
            self.current = None
            if waiting:
                self.waiters.wake_all()
            self.ident = 0
            while idle and _seam.discard(idle, self):
                pass  # `kick` was interrupted, and put us there while we had begun
            idle.append(self)
            # Look again: who appended before the line above saw no idle executor.
            if not items or group.frozen:
                break
            if not _seam.discard(idle, self):
                break  # claimed: the post that follows takes effect at done()
            self.ident = _seam.get_ident()
        job.done()

    def _put_back(self, task: Task) -> None:
        """To where it was: before what nobody has taken. Under the guard, so that two keep their order."""
        self.lane.items.appendleft(task)
        self.runs += 1  # put down

    def _take_over(self, task: Task) -> bool:
        """Make `task` ours; False if it was a drain's marker, or runs elsewhere and was left to that executor."""
        if task._marker:
            task.fn(task)
            return False
        other = task._exec
        if other is not None and task._exclusive and other.current is task:
            self.lane.group.set_aside = True
            other.deferred.append(task)
            if other.current is task:
                return False
            if not _seam.discard(other.deferred, task):
                return False
        task._exec = self
        return True

    def _undefer(self) -> None:
        """Put what was scheduled elsewhere during the run back where it was scheduled, at the front."""
        # `current` is TAKING, something in hand as when taking: see `Task._locate`.
        self.runs += 1
        while self.deferred:
            try:
                task = self.deferred.popleft()
            except IndexError:
                break
            lane = task._lane
            assert lane is not None
            lane.items.appendleft(task)
            if lane.idle:
                lane.kick()
        self.runs += 1

    def _run_watched(self, task: Task, call: Callable[[Any], object] | None) -> None:
        lane = self.lane
        # Told first: once the token is given back the next run may be scheduled, and told.
        lane.group.entering(lane, task)
        if call is None:
            task._free.append(None)
        run, start = self.runs, _seam.monotonic()
        try:
            (call or task.fn)(task)
        except BaseException as error:
            if (probe := probes.error) is not None:
                probe(lane, task, error)
            raise
        finally:
            took = (_seam.monotonic() - start) * 1000
            lane.group.returned(lane, task)
            limit = tunables.limit_ms
            if limit and took > limit and lane.group.shared and not watchdog().was_reported(self, run):
                late = Stalled(
                    f"{task!r} took {took:.1f} ms on the shared queue {lane.group.name!r}, whose tasks are to be "
                    f"shorter than {limit:g} ms; give it a TaskQueue of its own"
                )
                _hooks.report_error(late, origin=task)

    def _failed(self, error: BaseException, task: Task) -> None:
        self.errors += 1
        try:
            self.lane.group.report(error, task)
        except BaseException as second:
            _hooks.report_error(second, origin=self.lane.group)

    def end_run(self, task: Task) -> None:
        """`Task.done`: the run counts as over although the function has not returned. The run's own thread."""
        if self.ident != _seam.get_ident() or self.current is not task:
            raise UsageError(f"done() is for the task's own function, once per run; {task!r} is not running here")
        self.current = TAKING
        if self.waiters.locks:
            self.waiters.wake_all()
        if self.deferred:
            self._undefer()

    def wait_end(self, task: object, deadline: float | None) -> bool:
        """Wait until the run of `task` that is under way, if any, is over. Thread context; False after `deadline`."""
        if self.current is not task:
            return True
        run = self.runs

        def must_wait() -> bool:
            return self.runs == run and self.current is task

        while must_wait():
            if not self.waiters.wait(must_wait, deadline) and must_wait():
                return False
        return True


def watchdog() -> Watchdog:
    """The process's stall watchdog."""
    return registry.starter.watchdog


def _shortest_limit() -> float:
    limits = [limit for limit in (pool_tunables.stall_ms, tunables.limit_ms) if limit > 0]
    return min(limits) / 1000 if limits else 0.0


def _watched_tasks() -> list[Sight]:
    """What the watchdog looks at in this layer: every task, and those of shared queues more strictly (TK-4)."""
    sights = []
    for group in groups.all():
        limits = [pool_tunables.stall_ms, tunables.limit_ms if group.shared else 0.0]
        limit = min((limit for limit in limits if limit > 0), default=0.0) / 1000
        for executor in group.executors() if limit else ():
            run, task = executor.runs, executor.current
            if task is not None and task is not TAKING and executor.runs == run:
                sights.append(Sight(executor, run, task, limit, executor.ident, f"queue {group.name!r}"))
    return sights


sources.append((_shortest_limit, _watched_tasks))
