"""Make a virtual environment with every distribution of this repository in it, editable; or find it up to date.

    python tools/make_venv.py .venv            what the demo and the tests need
    python tools/make_venv.py .venv --dev      and the tools for lint, docs and benchmarks

The environment is of the interpreter that runs this file. Inside it lie stamps, written last, with a fingerprint
of all that the environment was made from: the interpreter, this directory (editable installs hold absolute
paths, so a copied or moved checkout needs a new environment), every pyproject.toml and the requirement lists.
Where a stamp does not fit, the environment is half made or out of date and is made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The interpreter below any virtual environment, so that an activated .venv can rebuild itself.
BASE_PYTHON: str = getattr(sys, "_base_executable", None) or sys.executable


def distributions() -> list[Path]:
    """Every directory that holds a distribution."""
    found = [*ROOT.glob("layers/*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
    found += ROOT.glob("tests/conformance/pyproject.toml")
    return sorted(path.parent for path in found)


def fingerprint(inputs: list[Path]) -> str:
    """One line that changes whenever an environment made from `inputs` would."""
    digest = hashlib.sha256(f"{os.path.realpath(BASE_PYTHON)}\n{sys.version}\n{ROOT}\n".encode())
    for path in inputs:
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class Environment:
    """One virtual environment at `path`, and the stamps that say what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / "bin" / "python"

    def has(self, stamp: str, wanted: str) -> bool:
        """Whether the step `stamp` was finished for the fingerprint `wanted`."""
        try:
            return (self.path / stamp).read_text() == wanted and self.python.exists()
        except OSError:
            return False

    def put(self, stamp: str, made: str) -> None:
        """Record that the step `stamp` is finished."""
        (self.path / stamp).write_text(made)

    def pip(self, *arguments: str) -> None:
        """Run the environment's own pip, quiet unless it fails."""
        command = [str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments]
        subprocess.run(command, cwd=ROOT, check=True)

    def make(self) -> None:
        """Make the environment anew, whatever is there, with the test tools and all distributions."""
        # --clear heals what an interrupted run left behind.
        subprocess.run([BASE_PYTHON, "-m", "venv", "--clear", str(self.path)], cwd=ROOT, check=True)
        # An older wheel rather than a newer source: free-threaded builds lack some wheels, and machines compilers.
        self.pip("install", "-qq", "--prefer-binary", "-r", "requirements-test.txt")
        # All in one command, or a sibling would be looked for on the index; without build isolation, because
        # the build backend is installed already and one isolated environment per distribution takes longer
        # than all the rest.
        editable = [word for path in distributions() for word in ("-e", str(path))]
        self.pip("install", "-qq", "--no-build-isolation", *editable)
        self.pip("check", "-q")
        self.add_optional()

    def add_optional(self) -> None:
        """What not every machine can have: try each by itself, go on without."""
        for line in (ROOT / "requirements-optional.txt").read_text().splitlines():
            requirement, _, comment = line.partition("#")
            if not requirement.strip() or (comment.strip() == "once" and self.path.name != ".venv"):
                continue
            try:
                self.pip("install", "-qq", "--only-binary", ":all:", requirement.strip())
            except subprocess.CalledProcessError:
                print(f"{self.path.name}: going on without {requirement.strip()}", flush=True)


def main() -> None:
    """Bring one environment up to date; say so only where there is something to do."""
    parser = argparse.ArgumentParser(description="make or update a virtual environment for this repository")
    parser.add_argument("path", type=Path, help="the environment's directory, for example .venv")
    parser.add_argument("--dev", action="store_true", help="with the tools for lint, docs and benchmarks")
    options = parser.parse_args()

    environment = Environment(ROOT / options.path)
    lists = [ROOT / "requirements-test.txt", ROOT / "requirements-optional.txt"]
    tests = fingerprint([*(path / "pyproject.toml" for path in distributions()), *lists])
    tools = fingerprint([ROOT / "requirements-dev.txt"])
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(f"{BASE_PYTHON} cannot make virtual environments (on Debian, install python3-venv)")

    # Two makes at once must not build the same environment; the lock on the directory leaves no file behind.
    root = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(root, fcntl.LOCK_EX)
    began = time.monotonic()
    try:
        if not environment.has("stamp-tests", tests):
            print(f"making {options.path} with Python {platform.python_version()} ...", flush=True)
            environment.make()
            environment.put("stamp-tests", tests)
        if options.dev and not environment.has("stamp-tools", tools):
            print(f"adding the development tools to {options.path} ...", flush=True)
            environment.pip("install", "-qq", "-r", "requirements-dev.txt")
            environment.put("stamp-tools", tools)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{options.path} could not be made: `{' '.join(error.cmd)}` failed")
    finally:
        os.close(root)
    if (seconds := time.monotonic() - began) > 1:
        print(f"{options.path} is ready after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
