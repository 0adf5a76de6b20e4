"""TP-32, TK-14: how a process ends, in each way, with each kind of work left, under each policy, on each layer."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from pace import patience

PROGRAM = Path(__file__).with_name("exit_program.py")
LIMIT = patience(100.0)
LAYERS = ("job", "task", "work")

#: Ways to end that let the exit functions run, with the status that each has.
ORDERLY = {"normal": 0, "exit": 3, "exception": 1, "handled": 5, "ctrl-c": -signal.SIGINT}
#: Ways that do not.
ABRUPT = {"os._exit": 4, "sigterm": -signal.SIGTERM}

#: What is written at an orderly end, in order, by state and policy; a state that is left out would never end, nor, in
#: our time, one that waits as long as the policy lets it though there is nothing to wait for.
WRITTEN = {
    ("idle", "drain"): "ran exiting",
    ("idle", "cancel"): "ran exiting",
    ("idle", "abandon"): "ran exiting",
    ("idle", "1000"): "ran exiting",
    ("running", "drain"): "begin exiting end",
    ("running", "cancel"): "begin exiting end",
    ("running", "1000"): "begin exiting end",
    ("queued", "drain"): "begin exiting end ran",
    ("queued", "cancel"): "begin exiting end",
    ("queued", "1000"): "begin exiting end ran",
    ("blocked", "abandon"): "begin exiting",
    ("blocked", "0.1"): "begin exiting",
    ("delayed", "drain"): "exiting",
    ("delayed", "cancel"): "exiting",
    ("delayed", "abandon"): "exiting",
    ("delayed", "1000"): "exiting",
}


def cases() -> Iterator[object]:
    """Every layer, state and policy, each with one way to end, and with all of them where thoroughness is asked for."""
    endings = itertools.cycle(ORDERLY)
    for layer, (state, policy) in itertools.product(LAYERS, WRITTEN):
        chosen = next(endings)
        for ending in ORDERLY:
            marks = () if ending == chosen else (pytest.mark.thorough,)
            yield pytest.param(layer, state, policy, ending, marks=marks)


def end(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `exit_program.py`."""
    return subprocess.run([sys.executable, str(PROGRAM), *words], capture_output=True, text=True, timeout=LIMIT)


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program after a few lines that all have in common."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(program)], capture_output=True, text=True, timeout=LIMIT
    )


PRELUDE = r"""
import atexit, os, signal, sys, threading, time
def say(line): os.write(1, line.encode() + b"\n")  # one call: prints of two threads may mix
early = []
atexit.register(lambda: [action() for action in early])  # before the layers are imported: called after their own
import task9, threadpool9, workqueue9
pool, queue = threadpool9.get(), task9.TaskQueue("q")
works = workqueue9.WorkQueue("w", lambda work, arg: work.payload())
def on_job(action):
    def fn(job):
        action()
        with job.interlock: job.done()
    return pool.post(threadpool9.Job(fn))
def on_task(action): return queue.schedule(task9.Task(lambda task: action()))
def on_work(action): return works.enqueue(workqueue9.Work(action))
everywhere = {"job": on_job, "task": on_task, "work": on_work}
"""


@pytest.mark.parametrize(("layer", "state", "policy", "ending"), list(cases()))
def test_tp32_orderly_end(layer: str, state: str, policy: str, ending: str) -> None:
    """TP-32, TK-14: what is left runs or not as the policy says, and the status is that of the ending."""
    done = end(layer, state, policy, ending)
    lines = done.stdout.split()
    assert sorted(lines) == sorted(WRITTEN[state, policy].split()), done.stderr
    if state == "queued" and layer != "job":  # two jobs may run at once
        assert [line for line in lines if line != "exiting"] == WRITTEN[state, policy].replace("exiting ", "").split()
    assert done.returncode == ORDERLY[ending], done.stderr
    traceback = {"exception": "ValueError: on purpose", "ctrl-c": "KeyboardInterrupt"}.get(ending)
    assert done.stderr.count("Traceback") == (traceback is not None), done.stderr
    assert traceback is None or traceback in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("ending", "state", "written"),
    [
        ("os._exit", "queued", "begin"),
        ("sigterm", "running", "begin"),
        ("sigterm", "delayed", ""),
        ("os._exit", "idle", "ran"),
    ],
)
def test_tp32_abrupt_end(layer: str, ending: str, state: str, written: str) -> None:
    """TP-32: os._exit and SIGTERM's default ask nobody; nothing of ours is in their way."""
    done = end(layer, state, "drain", ending)
    assert (done.returncode, done.stdout.split(), done.stderr) == (ABRUPT[ending], written.split(), "")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("policy", ["drain", "cancel"])
