"""A call that is looked at (TK-17): what stands for the tuple of a call where somebody wants to know its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from threadpool9.lowlevel import function_name

from ._item import Item

__all__ = ["Call"]


class Call(Item):
    """One call of a function on a queue: probes, reports and snapshots show it. Made for them only."""

    __slots__ = ("args", "fn", "kwargs")

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs  # S
        self.item_ticket, self.item_lane, self.item_executor = (), None, None

    def run(self) -> object:
        """Call the function."""
        return self.fn(*self.args, **self.kwargs)

    @property
    def task_name(self) -> str:
        """The function's name."""
        return function_name(self.fn)

    def __repr__(self) -> str:
        return f"<call of {self.task_name}>"
