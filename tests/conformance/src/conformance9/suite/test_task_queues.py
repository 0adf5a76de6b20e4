"""TK-4, TK-5, TK-8, TK-9, TK-10: shared and private queues, order, fairness, idleness, one queue at a time."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from functools import partial
from typing import Any

import pytest

from conformance9.adapters_task import TaskAdapter
from conformance9.suite.kit import (
    Lingering,
    Overlaps,
    Tally,
    await_state,
    idle_threads,
    never,
    some_cpus,
    together,
    verdict,
)
from conformance9.suite.tasks import a_queue, a_shared
from conformance9.suite.tools import (
    Log,
    Stage,
    holds,
    need,
    os_threads,
    pinned,
    refuses,
    reported,
    retire_threads,
    timing,
    wait_until,
)

# --- TK-4: shared queues


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
@pytest.mark.parametrize("system", [True, False], ids=["system", "shared"])
def test_a_shared_queue_is_bound_and_ordered(adapter: TaskAdapter, stage: Stage, system: bool) -> None:
    """Scheduled on a CPU: they run in order on a thread that the OS has bound to that CPU."""
    queue = a_shared(adapter, stage, 17)
    for cpu in adapter.cpus():
        seen = Log()
        with pinned(cpu):
            for number in range(50):
                task = adapter.task(lambda _, number=number, seen=seen: seen.add((number, os.sched_getaffinity(0))))
                holds("TK-1", task.schedule() if system else queue.schedule(task), "a new task was not newly queued")
        holds("TK-4", seen.reached(50), f"of 50 tasks scheduled on CPU {cpu} only {len(seen.entries)} ran")
        order = [number for number, _ in seen.entries]
        holds("TK-4", order == list(range(50)), f"tasks of a shared queue on CPU {cpu} ran in the order {order}")
        bound = {frozenset(cpus) for _, cpus in seen.entries}
        holds("TK-4", bound == {frozenset({cpu})}, f"scheduled on CPU {cpu}, ran on threads bound to {bound}")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
@pytest.mark.parametrize("system", [True, False], ids=["system", "shared"])
def test_a_shared_queue_is_bound_whoever_schedules(adapter: TaskAdapter, stage: Stage, system: bool) -> None:
    """Scheduled from a thread that may run on every CPU, so there is no binding to inherit: bound to one of them."""
    every = frozenset(some_cpus(adapter.cpus(), 2)) | frozenset(adapter.cpus())
    queue = a_shared(adapter, stage, 27)
    for _ in range(5):
        adapter.settle()  # so that new threads are needed
        seen = Log()

        def schedule(seen: Log = seen) -> None:
            os.sched_setaffinity(0, every)
            for _ in range(3):
                task = adapter.task(lambda task: seen.add(frozenset(os.sched_getaffinity(0))))
                _ = task.schedule() if system else queue.schedule(task)

        together(stage, schedule)
        holds("TK-4", seen.reached(3), f"of 3 tasks {len(seen.entries)} ran")
        for cpus in seen.entries:
            bound = len(cpus) == 1 and cpus <= every
            holds("TK-4", bound, f"a task of a shared queue ran on a thread that may run on CPUs {sorted(cpus)}")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
def test_a_shared_queue_runs_one_task_at_a_time_on_each_cpu(adapter: TaskAdapter, stage: Stage) -> None:
    """While one task of a CPU is in its function, no other task of that queue and CPU is."""
    queue = a_shared(adapter, stage, 18)
    function = Overlaps(linger=timing.moment / 5)
    with pinned(adapter.cpus()[0]):
        for _ in range(6):
            queue.schedule(adapter.task(function))
    queue.drain(timing.limit)
    holds("TK-7", function.runs == 6, f"drained, but of 6 tasks {function.runs} ran")
    holds("TK-4", function.most == 1, f"{function.most} tasks of one shared queue ran at once on one CPU")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
def test_cpus_run_in_parallel(adapter: TaskAdapter, stage: Stage) -> None:
    """Two tasks of one shared queue, on two CPUs, each waiting for the other: both get on."""
    queue, both, met = a_shared(adapter, stage, 19), threading.Barrier(2), Log()

    def meet(task: Any) -> None:
        both.wait(timing.limit)
        met.add(1)

    for cpu in some_cpus(adapter.cpus(), 2):
        with pinned(cpu):
            queue.schedule(adapter.task(meet))
    holds("TK-4", met.reached(2), "tasks of one shared queue on two CPUs did not run in parallel")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
def test_priorities_have_queues_of_their_own(adapter: TaskAdapter, stage: Stage) -> None:
    """A task that blocks on the queue of one priority does not hold up that of another, on the same CPU."""
    one, other, gate, passed = (
        a_shared(adapter, stage, 20),
        a_shared(adapter, stage, 21),
        stage.gate(),
        threading.Event(),
    )
    with pinned(adapter.cpus()[0]):
        one.schedule(adapter.task(gate))
        holds("TK-4", gate.entered(), "a scheduled task did not run")
        other.schedule(adapter.task(lambda task: passed.set()))
        holds("TK-4", passed.wait(timing.limit), "a task on the queue of one priority holds up that of another")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared")
def test_the_queue_of_a_priority_is_shared_and_each_get_needs_its_put(adapter: TaskAdapter, stage: Stage) -> None:
    """Two references are one queue in one order; it lives until the last put; a put too many is an error."""
    first, second, gate, seen = adapter.shared(22), adapter.shared(22), stage.gate(), Log()
    with pinned(adapter.cpus()[0]):
        first.schedule(adapter.task(gate))
        holds("TK-4", gate.entered(), "a scheduled task did not run")
        task = adapter.task(lambda task: seen.add("task"))
        first.schedule(task)
        second.schedule(adapter.task(lambda task: seen.add("other")))
        holds("TK-4", second.schedule(task) is False, "two references to one priority's queue are not one queue")
    gate.go.set()
    second.drain(timing.limit)
    holds("TK-4", seen.entries == ["task", "other"], f"scheduled task, other on two references; ran {seen.entries}")
    first.put(timing.limit)
    holds("TK-4", second.schedule(adapter.task(lambda task: seen.add("later"))), "gone before the last put")
    second.put(timing.limit)
    holds("TK-4", seen.entries[-1] == "later", "the last put lost what was scheduled")
    refuses("TK-4", "one put too many", adapter.usage_error, second.put)


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared", "limit")
def test_long_tasks_of_shared_queues_are_reported_and_not_stopped(adapter: TaskAdapter, stage: Stage) -> None:
    """Over the limit: one report, and the task runs to its end; with limit 0 and on private queues none."""
    shared, private = a_shared(adapter, stage, 23), a_queue(adapter, stage)
    stage.at_end(lambda: adapter.set_limit(0))
    with reported() as reports:
        for limit, queue, expected in (
            (0.0, shared, 0),
            (timing.moment / 20, shared, 1),
            (timing.moment / 20, private, 1),
        ):
            adapter.set_limit(limit)
            function = Lingering()
            queue.schedule(adapter.task(function))
            queue.drain(timing.limit)
            holds("TK-4", function.ended, "a task over the limit was stopped")
            if expected:
                holds("TK-4", reports.reached(expected), "a task over the limit was not reported")
            holds("TK-4", len(reports.entries) == expected, f"{len(reports.entries)} reports instead of {expected}")


@pytest.mark.clause("TK-4")
@pytest.mark.capability("shared", "limit")
def test_short_tasks_are_not_reported(adapter: TaskAdapter, stage: Stage) -> None:
    """With a limit that nothing reaches, nothing is reported."""
    shared = a_shared(adapter, stage, 24)
    stage.at_end(lambda: adapter.set_limit(0))
    adapter.set_limit(100 * timing.limit)
    with reported() as reports:
        for _ in range(100):
            shared.schedule(adapter.task(lambda task: None))
        shared.drain(timing.limit)
        holds("TK-4", not reports.entries, f"a short task was reported: {reports.entries[:1]}")


# --- TK-5: private queues


@pytest.mark.clause("TK-5")
def test_a_private_queue_runs_in_order(adapter: TaskAdapter, stage: Stage) -> None:
    """A thousand tasks run in the order scheduled, those scheduled while the queue was busy too."""
    queue, gate, seen = a_queue(adapter, stage), stage.gate(), Log()
    for number in range(500):
        queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for number in range(500, 1000):
        queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
    gate.go.set()
    queue.drain(timing.limit)
    wrong = next((at for at, number in enumerate(seen.entries) if at != number), len(seen.entries))
    holds("TK-5", wrong == 1000, f"the order is broken from number {wrong} on: {seen.entries[wrong : wrong + 5]}")


@pytest.mark.clause("TK-5", "TK-6")
@pytest.mark.parametrize("how", ["cancel", "cancel_async"])
def test_withdrawn_and_scheduled_again_a_task_is_the_last(adapter: TaskAdapter, stage: Stage, how: str) -> None:
    """A, B, cancel A, schedule A again: B runs before A, and A once; the place that A had is nobody's."""
    queue, gate, seen = a_queue(adapter, stage), stage.gate(), Log()
    queue.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    first, second = (adapter.task(lambda task, name=name: seen.add(name)) for name in "AB")
    queue.schedule(first)
    queue.schedule(second)
    holds("TK-6", getattr(first, how)() is True, f"{how} of a task that waits must say True")
    holds("TK-1", queue.schedule(first) is True, "schedule of a task that was withdrawn must say True")
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-5", seen.entries == ["B", "A"], f"A, B, cancel A, A again ran as {seen.entries}")


