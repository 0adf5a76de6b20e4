"""Worlds of threadpool9: jobs, workers, the starter, and who holds references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore9.gallery import exhibit
from explore9.primitives import Empty, SimpleQueue
from explore9.search import World

LOST_WAKE_UP = (
    "threadpool9._worker",
    "if (jobs or self.pool._closing) and self._unpublish():",
    "if False:",
)
WAITER_LOOKS_FIRST = (
    "threadpool9._waiting",
    "            in_time = yield from waiters.wait(lambda: self.get(thing) is waiters and must_wait(), wait)\n",
    "            must = must_wait()\n"
    "            in_time = yield from waiters.wait(lambda: self.get(thing) is waiters and must, wait)\n",
)
CANCELLER_DOES_NOT_CLAIM = (
    "threadpool9._pool",
    "            _atomic.collect(ticket.pop, hand)\n",
    "            hand.append(ticket[0])\n            ticket.clear()\n",
)


class Unlocked:
    """An interlock that cannot be asked and excludes nobody: what the layer does then is its own atomicity."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


@exhibit(
    "TP-26, AW-4",
    who_leaves_wakes_nobody=(
        "threadpool9._waiting",
        "            for gone in map(self.pop, (thing,)): gone.wake_all()",
        "            for gone in map(self.pop, (thing,)): pass",
    ),
    who_comes_does_not_look_at_the_table=(
        "threadpool9._waiting",
        "lambda: self.get(thing) is waiters and must_wait()",
        "must_wait",
    ),
)
def who_waits_against_who_leaves(w: World) -> Callable[[], None]:
    """One has nothing to wait for and leaves, another one comes to wait for the same job, a third one wakes it."""
    return at_a_table_of_sleepers(w, whoever_wakes_leaves_first=False)


@exhibit(
    "TP-26, AW-4",
    who_leaves_wakes_those_whom_it_has_left=(
        "threadpool9._waiting",
        "            for gone in map(self.pop, (thing,)): gone.wake_all()",
        "            for gone in map(self.pop, (thing,)): waiters.wake_all()",
    ),
)
def who_waits_against_two_who_leave(w: World) -> Callable[[], None]:
    """Two leave, and one of them wakes whoever waits by then: it may find the table of the other one's making."""
    return at_a_table_of_sleepers(w, whoever_wakes_leaves_first=True)


def at_a_table_of_sleepers(w: World, whoever_wakes_leaves_first: bool) -> Callable[[], None]:
    """Threads A, who leaves, B, who waits, and C, who wakes whoever waits, of the two worlds above."""
    module = w.copies.module("threadpool9._waiting")
    sleepers, thing = module.Sleepers(), object()
    over = w.cell(False, "over")

    def wait(must_wait: Callable[[], bool]) -> None:
        module.run(sleepers.wait_until_not(thing, must_wait, module.Blocking(None), "it"))

    def leave() -> None:
        looks = [True]
        wait(lambda: bool(looks) and looks.pop())

    def wake() -> None:
        if whoever_wakes_leaves_first:
            leave()
        over.set(True)
        sleepers.wake(thing)

    w.thread("A", leave)
    w.thread("B", lambda: wait(lambda: not over.get()))
    w.thread("C", wake)

    def check() -> None:
        assert not sleepers, "somebody is entered who does not wait"

    return check


@exhibit(
    "TP-21, TP-28",
    worker_does_not_look_again=LOST_WAKE_UP,
)
def schedule_schedule(w: World) -> Callable[[], None]:
    """Two threads post one job: a run begins after each post, and no two at once."""
    pool = w.threadpool9.get()
    w.staff(pool)
    return two_posts(w, pool)


@exhibit("TP-5, TP-21, TP-28", worker_does_not_look_again=LOST_WAKE_UP)
def schedule_schedule_from_cold(w: World) -> Callable[[], None]:
    """The same where there is no thread yet: the starter is booted, and starts one worker or two."""
    return two_posts(w, w.threadpool9.get())


