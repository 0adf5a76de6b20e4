"""Worlds of threadpool9: jobs, workers, the starter, and who holds references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explore9.gallery import exhibit
from explore9.search import World

LOST_WAKE_UP = (
    "threadpool9._worker",
    "if (jobs or self.pool._closing) and self._unpublish():",
    "if False:",
)
WAITER_LOOKS_FIRST = (
    "threadpool9._seam",
    "            self.locks.append(mine)\n            in_time = True\n            if must_wait():",
    "            must = must_wait()\n"
    "            self.locks.append(mine)\n"
    "            in_time = True\n"
    "            if must:",
)


class Unlocked:
    """An interlock that cannot be asked and excludes nobody: what the layer does then is its own atomicity."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


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
        "        self.look_for_posts()\n        if self._done_waiters",
        "        if self._done_waiters",
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
        "                try:\n                    again.pop()\n"
        "                except IndexError:\n                    return False\n"
        "                if self._enqueue(job)",
        "                if self._enqueue(job)",
    ),
    note_is_taken_out_twice=(
        "threadpool9._pool",
        "                except IndexError:\n                    return False\n                if self._enqueue(job)",
        "                except IndexError:\n                    pass\n                if self._enqueue(job)",
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
        assert not job._again
        job.destroy()

    return check


@exhibit(
    "TP-20, TP-22",
    worker_blames_the_next_schedule=(
        "threadpool9._worker",
        "            if job._ticket is ticket:\n                raise UsageError(UNDONE.format(job))\n"
        "        except BaseException as error:\n            self.errors",
        "            if job._ticket is not None:\n                raise UsageError(UNDONE.format(job))\n"
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
    worker_does_not_claim=("threadpool9._worker", "job = ticket.pop()", "job = ticket[0]"),
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
    canceller_does_not_claim=(
        "threadpool9._pool",
        "            _seam.collect(ticket.pop, taken)\n",
        "            taken.append(ticket[0])\n            ticket.clear()\n",
    ),
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
    worker_claims_in_two_steps=("threadpool9._worker", "job = ticket.pop()", "job = ticket[0]; ticket.clear()"),
    done_wakes_nobody=("threadpool9._job", "            self._done_waiters.wake_all()", "            pass"),
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
    slot_is_removed_twice=("threadpool9._pool", "_seam.discard(self._jobs, ticket)", "self._jobs.remove(ticket)"),
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
        "        ticket = [job]\n",
        "        ticket = job.__dict__.setdefault('slot', [])\n        ticket[:] = [job]\n",
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
    w.thread("A", lambda: pool.post(two))

    def check() -> None:
        assert sorted(runs) == [1, 2], runs
        assert not w.run.live, f"{[t.name for t in w.run.live]} still live"
        assert not pool._workers
        assert not w.threadpool9._registry.registry.starter.is_alive()

    return check


@exhibit(
    "TP-9",
    busy_looks_twice_at_the_jobs=(
        "threadpool9._pool",
        "return bool(self._jobs) or bool(self._workers)",
        "return bool(self._jobs or self._workers)",
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
        "threadpool9._registry",
        "        pool = registry.unbound.setdefault(pri, fresh)\n",
        "        pool = registry.unbound[pri] = fresh\n",
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
    refused_although_a_worker_has_it=(
        "threadpool9._pool",
        "                if self._undo(job, ticket) or not isinstance(error, Error):\n"
        "                    raise\n"
        "                return True",
        "                self._undo(job, ticket)\n                raise",
    ),
    token_is_kept=(
        "threadpool9._pool",
        "        job._free.append(None)\n        job.look_for_posts()\n        return True",
        "        return True",
    ),
    failure_is_kept_quiet=(
        "threadpool9._starter",
        'return "interpreter shutdown" in str(error)',
        "return True",
    ),
)
def no_thread_to_be_had(w: World) -> Callable[[], None]:
    """The OS refuses the first thread: StartError and the job is as before, or somebody else runs it."""
    pool = w.threadpool9.get()
    w.refuse_threads(1)
    runs: list[int] = []
    one = w.job(lambda job: runs.append(1))
    two = w.job(lambda job: runs.append(2))
    refused: list[int] = []

    def post(number: int, job: Any) -> None:
        try:
            pool.post(job)
        except w.threadpool9.StartError:
            refused.append(number)
            assert job._ticket is None
            pool.post(job)

    w.thread("A", lambda: post(1, one))
    w.thread("B", lambda: post(2, two))

    def check() -> None:
        assert sorted(runs) == [1, 2], (runs, refused)

    return check


@exhibit(
    "TP-6",
    starter_forgets_who_waits=("threadpool9._starter", "            item._asked.append(None)\n", "            pass\n"),
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
    token_is_waited_for=(
        "threadpool9._pool",
        "        if not job._free:\n            return self._not_idle(job)\n        ticket = [job]",
        "        while not job._free:\n            _seam.doze(1e6)\n        ticket = [job]",
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
    canceller_does_not_claim=(
        "threadpool9._pool",
        "            _seam.collect(ticket.pop, taken)\n",
        "            taken.append(ticket[0])\n            ticket.clear()\n",
    ),
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
        "                if self._undo(job, ticket) or not isinstance(error, Error):\n                    raise",
        "                if True:\n                    raise",
    ),
    signals=True,
)
def keyboardinterrupt_inside_schedule(w: World) -> Callable[[], None]:
    """Ctrl-C wherever the interpreter looks for signals in post: the job has a run to come, or is as it was."""
    pool = w.threadpool9.get()
    w.staff(pool)
    data = w.cell(0, "data")
    seen: list[int] = []
    job = w.job(lambda job: seen.append(data.get()))

    inside = [True]

    def strike() -> None:
        if inside[0]:
            raise KeyboardInterrupt

    def post() -> None:
        try:
            pool.post(job)
        except KeyboardInterrupt:
            pass
        inside[0] = False
        data.set(1)
        pool.post(job)

    w.thread("A", post)
    w.interrupt("A", strike, raising=True)

    def check() -> None:
        assert seen, "the job is lost"
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        job.destroy()

    return check


@exhibit(
    "TP-25",
    nothing_is_undone=(
        "threadpool9._pool",
        "            if taken and not given:\n"
        "                self._drop(ticket)\n"
        "                job._ticket = None\n"
        "                job._free.append(None)\n"
        "            raise\n"
        "        finally",
        "            raise\n        finally",
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

    inside = [True]

    def strike() -> None:
        if inside[0]:
            raise KeyboardInterrupt

    def cancel() -> None:
        try:
            pool.cancel_async(job)
        except KeyboardInterrupt:
            pass
        inside[0] = False
        data.set(1)
        pool.post(job)

    w.thread("A", cancel)
    w.interrupt("A", strike, raising=True)

    def check() -> None:
        assert seen
        assert seen[-1] == 1, "the schedule after the Ctrl-C was lost"
        job.destroy()

    return check
