"""Tunables: attributes that a program sets, each read once from the environment.

One class serves the three layers (each has its own instance). A bad value is a `TunableError` that names the
tunable and what it takes and leaves the old value; a bad value in the environment warns and leaves the default.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from ._errors import TunableError
from ._probes import watch


def number(low: float, *, integer: bool = False) -> Callable[[object], float]:
    """A check for a finite number >= `low`."""
    kind = "an integer" if integer else "a number"

    def check(value: object) -> float:
        if isinstance(value, str):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (-1e12 <= value <= 1e12):
            raise ValueError
        if value < low or (integer and value != int(value)):
            raise ValueError
        return int(value) if integer else value

    check.__doc__ = f"{kind} >= {low:g}"
    return check


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("1", "yes", "true", "0", "no", "false"):
        return value.lower() in ("1", "yes", "true")
    raise ValueError


boolean.__doc__ = "True or False (in the environment 1 or 0, yes or no, true or false)"  # -OO leaves out a literal


def exit_policy(value: object) -> str | float:
    if value in ("drain", "cancel", "abandon"):
        return str(value)
    return number(0)(value)


exit_policy.__doc__ = "'drain', 'cancel', 'abandon', or a limit for draining in seconds"


class TunableSet:
    """A closed set of named values with checks; attribute access only.

    Any context may read; assignment is one reference store. There is no lock.
    """

    def __init__(self, prefix: str, spec: dict[str, tuple[object, Callable[[object], object]]]) -> None:
        object.__setattr__(self, "_spec", spec)
        for name, (default, check) in spec.items():
            object.__setattr__(self, name, default)
            variable = f"{prefix}_{name}".upper()
            text = os.environ.get(variable)
            if text is None:
                continue
            try:
                object.__setattr__(self, name, check(text))
            except ValueError:
                takes = (check.__doc__ or "").strip()
                ignored = f"{variable}={text!r} in the environment is ignored: it takes {takes}"
                warnings.warn(ignored, RuntimeWarning, stacklevel=3)

    def __setattr__(self, name: str, value: object) -> None:
        spec = self._spec  # type: ignore[attr-defined]  # set through object.__setattr__
        if name not in spec:
            raise AttributeError(f"no tunable {name!r}; there are {', '.join(sorted(spec))}")
        check = spec[name][1]
        try:
            checked = check(value)
            if isinstance(value, str) and not isinstance(checked, str):
                raise ValueError  # that is how the environment says it
        except ValueError:
            takes = (check.__doc__ or "").strip()
            raise TunableError(f"tunable {name} takes {takes}, not {value!r}") from None
        object.__setattr__(self, name, checked)
        self.on_change()

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"tunable {name} can be set, not deleted")

    def on_change(self) -> None:
        """Called after each assignment, of any layer's: has `changed` called."""
        for notify in changed:
            notify()

    def __repr__(self) -> str:
        spec = self._spec  # type: ignore[attr-defined]
        return f"<tunables {' '.join(f'{name}={getattr(self, name)!r}' for name in spec)}>"


class Tunables(TunableSet):
    """threadpool9's tunables; environment names are ``THREADPOOL9_`` and the name in capitals."""

    idle_ms: float
    """Idle time in milliseconds after which a worker leaves, >= 1, default 30000 (TP-4)."""
    job_names: bool
    """Show the job's name as the thread's OS name while it runs, default False for its cost (TP-11)."""
    strict_plugins: bool
    """Raise when an installed plugin fails to load, default False: a warning (HK-7)."""
    strict_priorities: bool
    """Raise at get() when the OS refuses a priority, default False (TP-10)."""
    exit_policy: str | float
    """What happens at exit with work left: 'drain' (default), 'cancel', 'abandon', or seconds (TP-32)."""
    stall_ms: float
    """Report a job, task or work that runs longer than this many milliseconds; 0 (default) is off (TP-35)."""

    def __init__(self) -> None:
        super().__init__(
            "threadpool9",
            {
                "idle_ms": (30000.0, number(1)),
                "job_names": (False, boolean),
                "strict_plugins": (False, boolean),
                "strict_priorities": (False, boolean),
                "exit_policy": ("drain", exit_policy),
                "stall_ms": (0.0, number(0)),
            },
        )
        watch.conditions.append(lambda: self.job_names)
        watch.update()


#: Called after each assignment to a tunable of any layer. Appended at import only.
changed: list[Callable[[], None]] = [watch.update]
tunables = Tunables()
