"""Run the tests in .venv, and then on every other interpreter of this machine, each in an environment of its own.

    python tools/everywhere.py --here     in .venv only, and nothing that takes long or needs a service: `make test`
    python tools/everywhere.py            everything, everywhere: `make test-all`
    python tools/everywhere.py --rest     everything but what --here runs

An interpreter is looked for in the colon list $THREADPOOL9_PYTHONS, then by name on $PATH, then among pyenv's
versions. It counts only if it runs (a pyenv shim of a version that is not selected does not). One of each tag,
such as 3.13 or 3.13t, is used, and those that are absent are named. Arguments go to pytest.

Tests marked `once` say nothing about the interpreter and run in .venv only. The newest version and free-threaded ones
run all others; versions between run those of the layers. On a free-threaded interpreter those marked `parallel` run
once more, each in several threads at once (pytest-run-parallel). What failed in processes gets a second try. At the end
the results of all runs are repeated.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAGS = ("3.11", "3.12", "3.13", "3.14", "3.15", "3.13t", "3.14t")
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
#: A process waits for a third of its time, mostly for programs that it started: so half as many again as CPUs.
PROCESSES = (3 * (os.cpu_count() or 1) + 1) // 2
IN_PROCESSES = ("-n", str(PROCESSES), "--dist", "loadgroup")
IN_THREADS = ("-n", "0", "--parallel-threads=4", "--iterations=4")
#: What the versions between .venv's and the newest run: programs, plugins and the manual are the same there.
LAYERS = [
    *("tests/threadpool", "tests/task", "tests/workqueue", "tests/regressions"),
    *(
        "tests/aio",
        "tests/remote",
        "tests/faults",
        "tests/parallel",
        "tests/conformance/src",
        "tests/stress/test_fuzz.py",
    ),
]
#: What --here leaves out, as pytest's -m says it.
QUICK = "not long and not service"
SLOW = "long or service"
LEFT_OUT = (
    "not run here: storms, leaks, forks, model worlds, other Pythons, and what needs a browser, a Prometheus server or "
    "rtkit. `make test-all` runs these; as root on Debian it installs the programs first"
)
NO_TESTS = 5  # pytest's exit status where none was selected


def tag_of(python: str) -> str | None:
    """The tag of an interpreter, or None if it does not run or cannot make environments."""
    try:
        run = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=120, cwd=ROOT)
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
    """Run pytest; whether it passed, and its result in a line."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "result")  # tests/support/progress.py writes it
        command = [str(python), "-m", "pytest", "-q", *how, *arguments]
        environment = {**os.environ, "SECTION9_RESULT": str(file)}
        # Whoever wants no bytecode has it here: to rewrite all asserts takes each process of each run ten seconds, and
        # hundreds of programs import the layers. `make clean` removes it.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        status = subprocess.run(command, cwd=ROOT, env=environment).returncode
        result = file.read_text() if file.exists() else "no result: pytest did not get to its end"
    # What the user selects may have nothing among the few that run in threads.
    passed = status == 0 or (status == NO_TESTS and len(arguments) > 2)
    return passed, f"{result} in {time.monotonic() - began:.0f} s"


def run_twice(python: Path, arguments: list[str]) -> tuple[bool, str]:
    """Run pytest; what failed, once more, and loudly called flaky if it passes then."""
    passed, first = run_pytest(python, arguments)
    if passed or " failed" not in first:
        return passed, first
    print("\n== what failed, once more", flush=True)
    passed, second = run_pytest(python, ["--last-failed", *arguments])
    return passed, f"FLAKY, passed at the second try; first: {first}" if passed else f"{second}; first: {first}"


def test_here(marks: str, arguments: list[str]) -> tuple[bool, str]:
    """Test in .venv what `marks` selects."""
    return run_twice(Path(sys.executable), [*(["-m", marks] if marks else []), *arguments])


def test_on(tag: str, python: str, arguments: list[str]) -> list[tuple[str, bool, str]]:
    """Test on another interpreter, in its environment; for each run its name, whether it passed, its result."""
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
        return [(tag, *run_twice(inside, ["-m", "not once and (not long or fuzz)", *arguments]))]
    results = [(tag, *run_twice(inside, ["-m", "not once", *arguments]))]
    print(f"\n== Python {tag}, each test in several threads at once", flush=True)
    # Our choice last: not all tests may run like this. And no second try: what fails now and then is what this is for.
    chosen = [*arguments, "-m", "parallel and not once"]
    results.append((f"{tag} parallel", *run_pytest(inside, chosen, IN_THREADS)))
    return results


def elsewhere(own: str, arguments: list[str]) -> list[tuple[str, bool, str]]:
    """Test on each interpreter but that of .venv."""
    found = interpreters()
    results = []
    newest = max((tag for tag in found if not tag.endswith("t")), default="")
    for tag, python in found.items():
        if tag != own:
            began = time.monotonic()
            print(f"\n== Python {tag}, {python}", flush=True)
            whole = tag == newest or tag.endswith("t")
            results += test_on(tag, python, arguments or ([] if whole else LAYERS))
            print(f"== Python {tag} took {time.monotonic() - began:.0f} s with its environment", flush=True)
    absent = [tag for tag in TAGS if tag != own and tag not in found]
    if absent:
        print(f"\nabsent here, so not tested: {', '.join(absent)} ($THREADPOOL9_PYTHONS=path:path adds interpreters)")
    return results


def main() -> int:
    """Test as the first argument says; exit status 1 if anything failed anywhere."""
    mode, arguments = "", sys.argv[1:]
    if arguments and arguments[0] in ("--here", "--rest"):
        mode, *arguments = arguments
    own = tag_of(sys.executable) or "?"
    print(f"== Python {own}, .venv", flush=True)
    marks = {"--here": QUICK, "--rest": SLOW}.get(mode, "")
    results = [(own, *test_here(marks, arguments))]
    if mode != "--here":
        results += elsewhere(own, arguments)
    print("\n== summary")
    width = max(len(tag) for tag, _, _ in results)
    for tag, passed, line in results:
        print(f"{'ok    ' if passed else 'FAILED'} Python {tag:{width}} {line}")
    if mode == "--here":
        print(LEFT_OUT)
    return 0 if all(passed for _, passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
