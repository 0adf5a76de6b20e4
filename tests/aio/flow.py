"""Both kinds of loops by the same words: tasks beside the caller's, and cancelling them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio


class Flow:
    """A task beside the caller's."""

    def __init__(self, call: Callable[[], Awaitable[Any]]) -> None:
        self.call = call
        self.begun = False
        self.result: list[Any] = []
        self.error: list[BaseException] = []
        self.cancelled = False
        self.over: Any = None
        self.scope: Any = None
        self.task: Any = None

    async def body(self) -> None:
        """Await the call, and keep what comes of it."""
        self.begun = True
        try:
            self.result.append(await self.call())
        except Exception as error:
            self.error.append(error)
        except BaseException:
            self.cancelled = True
            raise

    async def wait(self) -> None:
        """Until it is over, however that comes."""
        while not (self.result or self.error or self.cancelled):
            await pause()


async def pause() -> None:
    """Let the loop go round once, and a moment pass."""
    if trio.lowlevel.in_trio_task():
        await trio.sleep(0.001)
    else:
        await asyncio.sleep(0.001)


async def until(condition: Callable[[], object]) -> None:
    """Until `condition()`; the loop's own limit ends it."""
    while not condition():
        await pause()


class Flows:
    """``async with Flows() as flows``: what is started in it is over at its end."""

    async def __aenter__(self) -> Flows:
        self.trio = trio.lowlevel.in_trio_task()
        self.group: Any = trio.open_nursery() if self.trio else asyncio.TaskGroup()
        self.entered = await self.group.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> Any:
        return await self.group.__aexit__(*exc)

    async def start(self, call: Callable[[], Awaitable[Any]]) -> Flow:
        """A task that awaits ``call()``; it has begun when this returns, and has gone as far as it can."""
        flow = Flow(call)
        if self.trio:
            flow.scope = trio.CancelScope()

            async def scoped() -> None:
                with flow.scope:
                    await flow.body()

            self.entered.start_soon(scoped)
        else:
            flow.task = self.entered.create_task(flow.body())
        await until(lambda: flow.begun)
        await pause()
        return flow

    async def cancel(self, flow: Flow) -> None:
        """Cancel it, and wait until it is over."""
        (flow.scope or flow.task).cancel()
        await flow.wait()
