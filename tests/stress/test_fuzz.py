"""Random programs on all layers, struck by faults (TP-31, TP-32, TP-34, TP-36); `stormkit.fuzz` says what they do.

A failure prints the command that repeats it. ``SECTION9_FUZZ_SEED`` chooses the first seed, which is another one each
day.
"""

from __future__ import annotations

import datetime
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pace import patience
from stormkit.fuzz import GIL, KINDS, _testcapi

pytestmark = pytest.mark.fuzz
HERE = Path(__file__).parent
FIRST = int(os.environ.get("SECTION9_FUZZ_SEED") or datetime.date.today().toordinal() * 1000)
EPISODES = 3  # in one process
#: Why a kind of fault says nothing on this interpreter.
LEFT_OUT = {
    "nomemory": "no way to refuse memory here"
    if _testcapi is None or not GIL
    else "CPython 3.12 and 3.13 crash by themselves when memory for a function object is refused"
    if (3, 12) <= sys.version_info[:2] <= (3, 13)
    else "",
    "fork": "" if GIL else "a free-threaded CPython 3.13 does not stop other threads before it forks",
}
SHARES = 6  # kinds of fault


def begin(kind: str, seed: int, episodes: int) -> subprocess.CompletedProcess[str]:
    """Some episodes in a process of their own, which ends by itself even if it hangs."""
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "stormkit.fuzz", kind, str(seed), str(episodes)]
    limit = patience(60.0)
    return subprocess.run(
        words,
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": str(HERE), "SECTION9_FUZZ_LIMIT": str(limit)},
        capture_output=True,
        text=True,
        timeout=limit * 10,
    )


def repeat(kind: str, seed: int, episodes: int) -> str:
    """The command that does the same again."""
    return f"repeat it in tests/stress: {sys.executable} -m stormkit.fuzz {kind} {seed} {episodes}"


def check_exit(seed: int) -> None:
    """One process that ends with work left: what ran is what its policy says, and nothing ran twice."""
    done = begin("exit", seed, 1)
    lines = [line.split() for line in done.stdout.splitlines()]
    policy = lines[0][1] if lines else "?"
    launched = [number for what, number in lines[1:] if what == "s"]
    ran = [number for what, number in lines[1:] if what == "r"]
    hint = f"policy {policy}; {repeat('exit', seed, 1)}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, hint
    assert len(ran) == len(set(ran)), f"something ran twice; {hint}"
    assert set(ran) <= set(launched), f"something ran that was refused; {hint}"
    if policy == "drain":
        assert set(ran) == set(launched), f"lost: {sorted(set(launched) - set(ran))}; {hint}"


def fuzz(kind: str, seconds: float) -> int:
    """Episodes of one kind until the time is over; how many they were."""
    end = time.monotonic() + seconds
    seeds = itertools.count(FIRST, 1 if kind == "exit" else EPISODES)
    count = 0
    while time.monotonic() < end:
        seed = next(seeds)
        if kind == "exit":
            check_exit(seed)
            count += 1
            continue
        done = begin(kind, seed, EPISODES)
        assert done.returncode == 0, f"{repeat(kind, seed, EPISODES)}\n{done.stdout[-500:]}\n{done.stderr[-6000:]}"
        count += EPISODES
    return count


@pytest.mark.parametrize("kind", [*KINDS, "exit"])
def test_random_programs_survive(kind: str) -> None:
    """Nothing is lost, doubled or stuck: a minute for all kinds of fault together, on every Python."""
    if LEFT_OUT.get(kind):
        pytest.skip(LEFT_OUT[kind])
    count = fuzz(kind, 60.0 / SHARES)
    print(f"{kind}: {count} episodes from seed {FIRST}")
    assert count


@pytest.mark.thorough
@pytest.mark.parametrize("kind", [*KINDS, "exit"])
def test_random_programs_survive_for_long(kind: str) -> None:
    """The same for ten minutes."""
    if LEFT_OUT.get(kind):
        pytest.skip(LEFT_OUT[kind])
    count = fuzz(kind, 600.0 / SHARES)
    print(f"{kind}: {count} episodes from seed {FIRST}")
    assert count


FORKS = """
import gc, os, sys, threading, weakref
import task9, threadpool9, workqueue9

LIMIT, COUNT = float(sys.argv[1]), int(sys.argv[2])
dead = weakref.proxy(set())
pool, queue, private = threadpool9.get(), task9.get(3), task9.TaskQueue("q")
wq = workqueue9.WorkQueue("w", lambda work, arg: work.payload(), max_pending=8)
stop = threading.Event()


def finish(job):
    with job.interlock:
        job.done()


job, task, delayed = threadpool9.Job(finish), task9.Task(lambda task: None), task9.DelayedTask(lambda task: None)


def busy():  # makes jobs, and has work pending and under way whenever the fork comes
    while not stop.is_set():
        pool.post(threadpool9.Job(finish))
        pool.post(job)
        for some in (queue, private):
            some.call(gc.isenabled)
        private.schedule(task)
        private.schedule_delayed(delayed, 1e-4)
        wq.enqueue(workqueue9.Work(gc.isenabled))


thread = threading.Thread(target=busy)
thread.start()
gc.collect()
gc.freeze()
dead_children = 0
for number in range(COUNT):
    child = os.fork()
    if not child:
        try:
            ran = []
            assert pool.post(job) and private.schedule(task) and private.schedule_delayed(delayed, 1e-4)
            queue.call(ran.append, 1)
            private.call(ran.append, 2)
            assert wq.enqueue(workqueue9.Work(lambda: ran.append(3)), timeout=LIMIT)
            job.wait(LIMIT)
            for some in (queue, private, pool, wq):
                some.drain(LIMIT)
            os._exit(0 if sorted(ran) == [1, 2, 3] else 1)
        except BaseException as error:
            os.write(2, repr(error).encode() + bytes([10]))
            os._exit(2)
    dead_children += os.waitpid(child, 0)[1] != 0
stop.set()
thread.join()
for some in (private, wq):
    some.close(LIMIT)
print("dead", dead_children, "of", COUNT)
"""


@pytest.mark.skipif(bool(LEFT_OUT["fork"]), reason=LEFT_OUT["fork"] or "-")
@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.thorough)])
def test_no_fork_child_is_dead(count: int) -> None:
    """TP-31: beside a thread that makes jobs, with a dead proxy, and with everything frozen for the collector."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, str(patience(30.0)), str(count)],
        capture_output=True,
        text=True,
        timeout=patience(1200.0),
    )
    assert (done.returncode, done.stdout) == (0, f"dead 0 of {count}\n"), done.stderr[-3000:]


def test_the_fuzz_sees_a_run_that_is_lost_and_one_that_is_doubled() -> None:
    """The account of a unit is exact enough to notice one run more, and one less."""
    from stormkit.fuzz import Unit

    for runs in (0, 2):
        unit = Unit(lambda delay: True, name="seeded")
        unit.account("launch", True)
        unit.runs += [None] * runs
        with pytest.raises(AssertionError, match=f"{runs} runs, where 1 to 1"):
            unit.check()
