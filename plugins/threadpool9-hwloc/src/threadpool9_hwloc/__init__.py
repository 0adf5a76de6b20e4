"""threadpool9_hwloc: what CPUs there are, as hwloc tells; and machines that you do not have, for tests.

Installed with its binding (``threadpool9-hwloc[binding]``) it answers `threadpool9.topology` for this machine.
`synthetic` makes a topology from hwloc's own little language, `fake` from four numbers and without hwloc; both
are plugins, in use inside a ``with`` block::

    with threadpool9_hwloc.fake(packages=2, nodes=4, cores=16, threads=2):
        assert len(threadpool9.topology()) == 256
"""

from __future__ import annotations

from ._binding import HwlocError, missing
from ._machine import Machine, fake, synthetic, this_machine

__all__ = ["HwlocError", "Machine", "fake", "missing", "synthetic", "this_machine"]
