"""Faults of the bottom layer."""

# ruff: noqa: E501  the texts are those of the sources, with what stands around them

from catalogue import Layer

fault = Layer("threadpool", "threadpool9")

# --- pools and references

fault(
    "each get makes a pool", "TP-1", "Two gets of one priority give two pools.",
    "_references", "        pool = registry.unbound.get(pri)\n", "        pool = None\n",
    "_references", "pool = registry.unbound.get(pri, fresh)", "pool = fresh",
)  # fmt: skip
fault(
    "racing gets disagree", "TP-1", "Threads that race for the first get each keep the pool that they made.",
    "_references", "pool = registry.unbound.get(pri, fresh)", "pool = fresh",
)  # fmt: skip
fault(
    "priority 224 accepted", "TP-2", "The upper bound is taken to be a priority.",
    "_priority", "if not PRI_NONE <= pri < PRI_COUNT:", "if not PRI_NONE <= pri <= PRI_COUNT:",
)  # fmt: skip
fault(
    "priority -2 accepted", "TP-2", "One below PRI_NONE is taken to be a priority.",
    "_priority", "if not PRI_NONE <= pri < PRI_COUNT:", "if not PRI_NONE - 1 <= pri < PRI_COUNT:",
)  # fmt: skip
fault(
    "bool accepted as a priority", "TP-2", "True is taken for 1.",
    "_priority", "if type(pri) is not int:", "if not isinstance(pri, int):",
)  # fmt: skip
fault(
    "the error does not name the range", "TP-2", "Who gives a bad priority is not told which are good.",
    "_priority", 'f"a priority is PRI_NONE ({PRI_NONE}) or an int from {PRI_USER} to {PRI_COUNT - 1}"', '"bad priority"',
)  # fmt: skip
fault(
    "put does not wait", "TP-9", "The last put returns while jobs run.",
    "_registry", "                yield from self.close(pools, wait)\n",
    "                for pool in pools:\n                    pool._dismiss_idle()\n                yield from ()\n",
)  # fmt: skip
fault(
    "put leaks a thread", "TP-9", "The last put waits for busy workers only, and lets idle ones be.",
    "_registry", "        self._dismiss(pools)\n        for pool in pools:\n            if pool.busy()", "        for pool in pools:\n            pool._closing = True\n        for pool in pools:\n            if pool.busy()",
    "_pool", "return any(_atomic.contents(self._jobs)) or bool(self._workers)",
    "return any(_atomic.contents(self._jobs)) or any(worker.job is not None for worker in list(self._workers))",
)  # fmt: skip
fault(
    "put does not wait for workers", "TP-9", "The last put waits for the jobs, but not until their workers have left.",
    "_pool", "return any(_atomic.contents(self._jobs)) or bool(self._workers)",
    "return any(_atomic.contents(self._jobs)) or any(worker.job is not None for worker in list(self._workers))",
)  # fmt: skip
fault(
    "put waits for the idle time", "TP-9", "A worker that becomes idle during the last put stays for the idle time.",
    "_worker", "if (jobs or self.pool._closing) and self._unpublish():", "if jobs and self._unpublish():",
)  # fmt: skip
fault(
    "last put from inside hangs", "TP-9", "The last put by one of the pool's own jobs waits for itself.",
    "_registry", "if own is not None and holder.references == 1:", "if False:",
)  # fmt: skip
fault(
    "one put too many accepted", "TP-9", "A put without a reference does nothing.",
    "_registry", "        raise UsageError(f\"one put() too many: nobody holds a reference to {holder!r}\")\n", "        return\n",
)  # fmt: skip
fault(
    "put has no time limit", "TP-9", "The limit of the last put is forgotten.",
    "_registry", "self.close(pools, wait)", "self.close(pools, type(wait)(None))",
)  # fmt: skip

# --- threads

