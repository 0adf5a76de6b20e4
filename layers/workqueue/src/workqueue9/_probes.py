"""The probes of this layer, one by one: NetBSD's SDT probes for workqueue(9), with their arguments (HK-5).

What holds for every probe is said in threadpool9's specifications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from task9.lanes import running, scheduling
from threadpool9.hooks import hookspec
from threadpool9.lowlevel import Layer

if TYPE_CHECKING:
    from ._work import Work
    from ._workqueue import WorkQueue


class Tracing:
    """The probes of workqueue9."""

    @hookspec
    def workqueue9_create(
        self,
        wq: WorkQueue[Any, Any],
        name: str,
        func: Callable[[Any, Any], object],
        arg: Any,
        pri: int,
        ipl: int,
        flags: int,
    ) -> None:
        """A queue was made; `ipl` is always 0. Its maker's thread."""

    @hookspec
    def workqueue9_destroy(self, wq: WorkQueue[Any, Any]) -> None:
        """A queue was destroyed. The thread of destroy's caller."""

    @hookspec
    def workqueue9_enqueue(self, wq: WorkQueue[Any, Any], wk: Work[Any], cpu: int | None) -> None:
        """`wk` is enqueued and not taken by anybody yet; `cpu` is None without WQ_PERCPU. Any context."""

    @hookspec
    def workqueue9_entry(
        self, wq: WorkQueue[Any, Any] | None, wk: Work[Any], func: Callable[[Any, Any], object], arg: Any
    ) -> None:
        """The function is about to be called with `wk`; `wq` is None if the queue was dropped. The worker's thread."""

    @hookspec
    def workqueue9_return(
        self, wq: WorkQueue[Any, Any] | None, wk: Work[Any], func: Callable[[Any, Any], object], arg: Any
    ) -> None:
        """The function has returned or raised; `wk` may be in use again by now. The worker's thread."""

    @hookspec
    def workqueue9_started(self, wq: WorkQueue[Any, Any] | None, wk: Work[Any], where: str) -> None:
        """A back end reports that `wk` was entered, at `where`. A thread of the back end (WQ-15)."""

    @hookspec
    def workqueue9_rerun(self, wq: WorkQueue[Any, Any] | None, wk: Work[Any], where: str) -> None:
        """It was entered once more, at `where`: what ran before may have been lost. A thread of the back end."""

    @hookspec
    def workqueue9_wait__start(self, wq: WorkQueue[Any, Any], wk: Work[Any]) -> None:
        """`WorkQueue.wait` was called. Its caller's thread."""

    @hookspec
    def workqueue9_wait__self(self, wq: WorkQueue[Any, Any], wk: Work[Any]) -> None:
        """It was called by the queue's own function, and returns at once. That worker's thread."""

    @hookspec
    def workqueue9_wait__hit(self, wq: WorkQueue[Any, Any], wk: Work[Any]) -> None:
        """It found `wk` pending and waits. Its caller's thread."""

    @hookspec
    def workqueue9_wait__done(self, wq: WorkQueue[Any, Any], wk: Work[Any]) -> None:
        """It returns. Its caller's thread."""

    @hookspec
    def workqueue9_exit__start(self, wq: WorkQueue[Any, Any]) -> None:
        """The end of a queue begins. The thread of destroy's caller."""

    @hookspec
    def workqueue9_exit__done(self, wq: WorkQueue[Any, Any]) -> None:
        """A queue's threads have let go of it. The thread of destroy's caller."""


class Questions:
    """What workqueue9 asks."""

    @hookspec
    def workqueue9_backend(self, name: str) -> object:
        """The `Backend` that is called `name`, for ``WorkQueue(backend=name)``; None if it is another's (HK-6)."""


layer = Layer("workqueue9", Tracing, Questions)
probes = layer.probes
# The three that are fired for each single work ride on the tests that a lane makes for each item.
running.conditions.append(lambda: probes.entry is not None or probes.return_ is not None)
scheduling.conditions.append(lambda: probes.enqueue is not None)
probes.changed.extend((running.update, scheduling.update))
