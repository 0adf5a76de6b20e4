"""What one builds further queues of (TP-37): items, lanes, groups, and what layers share with the queues of this one.

Users of tasks need nothing of this. How a lane works is said in the module it comes from; workqueue9 is built on it.
"""

from __future__ import annotations

from ._drain import drain_until_quiet
from ._executor import Executor
from ._group import FREEZE, Group
from ._item import TAKING, Call, Item, in_hands
from ._lane import Lane
from ._slots import Slots
from ._timed import TimedItem, check_seconds
from ._timer import Timing
from ._watch import running, scheduling

__all__ = [
    "FREEZE",
    "TAKING",
    "Call",
    "Executor",
    "Group",
    "Item",
    "Lane",
    "Slots",
    "TimedItem",
    "Timing",
    "check_seconds",
    "drain_until_quiet",
    "in_hands",
    "running",
    "scheduling",
]
