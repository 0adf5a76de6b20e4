"""CPython's own tests of thread pools, with our executor in place of the standard one; for `test_cpython_futures.py`.

Prints one line of JSON: how many tests ran, which were skipped, and the last line of the traceback of each that failed.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import sys
import unittest
from typing import Any

import threadpool9
from task9.futures import ThreadPoolExecutor

MODULES = ("test_thread_pool", "test_shutdown", "test_init", "test_wait", "test_as_completed")
IMPORTS = ("from concurrent.futures import ThreadPoolExecutor", "from concurrent.futures import *")


#: Not run, and why.
LISTED = {
    "ThreadPoolExecutorTest.test_saturation": "counts the executor's own threads in _threads",
    "ThreadPoolExecutorTest.test_idle_thread_reuse": "counts the executor's own threads in _threads",
    "ThreadPoolShutdownTest.test_threads_terminate": "counts the executor's own threads in _threads",
    "ThreadPoolShutdownTest.test_cancel_futures": "expects that submit itself starts threads, so some calls have begun",
    "ThreadPoolShutdownTest.test_submit_after_interpreter_shutdown": "looks for RuntimeError by name, not a subclass",
}


class Ours(ThreadPoolExecutor):
    """`task9.futures.ThreadPoolExecutor`, with the one private field that the tests of initializers poll."""

    @property
    def _broken(self) -> bool:
        return self._crew.broken

    @_broken.setter
    def _broken(self, value: object) -> None:
        """Written by the standard ``__init__``."""


Ours.__name__ = "ThreadPoolExecutor"  # which the tests put into programs


def main() -> None:
    """Load every class for thread pools, and run them."""
    threadpool9.tunables.idle_ms = 20  # each of these tests waits until there are no more threads than before
    concurrent.futures.ThreadPoolExecutor = Ours  # type: ignore[misc]
    from test import support
    from test.support import script_helper

    support.use_resources = ["cpu", "walltime"]
    ok = script_helper.assert_python_ok

    def with_ours(*args: str, **kwargs: Any) -> Any:
        """Programs that are run in a process of their own import ours, too."""
        edited = list(args)
        for line in IMPORTS:
            edited = [text.replace(line, "from task9.futures import ThreadPoolExecutor") for text in edited]
        return ok(*edited, **kwargs)

    script_helper.assert_python_ok = with_ours
    suite = unittest.TestSuite()
    for name in MODULES:
        module = importlib.import_module(f"test.test_concurrent_futures.{name}")
        for kind in vars(module).values():
            if (
                isinstance(kind, type)
                and issubclass(kind, unittest.TestCase)
                and kind.__name__.startswith("ThreadPool")
            ):
                for test in unittest.defaultTestLoader.loadTestsFromTestCase(kind):
                    if test.id().split(".", 3)[3] not in LISTED:
                        suite.addTest(test)
    result = unittest.TextTestRunner(sys.stderr, verbosity=2).run(suite)
    failed = {
        test.id().split(".", 3)[3]: text.strip().splitlines()[-1] for test, text in [*result.failures, *result.errors]
    }
    print(json.dumps({"ran": result.testsRun, "skipped": [t.id() for t, _ in result.skipped], "failed": failed}))


if __name__ == "__main__":
    main()