def test_tp32_a_second_ctrl_c_gets_out(layer: str, policy: str) -> None:
    """TP-32: after the first Ctrl-C the exit waits for what is blocked; the second gets out."""
    command = [sys.executable, str(PROGRAM), layer, "blocked", policy, "ctrl-c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline(), process.stdout.readline()] == ["begin\n", "exiting\n"]
            # The line may come an instant before the exit functions of ours begin to wait: then it takes one more.
            for _ in range(int(LIMIT)):
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(1)
                except subprocess.TimeoutExpired:
                    continue
                break
            assert process.poll() == -signal.SIGINT, "Ctrl-C did not get out"
            assert process.stdout.read() == ""
        finally:
            process.kill()


def test_tp32_scheduled_by_atexit_functions_and_by_threads_that_live_on() -> None:
    """TP-32: all of it runs to completion, also if no thread of ours was alive before, and in order after atexit's."""
    done = run(
        """
        for name, on in everywhere.items():
            atexit.register(lambda name=name, on=on: on(lambda: say(f"{name} by atexit")))
        def live_on():
            threading.main_thread().join()  # the main thread has come to its end: the interpreter waits for us
            for name, on in everywhere.items():
                on(lambda name=name: say(f"{name} by a thread"))
        threading.Thread(target=live_on).start()
        """
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{name} by {whom}" for name in LAYERS for whom in ("atexit", "a thread")
    )


def test_tp32_what_jobs_schedule_during_the_exit_runs_too() -> None:
    """TP-32: drain means until nothing is left: a chain of runs, each of which schedules the next one."""
    done = run(
        """
        def chain(n):
            def action():
                say(str(n))
                if n < 30: list(everywhere.values())[n % 3](chain(n + 1))
            return action
        atexit.register(lambda: on_job(chain(0)))
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(n) for n in range(31)]


@pytest.mark.parametrize("policy", ["cancel", "0.2"])
def test_tp32_a_chain_without_end_does_not_hold_a_limited_exit(policy: str) -> None:
    """TP-32: under cancel and under a limit, runs that schedule each other for ever come to an end."""
    done = run(
        f"""
        threadpool9.tunables.exit_policy = {policy!r} if {policy!r} == "cancel" else float({policy!r})
        def again(on):
            def action():
                try: on(action)
                except threadpool9.FinalizingError: pass
            on(action)
        for on in everywhere.values():
            again(on)
        """
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("out", ["drained", "ctrl-c"])
def test_tp32_schedule_during_finalization_is_a_clear_error(out: str) -> None:
    """TP-32: after our exit function, however it ended, every layer says FinalizingError; so do finalizers' calls."""
    done = run(
        f"""
        def refused():
            signal.setitimer(signal.ITIMER_REAL, 0)
            delayed = task9.DelayedTask(lambda task: say("ran"))
            calls = dict(everywhere, delayed=lambda action: queue.schedule_delayed(delayed, 0.001))
            for name, on in calls.items():
                try: on(lambda: say("ran"))
                except threadpool9.FinalizingError as error: say(f"{{name}}: {{'exit' in str(error)}}")
                except BaseException as error: say(f"{{name}}: {{error!r}}")
                else: say(f"{{name}}: accepted")
        early.append(refused)
        if {out!r} == "ctrl-c":
            began = threading.Event()
            on_job(lambda: (began.set(), threading.Event().wait()))
            began.wait(30)
            threading._register_atexit(signal.setitimer, signal.ITIMER_REAL, 0.2, 0.5)  # a Ctrl-C while the exit waits
            signal.signal(signal.SIGALRM, signal.default_int_handler)
        class Late:
            def __del__(self): refused()
        keep = Late()
        sys.modules["keep"] = keep
        """
    )
    expected = [f"{name}: True" for name in (*LAYERS, "delayed")]
    lines = done.stdout.splitlines()
    assert lines[: len(expected)] == expected, done.stderr
    assert set(lines) == set(expected)


def test_tp32_idle_workers_do_not_delay_the_exit() -> None:
    """TP-32: a process with many idle workers and the default idle time of 30 s ends at once."""
    done = run(
        """
        assert threadpool9.tunables.idle_ms == 30000
        gate = threading.Barrier(21)
        for _ in range(20): on_job(gate.wait)
        gate.wait(30)
        while sum(worker.state == "idle" for worker in threadpool9.snapshot().workers) < 20: time.sleep(0.001)
        began = time.monotonic()
        early.append(lambda: say(str(time.monotonic() - began < 5)))
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_tp32_what_jobs_print_is_complete() -> None:
    """TP-32: buffered output of everything that was left to run arrives, each line once."""
    done = run(
        """
        lock = threading.Lock()
        def write(line):
            with lock: print(line)
        for n in range(100):
            for name, on in everywhere.items():
                on(lambda name=name, n=n: write(f"{name} {n}"))
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"{name} {n}" for name in LAYERS for n in range(100))


def test_tp32_a_job_that_a_worker_has_just_taken_is_not_lost() -> None:
    """TP-32: between taking a ticket and showing the job a worker looks idle to nobody."""
    done = run(
        """
        class Slow(threadpool9._seam.deque):
            def popleft(self):
                item = super().popleft()
                time.sleep(0.5)  # the window, made wide
                return item
        with pool: pass
        plain, threadpool9._seam.deque = threadpool9._seam.deque, Slow
        pool = threadpool9.get()
        threadpool9._seam.deque = plain
        on_job(lambda: say("ran"))
        while pool._jobs: time.sleep(0.001)  # taken
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_tp32_what_is_drained_finds_the_house_as_it_was() -> None:
    """TP-32: log handlers, temporary directories and executors are there while jobs that were left run."""
    done = run(
        """
        import logging, logging.handlers, tempfile, weakref
        directory = tempfile.TemporaryDirectory()
        memory = logging.handlers.MemoryHandler(100, target=logging.StreamHandler(sys.stdout))
        logging.getLogger().addHandler(memory)
        gate = threading.Event()
        threading._register_atexit(gate.set)
        from concurrent.futures import ThreadPoolExecutor
        def action(name):
            gate.wait()
            with open(os.path.join(directory.name, name), "w") as file:
                file.write(name)
            logging.getLogger().warning("%s", name)
        for name, on in everywhere.items():
            on(lambda name=name: action(name))
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["job", "task", "work"]


@pytest.mark.parametrize("layer", LAYERS)
def test_tp32_what_schedules_itself_for_ever_is_refused_at_last(layer: str) -> None:
    """TP-32: after 1000 generations a unit that schedules itself again gets FinalizingError, which is reported."""
    done = run(
        f"""
        on = everywhere[{layer!r}]
        def again(): on(again)
        on(again)
        threadpool9._exit.GENERATIONS = 50  # a thousand take long where two workers are busy
        """
    )
    assert done.returncode == 0
    assert "FinalizingError" in done.stderr


def test_tp32_a_daemon_thread_cannot_keep_the_exit_waiting() -> None:
    """TP-32: a daemon thread that goes on posting is refused from the beginning of the drain."""
    done = run(
        """
        refused = threading.Event()
        def post():
            while True:
                try: on_job(lambda: None)
                except threadpool9.FinalizingError:
                    refused.set()
                    return
        threading.Thread(target=post, daemon=True).start()
        atexit.register(lambda: say(str(refused.wait(30))))
        """
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


MULTIPROCESSING = """
import multiprocessing, sys, threading
import task9, threadpool9, workqueue9


def child(path):
    gate = threading.Event()
    threading._register_atexit(gate.set)
    def write(name):
        gate.wait()
        with open(path, "a") as file:
            file.write(name + chr(10))
    def fn(job):
        write("job")
        with job.interlock: job.done()
    threadpool9.get().post(threadpool9.Job(fn))
    queue = task9.TaskQueue("q")
    queue.call(write, "call")
    works = workqueue9.WorkQueue("w", lambda work, arg: write("work"))
    works.enqueue(workqueue9.Work())
    child.keep = queue, works


if __name__ == "__main__":
    process = multiprocessing.get_context(sys.argv[1]).Process(target=child, args=(sys.argv[2],))
    process.start()
    process.join(60)
    sys.exit(process.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_tp32_children_of_multiprocessing_run_what_is_left(method: str, tmp_path: Path) -> None:
    """TP-32: they end by os._exit after their own exit functions; what was scheduled has run by then."""
    program, written = tmp_path / "program.py", tmp_path / "written"
    program.write_text(MULTIPROCESSING)
    done = subprocess.run(
        [sys.executable, str(program), method, str(written)], capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(written.read_text().split()) == ["call", "job", "work"]
