"""Threads that native libraries make: n workers that each call into BLAS are not to become n times m threads.

With ``tunables.native_threads`` each worker, when its thread begins, asks the native thread pools (OpenBLAS, MKL, BLIS,
OpenMP) to use no more than so many, through the package threadpoolctl. For OpenMP that is a setting of the thread; for
most BLAS it is one of the process, which is undone when the tunable is 0 again.
"""

from __future__ import annotations

import warnings
from typing import Any

from threadpool9 import retire_idle
from threadpool9.hooks import hookimpl, register, unregister


class Limiter:
    """A listener of thread starts; registered while there is a limit."""

    def __init__(self) -> None:
        self.threads = 0  # written by who assigns the tunable
        self._limits: list[Any] = []  # A: what undoes the first of them

    @hookimpl
    def threadpool9_thread__start(self, pool: object) -> None:
        """On the new thread."""
        import threadpoolctl  # type: ignore[import-untyped]

        limits = threadpoolctl.threadpool_limits(self.threads)
        if not self._limits:
            self._limits.append(limits)

    def follow(self, limit: int) -> None:
        """The tunable is `limit` now. Thread context."""
        if limit == self.threads:
            return
        import importlib.util  # not at start-up, for what is rarely set

        if limit and importlib.util.find_spec("threadpoolctl") is None:
            warnings.warn(
                "task9.tunables.native_threads has no effect without the package threadpoolctl; install that",
                RuntimeWarning,
                stacklevel=4,
            )
            return
        before, self.threads = self.threads, limit
        if not before:
            register(self)
        elif not limit:
            unregister(self)
            for limits in self._limits:
                limits.restore_original_limits()
            self._limits.clear()
        retire_idle()  # so that those who are made from now on have it


limiter = Limiter()