fault(
    "no look-again", "TP-3", "A worker that goes idle does not look whether a job came meanwhile.",
    "_worker", "if (jobs or self.pool._closing) and self._unpublish():", "if self.pool._closing and self._unpublish():",
)  # fmt: skip
fault(
    "look before publish", "TP-3", "schedule looks for an idle worker before the job is in the queue.",
    "_pool", "            self._jobs.append(ticket)\n            if not (self._idle and self._wake_one(job)) and not self._request:\n                self._ask(job)\n",
    "            if not (self._idle and self._wake_one(job)) and not self._request:\n                self._ask(job)\n            self._jobs.append(ticket)\n",
)  # fmt: skip
fault(
    "a fresh pool has a worker", "TP-3", "Making a pool starts a thread.",
    "_registry", "            probe(cpu, pri, pool)\n        return pool\n",
    "            probe(cpu, pri, pool)\n        from ._job import Job\n\n"
    "        pool.post(Job(lambda job: job._finish()))\n        return pool\n",
)  # fmt: skip
fault(
    "idle workers are not reused", "TP-3", "A job gets a new thread though an idle one is there, or eight.",
    "_pool", "if not (self._idle and self._wake_one(job)) and", "if not (len(self._idle) > 8 and self._wake_one(job)) and",
    "_starter", "if wanted and pool._idle and pool._workers:", "if wanted and len(pool._idle) > 8:",
)  # fmt: skip
fault(
    "the starter is asked once only", "TP-3 TP-6", "The promise of a request is never emptied.",
    "_starter", "            pool = item.pop()\n", "            pool = item[0]\n",
)  # fmt: skip
fault(
    # Without the second edit nothing is lost: who leaves though there is a job has another worker started for it.
    "lost wake-up on idle exit", "TP-4",
    "A worker leaves at the end of the idle time though it was claimed, and asks for nobody in its place.",
    "_worker", "            elif self._unpublish():\n                self._die()\n", "            elif self._unpublish() or True:\n                self._die()\n",
    "_starter", "            if not pool._jobs:  # else it has left though there are jobs, so somebody else is needed\n                return\n",
    "            return\n",
)  # fmt: skip
fault(
    "FIFO idle reuse", "TP-4", "The worker that has been idle longest is used first.",
    "_pool", "iter(self._idle.pop, None): worker.wake(); break", "iter(self._idle.popleft, None): worker.wake(); break",
)  # fmt: skip
fault(
    "a longer idle time is ignored", "TP-4", "A wait under way ends after the old idle time.",
    "_worker", "            if left > 0:\n                if sleep(min(left, 1e6)):\n                    return True\n            elif self._unpublish():\n",
    "            if left > 0 and sleep(min(left, 1e6)):\n                return True\n            if self._unpublish():\n",
)  # fmt: skip
fault(
    "idle time read once", "TP-4", "A worker keeps to the idle time that it found first.",
    "_worker", "left = parked + tunables.idle_ms / 1000 -", "left = parked + self.__dict__.setdefault('idle', tunables.idle_ms / 1000) -",
)  # fmt: skip
fault(
    "idle workers never leave", "TP-4 TP-5", "The end of the idle time is the beginning of the next.",
    "_worker", "            elif self._unpublish():\n                self._die()\n                return False\n", "",
)  # fmt: skip
fault(
    "idle time of zero accepted", "TP-4", "The lower bound is 0 instead of 1 ms.",
    "_tunables", '"idle_ms": (30000.0, number(1))', '"idle_ms": (30000.0, number(0))',
)  # fmt: skip
fault(
    "the dispatcher stays", "TP-5", "The helper thread does not go with the last worker.",
    "_starter", "            if not (whens or self.workers) and self.requests.empty():\n                return\n", "",
)  # fmt: skip
fault(
    "a cap of 64 threads", "TP-6", "The 65th blocked job keeps the next one from running.",
    "_starter", "if wanted and pool._idle and pool._workers:", "if wanted and (pool._idle or len(pool._workers) >= 64):",
)  # fmt: skip
fault(
    "one worker a pool", "TP-6", "A job behind a blocked one waits for it.",
    "_starter", "if wanted and pool._idle and pool._workers:", "if wanted and pool._workers:",
)  # fmt: skip
fault(
    "retire_idle sends away but does not count", "TP-14", "It says 0.",
    "_registry", "sent += [(pool, worker) for worker in pool._dismiss_idle()]", "pool._dismiss_idle()",
)  # fmt: skip
fault(
    "retire_idle does nothing", "TP-14", "It says how many are idle, and leaves them.",
    "_registry", "        sent += [(pool, worker) for worker in pool._dismiss_idle()]\n    left = 0\n",
    "        sent += pool._idle\n    return len(sent)\n    left = 0\n",
)  # fmt: skip

