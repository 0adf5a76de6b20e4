"""Install the Debian packages that some tests need, where that can be done: as root on Debian or a child of it.

The list is `system_packages.txt` beside this file: a package a line, and what for. Elsewhere, and for what can't be
had, it says so; tests that lack a program are skipped and name it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("system_packages.txt")
APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]


def wanted() -> list[str]:
    """The names in the list."""
    words = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return [word for word in words if word]


def absent(packages: list[str]) -> list[str]:
    """Those that are not installed."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages]
    run = subprocess.run(query, capture_output=True, text=True, check=False)
    there = {line.split()[0] for line in run.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package not in there]


def main() -> None:
    """Install what is missing; never fails."""
    if not LIST.exists():
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-query") is None:
        print(f"system packages: not a Debian system; tests that need {', '.join(wanted())} may be skipped")
        return
    missing = absent(wanted())
    if not missing:
        return
    if os.geteuid() != 0:
        print(f"system packages: not root, so not installed: {' '.join(missing)}; tests that need them are skipped")
        return
    print(f"system packages: installing {' '.join(missing)} ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*APT, "update"], env=environment, stdout=subprocess.DEVNULL, check=False)
    install = [*APT, "install", "--no-install-recommends"]
    if subprocess.run([*install, *missing], env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        for package in missing:  # one that can't be had must not keep the others out
            subprocess.run([*install, package], env=environment, stdout=subprocess.DEVNULL, check=False)
    if still := absent(missing):
        print(
            f"system packages: could not be had: {' '.join(still)}; tests that need them are skipped", file=sys.stderr
        )


if __name__ == "__main__":
    main()