def two_posts(w: World, pool: Any) -> Callable[[], None]:
    """Threads A and B of the two worlds above."""
    data = w.cell(0, "data")
    inside = w.cell(0, "inside")
    seen: list[int] = []

    def run(job: Any) -> None:
        assert inside.add() == 1, "a job runs beside itself"
        seen.append(data.get())
        inside.add(-1)

    job = w.job(run)

    def produce() -> None:
        data.add()
        pool.post(job)

    w.thread("A", produce)
    w.thread("B", produce)

    def check() -> None:
        assert 1 <= len(seen) <= 2, f"{len(seen)} runs for two posts"
        assert seen[-1] == 2, f"the last run saw {seen[-1]} of 2 items: a post was lost"
        assert not pool._jobs

    return check


@exhibit(
    "TP-22, TP-28",
    done_does_not_look_for_a_post=(
        "threadpool9._job",
        "        if meetings.posts:\n            self._perform_post()\n",
        "",
    ),
)
def schedule_done(w: World) -> Callable[[], None]:
    """A post beside the end of a run: what was written before the post is seen by a run."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    job = w.job(lambda job: seen.append(data.get()))
    pool.post(job)

    def produce() -> None:
        data.set(1)
        pool.post(job)

    w.thread("A", produce)

    def check() -> None:
        assert seen[-1] == 1, "a post was lost"
        assert len(seen) <= 2, f"{len(seen)} runs for two posts"

    return check


@exhibit(
    "TP-28",
    poster_does_not_take_its_note_out=(
        "threadpool9._pool",
        "                return job._perform_post()\n",
        "                return self._enqueue(job)\n",
    ),
    note_is_taken_out_twice=(
        "threadpool9._pool",
        "                return job._perform_post()\n",
        "                posts.pop(job, None)\n                return self._enqueue(job)\n",
    ),
)
def post_to_a_running_job(w: World) -> Callable[[], None]:
    """One post from the begin of a run on, beside its end, is exactly one more run."""
    pool = w.threadpool9.get()
    w.staff(pool)
    begun = w.lock()
    begun.acquire()
    runs: list[int] = []

    def run(job: Any) -> None:
        runs.append(1)
        if len(runs) == 1:
            begun.release()

    job = w.job(run)
    pool.post(job)

    def post() -> None:
        begun.acquire()
        pool.post(job)

    w.thread("A", post)

    def check() -> None:
        assert len(runs) == 2, f"{len(runs)} runs: one, and one post while it ran"
        assert not w.meetings.posts
        job.destroy()

    return check


@exhibit(
    "TP-20, TP-22",
    worker_blames_the_next_schedule=(
        "threadpool9._worker",
        "            if job._ticket is ticket:\n                raise UsageError(UNDONE.format(job))\n"
        "        except BaseException as error:\n            self.errors",
        "            if len(job._ticket) < 2:\n                raise UsageError(UNDONE.format(job))\n"
        "        except BaseException as error:\n            self.errors",
    ),
    worker_does_not_look_again=LOST_WAKE_UP,
)
def produce_under_the_interlock(w: World) -> Callable[[], None]:
    """Produce and schedule under the lock, against consume until empty and done() under the lock."""
    pool = w.threadpool9.get()
    w.staff(pool)
    items: list[int] = []
    eaten: list[int] = []

    def consume(job: Any) -> None:
        while True:
            with job.interlock:
                if not items:
                    job.done()
                    return
                eaten.append(items.pop(0))

    job = w.threadpool9.Job(consume)

    def produce(number: int) -> None:
        with job.interlock:
            items.append(number)
            pool.schedule(job)

    w.thread("A", lambda: produce(1))
    w.thread("B", lambda: produce(2))

    def check() -> None:
        assert sorted(eaten) == [1, 2], eaten

    return check


@exhibit(
    "TP-25",
    worker_does_not_claim=("threadpool9._worker", "del ticket[0]; self.job = job", "del ticket[:1]; self.job = job"),
)
def schedule_cancel(w: World) -> Callable[[], None]:
    """schedule against cancel_async, both under the interlock: True means no run for that schedule."""
    pool = w.threadpool9.get()
    w.staff(pool)
    events: list[str] = []
    runs: list[int] = []
    job = w.threadpool9.Job(lambda job: (runs.append(1), job.interlock.acquire(), job.done(), job.interlock.release()))

    def schedule() -> None:
        with job.interlock:
            assert pool.schedule(job)
            events.append("scheduled")

    def cancel() -> None:
        with job.interlock:
            events.append("withdrawn" if pool.cancel_async(job) else "too late")

    w.thread("A", schedule)
    w.thread("B", cancel)

    def check() -> None:
        assert len(runs) + pool._cancelled.value() == 1, (events, runs)
        if "too late" in events:
            assert runs == [1]
        with job.interlock:
            assert pool.cancel_async(job)
        job.destroy()

    return check


@exhibit(
    "TP-25",
    canceller_does_not_claim=CANCELLER_DOES_NOT_CLAIM,
)
def cancel_cancel(w: World) -> Callable[[], None]:
    """Two cancel_async without any exclusion, and the worker: one of the three gets the job."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs: list[int] = []
    job = w.job(lambda job: runs.append(1), interlock=Unlocked())
    pool.post(job)
    said: list[bool] = []
    w.thread("A", lambda: said.append(pool.cancel_async(job)))
    w.thread("B", lambda: said.append(pool.cancel_async(job)))

    def check() -> None:
        assert len(runs) + pool._cancelled.value() == 1, (runs, said)
        job.destroy()

    return check


