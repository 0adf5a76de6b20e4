"""The errors of the stack, a small tree of our own.

Every error names the thing that was misused and the way out, and the call that raised it changed nothing.
The upper layers raise these classes too and derive their own from them.
"""

from __future__ import annotations


class Error(Exception):
    """Base of every error that the layers raise on purpose."""


class UsageError(Error, RuntimeError):
    """The caller broke a rule of the interface (a bug in the program); nothing was changed."""


class FinalizingError(UsageError):
    """The interpreter is going down and takes no new work (TP-32)."""


class PriorityError(Error, ValueError):
    """A priority outside -1..223 (TP-2)."""


class TunableError(Error, ValueError):
    """A tunable was given a value that it does not take."""


class CPUError(Error, ValueError):
    """A CPU that does not exist, or that this process may not use (TP-8)."""


class PluginError(Error, ValueError):
    """A plugin that can't be registered, or that answered a hook with nonsense; the text names it (HK-1 to HK-7)."""


class StartError(Error, RuntimeError):
    """No thread could be started, and no thread of ours is left that could retry; nothing was scheduled (TP-12)."""


class Stalled(Error, TimeoutError):
    """Reported, never raised: a job, task or work runs for longer than its limit; the text has its stack (TP-35)."""


class WaitTimeout(Error, TimeoutError):
    """The time limit of a waiting call ran out; what it waited for goes on."""


class PriorityRefused(Error, PermissionError):
    """Strict mode only: the OS does not grant what the priority asks for (TP-10)."""
