"""Faults of awaiting, of queues in loops and of results, in all layers (AW-1 to AW-4, TK-18, TK-19, WQ-14, WQ-16)."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

pools = Layer("threadpool", "threadpool9")
tasks = Layer("task", "task9")
works = Layer("workqueue", "workqueue9")

POST = "        self.loop.call_soon_threadsafe(fn)\n"
LOOPS = "threadpool9._loops"
WAITING = "threadpool9._waiting"

# --- twins

pools(
    "an awaited drain blocks the loop", "AW-1", "It is the call that blocks, behind an async def.",
    "_aio", "        await wait.run(self._pool.drain_steps(wait))\n", "        self._pool.drain(timeout)\n",
)  # fmt: skip
pools(
    "an awaited drain sits in a thread", "AW-1", "Each await has a thread wait for it.",
    "_aio", "        await wait.run(self._pool.drain_steps(wait))\n",
    '        await __import__("asyncio").to_thread(self._pool.drain, timeout)\n',
)  # fmt: skip
pools(
    "an awaited wait has no time limit", "AW-1", "The timeout is ignored.",
    "_aio", "        wait = Awaiting(timeout)\n        await wait.run(self._job.wait_steps(wait))\n",
    "        wait = Awaiting(None)\n        await wait.run(self._job.wait_steps(wait))\n",
)  # fmt: skip
pools(
    "an awaited cancel keeps the interlock", "AW-1 AW-2", "Nobody else gets it while a task waits.",
    "_pool", "        yield from interlock_released(job._interlock, lambda: job._wait_for(ticket, wait))\n",
    "        yield from (job._wait_for(ticket, wait) if type(wait).__name__ == 'Awaiting' else interlock_released(job._interlock, lambda: job._wait_for(ticket, wait)))\n",
)  # fmt: skip
tasks(
    "an awaited cancel gives no result", "AW-1", "It returns None, whatever happened.",
    "_aio", "        return await wait.run(self._task.cancel_steps(", "        await wait.run(self._task.cancel_steps(",
)  # fmt: skip
works(
    "an awaited enqueue does not wait", "AW-1 WQ-14", "On a full queue it raises at once.",
    "_aio", "        return await wait.run(self._queue.enqueue_steps(work, cpu, wait))\n", "        return self._queue.enqueue(work, cpu, block=False)\n",
)  # fmt: skip

# --- cancelled

pools(
    "a cancelled cancel leaves without the interlock", "AW-2", "The caller's with statement lets go what it does not have.",
    "_interlock", "        for left in reversed(range(_TRIES) if saved else ()):\n", "        for left in ():\n",
)  # fmt: skip
tasks(
    "a cancelled await cancels the call", "AW-2", "Who leaves takes the result away from the others.",
    "_future", "                    finally:\n                        self._first = None\n",
    "                    except BaseException:\n                        self.cancel()\n                        raise\n                    finally:\n                        self._first = None\n",
)  # fmt: skip
tasks(
    "a cancelled cancel keeps the task", "AW-2", "The task can't be scheduled any more: it stays claimed.",
    "_task", "            self.give_back(hand)\n        except BaseException:\n            self.give_back(hand)\n            raise\n        return never_ran\n",
    "            self.give_back(hand)\n        except BaseException:\n            raise\n        return never_ran\n",
)  # fmt: skip
works(
    "a cancelled cancel bars the work", "AW-2", "The work is refused from then on.",
    "_waits", "            with disable_lock:\n                if mark in cancelling:\n                    work.barred -= 1; del cancelling[mark]  # fmt: skip\n            raise\n", "            raise\n",
)  # fmt: skip
works(
    "a cancelled drain leaves the queue shut", "AW-2", "Nobody can enqueue any more.",
    "_waits", "        except BaseException:\n            self._reopen(mark)\n            raise\n", "        except BaseException:\n            raise\n",
)  # fmt: skip
works(
    "a cancelled drain opens the queue of another drain", "AW-2", "The first of two that ends lets everybody in.",
    "_waits", " and self not in draining.values():", ":",
)  # fmt: skip
works(
    "a cancelled waiter stays entered", "AW-2 WQ-14", "It is woken in place of one who still waits.",
    WAITING, "        except BaseException:\n            discard(self.locks, mine)\n            raise\n", "        except BaseException:\n            raise\n",
)  # fmt: skip
works(
    "room given to who is cancelled is lost", "AW-2 WQ-14", "Whoever was woken and leaves passes it to nobody.",
    "task9._slots", "                self.offer()  # we may have been woken for a slot that we do not take: let another have it\n                raise\n", "                raise\n",
    "_workqueue", "            finally:\n                group.give_slot(slot)\n            raise\n\n    def _full",
    "            finally:\n                if slot:\n                    group.give_slot(slot)\n            raise\n\n    def _full",
)  # fmt: skip

# --- hand-overs

tasks(
    "a bell settles twice", "AW-3", "A wake-up after a cancellation raises in the loop.",
    LOOPS, "            for call in iter(calls.pop, None):\n", "            for call in tuple(calls):\n",
)  # fmt: skip
pools(
    "a hand-over raises in the loop", "AW-3", "The wake-up of a task that has gone is an error there.",
    LOOPS, "        self._rung = True\n        try:\n            return self._wake(", "        self._rung = True\n        self._loop.call_soon_threadsafe(lambda: 1 // (not self._cancelled))\n        try:\n            return self._wake(",
)  # fmt: skip
tasks(
    "who wakes a closed loop gets its error", "AW-3", "A RuntimeError comes out of the executor; others are not woken.",
    LOOPS, "call_soon_threadsafe)\n        except RuntimeError as error:\n", "call_soon_threadsafe)\n        except ZeroDivisionError as error:\n",
)  # fmt: skip
pools(
    "who wakes a closed loop of a job gets its error", "AW-3", "A RuntimeError comes out of done(); others are not woken.",
    LOOPS, "call_soon_threadsafe)\n        except RuntimeError as error:\n", "call_soon_threadsafe)\n        except ZeroDivisionError as error:\n",
)  # fmt: skip
works(
    "a closed loop counts as woken", "AW-3", "Room goes to a loop that is gone.",
    LOOPS, "call_soon_threadsafe)\n        except RuntimeError as error:\n            if isinstance(error, RecursionError):\n                raise\n            return False\n", "call_soon_threadsafe)\n        except RuntimeError:\n            return True\n",
)  # fmt: skip
works(
    "wake-ups are not thread-safe", "AW-4 AW-1", "A loop that sleeps is not woken.",
    LOOPS, "self._wake(self._loop.call_soon_threadsafe)", "self._wake(self._loop.call_soon)",
)  # fmt: skip
tasks(
    "posts are not thread-safe", "TK-19", "A loop that sleeps does not see what is scheduled on its queue.",
    LOOPS, POST, "        self.loop.call_soon(fn)\n",
)  # fmt: skip
tasks(
    "the loop's own thread takes a short cut", "AW-4", "A signal handler there does not wake the loop that it interrupts.",
    LOOPS, "            return self._wake(self._loop.call_soon_threadsafe)\n",
    '            own = getattr(self._loop, "_thread_id", None) == __import__("threading").get_ident()\n            return self._wake(self._loop.call_soon if own else self._loop.call_soon_threadsafe)\n',
)  # fmt: skip
tasks(
    "a result wakes one who waits", "AW-4", "The others who wait for it sleep on.",
    WAITING, "        for _ in range(len(locks)):\n", "        for _ in range(min(1, len(locks))):\n",
)  # fmt: skip
pools(
    "a job wakes one who waits", "AW-4", "The others who wait for its end sleep on.",
    WAITING, "        if waiters is not None:\n            waiters.wake_all()\n", "        if waiters is not None:\n            waiters.wake_one()\n",
)  # fmt: skip

# --- queues in loops

tasks(
    "a loop's queue runs in the thread that posts", "TK-19", "A schedule runs the tasks itself.",
    "_loop", "            self.poster.post(fn)\n", "            self.poster.post(_nothing)\n            fn()\n",
)  # fmt: skip
tasks(
    "a turn runs what its own tasks schedule", "TK-19", "The loop is starved by a task that schedules itself.",
    "_loop", "        for _ in range(len(items)):\n", "        while items:\n",
)  # fmt: skip
tasks(
    "every schedule is a hand-over", "TK-19", "A thousand schedules before a turn are a thousand posts.",
    "_loop", "        promise = [job]\n", "        promise: list[Any] = []\n",
)  # fmt: skip
tasks(
    "what comes during a turn has no other one", "TK-19", "It waits until somebody schedules once more.",
    "_loop", "        if lane.items and lane.idle and not self.promise:\n            lane.kick_another()\n", "        pass\n",
)  # fmt: skip
tasks(
    "a turn in a task's turn runs tasks", "TK-19", "A loop inside of a task runs others of its queue in the middle of it.",
    "_loop", "            if not self.ident:  # else", "            if True:  # else",
    "_loop", "        self._begin()\n        tickets", "        tickets",
)  # fmt: skip
tasks(
    "an error of a loop's task gets to the loop", "TK-19", "It ends the turn.",
    "_loop", "                self._failed(error, item)\n", "                raise\n",
)  # fmt: skip
tasks(
    "a closed loop leaves its waiters hanging", "TK-19", "Who waits does not look whether there still is a loop.",
    "_loop", "        pool: Any = self.pool\n        pool.check()\n", "",
)  # fmt: skip
tasks(
    "a closed loop takes tasks", "TK-19", "A schedule says True, and nothing will ever run.",
    "_loop", "            raise LoopClosed(f", "            return\n            raise LoopClosed(f",
)  # fmt: skip
tasks(
    "the loop's thread may block for its own queue", "TK-19", "It hangs.",
    "_loop", "        if isinstance(wait, Blocking) and pool.is_here():\n", "        if False:\n",
)  # fmt: skip

# --- results

tasks(
    "a future gets no errors", "TK-18", "What the function raised is lost: the result is None.",
    "_future", "            self.fail(error)\n            del self\n            return\n", "            value = None\n",
)  # fmt: skip
tasks(
    "cancel believes that it can stop a call", "TK-18", "It says True while the function runs.",
    "_future", "        if self._settled is not NOTIFIED:\n            if (failure", "        if self._settled is FINISHED:\n            if (failure",
)  # fmt: skip
tasks(
    "a cancelled call is made", "TK-18", "The future is cancelled, the function runs all the same.",
    "_future", "            if self.carrier is carrier and lane is not None and lane.group.withdraw(carrier, ticket):\n                return True\n",
    "            if lane is not None:\n                self._settled = NOTIFIED\n                return True\n",
)  # fmt: skip
tasks(
    "submit forgets the caller's context", "TK-18", "The function runs in the worker's.",
    "_future", "            value = self._context.run(self._fn, *self._args, **self._kwargs)\n", "            value = self._fn(*self._args, **self._kwargs)\n",
)  # fmt: skip
tasks(
    "submit runs in the caller's own context", "TK-18", "What the function sets, the next one sees.",
    "_queue", "            context = copy_context()\n        elif", "            context = contexts.setdefault(get_ident(), copy_context())\n        elif",
    "_queue", "\nclass TaskQueue:", "\ncontexts: dict = {}\nfrom threadpool9.lowlevel import get_ident\n\nclass TaskQueue:",
)  # fmt: skip
tasks(
    "map submits everything at once", "TK-18", "An endless iterable never ends.",
    "_map", "        futures.extend(islice(calls, buffersize))\n", "        futures.extend(islice(calls, 100000))\n",
)  # fmt: skip
tasks(
    "map goes on after an error", "TK-18", "The calls that nobody will take are made.",
    "_map", "    finally:\n        _cancel(futures)\n", "    finally:\n        pass\n",
)  # fmt: skip
tasks(
    "map's limit is for each result", "TK-18", "A late result is waited for.",
    "_map", "    deadline = None if timeout is None else monotonic() + timeout\n", "    deadline = None\n",
)  # fmt: skip
works(
    "a submitted work has no result", "WQ-16", "The function's value is dropped.",
    "_submitted", "        self.be_given(func, work, arg)\n", "        self.be_given(lambda *args: (func(*args), None)[1], work, arg)\n",
)  # fmt: skip
works(
    "a cancelled submitted work is called", "WQ-16", "Its future is cancelled, the function is called all the same.",
    "_submitted", "        return super().take_back(hand, ticket) if future is None else future.take_back_from(self, hand, ticket)\n",
    "        if future is None:\n            return super().take_back(hand, ticket)\n        future._settled = \"CANCELLED_AND_NOTIFIED\"\n        return self.item_pending\n",
)  # fmt: skip
works(
    "submit does not see the end of a queue", "WQ-16", "It is taken by a queue that has ended.",
    "_workqueue", "            self.enqueue(work, cpu, block, timeout)\n", '            if self.state != "destroyed":\n                self.enqueue(work, cpu, block, timeout)\n',
)  # fmt: skip
