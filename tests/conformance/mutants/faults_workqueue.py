"""Faults of the top layer."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

fault = Layer("workqueue", "workqueue9")

PUT = "                return False\n            self.items.append(ticket)\n            if self.idle and not self.promise:\n"
LOOK = "                self.kick()\n            if self.group.halts:\n                self.group.look_closed()\n"
QUIET = """        idle = not (self.items and any(contents(self.items))) and all(
            e.current is None and not e.deferred for e in self.executors
        )
"""

# --- order and binding

fault(
    "works last in, first out", "WQ-1", "The newest work starts first.",
    "task9._lane", PUT, PUT.replace("items.append", "items.appendleft"),
)  # fmt: skip
fault(
    "two works at once", "WQ-1", "An ordered queue has two executors.",
    "_workqueue", "TaskQueue(name, pri, percpu, max_active, group=group)", "TaskQueue(name, pri, percpu, max_active if percpu else max_active + 1, group=group)",
)  # fmt: skip
fault(
    "max_active ignored", "WQ-1", "Works run one at a time.",
    "_workqueue", "TaskQueue(name, pri, percpu, max_active, group=group)", "TaskQueue(name, pri, percpu, 1, group=group)",
)  # fmt: skip
fault(
    "more works than max_active", "WQ-1", "Each executor that begins makes another one, however many there are.",
    "task9._executor", "        if lane.guard is not None and len(lane.executors) < lane.limit:\n", "        if lane.guard is not None:\n",
    "task9._executor", "                if not lane.idle and len(lane.executors) < lane.limit:\n", "                if not lane.idle:\n",
)  # fmt: skip
fault(
    "a burst of works wakes one executor", "WQ-1", "Only a work that finds the lane empty wakes an executor.",
    "task9._lane", PUT, PUT.replace("if self.idle", "if len(self.items) == 1 and self.idle"),
    "task9._executor", "                        if items and lane.idle and not lane.promise:\n                            lane.kick_another()\n", "",
)  # fmt: skip
fault(
    "arg is not handed over", "WQ-1", "The function gets None.",
    "_group", "                    func(work, arg)\n", "                    func(work, None)\n",
)  # fmt: skip
fault(
    "cpu ignored", "WQ-2", "A work runs on the caller's CPU, whatever was asked for.",
    "_workqueue", "        return self._queue.lane_of(cpu)\n", "        return self._queue.lane_here()\n",
)  # fmt: skip
fault(
    "cpu without WQ_PERCPU accepted", "WQ-2", "It is ignored.",
    "_workqueue", "        if cpu is not None or lane is None:\n", "        if lane is None:\n",
)  # fmt: skip
fault(
    "works are not bound", "WQ-2", "The CPUs' queues run on an unbound pool.",
    "task9._queue", "cpu: lane_class(self.group, pool.ref_remote(cpu))", 'cpu: Lane(self.group, __import__("threadpool9").get(pri))',
)  # fmt: skip
fault(
    "CPUs take turns", "WQ-2", "One queue serves all CPUs, so they do not run in parallel.",
    "_workqueue", "        if cpu is None:\n            return self._queue.lane_here()\n", "        if self._lane is None:\n            return self.group.lanes[0]\n",
)  # fmt: skip

# --- enqueuing

fault(
    "a pending work is silently not enqueued", "WQ-3", "enqueue says False instead of an error.",
    "_work", "            return False\n        self.refuse_pending()\n", "            return False\n        return False\n",
)  # fmt: skip
fault(
    "a pending work is enqueued twice", "WQ-3", "It has two places in the queue.",
    "_work", "            return False\n        self.refuse_pending()\n", "            return False\n        self.item_lane.items.append([self])\n        return True\n",
)  # fmt: skip
fault(
    "enqueue of nonsense accepted", "WQ-3", "What is no work is ignored.",
    "_workqueue", "        except AttributeError:\n            self._check_work(work)\n            raise\n", "        except AttributeError:\n            return False\n",
)  # fmt: skip
fault(
    "enqueue waits for the function", "WQ-3", "It blocks while a work of the queue runs.",
    "_workqueue", "        group = self.group\n        try:\n            if work.item_lane is not lane and",
    "        group = self.group\n        while group.running() and not group.is_own_thread():\n            __import__(\"time\").sleep(0.001)\n        try:\n            if work.item_lane is not lane and",
)  # fmt: skip
fault(
    "a lane of works does not look again", "WQ-3", "A work that comes as the lane goes idle waits for the next one.",
    "task9._executor", "            if not items or (halts and group.halted()):\n                break\n", "            break\n",
)  # fmt: skip
fault(
    "a work is kept after its call", "WQ-3 WQ-4", "The executor refers to the work that it ran.",
    "task9._executor", "            item = ticket = None  # an idle executor keeps nobody alive\n", "            job.last, item, ticket = item, None, None\n",
    "task9._executor", "        self._begin()\n", "        self._begin()\n        item = None\n",
)  # fmt: skip

# --- waiting for one

fault(
    "wait misses a running work", "WQ-4", "It waits until the work is not pending.",
    "_group", "        for executor in self.in_function(work):\n            in_time", "        for executor in ():\n            in_time",
)  # fmt: skip
fault(
    "wait misses a pending work", "WQ-4", "It waits for the run under way only.",
    "_group", "        while in_time and pending():\n", "        while False:\n",
)  # fmt: skip
fault(
    "wait prolonged", "WQ-4", "A work that is enqueued again and again is waited for again and again.",
    "_group", "            return now is ticket and self.pending_here(work)\n", "            return self.pending_here(work)\n",
)  # fmt: skip
fault(
    "wait waits for the whole queue", "WQ-4", "As flush does.",
    "_waits", "                yield from self.group.wait(work, wait)\n", "                yield from drain_until_quiet(self.group, wait, \"\")\n",
)  # fmt: skip
fault(
    "wait from inside hangs", "WQ-4", "The function waits for its own end.",
    "_waits", "            if self.group.is_own_thread():\n                if (probe := probes.wait__self)", "            if False:\n                if (probe := probes.wait__self)",
)  # fmt: skip
fault(
    "wait looks at one CPU", "WQ-4", "A run on another CPU than the work's last is not seen.",
    "_group", "return [executor for executor in self.executors() if executor.current is work]",
    "return [executor for executor in (work.item_lane.executors if work.item_lane else ()) if executor.current is work]",
)  # fmt: skip
fault(
    "one of many waiters goes on", "WQ-4", "Only one of those who wait for a work is told.",
    "threadpool9._waiting", "        if waiters is not None:\n            waiters.wake_all()\n", "        if waiters is not None:\n            waiters.wake_one()\n",
)  # fmt: skip
fault(
    "wait has no time limit", "WQ-4", "It waits as long as it takes.",
    "_waits", "                yield from self.group.wait(work, wait)\n", "                yield from self.group.wait(work, type(wait)(None))\n",
)  # fmt: skip
fault(
    "wait of a delayed work returns at its expiry", "WQ-4 WQ-7", "What moves from the timer to the queue counts as gone.",
    "_group", "            return now is ticket and self.pending_here(work)\n",
    "            return now is ticket and self.pending_here(work) and not (armed and work.timed_out)\n",
    "_group", "        ticket: Any = None\n", "        ticket, armed = None, work.armed\n",
    "_work", "        super().expire(ticket)\n", "        super().expire(ticket)\n        if self.item_lane.group.sleepers:\n            self.item_lane.group.sleepers.wake(self)\n",
)  # fmt: skip

# --- cancelling

fault(
    "cancel of a work says True after a wait", "WQ-5", "The run is denied.",
    "_waits", "return withdrawn and not waited", "return True",
)  # fmt: skip
fault(
    "cancel of a work says False for a withdrawn one", "WQ-5", "A run is told that never was.",
    "_waits", "return withdrawn and not waited", "return False",
)  # fmt: skip
fault(
    "cancel of a work does not wait", "WQ-5", "It returns while the function runs.",
    "_waits", "            running = group.in_function(work)\n", "            return withdrawn\n",
)  # fmt: skip
fault(
    "cancel lets the work back in", "WQ-5", "Who enqueues during a cancel is not refused.",
    "_waits", "cancelling[mark] = work; work.barred += 1", "cancelling[mark] = work",
    "_waits", "fork child\n                    work.barred -= 1; del", "fork child\n                    del",
    "_waits", "                if mark in cancelling:\n                    work.barred -= 1; del", "                if mark in cancelling:\n                    del",
)  # fmt: skip
fault(
    "cancel of a work has no time limit", "WQ-5", "It waits as long as it takes.",
    "_waits", "            withdrawn = yield from self._cancel(work, wait)\n", "            withdrawn = yield from self._cancel(work, type(wait)(None))\n",
)  # fmt: skip
fault(
    "cancel leaves the work in the queue", "WQ-5", "It runs although cancel said that it would not.",
    "task9._item", "            lane.withdrawn(ticket)\n", "            ticket.append(self)\n            if ticket not in lane.items:\n                lane.put_ticket(ticket)\n",
)  # fmt: skip
fault(
    "a withdrawn work of a long queue runs", "WQ-5", "What was withdrawn is taken off a short lane; on a long one it is run.",
    "task9._item", "            lane.withdrawn(ticket)\n", "            lane.withdrawn(ticket)\n            if len(lane.items) > 64:\n                ticket.append(self)\n",
)  # fmt: skip
fault(
    "a withdrawn work stays pending", "WQ-5", "It stays claimed: it can't be enqueued again.",
    "task9._item", "            self.item_ticket = blank; del hand[0]", "            del hand[0]",
    "_group", "            item.item_ticket = blank; del hand[0]", "            del hand[0]",
)  # fmt: skip
fault(
    "cancel does not tell who waits", "WQ-4 WQ-5", "A wait for a work that is withdrawn hangs.",
    "_group", "        if self.sleepers:\n            self.sleepers.wake(item)\n", "        pass\n",
)  # fmt: skip

# --- flush, drain, destroy

fault(
    "flush misses the running work", "WQ-6", "It looks only whether something waits.",
    "task9._lane", QUIET, "        idle = not (self.items and any(contents(self.items)))\n",
)  # fmt: skip
fault(
    "flush misses other CPUs", "WQ-6", "It waits for one CPU's queue.",
    "task9._drain", "        for lane in list(group.lanes):\n            while not lane.quiet():\n", "        for lane in list(group.lanes)[:1]:\n            while not lane.quiet():\n",
)  # fmt: skip
fault(
    "flush waits for later works", "WQ-6", "It goes on until the queue is empty.",
    "_waits", "        yield from self._queue.drain_steps(wait)\n", "        yield from drain_until_quiet(self.group, wait, \"\")\n",
)  # fmt: skip
fault(
    "flush from inside hangs", "WQ-6", "The function waits for its own end.",
    "task9._queue", "        if self._is_own_call():\n            raise UsageError(f\"a task of queue {self.name!r} can't wait", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't wait",
    "_waits", "        if self.group.is_own_thread():\n            raise UsageError(f\"the function of queue {self.name!r} can't wait for its own queue to be flushed\")\n", "",
)  # fmt: skip
fault(
    "drain keeps the function out", "WQ-6", "The queue's own function is refused, too.",
    "_workqueue",  ' or (state in ("draining", "closing") and self.group.is_own_thread()):', ":",
)  # fmt: skip
fault(
    "drain is a flush", "WQ-6", "What the function enqueues during a drain is not waited for.",
    "_waits", "            yield from drain_until_quiet(self.group, wait, f\"draining queue {self.name!r}\")\n", "            yield from self._queue.drain_steps(wait)\n",
)  # fmt: skip
fault(
    "drain does not reopen", "WQ-6", "The queue takes nothing any more.",
    "_waits", 'if self.state == "draining" and self not in draining.values():\n', "if False:\n",
)  # fmt: skip
fault(
    "the first of two drains reopens", "WQ-6", "Outsiders get in while the other one is under way.",
    "_waits", " and self not in draining.values():", ":",
)  # fmt: skip
fault(
    "drain that gives up leaves the queue shut", "WQ-6", "After a time limit the queue takes nothing any more.",
    "_waits", "        except BaseException:\n            self._reopen(mark)\n            raise\n", "        except BaseException:\n            if wait.deadline is None or not self.group.running():\n                self._reopen(mark)\n            raise\n",
)  # fmt: skip
fault(
    "close forgets the drain", "WQ-6", "It destroys at once, and finds works pending.",
    "_waits", '            yield from self._drain(wait)\n        return (yield from self._end', '            pass\n        return (yield from self._end',
)  # fmt: skip
fault(
    "close drops what is pending", "WQ-6", "It withdraws the works that wait.",
    "_waits", '            yield from self._drain(wait)\n        return (yield from self._end', '            self.cancel_pending()\n        return (yield from self._end',
)  # fmt: skip
fault(
    "close waits for a thaw", "WQ-6 WQ-10", "What is held by a freeze keeps it for ever.",
    "_waits", "        self.thaw()  # what is held", "        # what is held",
)  # fmt: skip
fault(
    "a second close is an error", "WQ-6", "As a second destroy is.",
    "_waits", '        if self.state == "destroyed":  # by a close before this one, or meanwhile\n',
    '        if self.state == "destroyed":\n            raise UsageError("it is destroyed already")\n',
)  # fmt: skip
fault(
    "destroy does not wait for the function", "WQ-6", "It returns while the function runs.",
    "_waits", "        cancelled: tuple[Any, ...] = yield from self._queue.close_steps(wait)\n",
    "        yield from ()\n        self._queue._abandon()\n        self.group.halts[\"closed\"] = None\n        cancelled = tuple(self._queue._cancelled)\n",
)  # fmt: skip
fault(
    "an enqueue does not look again", "WQ-6", "One that is in the middle when a destroy begins stays pending for ever.",
    "task9._lane", PUT + LOOK, PUT + LOOK.replace("if self.group.halts:", "if False:"),
)  # fmt: skip
fault(
    "a destroyed queue swallows works", "WQ-6", "enqueue says False instead of an error.",
    "_workqueue", "        if self.state != \"open\":\n            self._check_open()\n        group = self.group\n",
    "        if self.state == \"destroyed\":\n            return False\n        if self.state != \"open\":\n            self._check_open()\n        group = self.group\n",
)  # fmt: skip

# --- delayed works

fault(
    "flush waits for timers", "WQ-7", "What is armed is waited for, too.",
    "_waits", "        yield from self._queue.drain_steps(wait)\n", "        yield from self._queue.drain_steps(wait)\n        while self.group.armed:\n            __import__(\"time\").sleep(0.001)\n",
)  # fmt: skip
fault(
    "early works", "WQ-7", "What is due within the next two milliseconds comes with what is due.",
    "task9._timer", "                if due > now:\n                    return\n", "                if due > now + 0.002:\n                    return\n",
)  # fmt: skip
fault(
    "modify says False", "WQ-7", "As if the work had not been pending.",
    "_workqueue", "        return True\n\n    def _move_to(self", "        return False\n\n    def _move_to(self",
)  # fmt: skip
fault(
    "modify does not move", "WQ-7", "The work keeps its time.",
    "_workqueue", "        hand: list[None] = []\n        try:\n            if not work.take_back(hand, ticket):\n", "        hand: list[None] = []\n        try:\n            if True:\n",
)  # fmt: skip
fault(
    "modify loses", "WQ-7", "The work is taken out of the timer and put nowhere.",
    "_workqueue", "        if seconds > 0:\n            self.group.free_slot(work)\n", "        return\n        if seconds > 0:\n            self.group.free_slot(work)\n",
)  # fmt: skip
fault(
    "modify takes a work from another queue", "WQ-7", "A work that is pending elsewhere is moved.",
    "_workqueue", "        if lane.group is not self.group:\n            work.refuse_pending()\n", "",
)  # fmt: skip
fault(
    "destroy does not say what it cancelled", "WQ-7", "It returns nothing.",
    "_waits", "            probe(self)\n        return cancelled\n", "            probe(self)\n        return ()\n",
)  # fmt: skip
fault(
    "an idle queue of works keeps its thread", "WQ-8", "The executor waits for the next work inside of its job.",
    "task9._executor", "            if not items or (halts and group.halted()):\n                break\n",
    '            if not items:\n                __import__("time").sleep(30)\n            if not items or (halts and group.halted()):\n                break\n',
)  # fmt: skip

# --- limits

fault(
    "Full swallowed", "WQ-9", "A full queue that may not block takes the work all the same.",
    "task9._slots", "            if wait is None or self.ended:\n                raise full()\n", "            if wait is None:\n                return\n",
)  # fmt: skip
fault(
    "a time limit on a full queue is ignored", "WQ-9", "Who blocks waits as long as it takes.",
    "_workqueue", "Blocking(timeout) if block else None", "Blocking(None) if block else None",
)  # fmt: skip
fault(
    "one more than max_pending", "WQ-9", "The queue holds one work too many.",
    "task9._slots", "        while bound > 0:\n", "        bound += 1\n        while bound > 0:\n",
)  # fmt: skip
fault(
    "the second portion of slots is never made", "WQ-9", "A queue with a large bound is full when the first portion is used up.",
    "task9._slots", "            bound -= size\n", "            bound = 0\n",
)  # fmt: skip
fault(
    "portions of slots are made again", "WQ-9", "There is no end to the slots of a queue with a large bound.",
    "task9._slots", "map(self._portions.pop, _LAST)", "[[None] * 64]",
)  # fmt: skip
fault(
    "slots lost by cancel", "WQ-9", "A withdrawn work keeps its place.",
    "_group", "Only for its owner. Any context.\"\"\"\n", "Only for its owner. Any context.\"\"\"\n        work.slot = False\n        return\n",
)  # fmt: skip
fault(
    "slots lost by the call", "WQ-9", "A work that was called keeps its place.",
    "_group", "        insist(self.free_slot, work)\n", "",
)  # fmt: skip
fault(
    "slots lost by modify", "WQ-9", "A work that is moved to later keeps its place.",
    "_workqueue", "            self.group.free_slot(work)\n", "",
)  # fmt: skip
fault(
    "slots lost by a refused enqueue", "WQ-9 WQ-3", "An enqueue that is an error takes a place.",
    "_workqueue", "        if len(work.item_ticket) < 2:\n            return work.coalesce(group)\n", "",
    "_workqueue", "                group.give_slot(slot)\n                return work.coalesce(group)\n", "                return work.coalesce(group)\n",
)  # fmt: skip
fault(
    "room is not told", "WQ-9", "Who blocks on a full queue is not woken.",
    "task9._slots", "            self.space.wake_one()\n", "            pass\n",
)  # fmt: skip

# --- freezing and disabling

fault(
    "freeze has no effect on what waits", "WQ-10", "An executor that runs goes on to the next work.",
    "task9._executor", "                        if halts and group.halted():  # shown TAKING", "                        if False:  # shown TAKING",
    "task9._executor", "                        if halts and group.halted():  # what was put here", "                        if False:  # what was put here",
)  # fmt: skip
fault(
    "freeze leaks one", "WQ-10", "A frozen queue calls one more work.",
    "task9._executor", "            here = () if halts and group.halted() else items", "            leak = True\n            here = () if halts and group.halted() else items",
    "task9._executor", "                        if halts and group.halted():  # shown TAKING", "                        if halts and group.halted() and not leak:  # shown TAKING",
    "task9._executor", "                        if halts and group.halted():  # what was put here", "                        if halts and group.halted() and leak:\n                            leak = False\n                        elif halts and group.halted():  # what was put here",
)  # fmt: skip
fault(
    "freeze does not hold what comes", "WQ-10", "A work that is enqueued on a frozen queue that is idle is called.",
    "task9._lane", PUT, PUT.replace("            if self.idle and", "            frozen = dict(self.group.halts)\n            self.group.halts.clear()\n            if self.idle and").replace("not self.promise:\n", "not self.promise:\n                self.kick()\n            while frozen and self.items:\n                __import__(\"time\").sleep(0.001)\n            self.group.halts.update(frozen)\n            if False:\n"),
)  # fmt: skip
fault(
    "a frozen queue refuses", "WQ-10", "It does not accept works.",
    "_workqueue", "            if work.barred:\n                return False\n            if len(work.item_ticket) == 2:\n", "            if work.barred or group.halts:\n                return False\n            if len(work.item_ticket) == 2:\n",
)  # fmt: skip
fault(
    "thaw reverses", "WQ-10", "What was held comes last in, first out.",
    "task9._group", "        for lane in self.lanes:\n            if lane.items and lane.idle:\n                lane.kick()\n", "        for lane in self.lanes:\n            lane.items.reverse()\n            if lane.items and lane.idle:\n                lane.kick()\n",
)  # fmt: skip
fault(
    "thaw wakes nobody", "WQ-10", "What was held waits for the next enqueue.",
    "task9._group", "            if lane.items and lane.idle:\n                lane.kick()\n\n    def quiet", "            pass\n\n    def quiet",
)  # fmt: skip
fault(
    "thaw wakes one", "WQ-10", "With max_active what was held comes one at a time.",
    "task9._executor", "                        if items and lane.idle and not lane.promise:\n                            lane.kick_another()\n", "",
)  # fmt: skip
fault(
    "disable not counted", "WQ-10", "One enable undoes two.",
    "_waits", "            work.barred += 1\n", "            work.barred = 1\n",
)  # fmt: skip
fault(
    "one enable too many accepted", "WQ-10", "It does nothing.",
    "_waits", "            if disabled == 0:\n                raise", "            if disabled == 0:\n                return True\n                raise",
)  # fmt: skip
fault(
    "disable does not cancel", "WQ-10", "A pending work runs though it is disabled.",
    "_waits", "        return (yield from self.cancel_steps(work, wait))\n", "        yield from ()\n        return False\n",
)  # fmt: skip
fault(
    "enqueue of a disabled work says True", "WQ-10", "Though nothing was enqueued.",
    "_workqueue", "            if work.barred:\n                return False\n            if len(work.item_ticket) == 2:\n", "            if work.barred:\n                return True\n            if len(work.item_ticket) == 2:\n",
)  # fmt: skip
fault(
    "a disabled work can be enqueued for later", "WQ-10", "Delayed enqueues do not look at disable.",
    "_workqueue", "    def enqueue_delayed(self, work: W, seconds: float,",
    "    def enqueue_delayed(self, work, seconds, jitter=0.0, cpu=None):\n        barred, work.barred = work.barred, 0\n        try:\n"
    "            return self._enqueue_delayed(work, seconds, jitter, cpu)\n        finally:\n            work.barred = barred\n\n"
    "    def _enqueue_delayed(self, work: W, seconds: float,",
)  # fmt: skip

# --- errors, counters, giant

fault(
    "on_error ignored", "WQ-11", "The hook is told instead.",
    "_group", "        if self.on_error is None:\n", "        if True:\n",
)  # fmt: skip
fault(
    "on_error beside the hook", "WQ-11", "Both are told.",
    "_group", "        if self.on_error is None:\n            super().report(error, item)\n            return\n", "        super().report(error, item)\n        if self.on_error is None:\n            return\n",
)  # fmt: skip
fault(
    "errors do not name the queue", "WQ-11", "The report does not say where.",
    "_group", '        return f"in work queue {self.name!r}, work {safe_repr(item)}"\n', '        return f"work {safe_repr(item)}"\n',
    "_group", "        note_origin(error, self.origin(item))\n", "",
)  # fmt: skip
fault(
    "an exception kills the work queue", "WQ-11", "The executor ends with it and is never idle again.",
    "task9._executor", "                    self._failed(error, item)\n                    try:\n", "                    self._failed(error, item)\n                    raise\n                    try:\n",
)  # fmt: skip
fault(
    "on_error that raises kills the work queue", "WQ-11", "What on_error raises leaves the executor.",
    "task9._executor", "        except BaseException as second:\n            note_origin(second, group.origin(item))\n            report_error(second, origin=item)\n", "        except ZeroDivisionError:\n            pass\n",
)  # fmt: skip
fault(
    "enqueued without the cancelled", "WQ-12", "What was withdrawn counts as never enqueued.",
    "_stats", "started + cancelled + waiting + armed)", "started + waiting + armed)",
)  # fmt: skip
fault(
    "started counts drains", "WQ-12", "A drain's marker counts as a work.",
    "task9._executor", "        if item.marker:\n            self.moves += 1\n", "        if item.marker:\n            self.started += 1\n",
)  # fmt: skip
fault(
    "completed counts what runs", "WQ-12", "started - completed is always 0.",
    "_stats", "reported_completed, started - running)", "reported_completed, started)",
)  # fmt: skip
fault(
    "cancelled works are not counted", "WQ-12", "The counter stays 0.",
    "_group", "        self.cancelled.bump()\n", "",
)  # fmt: skip
fault(
    "errors of works are not counted", "WQ-12", "The counter stays 0.",
    "task9._executor", "        self.errors += 1\n", "",
)  # fmt: skip
fault(
    "run time is not measured", "WQ-12", "It stays 0.",
    "_group", "                stats.run_ns += last - start\n", "",
)  # fmt: skip
fault(
    "delayed works are not pending", "WQ-12", "The counter leaves out what is armed.",
    "_stats", "pending=waiting + armed", "pending=waiting",
)  # fmt: skip
fault(
    "giant does not exclude", "WQ-13", "Functions of giant queues run at the same time.",
    "_group", "self.called_func = _excluding(func) if exclusive else func", "self.called_func = func",
)  # fmt: skip
fault(
    "each giant queue has a lock of its own", "WQ-13", "They exclude only themselves.",
    "_group", "    def call(work: Any, arg: Any) -> object:\n        with giant:\n", "    own = RLock()\n\n    def call(work: Any, arg: Any) -> object:\n        with own:\n",
)  # fmt: skip
fault(
    "all queues are giant", "WQ-13", "No two functions run at the same time.",
    "_group", "self.called_func = _excluding(func) if exclusive else func", "self.called_func = _excluding(func)",
)  # fmt: skip