@exhibit(
    "TP-26",
    worker_claims_in_two_steps=(
        "threadpool9._worker",
        "del ticket[0]; self.job = job",
        "ticket.clear(); self.job = job",
    ),
    done_wakes_nobody=(
        "threadpool9._job",
        "        if meetings.sleepers:\n            _atomic.insist(meetings.sleepers.wake, self)\n",
        "",
    ),
    waiter_looks_before_it_enters=WAITER_LOOKS_FIRST,
)
def cancel_against_the_worker_s_claim(w: World) -> Callable[[], None]:
    """cancel of a queued job: at return it is withdrawn, or its run is over."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs = w.cell(0, "runs")
    ends = w.cell(0, "ends")

    def run(job: Any) -> None:
        runs.add()
        ends.add()

    job = w.job(run)
    pool.post(job)
    said: list[tuple[bool, int, int]] = []

    def cancel() -> None:
        with job.interlock:
            result = pool.cancel(job)
            said.append((result, runs.get(), ends.get()))

    w.thread("A", cancel)

    def check() -> None:
        [(unentered, run, end)] = said
        assert run == end == runs.get(), "it ran after the cancel had returned"
        assert runs.get() + pool._cancelled.value() == 1, (said, runs.get())
        assert unentered or run == 1
        job.destroy()

    return check


@exhibit(
    "TP-25, B1",
    slot_is_removed_twice=("threadpool9._pool", "_atomic.discard(self._jobs, ticket)", "self._jobs.remove(ticket)"),
)
def netbsd_s_double_removal(w: World) -> Callable[[], None]:
    """The worker has taken the job off the queue, but does not own it yet, and a cancel takes it off too."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs: list[str] = []
    first = w.job(lambda job: runs.append("first"), interlock=Unlocked())
    second = w.job(lambda job: runs.append("second"))
    pool.post(first)
    said: list[bool] = []

    def cancel() -> None:
        said.append(pool.cancel_async(first))
        pool.post(second)

    w.thread("A", cancel)

    def check() -> None:
        assert runs.count("second") == 1, runs
        assert said[0] or runs.count("first") == 1
        assert not pool._jobs

    return check


@exhibit(
    "TP-25, TP-26",
    ticket_is_used_again=(
        "threadpool9._pool",
        "cancel__job(self, job)\n            job._ticket = [None, None]; del hand[:]",
        "cancel__job(self, job)\n            ticket[:] = (None, None); del hand[:]",
    ),
)
def cancel_and_schedule_again(w: World) -> Callable[[], None]:
    """A worker that holds a withdrawn ticket does not run the job for the next schedule as well."""
    pool = w.threadpool9.get()
    w.staff(pool)
    inside = w.cell(0, "inside")
    runs: list[int] = []

    def run(job: Any) -> None:
        assert inside.add() == 1, "a job runs beside itself"
        runs.append(1)
        inside.add(-1)

    job = w.job(run)
    pool.post(job)
    said: list[bool] = []

    def again() -> None:
        with job.interlock:
            said.append(pool.cancel_async(job))
            pool.schedule(job)

    w.thread("A", again)

    def check() -> None:
        assert 1 <= len(runs) <= 2, runs
        assert len(runs) + pool._cancelled.value() == 2 or not said[0], (runs, said)

    return check