@pytest.mark.clause("TK-5")
def test_a_private_queue_keeps_each_scheduler_s_order(adapter: TaskAdapter, stage: Stage) -> None:
    """Four threads schedule beside each other: of each thread's tasks the order is kept, and one runs at a time."""
    queue, seen, function = a_queue(adapter, stage), Log(), Overlaps()

    def body(which: int) -> None:
        for number in range(300):

            def fn(task: Any, entry: tuple[int, int] = (which, number)) -> None:
                function()
                seen.add(entry)

            queue.schedule(adapter.task(fn))

    together(stage, *[lambda which=which: body(which) for which in range(4)])
    queue.drain(timing.limit)
    holds("TK-5", function.most == 1, f"{function.most} tasks of a serial queue ran at once")
    for which in range(4):
        order = [number for thread, number in seen.entries if thread == which]
        holds("TK-5", order == list(range(300)), f"what one thread scheduled in order ran as {order[:20]} ...")


@pytest.mark.clause("TK-5")
def test_a_private_queue_runs_one_task_at_a_time(adapter: TaskAdapter, stage: Stage) -> None:
    """Tasks that linger, scheduled at once: never two in their functions."""
    queue, function = a_queue(adapter, stage), Overlaps(linger=timing.moment / 5)
    for _ in range(6):
        queue.schedule(adapter.task(function))
    queue.drain(timing.limit)
    holds("TK-5", (function.runs, function.most) == (6, 1), f"6 tasks: {function.runs} runs, {function.most} at once")


