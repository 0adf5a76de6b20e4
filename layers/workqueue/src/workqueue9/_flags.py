"""The flags of work queues, and the CPU that is none in particular."""

from __future__ import annotations

WQ_MPSAFE = 0x01
"""Accepted; queues run in parallel anyway (WQ-13)."""
WQ_PERCPU = 0x02
"""One ordered queue for each CPU, bound to it (WQ-2)."""
WQ_FPU = 0x04
"""Accepted; a user-space thread may always use the FPU."""
WQ_GIANT = 0x08
"""Functions of all queues with this flag exclude each other: NetBSD's case without WQ_MPSAFE (WQ-13)."""

FLAGS = WQ_MPSAFE | WQ_PERCPU | WQ_FPU | WQ_GIANT


class AnyCPU:
    """The type of `ANY`."""

    def __repr__(self) -> str:
        return "workqueue9.ANY"


ANY = AnyCPU()
"""As the `cpu` of an enqueue: the CPU whose queue has the least to do; the caller's own, if it is one of these."""
