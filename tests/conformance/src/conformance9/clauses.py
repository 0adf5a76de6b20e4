"""The clauses: stable names of what an implementation promises, in one sentence each.

A clause without a test that an implementation breaking it would fail says why in `untested`.
"""

from __future__ import annotations

import dataclasses

__all__ = ["CLAUSES", "Clause", "clauses_of"]


@dataclasses.dataclass(frozen=True)
class Clause:
    """One promise."""

    layer: str
    """Of one layer, or ``"all"``."""
    text: str
    untested: str = ""


#: A reason for `Clause.untested`.
NO_TEST_YET = "the suite has no test of it yet"


def _layer(layer: str, texts: dict[str, str], untested: dict[str, str]) -> dict[str, Clause]:
    assert untested.keys() <= texts.keys()
    return {name: Clause(layer, text, untested.get(name, "")) for name, text in texts.items()}


_THREADPOOL = _layer(
    "threadpool",
    {
        "TP-1": "Same priority and kind: the same pool while anybody holds a reference; fresh after the last put.",
        "TP-2": "Priorities -1..223 are valid for both kinds; anything else is an error that names the range.",
        "TP-3": "A fresh pool has no worker; one starts only when a scheduled job finds no idle one; there is no cap.",
        "TP-4": "Idle workers leave after the idle time, which may be changed; they are reused last-in first-out.",
        "TP-5": "With nothing scheduled for the idle time the process holds no thread of the implementation.",
        "TP-6": "k blocked jobs never keep job k+1 from running.",
        "TP-7": "A worker of CPU c is bound to c before the job's first bytecode; ref() is the caller's CPU.",
        "TP-8": "Only CPUs that the process may use have pools; CPUs that go and come back lose no job.",
        "TP-9": "The last put waits for all jobs and workers; wrong puts are clear errors, not hangs.",
        "TP-10": "Priorities reach the OS; what it refuses is approximated and told; in strict mode an error.",
        "TP-11": "Threads have OS-visible names; a tunable shows the job's name while it runs.",
        "TP-12": "A refused thread is retried, the job stays queued; if nobody can retry, a clean StartError.",
        "TP-13": "A worker does not depend on who scheduled; what a job left on its thread is put right.",
        "TP-14": "retire_idle: idle workers leave now, and it says how many.",
        "TP-20": "schedule needs the interlock held, where that can be checked; any context.",
        "TP-21": "A job runs once at a time; scheduling a queued or running job does nothing.",
        "TP-22": "done() and schedule() meet under the interlock: no item is ever lost.",
        "TP-23": "done() is for the job's own function, once, interlock held; afterwards the job may be used at once.",
        "TP-24": "A function that returns or raises without done(): reported, counts as done, the worker lives on.",
        "TP-25": "cancel_async is True exactly if the function never runs for that schedule.",
        "TP-26": "cancel waits for done(), releasing the interlock only while waiting; then the job is not running.",
        "TP-27": "Wrong pool, self-cancel, destroy at the wrong time, use after destroy: errors that change nothing.",
        "TP-28": "post: as schedule, without the interlock, any context, never blocks.",
        "TP-29": "Jobs that had to wait for a worker start in the order scheduled.",
        "TP-30": "An exception of a job reaches threading.excepthook.",
        "TP-31": "A fork child starts with no workers and everything unscheduled, usable at once.",
        "TP-32": "At exit what is scheduled runs, or what the policy says; idle workers do not delay the exit.",
        "TP-33": "Free-threaded builds: the same contract, and the GIL stays off.",
        "TP-34": "A snapshot shows pools, workers, queued jobs and counters; started - completed = in flight.",
        "TP-35": "A stall watchdog, if switched on, reports a job over its limit once, with its stack.",
        "TP-36": "After an asynchronous exception an operation has happened or it has not; nothing is lost or stuck.",
        "TP-37": "What layers above and plugins need is public: no underscore name crosses a distribution's border.",
    },
    {
        "TP-36": NO_TEST_YET,
        "TP-37": "a rule for sources, which a run can't see",
    },
)

