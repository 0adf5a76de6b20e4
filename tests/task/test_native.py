"""Native thread pools: the real ones of numpy's BLAS."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from pace import patience

pytestmark = pytest.mark.once
LIMIT = patience(60.0)


def run(program: str, **environment: str) -> str:
    """Run `program` in a process of its own; what it printed."""
    import os

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


THREADS = """
    import os, sys, threadpool9, task9
    import numpy, threadpoolctl

    def threads():
        a = numpy.ones((400, 400))
        for _ in range(2):  # on idle CPUs; the library's threads spin where there are none
            a = a @ a / 400
        return max(pool["num_threads"] for pool in threadpoolctl.threadpool_info())

    def on_workers():
        with task9.TaskQueue("blas", concurrency=2) as queue:
            return {future.result() for future in [queue.submit(threads) for _ in range(20)]}
    """


@pytest.fixture(autouse=True)
def libraries() -> None:
    """They are optional."""
    pytest.importorskip("numpy", reason="numpy is not installed: nothing that makes native threads")
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed, which sets native threads")


def test_workers_limit_native_threads_and_give_them_back() -> None:
    """One in each worker; what there was before when the tunable is 0 again."""
    out = run(
        THREADS
        + """
    before = on_workers()
    task9.tunables.native_threads = 1
    limited = on_workers()
    task9.tunables.native_threads = 0
    print(before, limited, on_workers())
    """
    )
    before, limited, after = out.split()
    assert (limited, after) == ("{1}", before)
    if before == "{1}":
        pytest.skip("one CPU: there is nothing to limit")


def test_from_the_environment() -> None:
    """As every tunable; libraries that are loaded before the first worker count."""
    assert run(THREADS + "\n    print(on_workers())\n", TASK9_NATIVE_THREADS="1").split() == ["{1}"]


def test_without_threadpoolctl_it_says_so() -> None:
    """And has no effect."""
    out = run(
        """
        import sys
        sys.modules["threadpoolctl"] = None
        import importlib.util
        importlib.util.find_spec = lambda name, package=None: None
        import task9
        task9.tunables.native_threads = 1
        with task9.TaskQueue("q") as queue:
            print(queue.submit(int).result())
        """
    )
    assert "no effect without the package threadpoolctl" in out
    assert "0" in out.split()
