"""Run all storms, faults, fork and exit tests many times in a row, on every interpreter that is found here.

    python tools/repeat_storms.py                 20 times on each
    python tools/repeat_storms.py -n 100 3.13t    100 times on one
    python tools/repeat_storms.py -k signal       arguments that are no tags go to pytest

Interpreters and their environments are found and made as for `make test-all` (see everywhere.py). One line a
round tells how far it is. The first failure ends it, and its output is printed whole. Exit status 1 then.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from everywhere import IN_PROCESSES, ROOT, TAGS, interpreters, tag_of

#: What is random, or depends on the machine's mood.
WHAT = (
    "tests/stress",
    "tests/faults",
    "tests/regressions",
    "tests/lifecycle",
    "tests/task/test_storm.py",
    "tests/workqueue/test_storm.py",
)


def environment(tag: str, python: str) -> Path:
    """The interpreter within the environment for `tag`, made if need be."""
    name = ".venv" if tag == tag_of(sys.executable) else f".venv-{tag}"
    if subprocess.run([python, "tools/make_venv.py", name, "test"], cwd=ROOT).returncode:
        sys.exit(f"{name} could not be made")
    return ROOT / name / "bin" / "python"


def one_round(python: Path, arguments: list[str], seed: int) -> subprocess.CompletedProcess[str]:
    """All of it once; another round is another seed for what is random."""
    command = [str(python), "-m", "pytest", "-q", *IN_PROCESSES, "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *WHAT, *arguments],
        cwd=ROOT,
        env={**os.environ, "SIGINT_SEED": str(seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main() -> int:
    """Every round on every interpreter, until one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--rounds", type=int, default=20, help="how many times in a row, default 20")
    options, rest = parser.parse_known_args()
    wanted = [argument for argument in rest if argument in TAGS]
    arguments = [argument for argument in rest if argument not in TAGS]
    found = interpreters()
    absent = [tag for tag in wanted or TAGS if tag not in found]
    if absent:
        print(f"absent here: {', '.join(absent)}")
    if any(tag not in found for tag in wanted):
        return 1
    for tag in wanted or found:
        python = environment(tag, found[tag])
        for number in range(1, options.rounds + 1):
            began = time.monotonic()
            done = one_round(python, arguments, number)
            lines = done.stdout.strip().splitlines()
            closing = lines[-1] if lines else "no output"
            print(f"Python {tag}: round {number} of {options.rounds}: {closing}", flush=True)
            if done.returncode:
                print(done.stdout)
                print(f"FAILED: Python {tag}, round {number}, after {time.monotonic() - began:.0f} s; see above")
                return 1
    print(f"{options.rounds} rounds in a row without a failure on Python {', '.join(wanted or found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
