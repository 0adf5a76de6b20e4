"""TP-31, TK-14: fork. The child has none of our threads, everything in it is unscheduled, and it can do everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pace import patience
from programs import output

PROGRAM = Path(__file__).with_name("fork_program.py")
LIMIT = patience(600.0)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


#: `make test-all` runs the long form once, and a shorter one on each further interpreter.
SHARE = 10 if os.environ.get("SECTION9_LIGHT") else 1
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
stops_others = pytest.mark.skipif(
    not WITH_GIL, reason="this build does not stop other threads before it forks: docs/promises.rst, Not promised"
)


@stops_others
@pytest.mark.parametrize(("where", "count"), [("main", 200), ("job", 100), ("task", 100), ("work", 100)])
def test_tp31_fork_at_random_moments_under_load(where: str, count: int) -> None:
    """TP-31, TK-14: 500 forks in all; each child does everything and exits 0, the parent's work runs exactly once."""
    command = [sys.executable, str(PROGRAM), where, str(count // SHARE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["wrong"] == [], done.stderr
    assert report["ran"] == report["asked"]
    assert min(report["ran"].values()) > 0


def test_tp31_the_parent_s_blocked_work_is_not_the_child_s() -> None:
    """TP-31, TK-14: what runs in the parent is unscheduled in the child: usable there at once, and run once here."""
    printed = output(
        """
        import os, sys, threading
        import task9, threadpool9, workqueue9
        go, began = threading.Event(), threading.Semaphore(0)
        parent = os.getpid()
        def block(what):
            if os.getpid() == parent:
                began.release(); go.wait(30)
            os.write(1, f"{what} in {'parent' if os.getpid() == parent else 'child'}\\n".encode())
        def job_fn(job):
            block("job")
            with job.interlock: job.done()
        pool, queue = threadpool9.get(), task9.TaskQueue("q")
        wq = workqueue9.WorkQueue("w", lambda work, arg: block("work"), flags=workqueue9.WQ_GIANT, max_pending=1)
        job, task, work = threadpool9.Job(job_fn), task9.Task(lambda task: block("task")), workqueue9.Work()
        delayed = task9.DelayedTask(lambda task: block("delayed"))
        def schedule():
            assert pool.post(job) and queue.schedule(task) and wq.enqueue(work)
            assert queue.schedule_delayed(delayed, 1000)
        schedule()
        for _ in range(3): began.acquire(timeout=30)
        behind = workqueue9.Work()
        assert wq.enqueue(behind)       # takes the only slot
        pid = os.fork()
        if pid == 0:
            snapshot = threadpool9.snapshot()
            assert snapshot.workers == () and snapshot.queued == () and snapshot.starter is None
            assert not task.pending and not delayed.armed
            with job.interlock:
                assert pool.cancel_async(job) and pool.cancel(job)
            assert task.cancel() and delayed.cancel() and not wq.cancel(work, 30)
            schedule()
            assert delayed.cancel()
            queue.drain(30); wq.flush(30)
            wq.destroy(30)
            queue.close(30)
            pool.put(30)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert delayed.cancel()
        go.set()
        """
    )
    runs = [f"{what} in {whose}" for whose in ("child", "parent") for what in ("job", "task", "work")]
    assert sorted(printed.splitlines()) == sorted([*runs, "work in parent"])  # and the one behind


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_tp31_multiprocessing(method: str, tmp_path: Path) -> None:
    """TP-31: the children of multiprocessing use the layers, whichever way they are made, beside busy threads."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import multiprocessing, sys, threading
            from concurrent.futures import ProcessPoolExecutor
            import task9, threadpool9, workqueue9

            pool = threadpool9.get()
            queue = task9.TaskQueue("q")
            seen = []
            task = task9.Task(lambda task: seen.append(1))

            def use(n):
                for _ in range(n):
                    assert queue.schedule(task)
                    queue.drain(60)
                got = []
                with workqueue9.WorkQueue("w", lambda work, arg: got.append(work.payload)) as wq:
                    for k in range(n):
                        wq.enqueue(workqueue9.Work(k))
                assert got == list(range(n))
                return len(seen)

            def answer(pipe, n):
                pipe.send(use(n))

            if __name__ == "__main__":
                go = threading.Event()
                def fn(job):
                    go.wait(60)
                    with job.interlock: job.done()
                pool.post(threadpool9.Job(fn))
                context = multiprocessing.get_context(sys.argv[1])
                mine, theirs = context.Pipe()
                children = [context.Process(target=answer, args=(theirs, 5)) for _ in range(3)]
                for child in children: child.start()
                for child in children: child.join(); assert child.exitcode == 0, child.exitcode
                assert [mine.recv() for _ in children] == [5, 5, 5] and seen == []
                with ProcessPoolExecutor(2, mp_context=context) as executor:
                    assert sum(executor.map(use, [1] * 6)) >= 6
                go.set()
                print("all")
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(program), method],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr
    assert done.stderr == ""
