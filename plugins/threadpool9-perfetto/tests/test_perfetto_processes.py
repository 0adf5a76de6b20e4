"""Whole programs: the command line, the environment, exit (TP-32) and fork (TP-31)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pace import patience

LIMIT = patience(120)
TRACED = ("-m", "threadpool9_perfetto", "run", "-o", "trace.json", "--")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python with some arguments in a directory of its own; ``app.py`` there is `program`."""

    def run_it(*arguments: str, program: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "app.py").write_text(textwrap.dedent(program))
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "THREADPOOL9_PLUGINS": "perfetto", **environment},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    return run_it


def slices(path: Path) -> list[str]:
    """Names of the jobs that ran, by the trace."""
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return [event["name"] for event in events if event["ph"] == "X" and event["cat"] == "job"]


#: Schedules one job, named by the argument, which works on for a moment.
PROGRAM = """
    import sys, time, threadpool9
    pool = threadpool9.get()
    def fn(job):
        time.sleep(0.05)
        with job.interlock:
            job.done()
    def post(name):
        pool.post(threadpool9.Job(fn, name=name))
    post("first")
"""


def test_a_program_is_run_as_python_runs_it(run: Run, tmp_path: Path) -> None:
    """Its name, arguments, path and exit status; the trace is written and said."""
    program = (
        PROGRAM
        + """
    import os
    assert __name__ == "__main__"
    assert sys.argv == ["app.py", "-o", "its own", "--x"], sys.argv
    assert sys.path[0] == os.getcwd(), sys.path[0]
    os.mkdir("elsewhere"); os.chdir("elsewhere")
    sys.exit(7)
    """
    )
    done = run(*TRACED, "app.py", "-o", "its own", "--x", program=program)
    assert done.returncode == 7, done.stderr
    assert slices(tmp_path / "trace.json") == ["first"]
    assert f"records written to {tmp_path / 'trace.json'}" in done.stderr


def test_a_module_is_run_as_python_runs_it(run: Run, tmp_path: Path) -> None:
    """``-m``, and ``-q``."""
    program = (
        PROGRAM
        + """
    assert sys.argv[1:] == ["word"] and sys.argv[0].endswith("app.py"), sys.argv
    """
    )
    done = run(*TRACED[:-1], "-q", "--", "-m", "app", "word", program=program)
    assert (done.returncode, done.stderr) == (0, "")
    assert slices(tmp_path / "trace.json") == ["first"]


def test_tp32_the_trace_is_written_after_the_drain(run: Run, tmp_path: Path) -> None:
    """Jobs that run at exit are in it: those that were still queued, and those that an atexit function schedules."""
    program = (
        PROGRAM
        + """
    import atexit
    atexit.register(post, "at exit")
    """
    )
    done = run(*TRACED, "app.py", program=program)
    assert done.returncode == 0, done.stderr
    assert sorted(slices(tmp_path / "trace.json")) == ["at exit", "first"]


def test_tp32_started_by_the_program_too(run: Run, tmp_path: Path) -> None:
    """As above, where the layer was imported long before the tracer."""
    program = (
        PROGRAM
        + """
    import atexit
    atexit.register(post, "at exit")
    import threadpool9_perfetto
    threadpool9_perfetto.start("trace.json")
    post("second")
    """
    )
    done = run("app.py", program=program)
    assert done.returncode == 0, done.stderr
    assert {"at exit", "second"} <= set(slices(tmp_path / "trace.json"))


def test_tp32_an_unhandled_exception_is_an_exit(run: Run, tmp_path: Path) -> None:
    """The traceback, the exit status, and the trace."""
    done = run(*TRACED, "app.py", program=PROGRAM + "\n    raise LookupError('gone')")
    assert done.returncode == 1
    assert "LookupError: gone" in done.stderr
    assert slices(tmp_path / "trace.json") == ["first"]


