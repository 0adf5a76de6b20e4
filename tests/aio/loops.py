"""The loops that the tests of this directory run on: asyncio, uvloop where that is installed, and trio."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any

import trio
from pace import patience

LIMIT = patience(30.0)
LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else []), "trio"]

Main = Callable[[], Coroutine[Any, Any, Any]]


def run_on(name: str, main: Main) -> Any:
    """Run ``main()`` in a new loop of that kind, within the limit of a test."""
    if name == "trio":
        return trio.run(_limited_by_trio, main)
    if name == "uvloop":
        import uvloop

        return uvloop.run(_limited(main))
    return asyncio.run(_limited(main))


async def _limited(main: Main) -> Any:
    async with asyncio.timeout(LIMIT):
        return await main()


async def _limited_by_trio(main: Main) -> Any:
    with trio.fail_after(LIMIT):
        return await main()
