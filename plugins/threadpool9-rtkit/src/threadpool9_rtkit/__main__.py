"""``python -m threadpool9_rtkit``: what RealtimeKit grants here, or why it can't be asked."""

from __future__ import annotations

import sys

from . import Refused, limits


def main() -> int:
    """Print the limits; returns the exit status."""
    try:
        found = limits()
    except Refused as error:
        print(f"threadpool9_rtkit: {error}", file=sys.stderr)
        return 1
    print(f"real-time priority up to {found.rt_priority}, nice from {found.nice} on")
    print(f"real-time threads may compute for {found.rttime_us / 1000:g} ms without blocking")
    return 0


if __name__ == "__main__":
    sys.exit(main())
