"""``python -m threadpool9_hwloc [DESCRIPTION]``: the topology as a table, or what is missing."""

from __future__ import annotations

import sys

from . import HwlocError, synthetic, this_machine


def main(arguments: list[str]) -> int:
    """Print the topology of this machine, or of the synthetic one described; returns the exit status."""
    try:
        machine = synthetic(" ".join(arguments)) if arguments else this_machine()
    except HwlocError as error:
        print(f"threadpool9_hwloc: {error}", file=sys.stderr)
        return 1
    print(" CPU  CORE  PACKAGE  CACHE  NODE")
    for cpu in machine.cpus:
        print(f"{cpu.cpu:4}  {cpu.core:4}  {cpu.package:7}  {cpu.cache:5}  {cpu.node:4}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