@exhibit(
    "TP-4, TP-5",
    quick=0,
    starter_does_not_look_again=(
        "threadpool9._starter",
        "            if self.requests.empty():\n                return\n",
        "            return\n",
    ),
)
def idle_timeout_against_assignment(w: World) -> Callable[[], None]:
    """A worker whose idle time is over, against a post that claims it; in the end there is no thread."""
    w.idle(1.0)
    pool = w.threadpool9.get()
    runs: list[int] = []
    one = w.job(lambda job: runs.append(1))
    two = w.job(lambda job: runs.append(2))
    pool.post(one)

    def post() -> None:
        w.pause(1.0)
        pool.post(two)

    w.thread("A", post)

    def check() -> None:
        assert sorted(runs) == [1, 2], runs
        assert not w.run.live, f"{[t.name for t in w.run.live]} still live"
        assert not pool._workers
        assert not w.threadpool9._registry.registry.starter.is_alive()

    return check


@exhibit(
    "TP-9",
    busy_looks_at_the_workers_first=(
        "threadpool9._pool",
        "return any(_atomic.contents(self._jobs)) or bool(self._workers)",
        "return bool(self._workers) or any(_atomic.contents(self._jobs))",
    ),
    worker_does_not_look_at_closing=("threadpool9._worker", "if (jobs or self.pool._closing) and", "if jobs and"),
)
def last_put_against_idle_exit(w: World) -> Callable[[], None]:
    """The last put waits for the job and for the worker, which may be going idle at that moment."""
    pool = w.threadpool9.get()
    runs = w.cell(0, "runs")
    job = w.job(lambda job: runs.add())

    def use() -> None:
        pool.post(job)
        pool.put()
        assert runs.get() == 1, "the last put returned before the job had run"
        assert not pool._workers

    w.thread("A", use)

    def check() -> None:
        assert not w.threadpool9._registry.registry.pools

    return check


@exhibit(
    "TP-1",
    second_replaces_the_first=(
        "threadpool9._references",
        "        pool = registry.unbound.get(pri, fresh)\n",
        "        pool = fresh\n",
    ),
)
def get_race(w: World) -> Callable[[], None]:
    """Three threads get and put one priority: one pool, and nothing is left of it."""
    got: list[Any] = []

    def use() -> None:
        pool = w.threadpool9.get(5)
        got.append(pool)
        pool.put()

    def both() -> None:
        one, two = w.threadpool9.get(5), w.threadpool9.get(5)
        assert one is two
        one.put()
        two.put()

    w.thread("A", use)
    w.thread("B", both)
    w.thread("C", use)

    def check() -> None:
        registry = w.threadpool9._registry.registry
        assert not registry.pools
        assert not registry.unbound

    return check


@exhibit(
    "TP-12",
    quick=0,
    refused_although_a_worker_has_it=(
        "threadpool9._pool",
        "            elif isinstance(error, Error):\n                return True",
        "            elif False:\n                return True",
    ),
    it_stays_claimed=(
        "threadpool9._pool",
        "                del ticket[0]; undone = True; job._ticket = blank",
        "                del ticket[0]; undone = True",
    ),
    promised_before_it_is_certain=(
        "threadpool9._starter",
        "            _seam.start_new_thread(self._main, (boot,))\n",
        "            self.booting = boot\n            _seam.start_new_thread(self._main, (boot,))\n",
    ),
    failure_is_kept_quiet=(
        "threadpool9._starter",
        'return "interpreter shutdown" in str(error)',
        "return True",
    ),
)
def no_thread_to_be_had(w: World) -> Callable[[], None]:
    """The OS refuses the first two threads: StartError and the job is as before, or somebody else runs it."""
    pool = w.threadpool9.get()
    w.refuse_threads(2)
    runs: list[int] = []
    one = w.job(lambda job: runs.append(1))
    two = w.job(lambda job: runs.append(2))
    refused: list[int] = []

    def post(number: int, job: Any) -> None:
        while True:
            try:
                pool.post(job)
                return
            except w.threadpool9.StartError:
                refused.append(number)
                assert len(job._ticket) == 2, "it is not as before"

    w.thread("A", lambda: post(1, one))
    w.thread("B", lambda: post(2, two))

    def check() -> None:
        assert sorted(runs) == [1, 2], (runs, refused)

    return check


