"""Choose CPUs as far apart as they can be, and try the choice on machines that are not there.

    python spread.py 4     chooses four

The first CPU comes from the first node, the second from another package if there is one, and so on: by package, then
node, then core, and the second threads of cores last.
"""

from __future__ import annotations

import sys
from collections import Counter

import threadpool9
import threadpool9_hwloc


def spread(count: int) -> list[int]:
    """`count` CPUs of the topology that is in force, far apart."""
    rest = list(threadpool9.topology())
    used: Counter[tuple[str, int, int]] = Counter()
    chosen = []
    while rest and len(chosen) < count:
        best = min(rest, key=lambda cpu: [used[place] for place in places(cpu)])
        rest.remove(best)
        chosen.append(best.cpu)
        used.update(places(best))
    return chosen


def places(cpu: threadpool9.CPU) -> list[tuple[str, int, int]]:
    """Where a CPU is, from the outside in."""
    return [("package", cpu.package, 0), ("node", cpu.node, 0), ("core", cpu.package, cpu.core)]


def main() -> None:
    """Print the choice on this machine and on two others."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    print("this machine:      ", spread(count))
    with threadpool9_hwloc.fake(packages=2, nodes=4, cores=16, threads=2):
        print("2 x 4 x 16 x 2:    ", spread(count))
    with threadpool9_hwloc.fake(cores=4, threads=2):
        print("4 cores, 8 threads:", spread(count))


if __name__ == "__main__":
    main()
