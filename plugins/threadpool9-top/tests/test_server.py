"""The observed process: opting in, who may look, what it costs, fork and exit."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pace import patience

import threadpool9_top
from threadpool9_top import _address, _client
from threadpool9_top._client import Connection, Ended, Unreachable

LIMIT = patience(30.0)
SERVE = "import threadpool9_top; threadpool9_top.serve()"
WAIT = """
while not any(worker.job for worker in threadpool9.snapshot().workers):
    threading.Event().wait(0.01)
"""
Start = Callable[..., Any]


def path_of(runtime: Path, pid: int) -> Path:
    """Where `pid` listens."""
    return runtime / "threadpool9" / f"{pid}.sock"


def raw(path: Path) -> socket.socket:
    """A client that does as it likes."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(LIMIT)
    client.connect(str(path))
    return client


def names_of_threads(pid: int) -> int:
    """How many threads the kernel counts."""
    return len(os.listdir(f"/proc/{pid}/task"))


def test_the_environment_opts_in_and_nothing_else_does(start: Start, runtime: Path) -> None:
    """THREADPOOL9_TOP=1 serves at the first use of a pool; without it there is no socket and no thread of ours."""
    served = start(THREADPOOL9_TOP="1")
    silent = start()

    assert path_of(runtime, served.pid).is_socket()
    assert not path_of(runtime, silent.pid).exists()
    assert names_of_threads(served.pid) == names_of_threads(silent.pid) + 1
    with pytest.raises(Unreachable, match="did not opt in: start it with THREADPOOL9_TOP=1"):
        Connection(silent.pid)


def test_a_bad_setting_is_told(start: Start) -> None:
    """THREADPOOL9_TOP=yes is no silent no."""
    assert "THREADPOOL9_TOP='yes': say 1" in start(THREADPOOL9_TOP="yes").finish()


def test_tp34_the_answer_is_the_snapshot_of_all_layers(start: Start) -> None:
    """TP-34, WQ-12: workers with tid, state and job; queues; and where a running worker is."""
    observed = start(SERVE)
    with Connection(observed.pid) as connection:
        state = connection.state()

    (worker,) = [worker for worker in state["threadpool9"]["workers"] if worker["job"] == "wait for a [reply]"]
    assert worker["state"] == "running"
    assert str(worker["tid"]) in os.listdir(f"/proc/{observed.pid}/task")
    assert worker["at"].endswith(" fn"), worker
    assert state["task9"]["queues"]
    (hashes,) = [queue for queue in state["workqueue9"]["queues"] if queue["name"] == "hashes"]
    assert hashes["completed"] == 1


def test_between_viewers_there_is_one_thread_asleep(start: Start) -> None:
    """Costs nothing until somebody connects, and nothing after: the thread of a viewer leaves with it."""
    observed = start(SERVE)
    before = names_of_threads(observed.pid)
    with Connection(observed.pid) as connection:
        connection.state()
        assert names_of_threads(observed.pid) == before + 1
    deadline = time.monotonic() + LIMIT
    while names_of_threads(observed.pid) > before:
        assert time.monotonic() < deadline, "the viewer's thread stayed"
        time.sleep(0.01)


def test_only_the_user_can_enter_the_directory(runtime: Path) -> None:
    """Mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        path = threadpool9_top.serve()
        assert path == threadpool9_top.serve() == threadpool9_top.serving()
    finally:
        os.umask(before)
        threadpool9_top.stop()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert threadpool9_top.serving() is None
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("opened", [False, True], ids=["by the directory", "by the peer's credentials"])
def test_another_user_is_kept_out(start: Start, runtime: Path, opened: bool) -> None:
    """The directory refuses; and where somebody opened it up, the kernel's word about the peer does."""
    observed = start(SERVE)
    path = path_of(runtime, observed.pid)
    runtime.chmod(0o755)
    if opened:
        path.parent.chmod(0o755)
        path.chmod(0o777)
    stranger = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    print(client.makefile().readline())