# --- CPUs and the OS

fault(
    "ref is always the first CPU", "TP-7", "The pool of the lowest CPU instead of the caller's.",
    "_references", "        cpu = _topology.current_cpu()\n        pool = self._pools.get(cpu)\n",
    "        cpu = self.cpus[0]\n        pool = self._pools.get(cpu)\n",
)  # fmt: skip
fault(
    "any CPU accepted", "TP-8", "ref_remote of a CPU that does not exist gives some pool.",
    "_references", "            if cpu not in _topology.refresh():\n                usable", "            if False:\n                usable",
)  # fmt: skip
fault(
    "a pool for every CPU of the machine", "TP-8", "CPUs that the process may not use have pools too.",
    "_references", "for cpu in _topology.allowed_cpus()}", "for cpu in range(__import__('os').cpu_count())}",
)  # fmt: skip
fault(
    "a lost CPU is not told", "TP-8", "The loss of a CPU is in no warning and no snapshot.",
    "_stats", "        try:\n            self._bound.remove(seen[0])\n", "        return\n        try:\n            self._bound.remove(seen[0])\n",
)  # fmt: skip
fault(
    "priorities do not reach the OS", "TP-10", "Every worker runs as the process does.",
    "_settle", "refused = apply_priority(pool.wanted)", "refused = None",
)  # fmt: skip
fault(
    "strict mode ignored", "TP-10", "get never refuses a priority.",
    "_registry", "if tunables.strict_priorities and (", "if False and (",
)  # fmt: skip
fault(
    "a refusal is told by each worker", "TP-10", "Not once for the pool.",
    "_stats", "        if self._refused is None:\n", "        if True:\n",
)  # fmt: skip
fault(
    "the job's name stays", "TP-11 TP-13", "An idle thread keeps the name of its last job.",
    "_osthread", "return policy, urgency, buffer.raw", "return policy, urgency, buffer.raw[16:]",
)  # fmt: skip
fault(
    "start failure loses the job", "TP-12", "When the OS refuses a thread, the queue is emptied.",
    "_starter", "            pool._start_failures += 1\n", "            pool._start_failures += 1\n            pool._jobs.clear()\n",
)  # fmt: skip
fault(
    "a refused thread is not tried again", "TP-12", "The job waits for the next request.",
    "_starter", "demand.when = _seam.monotonic() + demand.back_off\n            return False",
    "demand.when = _seam.monotonic() + 1e5\n            return False",
)  # fmt: skip
fault(
    "no StartError", "TP-12", "schedule says True though there is nobody who could run the job.",
    "_pool", "            refused = self._starter.why_not()\n", "            return True\n",
)  # fmt: skip
fault(
    "nice inherited", "TP-13", "A worker keeps the nice value of who had it started.",
    "_osthread", 'nice = BASE_NICE if wanted.policy == "inherit" else wanted.nice',
    'nice = os.getpriority(os.PRIO_PROCESS, _native_id()) if wanted.policy == "inherit" else wanted.nice',
)  # fmt: skip
fault(
    "signal mask inherited", "TP-13", "A worker keeps the signal mask of who had it started.",
    "_osthread", "        _signal.pthread_sigmask(_signal.SIG_SETMASK, _BASE_MASK)\n", "        pass\n",
)  # fmt: skip
fault(
    "CPU set inherited", "TP-13", "An unbound worker keeps the CPU set of who had it started.",
    "_settle", "            if _osthread.LINUX and _osthread.get_affinity(0) != allowed:\n", "            if False:\n",
    "_starter", "            ask_the_kernel()\n", "",
)  # fmt: skip

# --- jobs