@exhibit(
    "TP-6",
    quick=0,
    starter_forgets_who_waits=("threadpool9._starter", "pool = item.pop()", "pool = item[0]"),
)
def a_blocked_job_costs_one_thread(w: World) -> Callable[[], None]:
    """A job that waits for another one does not keep it from running."""
    pool = w.threadpool9.get()
    gate = w.lock()
    gate.acquire()
    runs: list[int] = []
    waits = w.job(lambda job: (gate.acquire(), runs.append(1)))
    opens = w.job(lambda job: (gate.release(), runs.append(2)))
    pool.post(waits)
    w.thread("A", lambda: pool.post(opens))

    def check() -> None:
        assert runs in ([2, 1], [1, 2]), runs

    return check


@exhibit(
    "TP-20, any context",
    it_is_waited_for=(
        "threadpool9._pool",
        "        if len(ticket) < 2:\n            return self._not_idle(job)\n",
        "        while len(job._ticket) < 2:\n            _seam.doze(1e6)\n",
    ),
)
def schedule_interrupted_by_schedule(w: World) -> Callable[[], None]:
    """A handler posts the same job and another one at any step of a post, on the same thread."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    runs: list[int] = []
    job = w.job(lambda job: seen.append(data.get()))
    other = w.job(lambda job: runs.append(1))

    def post() -> None:
        data.add()
        pool.post(job)

    def handler() -> None:
        post()
        pool.post(other)

    w.thread("A", post)
    w.interrupt("A", handler)

    def check() -> None:
        fired = w.run.interrupts[0].fired
        assert seen[-1] == (2 if fired else 1), seen
        assert len(runs) == (1 if fired else 0), runs

    return check


@exhibit(
    "TP-24, TP-25, any context",
    canceller_does_not_claim=CANCELLER_DOES_NOT_CLAIM,
)
def cancel_interrupted_by_cancel(w: World) -> Callable[[], None]:
    """A handler cancels and posts at any step of a cancel_async, on the same thread, interlock held."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs: list[int] = []
    job = w.job(lambda job: runs.append(1))
    pool.post(job)

    def cancel() -> None:
        with job.interlock:
            pool.cancel_async(job)

    w.thread("A", cancel)
    w.interrupt("A", cancel)

    def check() -> None:
        assert len(runs) + pool._cancelled.value() == 1, runs
        job.destroy()

    return check


@exhibit(
    "TP-12, TP-20",
    nothing_is_undone=(
        "threadpool9._pool",
        "del ticket[0]; undone = True; job._ticket = blank",
        "pass",
    ),
    signals=True,
)
def keyboardinterrupt_inside_schedule(w: World) -> Callable[[], None]:
    """Ctrl-C, twice, wherever the interpreter looks for signals in post: the job will run, or is as it was."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    job = w.job(lambda job: seen.append(data.get()))
    post_or_not = w.broken_off("A", lambda: pool.post(job), 2)

    def post() -> None:
        post_or_not()
        data.set(1)
        pool.post(job)

    w.thread("A", post)

    def check() -> None:
        assert seen, "the job is lost"
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        job.destroy()

    return check


@exhibit(
    "TP-21, TP-28",
    it_is_undone=(
        "threadpool9._pool",
        "        if None in ticket or isinstance(error, (Error, MemoryError, RecursionError)):\n            return False\n",
        "        return False\n",
    ),
    nobody_sees_to_it=(
        "threadpool9._pool",
        "        if not self._wake_one(job):\n            self._ask(job)\n        self._let_in(job)\n",
        "",
    ),
    signals=True,
    quick=0,
)
def keyboardinterrupt_beside_a_post_that_coalesces(w: World) -> Callable[[], None]:
    """Ctrl-C in a post while another thread posts the job: that one's run comes in any case."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    job = w.job(lambda job: seen.append(data.get()))
    post_or_not = w.broken_off("A", lambda: pool.post(job))

    def post_too() -> None:
        data.set(1)
        pool.post(job)

    w.thread("A", post_or_not)
    w.thread("B", post_too)

    def check() -> None:
        assert 1 in seen, "the post that was not interrupted was lost"
        job.destroy()

    return check