except PermissionError:
    print("PermissionError")
"""
    run = subprocess.run([sys.executable, "-c", stranger, str(path)], capture_output=True, text=True, timeout=LIMIT)

    assert ("you are user 65534" if opened else "PermissionError") in run.stdout, run.stderr
    assert "threadpool9" not in run.stdout


def test_an_unsafe_directory_is_never_used(runtime: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Open to others, a link, a file, somebody else's: passed over by the server, not looked into by the viewer."""
    loose, link, file = runtime / "loose", runtime / "link", runtime / "file"
    loose.mkdir()
    loose.chmod(0o755)
    (runtime / "target").mkdir(mode=0o700)
    link.symlink_to(runtime / "target")
    file.touch()
    good = runtime / "good"
    bad = [loose, link, file, Path("/proc/1/x"), runtime / ("long" * 30)]
    monkeypatch.setattr(_address, "_candidates", lambda uid: iter([*bad, good]))

    assert _address.place_to_serve() == good
    assert _address.places_to_look(os.geteuid()) == [good]
    assert _address.why_unsafe(good, os.geteuid() + 1) is not None
    monkeypatch.setattr(_address, "_candidates", lambda uid: iter(bad))
    with pytest.raises(threadpool9_top.ServeError, match="open to other users") as caught:
        threadpool9_top.serve()
    assert "too long" in str(caught.value)


def test_the_viewer_knows_an_impostor(start: Start, runtime: Path) -> None:
    """A socket under the pid of a process, served by another one, is refused."""
    observed = start()
    (runtime / "threadpool9").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path_of(runtime, observed.pid)))
        listener.listen()
        with pytest.raises(Unreachable, match=f"is served by process {os.getpid()} "):
            Connection(observed.pid)