fault(
    "schedule without the interlock", "TP-20", "Nobody checks that it is held.",
    "_pool", '                job._check_held("schedule()")\n', "                pass\n",
)  # fmt: skip
fault(
    "a schedule while running is another run", "TP-21", "schedule of a running job does what post does.",
    "_pool", "            raise\n        return self._enqueue(job)\n", "            raise\n        return self.post(job)\n",
)  # fmt: skip
fault(
    "a run beside the run", "TP-21", "schedule of a running job starts it on another worker at once.",
    "_pool", "            probe(self, job)\n        return False\n\n    def _wake_one",
    "            probe(self, job)\n        if job._ticket == []:\n            self._jobs.append([job])\n            self._ask(job)\n"
    "        return False\n\n    def _wake_one",
)  # fmt: skip
fault(
    "a queued job is queued twice", "TP-21", "A second schedule of a waiting job is a second place in the queue.",
    "_pool", "            probe(self, job)\n        return False\n\n    def _wake_one",
    "            probe(self, job)\n        if job._ticket:\n            self._jobs.append([job])\n            self._ask(job)\n"
    "        return False\n\n    def _wake_one",
)  # fmt: skip
fault(
    "a coalesced schedule says True", "TP-21", "schedule says True though it did nothing.",
    "_pool", "            probe(self, job)\n        return False\n\n    def _wake_one",
    "            probe(self, job)\n        return True\n\n    def _wake_one",
)  # fmt: skip
fault(
    "done does not look at the interlock", "TP-23", "done() without it is accepted.",
    "_job", '            self._check_held("done()")\n', "            pass\n",
)  # fmt: skip
fault(
    "anybody may call done", "TP-23", "done() by another thread than the job's is accepted.",
    "_job", "        if self._runner != get_ident():\n", "        if not self._runner:\n",
)  # fmt: skip
fault(
    "done twice accepted", "TP-23", "The second done() of a run, when the job may be queued again, makes it idle.",
    "_job", "        if self._runner != get_ident():\n", "        if self._runner and self._runner != get_ident():\n",
)  # fmt: skip
fault(
    "free at the function's end only", "TP-23", "After done() the job can't be scheduled until the function has returned.",
    "_job", "            self._runner = 0; self._ticket = [None, None]",
    "            self._runner = 0\n            if self._late is not None:\n                self._late.append(self)\n                return\n            self._ticket = [None, None]",
    "_job", '    plumbing = False\n', "    plumbing = False\n    _late = None\n",
    "_worker", "            if watch.plain:\n                job._fn(job)\n",
    "            if watch.plain:\n                job._late = []\n                try:\n                    job._fn(job)\n"
    "                finally:\n                    late, job._late = job._late, None\n                    late and job._finish()\n",
)  # fmt: skip
fault(
    "SystemExit leaves the job running", "TP-24", "Only ordinary exceptions count as an end.",
    "_worker", "        except BaseException as error:\n            self.errors += 1\n", "        except Exception as error:\n            self.errors += 1\n",
)  # fmt: skip
fault(
    "a forgotten done is never made up for", "TP-24", "A job that returns without done() counts as running for ever.",
    "_worker", "            if job._ticket is ticket:\n                job._finish()\n", "",
)  # fmt: skip
fault(
    "a forgotten done is not told", "TP-24", "A job that returns without done() is finished silently.",
    "_worker", "            if job._ticket is ticket:\n                raise UsageError(UNDONE.format(job))\n        except BaseException as error:\n            self.errors += 1\n",
    "            if job._ticket is ticket:\n                job._finish()\n        except BaseException as error:\n            self.errors += 1\n",
)  # fmt: skip
fault(
    "exceptions are swallowed", "TP-30", "No hook hears of what a job raised.",
    "_worker", "            _hooks.report_error(error, origin=job)\n", "",
)  # fmt: skip

# --- cancelling