_TASK = _layer(
    "task",
    {
        "TK-1": "schedule never fails or blocks, in any context; True if newly queued; data written before is seen.",
        "TK-2": "Scheduled k times before it starts: one run; while it runs: exactly one more, afterwards.",
        "TK-3": "A task never runs concurrently with itself.",
        "TK-4": "A shared queue runs one task at a time per CPU, in order, bound; long tasks are reported.",
        "TK-5": "A private queue runs in order and delays no other; concurrency=n runs n at once.",
        "TK-6": "cancel: True if it never ran for that schedule, else it waited; nothing runs without a new schedule.",
        "TK-7": "drain: all that was scheduled before has completed, on every CPU; what came later is not awaited.",
        "TK-8": "A self-rescheduling task does not starve the others.",
        "TK-9": "An idle queue owns no thread; an idle task only itself.",
        "TK-10": "One task on two queues, and destroy of a scheduled or running one, are clear errors.",
        "TK-11": "Delayed tasks are never early, hardly late, rescheduled or cancelled exactly.",
        "TK-12": "The timer serves a million armed tasks; with none armed it owns no thread.",
        "TK-13": "Periodic tasks keep their phase, skip what was missed and report how many.",
        "TK-14": "Exceptions are reported and the queue goes on; fork and exit as for jobs.",
        "TK-15": "A task made with a context runs in it.",
        "TK-16": "close() refuses new tasks, drains, cancels what is armed and says which.",
        "TK-17": "call(fn, ...): runs once, in the queue's order, in any context, with no unit to keep or cancel.",
        "TK-18": "submit(fn, ...) gives a Future whose cancel is exact; map is lazy and in order.",
        "TK-19": "A queue on an event loop runs its tasks in the loop's thread, with the same contract.",
        "TK-20": "The executor on a queue behaves as the running Python's ThreadPoolExecutor.",
    },
    {"TK-20": NO_TEST_YET},
)

_WORKQUEUE = _layer(
    "workqueue",
    {
        "WQ-1": "One function per queue; FIFO; max_active at once, by default one.",
        "WQ-2": "Per-CPU queues: each ordered, bound to its CPU, in parallel.",
        "WQ-3": "enqueue in any context; again once the function was called; a pending work is refused.",
        "WQ-4": "wait(work) returns once it is neither pending nor in its function.",
        "WQ-5": "cancel(work): True if withdrawn before running, False if it had run or was waited for.",
        "WQ-6": "flush, drain and destroy: everything before has completed; what comes too late is refused.",
        "WQ-7": "Delayed work, modified and cancelled; flush does not wait for it; destroy says what it cancelled.",
        "WQ-8": "A thousand idle queues own no thread.",
        "WQ-9": "max_pending: a full queue blocks, with a limit, or raises; nothing is dropped.",
        "WQ-10": "freeze holds, thaw runs all held in order; works are disabled and enabled, counted.",
        "WQ-11": "Exceptions are reported, naming queue and work; the queue goes on; on_error per queue.",
        "WQ-12": "Counters for each queue.",
        "WQ-13": "Queues run in parallel; giant-locked ones exclude each other.",
        "WQ-14": "Event loops await wait, flush, drain and a full queue without blocking.",
        "WQ-15": "Another back end keeps the same contract: works run at least once, with a key exactly once.",
        "WQ-16": "submit(payload) gives a Future of what the function returned.",
    },
    {"WQ-15": "no test of its own: run the suite with an adapter of the queue on that back end"},
)

_AWAIT = _layer(
    "all",
    {
        "AW-1": "Everything that waits has an awaitable twin, for asyncio and trio, which holds no thread.",
        "AW-2": "Cancelling the await ends the waiting only; what was given to it goes to the next.",
        "AW-3": "A hand-over to a loop settles once, never raises in the loop, and notices that the loop is closed.",
        "AW-4": "Any number of loops, threads and handlers wait for and settle the same thing.",
    },
    {},
)

#: Every clause by name, in order.
CLAUSES: dict[str, Clause] = {**_THREADPOOL, **_TASK, **_WORKQUEUE, **_AWAIT}


def clauses_of(layer: str) -> dict[str, Clause]:
    """The clauses that an implementation of `layer` is asked about."""
    return {name: clause for name, clause in CLAUSES.items() if clause.layer in (layer, "all")}