def test_errors_say_what_to_do(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such process; another user's; one that opted in and has not come to it."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(Unreachable, match=f"there is no process {gone.pid}"):
        Connection(gone.pid)

    blocked = start(THREADPOOL9_TOP="1", THREADPOOL9_PLUGINS="none")
    with pytest.raises(Unreachable, match="has THREADPOOL9_TOP=1 but does not serve"):
        Connection(blocked.pid)

    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.raises(Unreachable, match="only by the same user; you are"):
        _client._find(blocked.pid)


def test_tp31_a_forked_child_serves_under_its_own_pid(start: Start, runtime: Path) -> None:
    """TP-31: parent and child each answer for themselves; the child's exit leaves the parent's socket alone."""
    fork = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: the process has threads
r, w = os.pipe()
child = os.fork()
if not child:
    os.close(w)
    os.read(r, 1)
    sys.exit()
print(child, file=sys.stderr, flush=True)
"""
    observed = start(SERVE, after=fork, end="os.close(w); os.waitpid(child, 0)")
    child = int(observed.process.stderr.readline())

    deadline = time.monotonic() + LIMIT
    while not path_of(runtime, child).exists():
        assert time.monotonic() < deadline, "the child does not serve"
        time.sleep(0.01)
    with Connection(child) as connection:
        assert connection.state()["pid"] == child
        with Connection(observed.pid) as other:
            assert other.state()["pid"] == observed.pid
    assert set(_address.served(os.geteuid())) >= {child, observed.pid}
    assert observed.finish() == ""
    assert not list((runtime / "threadpool9").iterdir())


def test_tp32_exit_is_clean_with_a_viewer_connected(start: Start, runtime: Path) -> None:
    """TP-32: the name goes, the viewer is told, the process ends with nothing on stderr."""
    observed = start(SERVE)
    with Connection(observed.pid) as connection:
        connection.state()
        assert observed.finish() == ""
        with pytest.raises(Ended, match=f"process {observed.pid} has ended"):
            connection.state()
    assert observed.process.returncode == 0
    assert not path_of(runtime, observed.pid).exists()


def test_a_connected_viewer_sees_the_queues_drain_at_exit(start: Start, runtime: Path) -> None:
    """TP-32: what holds an exit up is what one wants to see."""
    pipe_first = SERVE + "; r, w = os.pipe(); print(w, file=sys.stderr, flush=True)"
    late = """
def last(job):
    os.read(r, 1)
    with job.interlock:
        job.done()
pool.post(threadpool9.Job(last, name="the last one"))
"""
    exiting = "; threading._register_atexit(print, 'exiting', file=sys.stderr, flush=True)"  # called before the drain
    observed = start(pipe_first + exiting, end=late + "wq.destroy(); queue.close(); sys.exit()")
    descriptor = int(observed.process.stderr.readline())
    with Connection(observed.pid) as connection:
        connection.state()  # its thread is there: 3.12.0 to 3.12.2 start none any more at exit
        observed.process.stdin.close()
        assert observed.process.stderr.readline() == "exiting\n"
        deadline = time.monotonic() + LIMIT
        while "the last one" not in {worker["job"] for worker in connection.state()["threadpool9"]["workers"]}:
            assert time.monotonic() < deadline, "the job never began"
            time.sleep(0.01)
    with open(f"/proc/{observed.pid}/fd/{descriptor}", "wb") as pipe:
        pipe.write(b"x")
    assert observed.process.wait(LIMIT) == 0


def test_what_a_killed_process_left_is_cleaned_up(start: Start, runtime: Path) -> None:
    """By the next viewer that looks for processes, and by the next process that serves."""
    for look in (lambda: _address.served(os.geteuid()), lambda: (threadpool9_top.serve(), threadpool9_top.stop())):
        observed = start(SERVE)
        observed.process.kill()
        observed.process.wait()
        assert path_of(runtime, observed.pid).exists()
        look()
        assert not path_of(runtime, observed.pid).exists()


def test_viewers_that_hang_harm_nobody(start: Start, runtime: Path) -> None:
    """Silent ones, one that never reads its answers, one that leaves mid-word: the process works and ends."""
    observed = start(SERVE)
    path = path_of(runtime, observed.pid)
    clients = [raw(path) for _ in range(6)]
    clients[0].sendall(b"state\n" * 20)  # and never reads
    clients[1].sendall(b"sta")
    clients.pop(1).close()
    clients[2].sendall(b"x" * 1000)
    with Connection(observed.pid) as connection:
        assert connection.state()["pid"] == observed.pid
    assert observed.finish() == ""
    assert observed.process.returncode == 0
    for client in clients:
        client.close()


def test_there_is_a_most_of_viewers(start: Start, runtime: Path) -> None:
    """The ninth is told so; when one leaves there is room again."""
    observed = start(SERVE)
    path = path_of(runtime, observed.pid)
    clients = [raw(path) for _ in range(8)]
    for client in clients:
        client.sendall(b"cpus\n")
        assert json.loads(client.makefile().readline())["topology"]
    with Connection(observed.pid) as connection, pytest.raises(Unreachable, match="8 viewers are connected"):
        connection.state()
    for client in clients:
        client.close()
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            with Connection(observed.pid) as connection:
                connection.state()
            break
        except Unreachable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_an_unknown_request_is_refused(start: Start) -> None:
    """By words, and the conversation goes on."""
    observed = start(SERVE)
    with Connection(observed.pid) as connection:
        with pytest.raises(Unreachable, match="not known here"):
            connection._ask("format-disk", None)
        assert connection.state()["pid"] == observed.pid


def test_no_descriptor_is_no_busy_loop(start: Start, runtime: Path) -> None:
    """A process without free descriptors can't accept; the thread waits between tries instead of spinning."""
    full = """
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
"""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
    observed = start(limit + SERVE, after=WAIT + full)
    with raw(path_of(runtime, observed.pid)):
        before = _ticks(observed.pid)
        time.sleep(0.5)  # the time in which a loop would burn a CPU
        assert _ticks(observed.pid) - before < 25
    observed.process.kill()


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
