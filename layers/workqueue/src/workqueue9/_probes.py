"""The probes of this layer, one by one: NetBSD's SDT probes for workqueue(9), with their arguments (HK-5).

What holds for every probe is said in threadpool9's specifications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from task9._watch import watch
from threadpool9._hooks import add_layer
from threadpool9._probes import make_probes
from threadpool9._specs import hookspec

if TYPE_CHECKING:
    from ._work import Work
    from ._workqueue import WorkQueue


class Tracing:
    """The probes of workqueue9."""

    @hookspec
    def workqueue9_create(
        self, wq: WorkQueue, name: str, func: Callable[[Any, Any], object], arg: Any, pri: int, ipl: int, flags: int
    ) -> None:
        """A queue was made; `ipl` is always 0. Its maker's thread."""

    @hookspec
    def workqueue9_destroy(self, wq: WorkQueue) -> None:
        """A queue was destroyed. The thread of destroy's caller."""

    @hookspec
    def workqueue9_enqueue(self, wq: WorkQueue, wk: Work, cpu: int | None) -> None:
        """`wk` is enqueued and not taken by anybody yet; `cpu` is None without WQ_PERCPU. Any context."""

    @hookspec
    def workqueue9_entry(self, wq: WorkQueue | None, wk: Work, func: Callable[[Any, Any], object], arg: Any) -> None:
        """The function is about to be called with `wk`; `wq` is None if the queue was dropped. The worker's thread."""

    @hookspec
    def workqueue9_return(self, wq: WorkQueue | None, wk: Work, func: Callable[[Any, Any], object], arg: Any) -> None:
        """The function has returned or raised; `wk` may be somebody else's by now. The worker's thread."""

    @hookspec
    def workqueue9_wait__start(self, wq: WorkQueue, wk: Work) -> None:
        """`WorkQueue.wait` was called. Its caller's thread."""

    @hookspec
    def workqueue9_wait__self(self, wq: WorkQueue, wk: Work) -> None:
        """It was called by the queue's own function, and returns at once. That worker's thread."""

    @hookspec
    def workqueue9_wait__hit(self, wq: WorkQueue, wk: Work) -> None:
        """It found `wk` pending and waits. Its caller's thread."""

    @hookspec
    def workqueue9_wait__done(self, wq: WorkQueue, wk: Work) -> None:
        """It returns. Its caller's thread."""

    @hookspec
    def workqueue9_exit__start(self, wq: WorkQueue) -> None:
        """The end of a queue begins. The thread of destroy's caller."""

    @hookspec
    def workqueue9_exit__done(self, wq: WorkQueue) -> None:
        """A queue's threads have let go of it. The thread of destroy's caller."""


probes = make_probes("workqueue9", Tracing)
# The two that are fired for each single work ride on the one test that an executor makes for each task.
watch.conditions.append(lambda: probes.entry is not None or probes.return_ is not None)
probes.changed.append(watch.update)
add_layer("workqueue9", probes, Tracing)