@exhibit(
    "TP-25",
    nothing_is_undone=(
        "threadpool9._pool",
        "            if hand:\n"
        "                job._ticket = [None, None]; del hand[:]; withdrawn = True  # fmt: skip\n"
        "            cancels.pop(id(hand), None)\n            if withdrawn",
        "            cancels.pop(id(hand), None)\n            if withdrawn",
    ),
    signals=True,
)
def keyboardinterrupt_inside_cancel(w: World) -> Callable[[], None]:
    """Ctrl-C wherever the interpreter looks for signals in cancel_async: the job is withdrawn, or runs."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    job = w.job(lambda job: seen.append(data.get()), interlock=Unlocked())
    pool.post(job)
    cancel_or_not = w.broken_off("A", lambda: pool.cancel_async(job))

    def cancel() -> None:
        cancel_or_not()
        data.set(1)
        pool.post(job)

    w.thread("A", cancel)

    def check() -> None:
        assert seen
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        job.destroy()

    return check


@exhibit(
    "TP-5, TP-12",
    promised_before_it_was_asked=(
        "threadpool9._pool",
        "        self._starter.requests.put(request)\n        self._request = request\n",
        "        self._request = request\n        self._starter.requests.put(request)\n",
    ),
)
def request_that_fails(w: World) -> Callable[[], None]:
    """Two threads post; the request of one to the starter fails for want of memory: the other does not rely on it."""
    pool = w.threadpool9.get()
    starter = pool._starter
    failing = [True]

    class Requests(SimpleQueue):
        def put(self, item: Any) -> None:
            if failing[0] and w.run.current.name == "A":
                failing[0] = False
                raise MemoryError
            super().put(item)

    starter.requests = Requests()
    runs: list[str] = []
    one = w.job(lambda job: runs.append("one"))
    two = w.job(lambda job: runs.append("two"))
    failed: list[int] = []

    def post() -> None:
        try:
            pool.post(one)
        except MemoryError:
            failed.append(1)

    w.thread("A", post)
    w.thread("B", lambda: pool.post(two))

    def check() -> None:
        assert runs.count("two") == 1, runs
        assert runs.count("one") == 1 or failed, runs
        assert not pool._jobs
        if failed and not runs.count("one"):
            assert len(one._ticket) == 2, "what failed is not as it was"

    return check


@exhibit(
    "TP-25, TP-29",
    canceller_wakes_nobody=(
        "threadpool9._pool",
        "        if meetings.sleepers:\n            meetings.sleepers.wake(job)\n",
        "",
    ),
    waiter_looks_before_it_enters=WAITER_LOOKS_FIRST,
)
def wait_against_cancel(w: World) -> Callable[[], None]:
    """Job.wait beside a cancel_async and the worker: when it returns the run is over, or there is none to come."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs = w.cell(0, "runs")
    job = w.job(lambda job: runs.add(), interlock=Unlocked())
    pool.post(job)
    said: list[bool] = []
    at_return: list[int] = []

    def wait() -> None:
        job.wait()
        at_return.append(runs.get())

    w.thread("A", wait)
    w.thread("B", lambda: said.append(pool.cancel_async(job)))

    def check() -> None:
        assert at_return == [runs.get()], "wait returned before the run"
        assert runs.get() + pool._cancelled.value() == 1, (runs.get(), said)
        assert said[0] or runs.get() == 1
        assert not w.meetings.cancels
        job.destroy()

    return check