fault(
    "run twice on a cancel race", "TP-25", "cancel_async frees the job without claiming it from the worker.",
    "_pool", "            _atomic.collect(ticket.pop, hand)\n", "            hand.append(ticket[0])\n",
)  # fmt: skip
fault(
    "cancel_async forgets the queue", "TP-25", "What was withdrawn stays in the queue and runs.",
    "_pool", "            _atomic.collect(ticket.pop, hand)\n", "            hand.append(ticket[0])\n",
    "_pool", "                _atomic.discard(self._jobs, ticket)\n            self._withdrawn(job)", "                pass\n            self._withdrawn(job)",
)  # fmt: skip
fault(
    "a ticket left in a long queue runs", "TP-25", "What was withdrawn is taken out of a short queue; from a long one it runs.",
    "_pool", "                _atomic.discard(self._jobs, ticket)\n            self._withdrawn(job)",
    "                _atomic.discard(self._jobs, ticket)\n            else:\n                ticket.append(job)\n            self._withdrawn(job)",
)  # fmt: skip
fault(
    "a withdrawn job is not free", "TP-25", "cancel_async says True, but the job stays claimed: it can't be scheduled again.",
    "_pool", "                probes.cancel__job(self, job)\n            job._ticket = [None, None]; del hand[:]",
    "                probes.cancel__job(self, job)\n            job._ticket = [None]; del hand[:]",
)  # fmt: skip
fault(
    "cancel_async says False for a withdrawn job", "TP-25", "The job never runs, but who asks is told otherwise.",
    "_pool", "job._ticket is not ticket\n        return True\n", "job._ticket is not ticket\n        return False\n",
)  # fmt: skip
fault(
    "cancel_async says False for an idle job", "TP-25", "As if it were running.",
    "_pool", "        return self._still_running(job, \"cancel_async()\") is None\n", "        return len(job._ticket) < 2 and self._still_running(job, \"\") is None\n",
)  # fmt: skip
fault(
    "cancel returns before done", "TP-26", "cancel does not wait for a run under way.",
    "_pool", "        yield from interlock_released(job._interlock, lambda: job._wait_for(ticket, wait))\n", "        yield from ()\n",
)  # fmt: skip
fault(
    "cancel waits for the function", "TP-26", "cancel waits until the worker has returned from the function, not for done().",
    "_pool", "lambda: job._wait_for(ticket, wait))\n        return False\n",
    "lambda: meetings.sleepers.wait_until_not(\n                job, lambda: any(worker.job is job for worker in list(self._workers)), wait, \"\"))\n        return False\n",
)  # fmt: skip
fault(
    "interlock not released while waiting", "TP-26", "The job can't take it to call done().",
    "_pool", "interlock_released(job._interlock, lambda: job._wait_for(ticket, wait))", "job._wait_for(ticket, wait)",
)  # fmt: skip
fault(
    "interlock released one level", "TP-26", "An interlock that is held twice is still held while cancel waits.",
    "_interlock", 'release, restore = getattr(lock, "_release_save", None), getattr(lock, "_acquire_restore", None)', "release = restore = None",
)  # fmt: skip
fault(
    "an interrupted cancel leaves without the interlock", "TP-26", "An exception during the wait leaves it released.",
    "_interlock", "        for left in reversed(range(_TRIES) if saved else ()):\n", "        for left in ():\n",
)  # fmt: skip
fault(
    "done wakes nobody", "TP-26", "Who waits for the job waits for ever.",
    "_job", "        if meetings.sleepers:\n            _atomic.insist(meetings.sleepers.wake, self)\n", "",
)  # fmt: skip
fault(
    "done wakes one", "TP-26", "Of several who wait for a job one goes on.",
    "_waiting", "        if waiters is not None:\n            waiters.wake_all()\n", "        if waiters is not None:\n            waiters.wake_one()\n",
)  # fmt: skip
fault(
    "cancel from another pool accepted", "TP-27", "A job can be cancelled on any pool.",
    "_pool", "        if job._pool is not self:\n            raise UsageError(f\"{job!r} was scheduled", "        if False:\n            raise UsageError(f\"{job!r} was scheduled",
)  # fmt: skip
fault(
    "self-cancel hangs", "TP-27", "A job that cancels itself waits for its own end.",
    "_pool", "        if job._runner == _seam.get_ident():\n", "        if False:\n",
)  # fmt: skip
fault(
    "destroy of a running one accepted", "TP-27", "destroy does not look whether the job is idle.",
    "_job", "            del self._ticket[1]; self._fn = _dead", "            del self._ticket[:]; self._fn = _dead",
)  # fmt: skip
fault(
    "a destroyed job is silently not scheduled", "TP-27", "schedule says False instead of an error.",
    "_pool", "        job._refuse_dead()\n        if (probe := probes.schedule__job__running)", "        if (probe := probes.schedule__job__running)",
)  # fmt: skip
fault(
    "a post to a running job is lost", "TP-28", "It has no effect.",
    "_pool", "            if posts.setdefault(job, [self])[0] is not self:\n                posts[job] = [self]  # its next run is here\n", "",
)  # fmt: skip
fault(
    "a post that meets done is lost", "TP-28", "post does not look again whether the run is over.",
    "_pool", "            if len(job._ticket) == 2:\n                return job._perform_post()\n", "",
)  # fmt: skip
fault(
    "done looks at posts before it publishes", "TP-28", "A post that came during the run is tried while the job still counts as running.",
    "_job", "            self._runner = 0; self._ticket = [None, None]", "            self._runner = 0",
    "_job", "            self._perform_post()\n        if meetings.sleepers:\n", "            self._perform_post()\n        self._ticket = [None, None]\n        if meetings.sleepers:\n",
)  # fmt: skip
fault(
    "cancel keeps a post", "TP-25 TP-28", "A post to a running job survives the cancel.",
    "_pool", "        meetings.posts.pop(job, None)\n        return None if", "        return None if",
)  # fmt: skip
fault(
    "last in, first out", "TP-29", "The newest waiting job starts first.",
    "_pool", "            self._jobs.append(ticket)\n", "            self._jobs.appendleft(ticket)\n",
)  # fmt: skip
fault(
    "order broken by direct hand-off", "TP-29", "A job that finds an idle worker goes before those that wait.",
    "_pool", "            self._jobs.append(ticket)\n", "            (self._jobs.appendleft if self._idle else self._jobs.append)(ticket)\n",
)  # fmt: skip