@pytest.mark.clause("TK-5")
def test_a_task_that_sleeps_delays_no_other_queue(adapter: TaskAdapter, stage: Stage) -> None:
    """While a task of one queue blocks, a hundred tasks of another run."""
    sleeper, other, gate, tally = a_queue(adapter, stage, "a"), a_queue(adapter, stage, "b"), stage.gate(), Tally()
    sleeper.schedule(adapter.task(gate))
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    for _ in range(100):
        other.schedule(adapter.task(tally))
    other.drain(timing.limit)
    holds("TK-5", tally.runs == 100, f"beside a queue whose task sleeps, {tally.runs} of 100 tasks of another ran")


@pytest.mark.clause("TK-5")
@pytest.mark.capability("concurrency")
def test_concurrency_is_that_many_and_no_more(adapter: TaskAdapter, stage: Stage) -> None:
    """Three at once get on together; the fourth waits."""
    queue, gates = a_queue(adapter, stage, concurrency=3), [stage.gate() for _ in range(4)]
    for gate in gates:
        queue.schedule(adapter.task(gate))
    holds("TK-5", all(gate.entered() for gate in gates[:3]), "a queue for 3 at once does not run 3 at once")
    holds("TK-5", never(gates[3].began), "a queue for 3 at once runs 4 at once")
    for gate in gates:
        gate.go.set()
    queue.drain(timing.limit)
    function = Overlaps(linger=timing.moment / 50)
    for _ in range(60):
        queue.schedule(adapter.task(function))
    queue.drain(timing.limit)
    holds("TK-5", function.most <= 3, f"a queue for 3 at once ran {function.most} at once")