@exhibit(
    "TP-9",
    drain_looks_at_the_queue_only=(
        "threadpool9._drain",
        "        for job in (*tuple(ticket), worker.job):\n",
        "        for job in ():\n",
    ),
    who_drains_does_not_wait_for_a_worker_that_takes=(
        "threadpool9._drain",
        "        while _seam.FREE_THREADED and worker.ident",
        "        while False and worker.ident",
    ),
)
def pool_drain_against_schedule(w: World) -> Callable[[], None]:
    """Pool.drain beside another post and a worker that is about to take: what was posted before is over."""
    pool = w.threadpool9.get()
    w.staff(pool)
    runs = w.cell((), "runs")
    one = w.job(lambda job: runs.add(("one",)))
    two = w.job(lambda job: runs.add(("two",)))

    def drain() -> None:
        pool.post(one)
        pool.drain()
        assert "one" in runs.get(), "drain returned before what was scheduled had run"

    w.thread("A", drain)
    w.thread("B", lambda: pool.post(two))

    def check() -> None:
        assert sorted(runs.get()) == ["one", "two"], runs.get()
        assert not pool._jobs

    return check


@exhibit(
    "TP-4, TP-13",
    worker_does_not_look_again=(
        "threadpool9._worker",
        "if (pool._jobs or pool._closing) and self._unpublish():  # look again",
        "if False:",
    ),
    worker_leaves_a_claim_behind=(
        "threadpool9._worker",
        "            if not self._unpublish():\n                return self._wait_for_claim()\n            self.away",
        "            self._unpublish()\n            self.away",
    ),
)
def idle_worker_puts_its_thread_right(w: World) -> Callable[[], None]:
    """A worker that looks what jobs left behind, against a post that claims it: the job runs on a thread in order."""
    w.copies.set("threadpool9._worker._SOON", 0.001)
    pool = w.threadpool9.get()
    w.staff(pool)
    runs: list[int] = []
    left_behind = [0]

    def leave(job: Any) -> None:
        runs.append(1)
        left_behind[0] += 1

    one, two = w.job(leave), w.job(lambda job: runs.append(2))
    w.copies.fingerprint = lambda: left_behind[0]

    def post() -> None:
        pool.post(one)
        pool.post(two)

    w.thread("A", post)

    def check() -> None:
        assert sorted(runs) == [1, 2], runs
        [worker] = pool._workers
        assert list(pool._idle) == [worker], "it is not idle, or twice"
        assert worker.settled.in_order()

    return check


@exhibit(
    "Mailbox",
    waiter_is_not_told=(
        "threadpool9._seam",
        "            self._nothing_new.release()\n",
        "            pass\n",
    ),
)
def mailbox_put_against_get(w: World) -> Callable[[], None]:
    """Two threads put into the mailbox of older Pythons, one reads with and without a time limit: nothing is lost."""
    box = w.copies.module("threadpool9._seam")._LockMailbox()
    got: list[int] = []

    def read() -> None:
        got.append(box.get())
        try:
            got.append(box.get(True, 1.0))
        except Empty:
            got.append(box.get())

    w.thread("A", lambda: box.put(1))
    w.thread("B", lambda: box.put(2))
    w.thread("C", read)

    def check() -> None:
        assert sorted(got) == [1, 2], got
        assert box.empty()

    return check


@exhibit(
    "TP-34",
    completed_may_go_back=(
        "threadpool9._stats",
        "        self._reported_completed = max(self._reported_completed, started - in_flight)\n",
        "        self._reported_completed = started - in_flight\n",
    ),
    scheduled_may_go_back=(
        "threadpool9._stats",
        "        self._reported = max(self._reported, started + cancelled + queued)\n",
        "        self._reported = started + cancelled + queued\n",
    ),
)
def counters_beside_the_worker(w: World) -> Callable[[], None]:
    """Two looks at the counters while jobs run: no counter goes back."""
    pool = w.threadpool9.get()
    w.staff(pool)
    pool.post(w.job(lambda job: None))
    pool.post(w.job(lambda job: None))
    names = ("scheduled", "started", "completed", "cancelled", "errors")

    def look() -> None:
        one, two = pool.counts(), pool.counts()
        for name, before, now in zip(names, one, two, strict=False):
            assert before <= now, f"{name} has gone back: {before}, {now}"

    w.thread("A", look)

    def check() -> None:
        assert pool.counts()[:5] == [2, 2, 2, 0, 0]

    return check