# --- waiting without withdrawing

fault(
    "wait withdraws", "TP-26", "wait takes a job that is queued out of the queue.",
    "_job", "        if len(ticket) < 2:\n            yield from self._wait_for(ticket, wait)\n",
    "        if len(ticket) == 1 and self._pool is not None:\n            self._pool._withdraw(self, ticket)\n        if len(ticket) < 2:\n            yield from self._wait_for(ticket, wait)\n",
)  # fmt: skip
fault(
    "wait misses a running job", "TP-26", "It returns at once when the function has been entered.",
    "_job", "        if len(ticket) < 2:\n            yield from self._wait_for(ticket, wait)\n", "        if len(ticket) == 1:\n            yield from self._wait_for(ticket, wait)\n",
)  # fmt: skip
fault(
    "a job may wait for itself", "TP-27", "It is not refused, and hangs.",
    "_job", "        if self._runner == get_ident():\n", "        if False:\n",
)  # fmt: skip
fault(
    "drain of a pool misses what runs", "TP-9", "It waits for the queue only.",
    "_drain", "        for job in (*tuple(ticket), worker.job):\n", "        for job in ():\n",
)  # fmt: skip
fault(
    "drain of a pool misses what waits", "TP-9", "It waits for the jobs that run only.",
    "_drain", "    found = [(job, ticket) for ticket in _atomic.contents(pool._jobs) for job in tuple(ticket)]\n", "    found = []\n",
)  # fmt: skip
fault(
    "drain of a pool by its own job hangs", "TP-9", "It waits for the job that calls it.",
    "_drain", "    if any(worker.ident == me and worker.job is not None for", "    if False and any(worker.ident == me and worker.job is not None for",
)  # fmt: skip

# --- the process

