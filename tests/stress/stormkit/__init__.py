"""What the storms are made of: kinds of units, contexts that interrupt, a watchdog, and exact accounts.

    kinds      one face for jobs, tasks, delayed tasks and works: launch, cancel, wait, close
    contexts   what interrupts: signal handlers, finalizers, gc, trace, profile, monitoring and audit hooks
    storm      a main thread that schedules, cancels and drains while it is interrupted by code that does the same;
               rounds with quiescence, and the accounts after each round
    watchdog   a limit in time, after which the test fails with every stack and the counts

Used in the tests' own process and, as ``python -m stormkit KIND CONTEXT EVENTS``, in one of its own.
"""