@pytest.mark.skipif(os.name != "posix", reason="signals end processes on POSIX systems")
def test_sigterm_writes_nothing(run: Run, tmp_path: Path) -> None:
    """The default action runs no Python code: an older trace stays as it was."""
    (tmp_path / "trace.json").write_text("older")
    done = run(*TRACED, "app.py", program=PROGRAM + "\n    import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert done.returncode == -signal.SIGTERM
    assert [entry.name for entry in tmp_path.glob("trace.json*")] == ["trace.json"]
    assert (tmp_path / "trace.json").read_text() == "older"


FORK = (
    PROGRAM
    + """
    import os, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    post("child" if child == 0 else "parent")
    if child:
        _, status = os.waitpid(child, 0)
        assert status == 0, status
    print(child)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_tp31_a_fork_child_is_not_traced(run: Run, tmp_path: Path) -> None:
    """The parent's trace is the parent's alone; the child says nothing and goes on."""
    done = run(*TRACED, "app.py", program=FORK)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("records written") == 1
    assert slices(tmp_path / "trace.json") == ["first", "parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_tp31_a_fork_child_with_a_file_of_its_own(run: Run, tmp_path: Path) -> None:
    """With ``{pid}`` in the name each process writes what it did."""
    done = run("-m", "threadpool9_perfetto", "run", "-o", "trace-{pid}.json", "app.py", program=FORK)
    assert done.returncode == 0, done.stderr
    child = max(int(word) for word in done.stdout.split())
    files = {path.name: sorted(slices(path)) for path in tmp_path.glob("trace-*.json")}
    assert files.pop(f"trace-{child}.json") == ["child"]
    assert list(files.values()) == [["first", "parent"]]


def test_the_environment_starts_a_trace(run: Run, tmp_path: Path) -> None:
    """``THREADPOOL9_PERFETTO`` at the first use of a pool, in a program that knows nothing of it."""
    done = run("app.py", program=PROGRAM, THREADPOOL9_PERFETTO="trace.json")
    assert done.returncode == 0, done.stderr
    assert "first" in slices(tmp_path / "trace.json")


def test_hk5_installed_it_does_nothing_unless_asked(run: Run) -> None:
    """The entry point is loaded and registers no listener, nor does it import what it would need."""
    program = (
        PROGRAM
        + """
    from threadpool9._probes import probes
    assert threadpool9.plugin_manager().has_plugin("perfetto")
    assert all(getattr(probes, name) is None for name in probes.arguments)
    assert "threadpool9_perfetto._session" not in sys.modules
    """
    )
    done = run("app.py", program=program)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_lowest_layer_alone(run: Run, tmp_path: Path) -> None:
    """Without task9 and workqueue9 there are just no tasks in the trace."""
    program = """
    import sys
    sys.modules["task9"] = sys.modules["workqueue9"] = None
    import threadpool9_perfetto
    threadpool9_perfetto.start("trace.json")
    """ + textwrap.dedent(PROGRAM).replace("\n", "\n    ")
    done = run("app.py", program=program)
    assert done.returncode == 0, done.stderr
    assert slices(tmp_path / "trace.json") == ["first"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "program"),
        (("run", "nowhere.py"), "there is no 'nowhere.py'; for a module say -m"),
        (("run", "--capacity", "0", "app.py"), "at least 1"),
        ((), "run"),
    ],
)
@pytest.mark.once
def test_usage_errors(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Status 2 and what is wrong."""
    done = run("-m", "threadpool9_perfetto", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.once
def test_a_place_that_can_not_be_written_to(run: Run) -> None:
    """Said before the program runs."""
    done = run("-m", "threadpool9_perfetto", "run", "-o", "no/trace.json", "app.py", program="print('ran')")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "can't write the trace to no/trace.json: No such file or directory" in done.stderr


PLUGIN = Path(__file__).resolve().parents[1]


@pytest.mark.once
def test_the_readme_runs_as_pasted(run: Run) -> None:
    """Its block prints what it says."""
    block = (PLUGIN / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    done = run("app.py", program=block)
    assert (done.returncode, done.stdout, done.stderr) == (0, "3 3\n", "")


@pytest.mark.once
def test_the_example_is_traced(run: Run, tmp_path: Path) -> None:
    """As its docstring says."""
    done = run(*TRACED, str(PLUGIN / "example" / "readings.py"), "20")
    assert done.returncode == 0, done.stderr
    assert "20 drawn" in done.stdout
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" and event["name"] == "Picture" for event in events) == 20


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
@pytest.mark.once
def test_no_link_is_followed(run: Run, tmp_path: Path) -> None:
    """Somebody who may write in the directory puts links to a precious file in every place that can be foreseen."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    program = (
        PROGRAM
        + """
    import os
    os.symlink("precious", f"trace.json.{os.getpid()}.tmp")
    os.symlink("precious", "trace.json")  # after the start, which would have refused it
    """
    )
    done = run(*TRACED, "app.py", program=program)
    assert done.returncode == 0
    assert precious.read_text() == "precious"
    assert "it is a symbolic link; name the file that is meant" in done.stderr
    refused = run(*TRACED, "app.py", program="print('ran')")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "it is a symbolic link" in refused.stderr
    assert precious.read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.once
def test_only_a_regular_file_is_replaced(run: Run, tmp_path: Path) -> None:
    """A device or a pipe would be gone afterwards."""
    os.mkfifo(tmp_path / "trace.json")
    done = run(*TRACED, "app.py", program="print('ran')")
    assert (done.returncode, done.stdout) == (1, "")
    assert "it is not a regular file" in done.stderr
    assert (tmp_path / "trace.json").is_fifo()


@pytest.mark.once
def test_what_a_killed_process_left_is_in_nobodys_way(run: Run, tmp_path: Path) -> None:
    """In a container the next process has the same number."""
    program = PROGRAM + '\n    import os; open(f"trace.json.{os.getpid()}.tmp", "w").write("half")'
    done = run(*TRACED, "app.py", program=program)
    assert done.returncode == 0, done.stderr
    assert slices(tmp_path / "trace.json") == ["first"]
    (left,) = tmp_path.glob("trace.json.*")
    assert left.read_text() == "half"