fault(
    "fork child replays", "TP-31", "The child runs what was queued in the parent.",
    "_fork", "        pool._jobs.clear()\n", "",
    "_fork", "        stranded += [job for ticket in pool._jobs for job in ticket]\n", "",
)  # fmt: skip
fault(
    "fork child believes in the parent's workers", "TP-31", "It hands a job to an idle worker that is not there.",
    "_fork", "        pool._idle.clear()\n", "",
)  # fmt: skip
fault(
    "fork child's jobs stay scheduled", "TP-31", "They can't be scheduled there.",
    "_fork", "            job._forget_threads()\n", "            pass\n",
)  # fmt: skip
fault(
    "fork child without a starter", "TP-31", "It believes that the parent's helper thread lives.",
    "_fork", "    starter = registry.starter = Starter()\n", "    starter = registry.starter\n",
)  # fmt: skip
fault(
    "exit drops queued", "TP-32", "What is scheduled at exit does not run.",
    "_exit", "    _run_generations(tunables.exit_policy)\n", "",
)  # fmt: skip
fault(
    "exit waits for idle workers", "TP-32", "The process ends when the last of them idles out.",
    "_exit", "worker.ident != me and worker not in idle for", "worker.ident != me for",
)  # fmt: skip
fault(
    "exit waits for the first jobs only", "TP-32", "What running jobs schedule at exit is refused.",
    "_exit", "        exiting.begun = True\n", "        exiting.begun = exiting.refusing = True\n",
)  # fmt: skip
fault(
    "exit goes on for ever", "TP-32", "A job that schedules itself at exit is never refused.",
    "_exit", "        if generations > GENERATIONS:\n", "        if False:\n",
)  # fmt: skip
fault(
    "exit lets daemon threads in", "TP-32", "A daemon thread that goes on scheduling keeps the exit from coming to its end.",
    "_exit", "        if _seam.is_foreign_daemon():\n", "        if False:\n",
)  # fmt: skip
fault(
    "exit policy cancel ignored", "TP-32", "It drains.",
    "_exit", '            if policy == "cancel":  # each', "            if False:  # each",
)  # fmt: skip
fault(
    "exit policy abandon ignored", "TP-32", "It drains.",
    "_exit", '    if tunables.exit_policy == "abandon":\n        return\n', "",
    "_exit", '        if tunables.exit_policy != "abandon":\n', "        if True:\n",
)  # fmt: skip
fault(
    "exit has no time limit", "TP-32", "The policy's seconds are ignored.",
    "_exit", "exiting.deadline = now + policy if isinstance(policy, (int, float)) else None", "exiting.deadline = None",
)  # fmt: skip
fault(
    "a schedule in the last moments is swallowed", "TP-32", "It says True, and nothing comes of it.",
    "_pool", "        if refused is not None:\n", "        if refused is not None and not self._starter.finalizing:\n",
)  # fmt: skip

# --- looking

fault(
    "completed counts what is in flight", "TP-34", "started - completed is always 0.",
    "_stats", "self._reported_completed, started - in_flight)", "self._reported_completed, started)",
)  # fmt: skip
fault(
    "errors are not counted", "TP-34", "The counter stays 0.",
    "_worker", "            self.errors += 1\n", "",
)  # fmt: skip
fault(
    "workers look idle", "TP-34", "The snapshot shows no running worker.",
    "_snapshot", 'state="idle" if job is None else "running"', 'state="idle"',
)  # fmt: skip
fault(
    "queued jobs are not shown", "TP-34", "The snapshot shows no job that waits.",
    "_snapshot", "queued=queued", "queued=()",
)  # fmt: skip
fault(
    "counters die with the pool", "TP-34", "What a pool had counted is gone with it.",
    "_registry", "self.totals = totals; ", "",
)  # fmt: skip
fault(
    "the watchdog barks all the time", "TP-35", "A long run is reported again and again.",
    "_watchdog", "if not reported and now - first >= sight.limit:", "if now - first >= sight.limit:",
    "_watchdog", "if self.claim(sight.runner, sight.run):", "if True:",
)  # fmt: skip
fault(
    "the watchdog has seen no stack", "TP-35", "The report does not say where the job is.",
    "_watchdog", '"".join(traceback.format_stack(frame)) if frame is not None else', '"" if frame is not None else',
)  # fmt: skip
fault(
    "the watchdog sleeps", "TP-35", "Nothing is reported.",
    "_watchdog", "                        self._report(sight, now - first)\n", "",
)  # fmt: skip
fault(
    "the watchdog barks at the thread's age", "TP-35", "Short runs, one after the other, are taken for one long one.",
    "_watchdog", "                if run != sight.run:\n", "                if False:\n",
)  # fmt: skip
