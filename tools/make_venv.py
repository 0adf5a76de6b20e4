"""Make a virtual environment with distributions of this repository in it, editable; or find it up to date.

    python tools/make_venv.py .venv            what the demo needs: the layers
    python tools/make_venv.py .venv test       and what the tests need: the plugins, the conformance suite, their peers
    python tools/make_venv.py .venv dev        and the tools for lint, docs and benchmarks

The environment is of the interpreter that runs this file. Inside it lie stamps, written last, with a fingerprint
of all that a stage was made from: the interpreter, this directory (editable installs hold absolute paths, so a
copied or moved checkout needs a new environment), the pyproject.toml files and the dependency groups in the one of the
root. Where the first stamp does not fit, the environment is half made or out of date and is made again.
"""

# ruff: noqa: E402
from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main` takes care of it: no traceback from the imports either

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The interpreter below any virtual environment, so that an activated .venv can rebuild itself.
BASE_PYTHON: str = getattr(sys, "_base_executable", None) or sys.executable


def found(*patterns: str) -> list[Path]:
    """The directories of distributions."""
    return sorted(path.parent for pattern in patterns for path in ROOT.glob(f"{pattern}/pyproject.toml"))


#: The plugins that the demo shows.
SHOWN = ("plugins/threadpool9-perfetto", "plugins/threadpool9-top")

#: Plugins of something that not every machine can have: tried as the optional requirements are, where `once` tests run.
OPTIONAL_ONCE = ("plugins/workqueue9-dask",)

#: Stage, which is a dependency group too, and its distributions. Each stage needs those before it.
STAGES: tuple[tuple[str, list[Path]], ...] = (
    ("demo", found("layers/*", *SHOWN)),
    ("test", [path for path in found("plugins/*", "tests/conformance") if path not in found(*SHOWN, *OPTIONAL_ONCE)]),
    ("dev", []),
)
#: Read here and not by pip: that needs pip 25.1, and what comes with Python 3.11 is older.
GROUPS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]


def fingerprint(requirements: list[str], inputs: list[Path]) -> str:
    """One line that changes whenever an environment made from these would."""
    digest = hashlib.sha256(f"{os.path.realpath(BASE_PYTHON)}\n{sys.version}\n{ROOT}\n{requirements}\n".encode())
    for path in inputs:
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def run(*command: str) -> None:
    """Run a command that says nothing unless it fails. Raises CalledProcessError.

    It gets no Ctrl-C from the terminal, as most of them answer with a traceback: we end it, and what it started.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, process_group=0)
    try:
        status = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, command)


@contextmanager
def interruptible(what: str) -> Iterator[None]:
    """A block that Ctrl-C ends with a line, and that leaves nothing in the directory for temporary files."""
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with tempfile.TemporaryDirectory(prefix="make-venv-") as place:
            os.environ["TMPDIR"] = place
            yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"\ninterrupted; {what} is made anew next time", file=sys.stderr)
        sys.exit(130)


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
        run(str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments)

    def make(self) -> None:
        """Make the environment anew and empty, whatever is there."""
        # --clear heals what an interrupted run left behind.
        run(BASE_PYTHON, "-m", "venv", "--clear", str(self.path))

    def add(self, requirements: list[str], distributions: list[Path]) -> None:
        """Install one stage."""
        # An older wheel rather than a newer source: free-threaded builds lack some wheels, and machines compilers.
        self.pip("install", "-qq", "--prefer-binary", *requirements)
        if distributions:
            # All in one command, or a sibling would be looked for on the index; without build isolation, because
            # the build backend is installed already and one isolated environment per distribution takes longer
            # than all the rest.
            editable = [word for path in distributions for word in ("-e", str(path))]
            self.pip("install", "-qq", "--prefer-binary", "--no-build-isolation", *editable)
        self.pip("check", "-q")

    def add_optional(self, requirements: list[str]) -> None:
        """What not every machine can have: try each by itself, go on without."""
        for requirement in requirements:
            # Of ours, what it requires was tried before.
            local = ["--no-build-isolation", "-e"] if requirement in OPTIONAL_ONCE else []
            try:
                self.pip("install", "-qq", "--only-binary", ":all:", *local, requirement)
            except subprocess.CalledProcessError:
                print(f"{self.path.name}: going on without {requirement}", flush=True)


def main() -> None:
    """Bring one environment up to date; say so only where there is something to do."""
    parser = argparse.ArgumentParser(description="make or update a virtual environment for this repository")
    parser.add_argument("path", type=Path, help="the environment's directory, for example .venv")
    parser.add_argument("stage", nargs="?", default="demo", choices=[name for name, _ in STAGES])
    options = parser.parse_args()
    with interruptible(options.path):
        bring_up_to_date(options)


def bring_up_to_date(options: argparse.Namespace) -> None:
    """The same, with the command line read."""
    environment = Environment(ROOT / options.path)
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(f"{BASE_PYTHON} cannot make virtual environments (on Debian, install python3-venv)")

    # Tests marked `once` run in .venv only.
    once = [*GROUPS["optional-once"], *OPTIONAL_ONCE]
    optional = GROUPS["optional"] + once * (environment.path.name == ".venv")
    # Two makes at once must not build the same environment; the lock on the directory leaves no file behind.
    root = os.open(ROOT, os.O_RDONLY)
    fcntl.flock(root, fcntl.LOCK_EX)
    began = time.monotonic()
    try:
        for name, distributions in STAGES:
            requirements = GROUPS[name]
            inputs = [path / "pyproject.toml" for path in distributions]
            wanted = fingerprint(requirements + optional * (name == "test"), inputs)
            if not environment.has(f"stamp-{name}", wanted):
                if name == "demo":
                    print(f"making {options.path} with Python {platform.python_version()} ...", flush=True)
                    environment.make()
                else:
                    print(f"adding to {options.path} what `make {name}` needs ...".replace("make dev", "make lint"))
                    sys.stdout.flush()
                environment.add(requirements, distributions)
                if name == "test":
                    environment.add_optional(optional)
                environment.put(f"stamp-{name}", wanted)
            if name == options.stage:
                break
    except subprocess.CalledProcessError as error:
        sys.exit(f"{options.path} could not be made: `{' '.join(error.cmd)}` failed")
    finally:
        os.close(root)
    if (seconds := time.monotonic() - began) > 1:
        print(f"{options.path} is ready after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
