"""What threadpool9 loads at the first use of a pool: hwloc's answer where hwloc is to be had, no answer elsewhere.

hwloc itself is asked each time that `threadpool9.topology` is called and not before, so a program that never asks
does not load it, and CPUs that come and go are seen. Without it the default (``/sys``) answers, silently:
``python -m threadpool9_hwloc`` says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from threadpool9 import CPU, hookimpl

from . import _binding


@hookimpl(trylast=True)
def threadpool9_topology() -> Sequence[CPU] | None:
    """This machine as hwloc sees it. Last, so that a topology registered for a test comes first, whatever the order."""
    if _binding.missing() is not None:
        return None
    return _binding.read(None)
