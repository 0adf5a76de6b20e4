"""Faults of the top layer."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

fault = Layer("workqueue", "workqueue9")

APPEND = "            published = True; lane.items.append(work)  # fmt: skip  # noqa: E702 said, then done\n            if lane.idle:\n                lane.kick()\n"

# --- order and binding

fault(
    "works last in, first out", "WQ-1", "The newest work starts first.",
    "_workqueue", APPEND, APPEND.replace("items.append", "items.appendleft"),
)  # fmt: skip
fault(
    "two works at once", "WQ-1", "An ordered queue has two executors.",
    "_workqueue", "_Lanes(group, pri, percpu, max_active)", "_Lanes(group, pri, percpu, max_active if percpu else max_active + 1)",
)  # fmt: skip
fault(
    "max_active ignored", "WQ-1", "Works run one at a time.",
    "_workqueue", "_Lanes(group, pri, percpu, max_active)", "_Lanes(group, pri, percpu, 1)",
)  # fmt: skip
fault(
    "a burst of works wakes one executor", "WQ-1", "Only a work that finds the lane empty wakes an executor.",
    "_workqueue", APPEND, APPEND.replace("if lane.idle:", "if lane.idle and len(lane.items) == 1:"),
)  # fmt: skip
fault(
    "arg is not handed over", "WQ-1", "The function gets None.",
    "_group", "                func(work, arg)\n", "                func(work, None)\n",
)  # fmt: skip
fault(
    "cpu ignored", "WQ-2", "A work runs on the caller's CPU, whatever was asked for.",
    "_workqueue", "        return self._lanes._lane_of(cpu)\n", "        return self._lanes._current_lane()\n",
)  # fmt: skip
fault(
    "cpu without WQ_PERCPU accepted", "WQ-2", "It is ignored.",
    "_workqueue", "            if cpu is not None:\n                raise UsageError", "            if False:\n                raise UsageError",
)  # fmt: skip
fault(
    "works are not bound", "WQ-2", "The CPUs' queues run on an unbound pool.",
    "task9._queue", "Lane(self._group, self._percpu.ref_remote(cpu), 1, name)", "Lane(self._group, threadpool9.get(pri), 1, name)",
)  # fmt: skip
fault(
    "CPUs take turns", "WQ-2", "One queue serves all CPUs, so they do not run in parallel.",
    "_workqueue", "        if cpu is None:\n            return self._lanes._current_lane()\n        return self._lanes._lane_of(cpu)\n",
    "        return self._lanes._lane_of(min(self._lanes._lanes))\n",
)  # fmt: skip

# --- enqueuing

fault(
    "a pending work is silently not enqueued", "WQ-3", "enqueue says False instead of an error.",
    "_workqueue", "        if not free:\n            return self._not_free(work)\n        group", "        if not free:\n            return False\n        group",
)  # fmt: skip
fault(
    "a pending work is enqueued twice", "WQ-3", "It has two places in the queue.",
    "_workqueue", "        if not free:\n            return self._not_free(work)\n        group", "        if not free:\n            free.append(None)\n        group",
)  # fmt: skip
fault(
    "enqueue of nonsense accepted", "WQ-3", "What is no work is ignored.",
    "_workqueue", "        except AttributeError:\n            raise TypeError(f\"{self!r} takes works, not {work!r}\") from None\n        lane", "        except AttributeError:\n            return False\n        lane",
)  # fmt: skip
fault(
    "enqueue waits for the function", "WQ-3", "It blocks while a work of the queue runs.",
    "_workqueue", "        group = self._group\n        slot: list[None] = []\n",
    "        group = self._group\n        while any(e.ident not in (0, _seam.get_ident()) for e in lane.executors):\n            _seam.doze(0.001)\n        slot: list[None] = []\n",
)  # fmt: skip
fault(
    "a lane of works does not look again", "WQ-3", "A work that comes as the lane goes idle waits for the next one.",
    "task9._lane", "            if not items or group.frozen:\n                break\n", "            break\n",
)  # fmt: skip
fault(
    "a work is kept after its call", "WQ-3 WQ-4", "The executor refers to the work that it ran.",
    "task9._lane", "            task = None  # type: ignore[assignment]  # an idle executor keeps nobody alive\n", "            job.last = task\n",
)  # fmt: skip

# --- waiting for one

fault(
    "wait misses a running work", "WQ-4", "It waits until the work is not pending.",
    "_group", "        for executor in self.in_hand(work):\n            in_time", "        for executor in ():\n            in_time",
)  # fmt: skip
fault(
    "wait misses a pending work", "WQ-4", "It waits for the run under way only.",
    "_group", "        if pending():\n            mine", "        if False:\n            mine",
)  # fmt: skip
fault(
    "wait prolonged", "WQ-4", "A work that is enqueued again and again is waited for again and again.",
    "_group", "            return self.pending_here(work) and work._turn == turn\n", "            return self.pending_here(work)\n",
)  # fmt: skip
fault(
    "wait waits for the whole queue", "WQ-4", "As flush does.",
    "_workqueue", "                self._group.wait(work, deadline)\n", "                self._lanes._drain_all(deadline)\n",
)  # fmt: skip
fault(
    "wait from inside hangs", "WQ-4", "The function waits for its own end.",
    "_workqueue", "            if self._group.is_own_thread():\n                if (probe := probes.wait__self)", "            if False:\n                if (probe := probes.wait__self)",
)  # fmt: skip
fault(
    "wait looks at one CPU", "WQ-4", "A run on another CPU than the work's last is not seen.",
    "_group", "return [executor for executor in self.executors() if executor.current is work]",
    "return [executor for executor in (work._lane.executors if work._lane else ()) if executor.current is work]",
)  # fmt: skip
fault(
    "one of many waiters goes on", "WQ-4", "Only one of those who wait for a work is told.",
    "_group", "        if waiters is not None:\n            waiters.wake_all()\n", "        if waiters is not None:\n            waiters.wake_one()\n",
)  # fmt: skip
fault(
    "wait has no time limit", "WQ-4", "It waits as long as it takes.",
    "_workqueue", "                self._group.wait(work, deadline)\n", "                self._group.wait(work, None)\n",
)  # fmt: skip
fault(
    "wait of a delayed work returns at its expiry", "WQ-4 WQ-7", "What moves from the timer to the queue counts as gone.",
    "_work", "        self._since = _seam.monotonic_ns()\n        super()", "        self._since = _seam.monotonic_ns()\n        self._turn += 1\n        super()",
)  # fmt: skip

# --- cancelling

fault(
    "cancel of a work says True after a wait", "WQ-5", "The run is denied.",
    "_workqueue", "return withdrawn and not waited", "return True",
)  # fmt: skip
fault(
    "cancel of a work says False for a withdrawn one", "WQ-5", "A run is told that never was.",
    "_workqueue", "return withdrawn and not waited", "return False",
)  # fmt: skip
fault(
    "cancel of a work does not wait", "WQ-5", "It returns while the function runs.",
    "_workqueue", "            running = self._group.in_hand(work)\n", "            running = []\n",
)  # fmt: skip
fault(
    "cancel lets the work back in", "WQ-5", "Who enqueues during a cancel is not refused.",
    "_workqueue", "if work._disabled or work._cancelling:\n                raise _Refused\n            work._since", "if work._disabled:\n                raise _Refused\n            work._since",
)  # fmt: skip
fault(
    "cancel of a work has no time limit", "WQ-5", "It waits as long as it takes.",
    "_workqueue", "            withdrawn = self._cancel(work, deadline)\n", "            withdrawn = self._cancel(work, None)\n",
)  # fmt: skip
fault(
    "cancel leaves the work in the queue", "WQ-5", "It runs although cancel said that it would not.",
    "_workqueue", "            if held:\n                self._group.cancelled.bump()\n", "            if held:\n                lane = work._lane\n                lane.items.append(work)\n                lane.idle and lane.kick()\n                self._group.cancelled.bump()\n",
)  # fmt: skip
fault(
    "cancel does not tell who waits", "WQ-4 WQ-5", "A wait for a work that is withdrawn hangs.",
    "_workqueue", "        self._group.offer_space()\n        self._group.left_lane(work)\n", "        self._group.offer_space()\n",
)  # fmt: skip

# --- flush, drain, destroy

fault(
    "flush misses the running work", "WQ-6", "It looks only whether something waits.",
    "task9._lane", "        idle = not self.items and all(e.current is None and not e.deferred for e in self.executors)\n", "        idle = not self.items\n",
)  # fmt: skip
fault(
    "flush misses other CPUs", "WQ-6", "It waits for one CPU's queue.",
    "task9._queue", "        for lane in list(self._group.lanes):\n", "        for lane in list(self._group.lanes)[:1]:\n",
)  # fmt: skip
fault(
    "flush waits for later works", "WQ-6", "It goes on until the queue is empty.",
    "_workqueue", "        self._lanes.drain(timeout)\n", "        self._lanes._drain_all(_seam.deadline_after(timeout))\n",
)  # fmt: skip
fault(
    "flush from inside hangs", "WQ-6", "The function waits for its own end.",
    "task9._queue", "        if self._group.is_own_thread():\n            raise UsageError(f\"a task of queue {self.name!r} can't wait", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't wait",
)  # fmt: skip
fault(
    "drain keeps the function out", "WQ-6", "The queue's own function is refused, too.",
    "_workqueue", '        if self._state == "draining" and not self._group.is_own_thread():\n', '        if self._state == "draining":\n',
)  # fmt: skip
fault(
    "drain is a flush", "WQ-6", "What the function enqueues during a drain is not waited for.",
    "_workqueue", "            self._lanes._drain_all(deadline)\n", "            self._lanes.drain(timeout)\n",
)  # fmt: skip
fault(
    "drain does not reopen", "WQ-6", "The queue takes nothing any more.",
    "_workqueue", '            if self._drains == 0 and self._state == "draining":\n                self._state = "open"\n', "            pass\n",
)  # fmt: skip
fault(
    "the first of two drains reopens", "WQ-6", "Outsiders get in while the other one is under way.",
    "_workqueue", '            if self._drains == 0 and self._state == "draining":\n', '            if self._state == "draining":\n',
)  # fmt: skip
fault(
    "drain that gives up leaves the queue shut", "WQ-6", "After a time limit the queue takes nothing any more.",
    "_workqueue", "                self._drains -= counted\n            self._reopen()\n", "                pass\n",
)  # fmt: skip
fault(
    "destroy does not wait for the function", "WQ-6", "It returns while the function runs.",
    "_workqueue", "        cancelled = self._lanes.close(timeout)\n", "        cancelled = self._lanes._cancel_armed()\n        self._lanes._abandon()\n",
)  # fmt: skip
fault(
    "an enqueue does not look again", "WQ-6", "One that is in the middle when a destroy begins stays pending for ever.",
    "_workqueue", "            if group.frozen:\n                group.look_closed()", "            if False:\n                group.look_closed()",
)  # fmt: skip
fault(
    "destroyed twice accepted", "WQ-6", "The second destroy does nothing.",
    "_workqueue", '        if self._state == "destroyed":\n            raise UsageError(f"queue {self.name!r} is destroyed already")\n', '        if self._state == "destroyed":\n            return ()\n',
)  # fmt: skip
fault(
    "a destroyed queue swallows works", "WQ-6", "enqueue says False instead of an error.",
    "_workqueue", '        if self._state != "open":\n            self._check_open()\n', '        if self._state == "destroyed":\n            return False\n        if self._state != "open":\n            self._check_open()\n',
)  # fmt: skip

# --- delayed works

fault(
    "flush waits for timers", "WQ-7", "What is armed is waited for, too.",
    "_workqueue", "        self._lanes.drain(timeout)\n", "        self._lanes.drain(timeout)\n        while self._lanes._armed:\n            _seam.doze(0.001)\n",
)  # fmt: skip
fault(
    "early works", "WQ-7", "What is due within the next two milliseconds comes with what is due.",
    "task9._timer", "                if due > now:\n                    return\n", "                if due > now + 0.002:\n                    return\n",
)  # fmt: skip
fault(
    "modify says False", "WQ-7", "As if the work had not been pending.",
    "_workqueue", "            self._give_back(work, held)\n            raise\n        return True\n\n    def _place", "            self._give_back(work, held)\n            raise\n        return False\n\n    def _place",
)  # fmt: skip
fault(
    "modify does not move", "WQ-7", "The work keeps its time.",
    "_workqueue", "        held: list[object] = []\n        try:\n            if work._locate(held) != \"ours\":\n", "        if work.pending:\n            return True\n        held: list[object] = []\n        try:\n            if work._locate(held) != \"ours\":\n",
)  # fmt: skip
fault(
    "modify loses", "WQ-7", "The work is taken out of the timer and put nowhere.",
    "_workqueue", "            self._place(work, lane, seconds, jitter, held)\n        except BaseException:\n            self._give_back(work, held)\n", "            self._give_back(work, held)\n        except BaseException:\n            self._give_back(work, held)\n",
)  # fmt: skip
fault(
    "modify takes a work from another queue", "WQ-7", "A work that is pending elsewhere is moved.",
    "_workqueue", "        if lane.group is not self._group:\n            self._refuse_pending(work)\n        held", "        held",
)  # fmt: skip
fault(
    "destroy does not say what it cancelled", "WQ-7", "It returns nothing.",
    "_workqueue", "        return tuple(work for work in cancelled if isinstance(work, Work))\n", "        return ()\n",
)  # fmt: skip
fault(
    "an idle queue of works keeps its thread", "WQ-8", "The executor waits for the next work inside of its job.",
    "task9._lane", "            if not items or group.frozen:\n                break\n",
    "            if not items:\n                _seam.doze(30)\n            if not items or group.frozen:\n                break\n",
)  # fmt: skip

# --- limits

fault(
    "Full swallowed", "WQ-9", "A full queue that may not block takes the work all the same.",
    "_group", '                raise Full(f"queue {self.name!r} holds {self.max_pending} works; {work!r} was not enqueued")\n', "                return\n",
)  # fmt: skip
fault(
    "a time limit on a full queue is ignored", "WQ-9", "Who blocks waits as long as it takes.",
    "_group", "deadline = _seam.deadline_after(timeout) if block else None", "deadline = None",
)  # fmt: skip
fault(
    "one more than max_pending", "WQ-9", "The queue holds one work too many.",
    "_group", "_seam.deque([None] * max_pending)  # A", "_seam.deque([None] * (max_pending + 1))  # A",
)  # fmt: skip
fault(
    "slots lost by cancel", "WQ-9", "A withdrawn work keeps its place.",
    "_workqueue", "        if held:\n            if work._slot and slots is not None:\n                work._slot = False; slots.append(None)  # fmt: skip  # noqa: E702\n", "        if held:\n",
)  # fmt: skip
fault(
    "slots lost by modify", "WQ-9", "A work that is moved to later keeps its place.",
    "_workqueue", "            slots = self._group.slots\n            if work._slot and slots is not None:\n                work._slot = False; slots.append(None)  # fmt: skip  # noqa: E702\n", "",
)  # fmt: skip
fault(
    "slots lost by a refused enqueue", "WQ-9 WQ-3", "An enqueue that is an error takes a place.",
    "_workqueue", "        if not free:\n            return self._not_free(work)\n        group", "        if not free:\n            if self._group.slots:\n                self._group.slots.pop()\n            self._refuse_pending(work)\n        group",
)  # fmt: skip
fault(
    "room is not told", "WQ-9", "Who blocks on a full queue is not woken.",
    "_group", "            self.space.wake_one()\n", "            pass\n",
)  # fmt: skip

# --- freezing and disabling

fault(
    "freeze has no effect on what waits", "WQ-10", "An executor that runs goes on to the next work.",
    "task9._lane", "                    if guard is None:\n                        task = popleft()\n                        if group.frozen:\n",
    "                    if guard is None:\n                        task = popleft()\n                        if False:\n",
)  # fmt: skip
fault(
    "freeze leaks one", "WQ-10", "A frozen queue calls one more work.",
    "task9._lane", "            while waiting_here:\n                self.runs += 1\n", "            leak = not group.frozen\n            while waiting_here:\n                self.runs += 1\n",
    "task9._lane", "                        task = popleft()\n                        if group.frozen:\n                            self._put_back",
    "                        task = popleft()\n                        if group.frozen and leak:\n                            leak = False\n                        elif group.frozen:\n                            self._put_back",
)  # fmt: skip
fault(
    "freeze does not hold what comes", "WQ-10", "A work that is enqueued on a frozen queue that is idle is called.",
    "_workqueue", APPEND, APPEND.replace("            if lane.idle:\n", "            frozen, group.frozen = group.frozen, {}\n            if lane.idle:\n") + "            while frozen and lane.items:\n                _seam.doze(0.001)\n            group.frozen = frozen\n",
)  # fmt: skip
fault(
    "a frozen queue refuses", "WQ-10", "It does not accept works.",
    "_workqueue", "if work._disabled or work._cancelling:\n                raise _Refused\n            work._since", "if work._disabled or work._cancelling or group.frozen:\n                raise _Refused\n            work._since",
)  # fmt: skip
fault(
    "thaw reverses", "WQ-10", "What was held comes last in, first out.",
    "task9._lane", "        for lane in self.lanes:\n            for _ in", "        for lane in self.lanes:\n            lane.items.reverse()\n            for _ in",
)  # fmt: skip
fault(
    "thaw wakes nobody", "WQ-10", "What was held waits for the next enqueue.",
    "task9._lane", "                if lane.items and lane.idle:\n                    lane.kick()\n", "                pass\n",
)  # fmt: skip
fault(
    "thaw wakes one", "WQ-10", "With max_active what was held comes one at a time.",
    "task9._lane", "            for _ in lane.executors:\n                if lane", "            for _ in lane.executors[:1]:\n                if lane",
)  # fmt: skip
fault(
    "disable not counted", "WQ-10", "One enable undoes two.",
    "_workqueue", "            work._disabled += 1\n", "            work._disabled = 1\n",
)  # fmt: skip
fault(
    "one enable too many accepted", "WQ-10", "It does nothing.",
    "_workqueue", "            if work._disabled == 0:\n                raise", "            if work._disabled == 0:\n                return True\n                raise",
)  # fmt: skip
fault(
    "disable does not cancel", "WQ-10", "A pending work runs though it is disabled.",
    "_workqueue", "        return self.cancel(work, timeout)\n", "        return False\n",
)  # fmt: skip
fault(
    "enqueue of a disabled work says True", "WQ-10", "Though nothing was enqueued.",
    "_workqueue", "            if isinstance(error, _Refused):\n                return False\n            if isinstance(error, AttributeError)", "            if isinstance(error, _Refused):\n                return True\n            if isinstance(error, AttributeError)",
)  # fmt: skip
fault(
    "a disabled work can be enqueued for later", "WQ-10", "Delayed enqueues do not look at disable.",
    "_workqueue", "            if work._disabled or work._cancelling:  # publish, then look: as in `enqueue`\n                raise _Refused\n", "",
)  # fmt: skip

# --- errors, counters, giant

fault(
    "on_error ignored", "WQ-11", "The hook is told instead.",
    "_group", "        if self.on_error is not None:\n", "        if False:\n",
)  # fmt: skip
fault(
    "on_error beside the hook", "WQ-11", "Both are told.",
    "_group", "            self.on_error(error, task)\n        else:\n            super()", "            self.on_error(error, task)\n        if True:\n            super()",
)  # fmt: skip
fault(
    "errors do not name the queue", "WQ-11", "The report does not say where.",
    "_group", "        error.add_note(f\"in work queue {self.name!r}, work {task!r}\")\n", "",
)  # fmt: skip
fault(
    "an exception kills the work queue", "WQ-11", "The executor ends with it and is never idle again.",
    "task9._lane", "                    self._failed(error, task)\n                self.current = taking\n", "                    self._failed(error, task)\n                    raise\n                self.current = taking\n",
)  # fmt: skip
fault(
    "on_error that raises kills the work queue", "WQ-11", "What on_error raises leaves the executor.",
    "task9._lane", "        except BaseException as second:\n            _hooks.report_error(second, origin=self.lane.group)\n", "        except ZeroDivisionError:\n            pass\n",
)  # fmt: skip
fault(
    "enqueued without the cancelled", "WQ-12", "What was withdrawn counts as never enqueued.",
    "_workqueue", "started + cancelled + pending + armed)", "started + pending + armed)",
)  # fmt: skip
fault(
    "started counts drains", "WQ-12", "A drain's marker counts as a work.",
    "task9._lane", "        if task._marker:\n            task.fn(task)\n", "        if task._marker:\n            self.started += 1\n            task.fn(task)\n",
)  # fmt: skip
fault(
    "completed counts what runs", "WQ-12", "started - completed is always 0.",
    "_workqueue", "completed=max(0, started - running)", "completed=started",
)  # fmt: skip
fault(
    "cancelled works are not counted", "WQ-12", "The counter stays 0.",
    "_workqueue", "            if held:\n                self._group.cancelled.bump()\n", "            if held:\n",
)  # fmt: skip
fault(
    "errors of works are not counted", "WQ-12", "The counter stays 0.",
    "task9._lane", "        self.errors += 1\n", "",
)  # fmt: skip
fault(
    "run time is not measured", "WQ-12", "It stays 0.",
    "_group", "                stats.run_ns += last - start\n", "",
)  # fmt: skip
fault(
    "delayed works are not pending", "WQ-12", "The counter leaves out what is armed.",
    "_workqueue", "pending=pending + armed", "pending=pending",
)  # fmt: skip
fault(
    "giant does not exclude", "WQ-13", "Functions of giant queues run at the same time.",
    "_group", "self.func = _excluding(func) if exclusive else func", "self.func = func",
)  # fmt: skip
fault(
    "each giant queue has a lock of its own", "WQ-13", "They exclude only themselves.",
    "_group", "    def call(work: Any, arg: Any) -> object:\n        with giant:\n", "    own = _seam.RLock()\n\n    def call(work: Any, arg: Any) -> object:\n        with own:\n",
)  # fmt: skip
fault(
    "all queues are giant", "WQ-13", "No two functions run at the same time.",
    "_group", "self.func = _excluding(func) if exclusive else func", "self.func = _excluding(func)",
)  # fmt: skip