@pytest.mark.clause("TK-5")
@pytest.mark.capability("concurrency")
def test_with_concurrency_tasks_start_in_order(adapter: TaskAdapter, stage: Stage) -> None:
    """Two places, both taken; each that becomes free goes to the task that has waited longest."""
    queue, gates = a_queue(adapter, stage, concurrency=2), [stage.gate() for _ in range(8)]
    for gate in gates:
        queue.schedule(adapter.task(gate))
    for number in range(6):
        holds("TK-5", gates[number + 1].entered(), f"a place was free, but task {number + 1} did not start")
        started = [later for later in range(number + 2, 8) if gates[later].began.is_set()]
        holds("TK-5", not started, f"task {started[:1]} started before task {number + 2 - 1} was over, out of order")
        gates[number].go.set()


@pytest.mark.clause("TK-5")
def test_32_blocked_queues_all_make_progress(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's overcommit test: each of 32 serial queues blocks until all have begun."""
    barrier, met = threading.Barrier(32), Log()

    def meet(task: Any) -> None:
        barrier.wait(timing.limit)
        met.add(1)

    for number in range(32):
        a_queue(adapter, stage, f"serial {number}").schedule(adapter.task(meet))
    holds("TK-5", met.reached(32), f"of 32 queues that wait for each other only {len(met.entries)} got on")


def _pingpong(adapter: TaskAdapter, stage: Stage, bounces: int) -> None:
    over, left = threading.Event(), [bounces]
    pair = [a_queue(adapter, stage, "ping"), a_queue(adapter, stage, "pong")]

    def bounce(other: int) -> None:
        left[0] -= 1
        if left[0]:
            pair[other].schedule(tasks[other])
        else:
            over.set()

    tasks = [adapter.task(lambda task: bounce(1)), adapter.task(lambda task: bounce(0))]
    pair[0].schedule(tasks[0])
    holds("TK-1", over.wait(timing.limit + bounces / 200), f"a ball between two queues is lost with {left[0]} to go")
    for queue in pair:
        queue.drain(timing.limit)
    holds("TK-2", left == [0], f"{-left[0]} runs more than schedules")


@pytest.mark.clause("TK-1", "TK-5")
def test_pingpong(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's pingpong: a ball bounces between two serial queues, ten thousand times."""
    _pingpong(adapter, stage, 10_000)


@pytest.mark.thorough
@pytest.mark.clause("TK-1", "TK-5")
def test_a_million_bounces(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's pingpong with its own number of bounces."""
    _pingpong(adapter, stage, 1_000_000)


@pytest.mark.clause("TK-1", "TK-5")
def test_starfish(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's starfish: 1000 queues; ten laps from the centre to every arm and back."""
    arms, laps = 1000, 10
    centre = a_queue(adapter, stage, "centre")
    queues = [a_queue(adapter, stage, f"arm {number}") for number in range(arms)]
    over, back, lap = threading.Event(), [0], [0]
    rays = [adapter.task(lambda task, number=number: centre.schedule(homes[number])) for number in range(arms)]

    def home() -> None:
        back[0] += 1
        if back[0] == arms:
            back[0] = 0
            lap[0] += 1
            if lap[0] == laps:
                over.set()
            else:
                centre.schedule(start)

    def begin(task: Any) -> None:
        for queue, ray in zip(queues, rays, strict=True):
            queue.schedule(ray)

    homes = [adapter.task(lambda task: home()) for _ in range(arms)]
    start = adapter.task(begin)
    centre.schedule(start)
    holds(
        "TK-1", over.wait(3 * timing.limit), f"the starfish stands still in lap {lap[0]} with {back[0]} of {arms} home"
    )


def _cascade(adapter: TaskAdapter, stage: Stage, queues: int, blocks: int) -> None:
    over, ran = threading.Event(), [0] * queues
    chain = [a_queue(adapter, stage, f"step {number}") for number in range(queues)]

    def step(at: int) -> None:
        ran[at] += 1
        if at + 1 < queues:
            chain[at + 1].schedule(adapter.task(lambda task: step(at + 1)))
        elif ran[at] == blocks:
            over.set()

    for _ in range(blocks):
        chain[0].schedule(adapter.task(lambda task: step(0)))
    limit = timing.limit + queues * blocks / 2000
    holds("TK-1", over.wait(limit), f"tasks are lost in a cascade of {queues} queues: {ran[:5]} ... {ran[-1]}")
    holds("TK-2", ran == [blocks] * queues, f"in a cascade of {blocks} tasks queues ran {sorted(set(ran))}")


@pytest.mark.clause("TK-1", "TK-5")
def test_cascade(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's cascade: tasks fall from queue to queue, 80 queues deep."""
    _cascade(adapter, stage, 80, 200)


@pytest.mark.thorough
@pytest.mark.clause("TK-1", "TK-5")
def test_cascade_of_10000(adapter: TaskAdapter, stage: Stage) -> None:
    """GCD's cascade with its own number of blocks."""
    _cascade(adapter, stage, 80, 10_000)


# --- TK-8: fairness


@pytest.mark.clause("TK-8")
@pytest.mark.parametrize("kind", ["private", "shared"])
def test_tasks_that_reschedule_themselves_starve_nobody(adapter: TaskAdapter, stage: Stage, kind: str) -> None:
    """Beside three tasks that reschedule themselves all the time, a hundred others of the queue get their turn."""
    if kind == "shared":
        need(adapter, "shared")
    queue: Any = a_queue(adapter, stage) if kind == "private" else a_shared(adapter, stage, 25)
    stop, seen = threading.Event(), Log()
    stage.at_end(lambda: queue.drain(timing.limit))
    stage.at_end(stop.set)

    def again(task: Any) -> None:
        if not stop.is_set():
            queue.schedule(task)

    with pinned(adapter.cpus()[0]) if kind == "shared" else contextlib.nullcontext():
        for _ in range(3):
            queue.schedule(adapter.task(again))
        for number in range(100):
            queue.schedule(adapter.task(lambda task, number=number: seen.add(number)))
        got = seen.reached(100)
    stop.set()
    holds("TK-8", got, f"beside tasks that reschedule themselves only {len(seen.entries)} of 100 others ran")
    holds("TK-5", seen.entries == list(range(100)), "the others did not run in order")


# --- TK-9: idleness


@pytest.mark.clause("TK-9")
def test_idle_queues_own_no_thread(adapter: TaskAdapter, stage: Stage) -> None:
    """To make a thousand queues starts nothing; once used and idle again, their threads leave."""
    before = idle_threads(adapter)
    queues = [a_queue(adapter, stage, f"idle {number}") for number in range(1000)]
    made = os_threads()
    holds("TK-9", made <= before, f"a thousand idle queues own {made - before} threads")
    tally = Tally()
    for queue in queues:
        queue.schedule(adapter.task(tally))
    for queue in queues:
        queue.drain(timing.limit)
    holds("TK-7", tally.runs == 1000, f"drained, but of 1000 tasks {tally.runs} ran")
    after = retire_threads(adapter, before)
    holds("TK-9", after <= before, f"a thousand queues that are idle again own {after - before} threads")


@pytest.mark.clause("TK-9")
def test_idle_tasks_own_nothing(adapter: TaskAdapter, stage: Stage) -> None:
    """A hundred thousand idle tasks own no thread; a task that was run and dropped is kept by nobody."""
    before = idle_threads(adapter)
    tasks = [adapter.task(print) for _ in range(100_000)]
    holds("TK-9", os_threads() <= before, "idle tasks own threads")
    del tasks

    class Owner:
        def run(self, task: Any) -> None:
            pass

    queue = a_queue(adapter, stage)
    owners = [Owner() for _ in range(50)]
    kept = [weakref.ref(owner) for owner in owners]
    for owner in owners:
        queue.schedule(adapter.task(owner.run))
    queue.drain(timing.limit)
    del owner, owners
    adapter.settle()

    def gone() -> bool:
        gc.collect()
        return not any(ref() is not None for ref in kept)

    await_state("TK-9", "tasks that ran and were dropped go away", gone)


@pytest.mark.clause("TK-9")
def test_an_idle_queue_keeps_nothing_of_the_last_task(adapter: TaskAdapter, stage: Stage) -> None:
    """Run and dropped, with nothing scheduled after it, not even by drain: the task goes away while the queue lives."""

    class Owner:
        def __init__(self) -> None:
            self.ran = threading.Event()

        def run(self, task: Any) -> None:
            self.ran.set()

    queue = a_queue(adapter, stage)
    owner = Owner()
    kept, ran = weakref.ref(owner), owner.ran
    queue.schedule(adapter.task(owner.run))
    del owner
    holds("TK-5", ran.wait(timing.limit), "a scheduled task did not run")

    def gone() -> bool:
        adapter.settle()
        gc.collect()
        return kept() is None

    holds("TK-9", wait_until(gone), "the last task that an idle queue ran does not go away")


# --- TK-10: one queue at a time


@pytest.mark.clause("TK-10")
def test_a_task_is_on_one_queue_at_a_time(adapter: TaskAdapter, stage: Stage) -> None:
    """Pending or running on one queue: on another it is refused, and nothing was changed; idle it may move."""
    one, two, gate, tally = a_queue(adapter, stage, "one"), a_queue(adapter, stage, "two"), stage.gate(), Tally()
    running, pending = adapter.task(gate), adapter.task(tally)
    one.schedule(running)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    one.schedule(pending)
    refuses("TK-10", "schedule of a running task on a second queue", adapter.usage_error, lambda: two.schedule(running))
    refuses("TK-10", "schedule of a pending task on a second queue", adapter.usage_error, lambda: two.schedule(pending))
    two.drain(timing.limit)
    holds("TK-10", (gate.runs, tally.runs) == (1, 0), "a refused schedule made a run")
    holds("TK-10", pending.pending, "a refused schedule has withdrawn the task from its queue")
    holds("TK-10", not running.pending, "a refused schedule of a running task has left it pending")
    gate.go.set()
    one.drain(timing.limit)
    holds("TK-10", (gate.runs, tally.runs) == (1, 1), f"after refusals the runs are {gate.runs}, {tally.runs} not 1, 1")
    holds("TK-10", two.schedule(pending) is True, "an idle task may go to another queue")
    two.drain(timing.limit)
    holds("TK-10", tally.runs == 2, "a task that moved to another queue did not run there")


@pytest.mark.clause("TK-10")
@pytest.mark.capability("delayed")
def test_an_armed_task_is_on_its_queue_already(adapter: TaskAdapter, stage: Stage) -> None:
    """Armed for one queue: on another it is refused, and stays armed."""
    one, two = a_queue(adapter, stage, "one"), a_queue(adapter, stage, "two")
    task = adapter.delayed(print)
    one.schedule_delayed(task, 3600)
    refuses("TK-10", "schedule of an armed task on a second queue", adapter.usage_error, lambda: two.schedule(task))
    holds("TK-10", task.pending, "a refused schedule has disarmed the task")
    holds("TK-6", task.cancel() is True, "cancel of an armed task must say True")
    holds("TK-6", not task.pending, "cancelled, and yet pending")


@pytest.mark.clause("TK-10")
def test_destroy_is_for_idle_tasks_and_final(adapter: TaskAdapter, stage: Stage) -> None:
    """destroy of a pending or running task is an error that changes nothing; a destroyed one can't be used."""
    queue, gate, tally = a_queue(adapter, stage), stage.gate(), Tally()
    running, pending = adapter.task(gate), adapter.task(tally)
    queue.schedule(running)
    holds("TK-5", gate.entered(), "a scheduled task did not run")
    queue.schedule(pending)
    refuses("TK-10", "destroy of a running task", adapter.usage_error, running.destroy)
    refuses("TK-10", "destroy of a pending task", adapter.usage_error, pending.destroy)
    gate.go.set()
    queue.drain(timing.limit)
    holds("TK-10", tally.runs == 1, "a refused destroy has changed the pending task")
    holds("TK-10", queue.schedule(running) is True, "a refused destroy has changed the running task")
    queue.drain(timing.limit)
    for task in (running, pending):
        task.destroy()
        refuses("TK-10", "schedule of a destroyed task", adapter.usage_error, partial(queue.schedule, task))
        said = verdict(task.destroy, adapter.usage_error)  # an error, or nothing: the contract leaves it open
        holds("TK-10", said in ("refused", "accepted"), f"destroy of a destroyed task raised {said}")
        holds("TK-10", not task.pending, "a destroyed task is pending")
    queue.drain(timing.limit)
    holds("TK-10", (gate.runs, tally.runs) == (2, 1), "a destroyed task ran")
