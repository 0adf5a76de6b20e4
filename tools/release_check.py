"""Build every distribution, check what was built, and install it: all together, and each one apart.

Leaves sdists and wheels in ``dist``. The wheels are built from the sdists, so both are complete. Siblings come from
``dist`` and never from an index, other requirements from the index that pip is set up for. Nothing is uploaded.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
PATTERNS = ("layers/*", "plugins/*", "tests/conformance")


def call(*words: str | Path) -> None:
    """Run a command that must succeed; its output is shown if it does not."""
    run = subprocess.run([*map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        sys.exit(f"{run.stdout}\nrelease-check: `{' '.join(map(str, words))}` failed")


def step(text: str) -> None:
    """Say what comes next."""
    print(f"release-check: {text}", flush=True)


def installed(directory: Path, constraints: Path, names: list[str]) -> None:
    """Install distributions into an environment of their own, and import each."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    call(*pip, "install", "-q", "--only-binary", ":all:", "-c", constraints, *names)
    call(*pip, "check")
    # -I: nothing but what was installed is in sight. A warning is an error.
    call(python, "-I", "-W", "error", "-c", "; ".join(f"import {name.replace('-', '_')}" for name in names))


def main() -> None:
    """Each step ends the program if it fails."""
    sources = {}
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(f"{pattern}/pyproject.toml")):
        sources[tomllib.loads(path.read_text())["project"]["name"]] = path.parent

    shutil.rmtree(DIST, ignore_errors=True)
    for name, source in sources.items():
        step(f"build {name}")
        call(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, source)
    wheels = sorted(DIST.glob("*.whl"))
    archives = sorted(DIST.glob("*.tar.gz"))
    if not len(wheels) == len(archives) == len(sources):
        sys.exit(f"release-check: {len(sources)} distributions, {len(wheels)} wheels, {len(archives)} sdists")

    step("twine check, check-wheel-contents")
    call(sys.executable, "-m", "twine", "check", "--strict", *wheels, *archives)
    call(sys.executable, "-m", "check_wheel_contents", *wheels)

    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        constraints = here / "constraints.txt"
        constraints.write_text("".join(f"{wheel.name.split('-')[0]} @ {wheel.as_uri()}\n" for wheel in wheels))
        step("install together")
        installed(here / "together", constraints, list(sources))
        for distribution in sources:
            step(f"install {distribution} apart")
            installed(here / distribution, constraints, [distribution])
    step(f"all well: {len(wheels)} wheels and {len(archives)} sdists in {DIST.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
