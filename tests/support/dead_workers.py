"""What becomes of the tests of a pytest-xdist process that has died: its own one failed, the others run elsewhere.

`LoadGroupScheduling` of pytest-xdist 3.8 means to do this, with three faults: it runs the test of which the process
died again and again (its pull request 1371), it gives out work that is done already (issue 1378), and it waits for ever
for a process with one test, which that one keeps until it hears what comes next (issue 1327). With those mended there,
this file can go.
"""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling
from xdist.workermanage import WorkerController


class Scheduler(LoadGroupScheduling):
    """`--dist loadgroup`, where a dead process costs one test."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a process; what it has not run is for others, but for the test that it was running, if any."""
        workload = self.assigned_work.pop(node)
        due = [(unit, test) for unit in workload.values() for test, done in unit.items() if not done]
        if not due:
            return None
        unit, running = due[0]
        unit[running] = True
        self.workqueue.update({scope: unit for scope, unit in workload.items() if not all(unit.values())})
        for other in self.nodes:
            self._reschedule(other)
        return running

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process a unit of work. If it has died a moment ago, `remove_node` will find the unit with it."""
        try:
            super()._assign_work_unit(node)
        except OSError:
            pass

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process work until it has two tests, or knows that there is no more."""
        if node not in self.registered_collections:  # it is being started, and comes here by itself
            return
        super()._reschedule(node)
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)
