"""Run the tests in .venv, and then on every other interpreter of this machine, each in an environment of its own.

An interpreter is looked for in the colon list $THREADPOOL9_PYTHONS, then by name on $PATH, then among pyenv's
versions. It counts only if it runs (a pyenv shim of a version that is not selected does not). One of each tag,
such as 3.13 or 3.13t, is used, and those that are absent are named. Arguments go to pytest.

Tests marked `once` say nothing about the interpreter and run in .venv only. On a free-threaded interpreter those
marked `parallel` run once more, each in several threads at once (pytest-run-parallel). The closing lines of all runs
are repeated at the end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAGS = ("3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t")
OLDEST = (3, 11)

#: Prints the tag: the version and, on a free-threaded build, a t. Fails where no environment could be made.
PROBE = """
import sys, sysconfig, ensurepip, venv
print("%d.%d%s" % (*sys.version_info[:2], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))
"""
#: Fails on a free-threaded build where something that the tests import has switched the GIL on.
GIL_PROBE = """
import sys, attrs, hypothesis, pluggy, pytest, pytest_run_parallel.plugin, trio, xdist, threadpool9, task9, workqueue9
sys.exit(getattr(sys, "_is_gil_enabled", lambda: False)() and "the GIL is enabled")
"""
#: How pytest runs: in several processes; or in one, each test in so many threads at once and in each so many times.
#: A process that has died ends the run: pytest-xdist may wait for ever for one that was started in its place.
IN_PROCESSES = ("-n", "auto", "--dist", "loadgroup", "--max-worker-restart=0")
IN_THREADS = ("-n", "0", "--parallel-threads=4", "--iterations=4")
NO_TESTS = 5  # pytest's exit status where none was selected
CLOSING_LINE = re.compile(r" in \d+\.\d+s")
CRASH = re.compile(r"^worker '\w+' crashed while running")
CUT_SHORT = ", cut short: a process died"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def tag_of(python: str) -> str | None:
    """The tag of an interpreter, or None if it does not run or cannot make environments."""
    try:
        run = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=30, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def candidates() -> Iterator[str]:
    """Paths where an interpreter may be, those that were asked for first."""
    yield from filter(None, os.environ.get("THREADPOOL9_PYTHONS", "").split(":"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    directories = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob("versions/*/bin"))]
    for tag in TAGS:
        yield from (str(path / f"python{tag}") for path in directories if (path / f"python{tag}").is_file())


def interpreters() -> dict[str, str]:
    """Tag and path of one interpreter of each kind that runs here and is new enough."""
    found: dict[str, str] = {}
    asked_for = set(os.environ.get("THREADPOOL9_PYTHONS", "").split(":")) - {""}
    for python in candidates():
        tag = tag_of(python)
        if tag is None or tuple(map(int, tag.rstrip("t").split("."))) < OLDEST:
            if python in asked_for:
                sys.exit(f"$THREADPOOL9_PYTHONS names {python}, which is no working Python 3.11 or newer")
            continue
        found.setdefault(tag, python)
    return found


def run_pytest(python: Path, arguments: list[str], how: tuple[str, ...] = IN_PROCESSES) -> tuple[bool, str]:
    """Run pytest, passing its output through; whether it passed, and its closing line."""
    command = [str(python), "-m", "pytest", "-q", *how, *arguments]
    if sys.stdout.isatty():
        command.append("--color=yes")
    closing = "no closing line: pytest did not get to its end"
    crashed = False
    tail = b""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        # By piece, not by line, so that the dots appear as they come.
        while piece := os.read(process.stdout.fileno(), 65536):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            *lines, tail = (tail + piece).split(b"\n")
            for line in lines:
                text = COLOUR.sub("", line.decode(errors="replace")).strip()
                crashed = crashed or CRASH.match(text) is not None
                if CLOSING_LINE.search(text):
                    closing = text
    # What the user selects may have nothing among the few that run in threads.
    passed = process.returncode == 0 or (how is IN_THREADS and len(arguments) > 2 and process.returncode == NO_TESTS)
    return passed, closing + CUT_SHORT * crashed


def run_twice(python: Path, arguments: list[str]) -> tuple[bool, str]:
    """Run pytest; what failed, or all if not all were run, once more, and loudly called flaky if it passes then."""
    passed, closing = run_pytest(python, arguments)
    if passed or " failed" not in closing:
        return passed, closing
    again = () if CUT_SHORT in closing else ("--last-failed",)
    print(f"\n== {'what failed' if again else 'all'}, once more", flush=True)
    passed, second = run_pytest(python, [*again, *arguments])
    return passed, f"FLAKY, passed at the second try; first: {closing}" if passed else f"{second}; first: {closing}"


def test_on(tag: str, python: str, arguments: list[str]) -> list[tuple[str, bool, str]]:
    """Test on another interpreter, in its environment; for each run its name, whether it passed, its line."""
    environment = f".venv-{tag}"
    if subprocess.run([python, "tools/make_venv.py", environment, "test"], cwd=ROOT).returncode:
        return [(tag, False, f"{environment} could not be made")]
    inside = ROOT / environment / "bin" / "python"
    if tag.endswith("t"):
        gil = subprocess.run([str(inside), "-W", "error", "-c", GIL_PROBE], cwd=ROOT)
        if gil.returncode:
            return [(tag, False, "this would not test free threading, see above")]
    os.environ["SECTION9_LIGHT"] = "1"  # the storms' full length has run in .venv
    if not tag.endswith("t"):
        return [(tag, *run_twice(inside, ["-m", "not once and not long", *arguments]))]
    results = [(tag, *run_twice(inside, ["-m", "not once", *arguments]))]
    print(f"\n== Python {tag}, each test in several threads at once", flush=True)
    # Our choice last: not all tests may run like this. And no second try: what fails now and then is what this is for.
    chosen = [*arguments, "-m", "parallel and not once"]
    results.append((f"{tag} parallel", *run_pytest(inside, chosen, IN_THREADS)))
    return results


def main() -> int:
    """Test everywhere; exit status 1 if anything failed anywhere."""
    arguments = sys.argv[1:]
    own = tag_of(sys.executable) or "?"
    found = interpreters()
    results: list[tuple[str, bool, str]] = []

    print(f"== Python {own}, .venv", flush=True)
    results.append((own, *run_twice(Path(sys.executable), arguments)))
    for tag, python in found.items():
        if tag != own:
            began = time.monotonic()
            print(f"\n== Python {tag}, {python}", flush=True)
            results += test_on(tag, python, arguments)
            print(f"== Python {tag} took {time.monotonic() - began:.0f} s with its environment", flush=True)

    absent = [tag for tag in TAGS if tag != own and tag not in found]
    print("\n== summary")
    if absent:
        print(f"absent here, so not tested: {', '.join(absent)} ($THREADPOOL9_PYTHONS=path:path adds interpreters)")
    width = max(len(tag) for tag, _, _ in results)
    for tag, passed, line in results:
        print(f"{'ok    ' if passed else 'FAILED'} Python {tag:{width}} {line}")
    return 0 if all(passed for _, passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
