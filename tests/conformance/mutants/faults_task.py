"""Faults of the middle layer."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

fault = Layer("task", "task9")

PUT = "                return False\n            self.items.append(ticket)\n            if self.idle and not self.promise:\n"
CALL = "                ticket[0].fire_scheduled(self)\n            self.items.append(ticket)\n            if self.idle and not self.promise:\n"
QUIET = """        idle = not (self.items and any(contents(self.items))) and all(
            e.current is None and not e.deferred for e in self.executors
        )
"""

# --- scheduling

fault(
    "an executor does not look again", "TK-1", "A lane that goes idle does not look whether a task came meanwhile.",
    "_executor", "            if not items or (halts and group.halted()):\n                break\n", "            break\n",
)  # fmt: skip
fault(
    "a coalesced task schedule says True", "TK-1", "schedule says True though the task is pending already.",
    "_task", "            probe(lane, self)\n        return False\n\n    def refuse_dead", "            probe(lane, self)\n        return True\n\n    def refuse_dead",
    "_queue", "                and not lane.group.halts\n            ):\n                return False\n", "                and not lane.group.halts\n            ):\n                return True\n",
)  # fmt: skip
fault(
    "each schedule is a run", "TK-2", "Schedules before the start are not coalesced.",
    "_queue", "                task.item_lane is lane\n                and task.item_ticket[0] is task\n", "                False\n",
    "_task", "            probe(lane, self)\n        return False\n\n    def refuse_dead",
    "            probe(lane, self)\n        if lane is not None and self.item_pending:\n            lane.items.append([self])\n        return False\n\n    def refuse_dead",
)  # fmt: skip
fault(
    "done of a task does nothing", "TK-2", "The run goes on to the function's end for all who wait.",
    "_executor", "The run's own thread.\"\"\"\n        self.current = TAKING\n", "The run's own thread.\"\"\"\n        return\n",
)  # fmt: skip
fault(
    "anybody may end a task's run", "TK-2", "done() is accepted from outside the function.",
    "_task", "        if executor.ident != get_ident() or executor.current is not self:\n            raise", "        if False:\n            raise",
)  # fmt: skip
fault(
    "task beside itself", "TK-3", "A free executor takes a task that runs on another one.",
    "_executor", "if item.exclusive and other.current is item:", "if False:",
)  # fmt: skip
fault(
    "no re-run after a schedule while running", "TK-2 TK-3", "A task that was set aside because it runs elsewhere stays there.",
    "_executor", "                if deferred:\n                    self._take_deferred()\n", "                if deferred:\n                    pass\n",
)  # fmt: skip
fault(
    "setting aside does not look again", "TK-2 TK-3", "A task that is set aside at the end of its other run is left behind.",
    "_executor", "            if other.current is item or not discard(other.deferred, ticket):\n                return False\n", "            return False\n",
)  # fmt: skip

# --- queues

fault(
    "a shared queue is the first CPU's", "TK-4", "A task runs on the lowest CPU, not on the caller's.",
    "_queue", "        lane = self._lanes.get(current_cpu())\n", "        lane = self._lanes[min(self._lanes)]\n",
)  # fmt: skip
fault(
    "two at once on a shared queue", "TK-4", "Each lane of a per-CPU queue has two executors.",
    "_queue", "cpu: lane_class(self.group, pool.ref_remote(cpu))", "cpu: lane_class(self.group, pool.ref_remote(cpu), 2)",
)  # fmt: skip
fault(
    "shared queues are not bound", "TK-4", "They run on an unbound pool.",
    "_queue", "cpu: lane_class(self.group, pool.ref_remote(cpu))", 'cpu: Lane(self.group, __import__("threadpool9").get(pri))',
)  # fmt: skip
fault(
    "one shared queue for all priorities", "TK-4", "get of any priority gives the same queue.",
    "_shared", "        queue = registry.queues.get(pri)\n", "        queue = next(iter(registry.queues.values()), None)\n",
)  # fmt: skip
fault(
    "each get makes a shared queue", "TK-4", "Two gets of one priority give two queues.",
    "_shared", "        queue = registry.queues.get(pri)\n", "        queue = None\n",
    "_shared", "        queue = registry.queues.setdefault(pri, fresh)\n", "        queue = registry.queues[pri] = fresh\n",
)  # fmt: skip
fault(
    "long tasks are not reported", "TK-4", "The limit has no effect.",
    "_executor", "        if limit and took > limit and", "        if False and",
    "_lifecycle", "limits = [pool_tunables.stall_ms, tunables.limit_ms if group.shared else 0.0]", "limits = [pool_tunables.stall_ms]",
)  # fmt: skip
fault(
    "short tasks are reported too", "TK-4", "Every task of a shared queue is reported.",
    "_executor", "        if limit and took > limit and", "        if limit and",
)  # fmt: skip
fault(
    "tasks last in, first out", "TK-5", "The newest task of a queue starts first.",
    "_lane", PUT, PUT.replace("items.append", "items.appendleft"),
)  # fmt: skip
fault(
    "concurrency ignored", "TK-5", "A private queue runs one task at a time.",
    "_queue", "lane_class(self.group, pool, concurrency)", "lane_class(self.group, pool, 1)",
)  # fmt: skip
fault(
    "one more than the concurrency", "TK-5", "A private queue runs n + 1 tasks at once.",
    "_queue", "lane_class(self.group, pool, concurrency)", "lane_class(self.group, pool, concurrency + 1)",
)  # fmt: skip
fault(
    "executors without end", "TK-5", "Each executor that begins makes another one, however many there are.",
    "_executor", "        if lane.guard is not None and len(lane.executors) < lane.limit:\n", "        if lane.guard is not None:\n",
    "_executor", "                if not lane.idle and len(lane.executors) < lane.limit:\n", "                if not lane.idle:\n",
)  # fmt: skip
fault(
    "only the first executor makes another one", "TK-5", "Whatever the concurrency is, there are never more than two executors.",
    "_executor", "                if not lane.idle and len(lane.executors) < lane.limit:\n", "                if len(lane.executors) == 1:\n",
)  # fmt: skip
fault(
    "a burst wakes one executor", "TK-5", "Only a task that finds the lane empty wakes an executor.",
    "_lane", PUT, PUT.replace("if self.idle", "if len(self.items) == 1 and self.idle"),
    "_executor", "                        if items and lane.idle and not lane.promise:\n                            lane.kick_another()\n", "",
)  # fmt: skip
fault(
    "a task that reschedules itself goes first", "TK-8", "It is put at the front and starves the others.",
    "_lane", PUT, PUT.replace("self.items.append(ticket)", "(self.items.appendleft if item.item_running else self.items.append)(ticket)"),
)  # fmt: skip
fault(
    "an idle queue keeps its thread", "TK-9", "The executor waits for the next task inside of its job.",
    "_executor", "            if not items or (halts and group.halted()):\n                break\n",
    '            if not items:\n                __import__("time").sleep(30)\n            if not items or (halts and group.halted()):\n                break\n',
)  # fmt: skip
fault(
    "an idle lane keeps its last task", "TK-9", "The executor refers to the task that it ran.",
    "_executor", "            item = ticket = None  # an idle executor keeps nobody alive\n", "            job.last, item, ticket = item, None, None\n",
    "_executor", "        self._begin()\n", "        self._begin()\n        item = None\n",
)  # fmt: skip
fault(
    "two queues accepted", "TK-10", "Scheduling a pending task on another queue is taken for a coalesced schedule.",
    "_task", "if lane is not None and lane.group is not group and self in tuple(self.item_ticket):", "if False:",
)  # fmt: skip
fault(
    "a running task moves to another queue", "TK-10", "A task that runs on one queue can be scheduled on another.",
    "_task", "        if old is not None and old.group is not lane.group and self.item_running:\n", "        if False:\n",
)  # fmt: skip
fault(
    "destroy of a running task accepted", "TK-10", "destroy looks only whether the task is pending.",
    "_task", "            if self.item_running:\n                raise UsageError(f\"{self!r} is running; cancel() it before destroy()\")\n", "",
)  # fmt: skip
fault(
    "destroy of a scheduled task accepted", "TK-10", "destroy looks only whether the task runs.",
    "_task", "            if not self.claim(hand):\n                raise UsageError(f\"{self!r} is pending; cancel() it before destroy()\")\n", "            self.claim(hand)\n",
    "_task", "            del in_hands[self]; self.fn = _dead", "            in_hands.pop(self, None); self.fn = _dead",
)  # fmt: skip

# --- cancelling

fault(
    "cancel of a task does not wait", "TK-6", "It returns while the function runs.",
    "_task", "                yield from self._wait_for(executor, interlock, wait)\n", "                return False\n",
)  # fmt: skip
fault(
    "cancel of a task says True after a wait", "TK-6", "The run is denied.",
    "_task", "                return not waited\n", "                return True\n",
)  # fmt: skip
fault(
    "cancel of a task says False for a withdrawn one", "TK-6", "A run is told that never was.",
    "_task", "                return not waited\n", "                return False\n",
)  # fmt: skip
fault(
    "cancel withdraws nothing", "TK-6", "A pending task runs although cancel said that it would not.",
    "_item", "            del ticket[0]; taken = True; hand += FREE; in_hands", "            taken = True; hand += FREE; in_hands",
    "_item", "            lane.withdrawn(ticket)\n", "            pass\n",
)  # fmt: skip
fault(
    "a ticket left on a long lane runs", "TK-6", "What was withdrawn is taken off a short lane; on a long one it is run.",
    "_item", "            lane.withdrawn(ticket)\n", "            lane.withdrawn(ticket)\n            if len(lane.items) > 64:\n                ticket.append(self)\n",
)  # fmt: skip
fault(
    "a withdrawn task is not free", "TK-6", "It stays claimed: the task can't be scheduled again.",
    "_item", "            self.item_ticket = blank; del hand[0]", "            del hand[0]",
    "_group", "            item.item_ticket = blank; del hand[0]", "            del hand[0]",
)  # fmt: skip
fault(
    "a sweep loses a task", "TK-6", "When withdrawn tasks are cleared away, the first that was not goes with them.",
    "_lane", "extendleft(reversed(sweeping)); del sweeping[:]", "extendleft(reversed(sweeping[1:])); del sweeping[:]",
)  # fmt: skip
fault(
    "a sweep reverses", "TK-5 TK-6", "When withdrawn tasks are cleared away, the others come last in, first out.",
    "_lane", "extendleft(reversed(sweeping)); del sweeping[:]", "extendleft(sweeping); del sweeping[:]",
)  # fmt: skip
fault(
    "a sweep wakes nobody", "TK-6", "An executor that found nothing while withdrawn tasks were cleared away is not started again.",
    "_lane", "        self.group.let_go(self)\n", "        self.group.halts.pop(self, None)\n",
)  # fmt: skip
fault(
    "cancel can be outrun", "TK-6", "It is idle while cancel waits, so a task that reschedules itself goes on.",
    "_task", "                waited = True\n                yield from self._wait_for",
    "                waited = True\n                self.give_back(hand)\n                yield from self._wait_for",
)  # fmt: skip
fault(
    "cancel takes what is set aside for nowhere", "TK-6", "A re-run that waits for a run elsewhere is not withdrawn.",
    "_item", "        if None in ticket:\n            return False\n        taken = False\n        try:\n",
    "        at = self.item_executor\n        if None in ticket or (at is not None and any(each is ticket for each in at.deferred)):\n            return False\n        taken = False\n        try:\n",
)  # fmt: skip
fault(
    "cancel from inside hangs", "TK-6", "A task that cancels itself waits for its own end.",
    "_task", "                if executor.ident == get_ident():\n                    return False\n", "",
)  # fmt: skip
fault(
    "cancel of a task keeps the interlock", "TK-6", "The interlock is not released while it waits.",
    "_task", "        if interlock is None:\n            over", "        if True:\n            over",
)  # fmt: skip
fault(
    "cancel of a task releases a needless interlock", "TK-6", "The interlock is released though nothing is waited for.",
    "_task", "            never_ran = yield from self._cancel(hand, interlock, wait)\n",
    "            if interlock is not None:\n                yield from interlock_released(interlock, tuple)\n            never_ran = yield from self._cancel(hand, interlock, wait)\n",
)  # fmt: skip
fault(
    "cancel of a task has no time limit", "TK-6", "It waits as long as it takes.",
    "_task", "return run(self.cancel_steps(interlock, Blocking(timeout)))", "return run(self.cancel_steps(interlock, Blocking(None)))",
)  # fmt: skip
fault(
    "cancel_async of a running task says True", "TK-6", "It believes that it can stop a run.",
    "_task", "    def cancel_async(self) -> bool:\n", "    def cancel_async(self) -> bool:\n        self._cancel_async()\n        return True\n\n    def _cancel_async(self) -> bool:\n",
)  # fmt: skip
fault(
    "cancel_async of a pending task says False", "TK-6", "The task never runs, but who asks is told otherwise.",
    "_task", "    def cancel_async(self) -> bool:\n", "    def cancel_async(self) -> bool:\n        pending = self.pending\n        return self._cancel_async() and not pending\n\n    def _cancel_async(self) -> bool:\n",
)  # fmt: skip

# --- waiting

fault(
    "drain misses the running one", "TK-7", "It looks only whether something waits.",
    "_lane", QUIET, "        idle = not (self.items and any(contents(self.items)))\n",
)  # fmt: skip
fault(
    "drain misses the set-aside one", "TK-7", "A task that waits for its run elsewhere is not waited for.",
    "_drain", "    if not group.set_aside:\n        return\n", "    return\n",
)  # fmt: skip
fault(
    "drain misses what others of the lane have in hand", "TK-7", "It returns when everything before it was taken.",
    "_drain", "        for executor, item, run in self._others:\n", "        for executor, item, run in ():\n",
)  # fmt: skip
fault(
    "drain misses other CPUs", "TK-7", "It waits for one lane.",
    "_drain", "        for lane in list(group.lanes):\n            while not lane.quiet():\n", "        for lane in list(group.lanes)[:1]:\n            while not lane.quiet():\n",
)  # fmt: skip
fault(
    "drain waits for later tasks", "TK-7", "It goes on until the queue is empty.",
    "_drain", "    yield from _pass(group, wait, what)\n    if not group.set_aside:\n",
    "    yield from drain_until_quiet(group, wait, what)\n    if not group.set_aside:\n",
)  # fmt: skip
fault(
    "drain waits for timers", "TK-7", "What is armed is waited for, too.",
    "_drain", "    yield from _pass(group, wait, what)\n    if not group.set_aside:\n",
    "    yield from _pass(group, wait, what)\n    while group.armed:\n        yield from wait.doze(0.001)\n    if not group.set_aside:\n",
)  # fmt: skip
fault(
    "drain from inside hangs", "TK-7", "A task that drains its own queue waits for itself.",
    "_queue", "        if self._is_own_call():\n            raise UsageError(f\"a task of queue {self.name!r} can't wait", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't wait",
)  # fmt: skip
fault(
    "drain has no time limit", "TK-7", "It waits as long as it takes.",
    "_queue", "            yield from drain_once(self.group, wait, ", "            yield from drain_once(self.group, type(wait)(None), ",
)  # fmt: skip
fault(
    "close takes new tasks afterwards", "TK-16", "schedule on a closed queue is taken for one of a queue that coalesces.",
    "_queue", "        if self.closed:\n            self.group.refuse_closed()\n        lane = self._lane\n        if lane is None:\n            lane = self.lane_here()\n        try:\n",
    "        if self.closed:\n            return False\n        lane = self._lane\n        if lane is None:\n            lane = self.lane_here()\n        try:\n",
)  # fmt: skip
fault(
    "close does not look again", "TK-16", "What comes when close has found nothing left runs after its return.",
    "_drain", "            # Publish, then look: see the head of `_group`.\n", "            return\n",
)  # fmt: skip
fault(
    "close forgets the timer", "TK-16", "A task that is on its way from the timer to its queue runs after the return, or never.",
    "_timed", "        try:\n            lane.put_ticket(ticket)\n",
    "        lane.group.armed.pop(self, None)\n        if timing is not None:\n            timing.ticket = None\n        try:\n            lane.put_ticket(ticket)\n",
)  # fmt: skip
fault(
    "close refuses and keeps", "TK-16", "What it refuses in the middle of a schedule stays pending.",
    "_lane", "            blank = [None, None]\n            try:\n                del ticket[0]; undone = True; item.item_ticket = blank",
    "            if isinstance(error, QueueClosed):\n                return True\n            blank = [None, None]\n            try:\n                del ticket[0]; undone = True; item.item_ticket = blank",
)  # fmt: skip
fault(
    "close from inside hangs", "TK-16", "A task that closes its own queue waits for itself.",
    "_queue", "        if not leave_workers and self._is_own_call():\n            raise UsageError(f\"a task of queue {self.name!r} can't close", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't close",
)  # fmt: skip

# --- calls

fault(
    "calls out of order", "TK-17", "A call goes before the tasks that wait.",
    "_lane", CALL, CALL.replace("items.append", "items.appendleft"),
)  # fmt: skip
fault(
    "a call that finds a busy lane is forgotten", "TK-17", "It is put on the lane only if an executor is idle.",
    "_lane", CALL, CALL.replace("            self.items.append(ticket)\n", "            if self.idle:\n                self.items.append(ticket)\n"),
)  # fmt: skip
fault(
    "a call is made without its keyword arguments", "TK-17", "They are forgotten.",
    "_executor", "item[0](*item[1], **item[2])", "item[0](*item[1])",
)  # fmt: skip
fault(
    "calls of the same function coalesce", "TK-17", "A call of a function that waits already is dropped, as for a task.",
    "_lane", CALL, CALL.replace("            self.items.append(ticket)\n", "            if any(each and each[0][0] is call[0] for each in list(self.items) if isinstance(each and each[0], tuple)):\n                return\n            self.items.append(ticket)\n"),
)  # fmt: skip
fault(
    "close loses calls", "TK-17", "What waits is run before the end of a close, but calls are dropped.",
    "_queue", "            self.closed = True\n            yield from end(",
    "            self.closed = True\n            for lane in self.group.lanes:\n                for ticket in list(lane.items):\n                    if ticket and isinstance(ticket[0], tuple):\n                        ticket.clear()\n            yield from end(",
)  # fmt: skip
fault(
    "a closed queue swallows calls", "TK-17", "call on a closed queue does nothing instead of an error.",
    "_queue", "        if self.closed:\n            self.group.refuse_closed()\n        lane = self._lane\n        if lane is None:\n            lane = self.lane_here()\n        lane.call(",
    "        if self.closed:\n            return\n        lane = self._lane\n        if lane is None:\n            lane = self.lane_here()\n        lane.call(",
)  # fmt: skip
fault(
    "exceptions of calls are swallowed", "TK-17", "No hook hears of what a call raised.",
    "_executor", "            group.report(error, item)\n", "            if not isinstance(item, Call):\n                group.report(error, item)\n",
)  # fmt: skip
fault(
    "an exception of a call kills the queue", "TK-17", "The executor ends with it and is never idle again.",
    "_executor", "                    self._failed(error, item)\n                    try:\n", "                    self._failed(error, item)\n                    if isinstance(item, tuple):\n                        raise\n                    try:\n",
)  # fmt: skip
fault(
    "drain misses calls", "TK-17", "It waits for tasks only.",
    "_lane", QUIET, QUIET.replace("any(contents(self.items))", "any(each for each in contents(self.items) if each and not isinstance(each[0], tuple))").replace("e.current is None and", "(e.current is None or isinstance(e.current, tuple)) and"),
)  # fmt: skip
fault(
    "a call interrupted by a call is lost", "TK-17", "call looks at the executors before it puts the call on the lane.",
    "_lane", CALL + "                self.kick()\n", CALL.replace("            self.items.append(ticket)\n", "") + "                self.kick()\n            self.items.append(ticket)\n",
)  # fmt: skip

# --- timers

fault(
    "early timer", "TK-11", "What is due within the next two milliseconds fires with what is due.",
    "_timer", "                if due > now:\n                    return\n", "                if due > now + 0.002:\n                    return\n",
)  # fmt: skip
fault(
    "timer hands out in order of arming", "TK-11", "The heap is a list.",
    "_timer", "                heapq.heappush(heap, entry)\n", "                heap.append(entry)\n",
)  # fmt: skip
fault(
    "an earlier timer is held up", "TK-11", "Arming for an earlier time does not wake the timer.",
    "_timer", "        elif due < self.next_wake or len(self._intake) > _INTAKE_LIMIT:\n", "        elif len(self._intake) > _INTAKE_LIMIT:\n",
)  # fmt: skip
fault(
    "the timer does not look again", "TK-11 TK-12", "Who arms while the timer goes is forgotten until somebody else arms.",
    "_timer", "        if self._intake and not self.stopped:\n            self._boot()  # takes effect at done()\n", "",
)  # fmt: skip
fault(
    "later than the jitter", "TK-11", "A delayed task comes half a second after the end of its jitter.",
    "_timer", "    return min(math.ceil(due / step) * step, due + jitter)\n", "    return due + jitter + 0.5\n",
)  # fmt: skip
fault(
    "earlier than the delay by the jitter", "TK-11", "The jitter is taken from the delay.",
    "_timer", "    return min(math.ceil(due / step) * step, due + jitter)\n", "    return max(math.floor(due / step) * step, due - jitter)\n",
)  # fmt: skip
fault(
    "delayed schedule moves a pending one", "TK-11", "A second schedule has the task wait anew.",
    "_delayed", "            if not self.claim(hand):\n                return self.coalesce(lane.group)\n",
    "            if not self.claim(hand):\n                if self.armed:\n                    self.reschedule(seconds, jitter, queue)\n                    return False\n                return self.coalesce(lane.group)\n",
)  # fmt: skip
fault(
    "zero waits for a timer", "TK-11", "A delay of 0 goes through the timer.",
    "_delayed", "        if seconds == 0:\n            return queue.schedule(self)\n", "",
)  # fmt: skip
fault(
    "reschedule doubles", "TK-11", "The old time stays armed: it fires, too.",
    "_delayed", "                pending = True\n                if self.take_back(hand):\n                    break\n",
    "                pending = True\n                old = self.item_ticket\n                if self.take_back(hand):\n                    old.append(self)\n                    break\n",
)  # fmt: skip
fault(
    "reschedule to now loses", "TK-11", "The task is taken out of the timer and put nowhere.",
    "_delayed", "            lane.put_taken(self, hand)\n", "            self.give_back(hand)\n",
)  # fmt: skip
fault(
    "reschedule says False", "TK-11", "As if the task had not been pending.",
    "_delayed", "        return pending\n", "        return False\n",
)  # fmt: skip
fault(
    "timed_out is not set", "TK-11", "The expiry does not show.",
    "_timed", "        return timing is not None and not timing.ticket ", "        return False ",
)  # fmt: skip
fault(
    "timed_out stays", "TK-11", "An armed task shows the expiry of the time before.",
    "_timer", '    __slots__ = ("due", "ticket")\n', '    __slots__ = ("before", "due", "ticket")\n',
    "_timed", "        timing = Timing(due, ticket)\n", "        timing = Timing(due, ticket)\n        timing.before = self.timed_out\n",
    "_timed", "        return timing is not None and not timing.ticket ", "        return timing is not None and (not timing.ticket or timing.before) ",
)  # fmt: skip
fault(
    "cancel after the expiry comes too late", "TK-11 TK-6", "A task that has fired and waits in its queue is not found.",
    "_timed", "            taken = super().take_back(hand, ticket)\n",
    "            if self.timed_out:\n                return False\n            taken = super().take_back(hand, ticket)\n",
)  # fmt: skip
fault(
    "the timer does not hear of cancels", "TK-12", "It sleeps until the time of what was cancelled.",
    "_timer", "        if due <= self.next_wake:\n            self._box.put(None)\n", "        pass\n",
)  # fmt: skip
fault(
    "the timer stays", "TK-12", "With none armed it keeps its thread.",
    "_timer", "            return bool(intake)\n", "            if not intake:\n                self._box.get(True, 1e6)\n            return True\n",
)  # fmt: skip
fault(
    "arming is linear", "TK-12", "The list of armed tasks is sorted anew for each.",
    "_timer", "                heapq.heappush(heap, entry)\n", "                heap.append(entry)\n                heap.sort(key=lambda each: each[0])\n",
)  # fmt: skip
fault(
    "cancelled entries stay", "TK-12", "The heap keeps what was cancelled until its time comes.",
    "_timer", "        if len(heap) > 2 * self._expected + _INTAKE_LIMIT:\n", "        if False:\n",
)  # fmt: skip
fault(
    "periodic drift", "TK-13", "The next period counts from the run.",
    "_periodic", "self._due += (self._skipped + 1) * self.period", "self._due = monotonic() + self.period",
)  # fmt: skip
fault(
    "missed not counted", "TK-13", "missed is always 0.",
    "_periodic", "self.missed, self._skipped = self._skipped, 0", "self.missed, self._skipped = 0, 0",
)  # fmt: skip
fault(
    "what was missed is made up for", "TK-13", "All the runs that did not come are run in a burst.",
    "_periodic", "self._due += (self._skipped + 1) * self.period", "self._due += self.period",
)  # fmt: skip
fault(
    "cancel from inside does not stop a period", "TK-13", "The next time is armed after the function, cancelled or not.",
    "_periodic", "        self._go_on()\n        self.missed", "        self.missed",
    "_periodic", "        return self.fn(self)\n", "        self.fn(self)\n        self._go_on()\n",
    "_periodic", "wait))\n        finally:\n            if hand:\n                self.item_timing = None\n", "wait))\n        finally:\n            pass\n",
)  # fmt: skip
fault(
    "the first run comes after a period", "TK-13", "first is ignored.",
    "_periodic", "self.period if first is None else first)", "self.period)",
)  # fmt: skip
fault(
    "a period of zero accepted", "TK-13", "It is not refused.",
    "_periodic", 'check_seconds("a period", period, positive=True)', 'check_seconds("a period", period)',
)  # fmt: skip

# --- errors, contexts, the process

fault(
    "exception kills the queue", "TK-14", "The executor ends with the exception and is never idle again.",
    "_executor", "                    self._failed(error, item)\n                    try:\n", "                    self._failed(error, item)\n                    raise\n                    try:\n",
)  # fmt: skip
fault(
    "exceptions of tasks are swallowed", "TK-14", "No hook hears of what a task raised.",
    "_executor", "            group.report(error, item)\n", "            pass\n",
)  # fmt: skip
fault(
    "who waits for a task that raises waits for ever", "TK-14 TK-6", "The end of a run that raised is not announced.",
    "_executor", "                self.current = taking\n                if waiting:\n", "                self.current = taking\n                if waiting and not self.errors:\n",
    "_executor", "            self.current = None\n            if waiting:\n", "            self.current = None\n            if waiting and not self.errors:\n",
)  # fmt: skip
fault(
    "context ignored", "TK-15", "The task runs in the worker's own context.",
    "_task", "            fn = functools.partial(context.run, fn)  # type: ignore[call-arg]  # the task comes with the call\n", "",
)  # fmt: skip
fault(
    "a context stays on the worker", "TK-15", "The task's context is entered and never left.",
    "_task", "            fn = functools.partial(context.run, fn)  # type: ignore[call-arg]  # the task comes with the call\n",
    "            user = fn\n\n            def fn(task, user=user):\n                for variable, value in context.items():\n                    variable.set(value)\n                user(task)\n",
)  # fmt: skip
fault(
    "fork child runs the parent's tasks", "TK-14", "What waits in a lane stays there.",
    "_lifecycle", "            lane.items.clear()\n", "",
    "_lifecycle", "            tickets += lane.items\n", "",
)  # fmt: skip
fault(
    "fork child fires the parent's timers", "TK-14", "What is armed stays armed.",
    "_lifecycle", "[*timer.forget_all(), *in_hands]", "[*in_hands]",
)  # fmt: skip
fault(
    "fork child's lanes have no executor", "TK-14", "An executor that ran in the parent counts as running.",
    "_lifecycle", "            lane.idle[:] = [executor for executor in lane.executors if not executor.ident]\n", "",
)  # fmt: skip
fault(
    "timers fire during exit", "TK-14", "The exit waits for what is armed.",
    "_lifecycle", "    timer.stop()\n", "",
)  # fmt: skip
