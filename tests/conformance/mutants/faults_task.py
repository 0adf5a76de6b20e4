"""Faults of the middle layer."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

fault = Layer("task", "task9")

CALL = """                        task._free.append(None)  # from here on a schedule means another run
                        if call is None:
                            task.fn(task)
                        else:
                            call(task)
"""
LATE = """                        try:
                            (call or task.fn)(task)
                        finally:
                            task._free.append(None)
"""
APPEND = "            published = True; self.items.append(task)  # fmt: skip  # noqa: E702 said, then done\n            if self.idle:\n                self.kick()\n"

# --- scheduling

fault(
    "an executor does not look again", "TK-1", "A lane that goes idle does not look whether a task came meanwhile.",
    "_lane", "            if not items or group.frozen:\n                break\n", "            break\n",
)  # fmt: skip
fault(
    "a coalesced task schedule says True", "TK-1", "schedule says True though the task is pending already.",
    "_task", "            probe(lane, self)\n        return False\n\n    def _adopt", "            probe(lane, self)\n        return True\n\n    def _adopt",
)  # fmt: skip
fault(
    "each schedule is a run", "TK-2", "Schedules before the start are not coalesced.",
    "_task", "            probe(lane, self)\n        return False\n\n    def _adopt",
    "            probe(lane, self)\n        if lane is not None and not self._free and self in lane.items:\n            lane.items.append(self)\n        return False\n\n    def _adopt",
)  # fmt: skip
fault(
    "done of a task does nothing", "TK-2", "The run goes on to the function's end for all who wait.",
    "_lane", "        self.current = TAKING\n        if self.waiters.locks:\n", "        return\n        if self.waiters.locks:\n",
)  # fmt: skip
fault(
    "anybody may end a task's run", "TK-2", "done() is accepted from outside the function.",
    "_lane", "        if self.ident != _seam.get_ident() or self.current is not task:\n            raise", "        if False:\n            raise",
)  # fmt: skip
fault(
    "task beside itself", "TK-3", "A free executor takes a task that runs on another one.",
    "_lane", "if other is not None and task._exclusive and other.current is task:", "if False:",
)  # fmt: skip
fault(
    "no re-run after a schedule while running", "TK-2 TK-3", "A task that was set aside because it runs elsewhere stays there.",
    "_lane", "                if deferred:\n                    self._undefer()\n", "",
)  # fmt: skip
fault(
    "setting aside does not look again", "TK-2 TK-3", "A task that is set aside at the end of its other run is left behind.",
    "_lane", "            if other.current is task:\n                return False\n            if not _seam", "            return False\n            if not _seam",
)  # fmt: skip

# --- queues

fault(
    "a shared queue is the first CPU's", "TK-4", "A task runs on the lowest CPU, not on the caller's.",
    "_queue", "        cpu = threadpool9.current_cpu()\n", "        cpu = min(self._lanes)\n",
)  # fmt: skip
fault(
    "two at once on a shared queue", "TK-4", "Each lane of a per-CPU queue has two executors.",
    "_queue", "Lane(self._group, self._percpu.ref_remote(cpu), 1, name)", "Lane(self._group, self._percpu.ref_remote(cpu), 2, name)",
)  # fmt: skip
fault(
    "shared queues are not bound", "TK-4", "They run on an unbound pool.",
    "_queue", "Lane(self._group, self._percpu.ref_remote(cpu), 1, name)", "Lane(self._group, threadpool9.get(pri), 1, name)",
)  # fmt: skip
fault(
    "one shared queue for all priorities", "TK-4", "get of any priority gives the same queue.",
    "_queue", "        queue = _registry.queues.get(pri)\n", "        queue = next(iter(_registry.queues.values()), None)\n",
)  # fmt: skip
fault(
    "each get makes a shared queue", "TK-4", "Two gets of one priority give two queues.",
    "_queue", "        queue = _registry.queues.get(pri)\n", "        queue = None\n",
    "_queue", "        queue = _registry.queues.setdefault(pri, fresh)\n", "        queue = _registry.queues[pri] = fresh\n",
)  # fmt: skip
fault(
    "long tasks are not reported", "TK-4", "The limit has no effect.",
    "_lane", "            if limit and took > limit and", "            if False and",
    "_lane", "limits = [pool_tunables.stall_ms, tunables.limit_ms if group.shared else 0.0]", "limits = [pool_tunables.stall_ms]",
)  # fmt: skip
fault(
    "short tasks are reported too", "TK-4", "Every task of a shared queue is reported.",
    "_lane", "            if limit and took > limit and", "            if limit and",
)  # fmt: skip
fault(
    "tasks last in, first out", "TK-5", "The newest task of a queue starts first.",
    "_lane", APPEND, APPEND.replace("items.append", "items.appendleft"),
)  # fmt: skip
fault(
    "concurrency ignored", "TK-5", "A private queue runs one task at a time.",
    "_lane", "for _ in range(executors))", "for _ in range(1))",
)  # fmt: skip
fault(
    "one more than the concurrency", "TK-5", "A private queue runs n + 1 tasks at once.",
    "_lane", "for _ in range(executors))", "for _ in range(executors + 1))",
)  # fmt: skip
fault(
    "a burst wakes one executor", "TK-5", "Only a task that finds the lane empty wakes an executor.",
    "_lane", APPEND, APPEND.replace("if self.idle:", "if self.idle and len(self.items) == 1:"),
)  # fmt: skip
fault(
    "a task that reschedules itself goes first", "TK-8", "It is put at the front and starves the others.",
    "_lane", APPEND, APPEND.replace("self.items.append(task)", "(self.items.appendleft if task.running else self.items.append)(task)"),
)  # fmt: skip
fault(
    "an idle queue keeps its thread", "TK-9", "The executor waits for the next task inside of its job.",
    "_lane", "            if not items or group.frozen:\n                break\n",
    "            if not items:\n                _seam.doze(30)\n            if not items or group.frozen:\n                break\n",
)  # fmt: skip
fault(
    "an idle lane keeps its last task", "TK-9", "The executor refers to the task that it ran.",
    "_lane", "            task = None  # type: ignore[assignment]  # an idle executor keeps nobody alive\n", "            job.last = task\n",
)  # fmt: skip
fault(
    "two queues accepted", "TK-10", "Scheduling a pending task on another queue is taken for a coalesced schedule.",
    "_task", "if lane is not None and lane.group is not group and not self._free:", "if False:",
)  # fmt: skip
fault(
    "a running task moves to another queue", "TK-10", "A task that runs on one queue can be scheduled on another.",
    "_task", "        if old is not None and old.group is not lane.group and self._exclusive and self.running:\n", "        if False:\n",
)  # fmt: skip
fault(
    "destroy of a running task accepted", "TK-10", "destroy looks only whether the task is pending.",
    "_task", "            if self.running:\n                raise UsageError(f\"{self!r} is running; cancel() it before destroy()\")\n", "",
)  # fmt: skip
fault(
    "destroy of a scheduled task accepted", "TK-10", "destroy looks only whether the task runs.",
    "_task", "            del self._free[0]; claimed = True  # fmt: skip  # noqa: E702\n            if self.running", "            del self._free[:]; claimed = True\n            if self.running",
)  # fmt: skip

# --- cancelling

fault(
    "cancel of a task does not wait", "TK-6", "It returns while the function runs.",
    "_task", "                self._wait_for(executor, interlock, deadline)\n", "                return False\n",
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
    "_task", "        if _seam.discard(lane.items, self, held):\n            return True\n        return executor",
    "        if self in lane.items:\n            held.append(None)\n            return True\n        return executor",
)  # fmt: skip
fault(
    "cancel can be outrun", "TK-6", "The token is given back while cancel waits, so a task that reschedules itself goes on.",
    "_task", "                waited = True\n                self._wait_for",
    "                waited = True\n                if held:\n                    held.clear()\n                    self._free.append(None)\n                self._wait_for",
)  # fmt: skip
fault(
    "cancel takes what is set aside for nowhere", "TK-6", "A re-run that waits for a run elsewhere is not withdrawn.",
    "_task", "        return executor is not None and _seam.discard(executor.deferred, self, held)\n", "        return False\n",
)  # fmt: skip
fault(
    "cancel from inside hangs", "TK-6", "A task that cancels itself waits for its own end.",
    "_task", "                if executor.ident == _seam.get_ident():\n                    return False\n", "",
)  # fmt: skip
fault(
    "cancel of a task keeps the interlock", "TK-6", "The interlock is not released while it waits.",
    "_task", "        if interlock is None:\n            over", "        if True:\n            over",
)  # fmt: skip
fault(
    "cancel of a task releases a needless interlock", "TK-6", "The interlock is released though nothing is waited for.",
    "_task", "            never_ran = self._cancel(held, interlock, deadline)\n",
    "            if interlock is not None:\n                interlock_released(interlock, _seam.get_ident)\n            never_ran = self._cancel(held, interlock, deadline)\n",
)  # fmt: skip
fault(
    "cancel of a task has no time limit", "TK-6", "It waits as long as it takes.",
    "_task", "        deadline = _seam.deadline_after(timeout)\n        if interlock", "        deadline = None\n        if interlock",
)  # fmt: skip
fault(
    "cancel_async of a running task says True", "TK-6", "It believes that it can stop a run.",
    "_task", '        return where != "taken" and not self.running\n', "        return True\n",
    "_task", "            return not self.running\n", "            return True\n",
)  # fmt: skip
fault(
    "cancel_async of a pending task says False", "TK-6", "The task never runs, but who asks is told otherwise.",
    "_task", '        return where != "taken" and not self.running\n', "        return False\n",
)  # fmt: skip

# --- waiting

fault(
    "drain misses the running one", "TK-7", "It looks only whether something waits.",
    "_lane", "        idle = not self.items and all(e.current is None and not e.deferred for e in self.executors)\n", "        idle = not self.items\n",
)  # fmt: skip
fault(
    "drain misses the set-aside one", "TK-7", "A task that waits for its run elsewhere is not waited for.",
    "_queue", "        if not self._group.set_aside:\n            return\n", "        return\n",
)  # fmt: skip
fault(
    "drain misses other CPUs", "TK-7", "It waits for one lane.",
    "_queue", "        for lane in list(self._group.lanes):\n", "        for lane in list(self._group.lanes)[:1]:\n",
)  # fmt: skip
fault(
    "drain waits for later tasks", "TK-7", "It goes on until the queue is empty.",
    "_queue", "        self._pass(deadline, what)\n        if not self._group.set_aside:\n",
    "        self._drain_all(deadline)\n        if not self._group.set_aside:\n",
)  # fmt: skip
fault(
    "drain waits for timers", "TK-7", "What is armed is waited for, too.",
    "_queue", "        self._pass(deadline, what)\n        if not self._group.set_aside:\n",
    "        self._pass(deadline, what)\n        while self._armed:\n            _seam.doze(0.001)\n        if not self._group.set_aside:\n",
)  # fmt: skip
fault(
    "drain from inside hangs", "TK-7", "A task that drains its own queue waits for itself.",
    "_queue", "        if self._group.is_own_thread():\n            raise UsageError(f\"a task of queue {self.name!r} can't wait", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't wait",
)  # fmt: skip
fault(
    "drain has no time limit", "TK-7", "It waits as long as it takes.",
    "_queue", "            self._drain(deadline)\n", "            self._drain(None)\n",
)  # fmt: skip
fault(
    "close takes new tasks afterwards", "TK-16", "schedule on a closed queue is taken for one of a queue that coalesces.",
    "_queue", "        if self._closed:\n            self._refuse_closed()\n        lane = self._lane\n", "        if self._closed:\n            return False\n        lane = self._lane\n",
)  # fmt: skip
fault(
    "close does not look again", "TK-16", "What comes when close has found nothing left runs after its return.",
    "_queue", "                if not self._is_expiring() and self._group.quiet():\n", "                if True:\n",
    "_lane", "                self.kick()\n            if self.group.frozen:\n                self.group.look_closed()\n        except BaseException as error:\n            if not claimed:\n",
    "                self.kick()\n        except BaseException as error:\n            if not claimed:\n",
    "_queue", "                self._group.frozen[ended] = None\n", "                pass\n",
    "_queue", "                    self._group.frozen[CLOSED] = None\n", "",
)  # fmt: skip
fault(
    "close forgets the timer", "TK-16", "A task that is on its way from the timer to its queue runs after the return, or never.",
    "_queue", "                if self._is_expiring():", "                if False:",
)  # fmt: skip
fault(
    "close refuses and keeps", "TK-16", "What it refuses in the middle of a schedule stays pending.",
    "_lane", "            undone = _seam.discard(self.items, task)\n            if undone:\n", "            undone = True\n            if isinstance(error, QueueClosed):\n                return True\n            undone = _seam.discard(self.items, task)\n            if undone:\n",
)  # fmt: skip
fault(
    "close from inside hangs", "TK-16", "A task that closes its own queue waits for itself.",
    "_queue", "        if self._group.is_own_thread():\n            raise UsageError(f\"a task of queue {self.name!r} can't close", "        if False:\n            raise UsageError(f\"a task of queue {self.name!r} can't close",
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
    "_timer", "            elif due < self.next_wake or len(self._intake) > _INTAKE_LIMIT:\n", "            elif len(self._intake) > _INTAKE_LIMIT:\n",
)  # fmt: skip
fault(
    "the timer does not look again", "TK-11 TK-12", "Who arms while the timer goes is forgotten until somebody else arms.",
    "_timer", "        if intake and not self.stopped:\n            self._boot()  # takes effect at done()\n", "",
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
    "_delayed", "        if not self._free:\n            return self._coalesced(queue._group)\n        held: list[object] = []\n        claimed",
    "        if self.armed:\n            self.reschedule(when() - _seam.monotonic(), 0.0, queue)\n            return False\n        if not self._free:\n            return self._coalesced(queue._group)\n        held: list[object] = []\n        claimed",
)  # fmt: skip
fault(
    "zero waits for a timer", "TK-11", "A delay of 0 goes through the timer.",
    "_delayed", "        if seconds == 0:\n            return queue.schedule(self)\n        if queue._closed", "        if queue._closed",
)  # fmt: skip
fault(
    "reschedule doubles", "TK-11", "The old time stays armed: it fires, too.",
    "_delayed", "            _seam.collect(ticket.pop, held)\n", "            held.append(ticket[0])\n",
)  # fmt: skip
fault(
    "reschedule to now loses", "TK-11", "The task is taken out of the timer and put nowhere.",
    "_delayed", "                lane.put_held(self, held)\n        except BaseException:\n            if held:\n                self._free.append(None)\n            raise\n        return pending\n",
    "                self._free.append(None)\n        except BaseException:\n            if held:\n                self._free.append(None)\n            raise\n        return pending\n",
)  # fmt: skip
fault(
    "reschedule says False", "TK-11", "As if the task had not been pending.",
    "_delayed", "        return pending\n", "        return False\n",
)  # fmt: skip
fault(
    "timed_out is not set", "TK-11", "The expiry does not show.",
    "_delayed", "        self._timed_out = True\n", "",
)  # fmt: skip
fault(
    "timed_out stays", "TK-11", "An armed task shows the expiry of the time before.",
    "_delayed", "            self._timed_out = False\n", "",
)  # fmt: skip
fault(
    "cancel after the expiry comes too late", "TK-11 TK-6", "A task that has fired and waits in its queue is not found.",
    "_delayed", "        return self._claim(held) or super()._withdraw(held)\n", "        return self._claim(held) or (not self._timed_out and super()._withdraw(held))\n",
)  # fmt: skip
fault(
    "the timer does not hear of cancels", "TK-12", "It sleeps until the time of what was cancelled.",
    "_timer", "        if due <= self.next_wake:\n            self._box.put(None)\n", "        pass\n",
)  # fmt: skip
fault(
    "the timer stays", "TK-12", "With none armed it keeps its thread.",
    "_timer", "                    continue\n                break\n", "                    continue\n                self._box.get(True, 1e6)\n                continue\n",
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
    "_delayed", "self._due = due + (self._skipped + 1) * self.period", "self._due = _seam.monotonic() + self.period",
)  # fmt: skip
fault(
    "missed not counted", "TK-13", "missed is always 0.",
    "_delayed", "self.missed, self._skipped = self._skipped, 0", "self.missed, self._skipped = 0, 0",
)  # fmt: skip
fault(
    "what was missed is made up for", "TK-13", "All the runs that did not come are run in a burst.",
    "_delayed", "self._due = due + (self._skipped + 1) * self.period", "self._due = due + self.period",
)  # fmt: skip
fault(
    "cancel from inside does not stop a period", "TK-13", "The next time is armed after the function, cancelled or not.",
    "_delayed", "        self._go_on()\n        self.missed", "        self.missed",
    "_delayed", "        self._periodic(self)\n", "        self._periodic(self)\n        self._go_on()\n",
    "_delayed", "                self._fired = None\n\n    def forget_threads", "                pass\n\n    def forget_threads",
)  # fmt: skip
fault(
    "the first run comes after a period", "TK-13", "first is ignored.",
    "_delayed", "self.period if first is None else first)", "self.period)",
)  # fmt: skip
fault(
    "a period of zero accepted", "TK-13", "It is not refused.",
    "_delayed", "        if check_seconds(\"a period\", period) == 0:\n            raise", "        if check_seconds(\"a period\", period) == 0 and False:\n            raise",
)  # fmt: skip

# --- errors, contexts, the process

fault(
    "exception kills the queue", "TK-14", "The executor ends with the exception and is never idle again.",
    "_lane", "                    self._failed(error, task)\n                self.current = taking\n", "                    self._failed(error, task)\n                    raise\n                self.current = taking\n",
)  # fmt: skip
fault(
    "exceptions of tasks are swallowed", "TK-14", "No hook hears of what a task raised.",
    "_lane", "            self.lane.group.report(error, task)\n", "            pass\n",
)  # fmt: skip
fault(
    "who waits for a task that raises waits for ever", "TK-14 TK-6", "The end of a run that raised is not announced.",
    "_lane", "                self.current = taking\n                if waiting:\n                    self.waiters.wake_all()\n                if deferred:",
    "                self.current = taking\n                if waiting and not self.errors:\n                    self.waiters.wake_all()\n                if deferred:",
    "_lane", "            self.current = None\n            if waiting:\n                self.waiters.wake_all()\n", "            self.current = None\n            if waiting and not self.errors:\n                self.waiters.wake_all()\n",
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
    "_lifecycle", "            stranded += lane.items\n", "",
)  # fmt: skip
fault(
    "fork child fires the parent's timers", "TK-14", "What is armed stays armed.",
    "_lifecycle", "    timer.forget_all()\n", "",
)  # fmt: skip
fault(
    "fork child's lanes have no executor", "TK-14", "An executor that ran in the parent counts as running.",
    "_lifecycle", "            lane.idle.extend(executor for executor in lane.executors if not executor.ident)\n", "",
)  # fmt: skip
fault(
    "timers fire during exit", "TK-14", "The exit waits for what is armed.",
    "_timer", "_lifecycle.before_exit.append(timer.stop)\n", "",
)  # fmt: skip
