"""The plugin with the real rtkit-daemon and polkitd on a private bus, as an ordinary user; and without them."""

from __future__ import annotations

import json
import os
import pwd
import resource
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pace import patience

from threadpool9 import Scheduling
from threadpool9_rtkit import Limits, Plugin, Refused, _broker, _plugin, limits

LIMIT = patience(60.0)

#: Becomes an ordinary user once all is loaded (Python itself may lie where only root can read), then asks a worker.
PROGRAM = """
import ctypes, json, os, resource, sys, threading, warnings
import jeepney.io.blocking, threadpool9, threadpool9_rtkit
user, priorities = sys.argv[1], [int(word) for word in sys.argv[2:]]
threadpool9.get().put()  # loads the plugins
told = []
warnings.simplefilter("always")
warnings.showwarning = lambda message, *rest, **more: told.append(str(message))
if user != "root":
    import pwd
    entry = pwd.getpwnam(user)
    os.setgroups([]); os.setgid(entry.pw_gid); os.setuid(entry.pw_uid)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc shows us as that user's, as after an exec
{prelude}
def look(pri):
    over, seen = threading.Event(), {{}}
    def fn(job):
        tid = threading.get_native_id()
        policy = os.sched_getscheduler(0)
        seen.update(
            policy=policy & ~os.SCHED_RESET_ON_FORK, reset=bool(policy & os.SCHED_RESET_ON_FORK),
            rt=os.sched_getparam(0).sched_priority, nice=os.getpriority(os.PRIO_PROCESS, tid),
        )
        with job.interlock:
            job.done()
        over.set()
    pool = threadpool9.get(pri)
    pool.post(threadpool9.Job(fn))
    over.wait()
    (record,) = [record for record in threadpool9.snapshot().pools if record.pri == pri]
    seen["refused"] = record.refused
    pool.put()
    return seen
seen = [look(pri) for pri in priorities]
print(json.dumps(dict(seen=seen, told=told, rttime=resource.getrlimit(resource.RLIMIT_RTTIME))))
"""

NICE = os.getpriority(os.PRIO_PROCESS, 0)  # what our programs inherit


def run(desktop: Any, user: str, *priorities: int, prelude: str = "", **environment: str) -> dict[str, Any]:
    """What workers of pools with `priorities` got, what was told, and RLIMIT_RTTIME afterwards."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(prelude=textwrap.dedent(prelude)), user, *map(str, priorities)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**desktop.environment, "THREADPOOL9_PLUGINS": "rtkit", **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(json.loads(done.stdout))


@pytest.fixture
def loud() -> Any:
    """No silence from an earlier failure, none left behind."""
    _broker._quiet.until = 0.0
    yield
    _broker._quiet.until = 0.0


def test_tp10_a_user_gets_real_time(desktop: Any) -> None:
    """TP-10: SCHED_RR with the priority asked for, nothing refused, RLIMIT_RTTIME as the daemon demands."""
    got = run(desktop, "nobody", 137)
    (seen,) = got["seen"]
    assert (seen["policy"], seen["rt"], seen["refused"]) == (os.SCHED_RR, 10, None)
    assert seen["reset"], "the daemon lets no child inherit the class"
    assert got["rttime"] == [200_000, 200_000]
    assert got["told"] == []


def test_tp10_a_user_gets_a_negative_nice_value(desktop: Any) -> None:
    """TP-10: the value asked for; RLIMIT_RTTIME stays as it was."""
    got = run(desktop, "nobody", 80)
    (seen,) = got["seen"]
    assert (seen["policy"], seen["nice"], seen["refused"]) == (os.SCHED_OTHER, -6, None)
    assert got["rttime"] == [resource.RLIM_INFINITY] * 2
    assert got["told"] == []


def test_tp10_the_daemons_limits_are_respected_and_told_once(desktop: Any) -> None:
    """TP-10: MaxRealtimePriority 20 and MinNiceLevel -15 of the daemon; each pool says so once, and the snapshot."""
    got = run(desktop, "nobody", 191, 95, 127)
    realtime, nice, nicest = got["seen"]
    assert (realtime["policy"], realtime["rt"]) == (os.SCHED_RR, 20)
    assert "SCHED_RR 64 refused (Operation not permitted), RealtimeKit gave SCHED_RR 20" in realtime["refused"]
    assert (nice["nice"], nice["refused"]) == (-10, None)
    assert nicest["nice"] == -15
    assert "nice -20 refused, RealtimeKit gave nice -15" in nicest["refused"]
    assert len([text for text in got["told"] if "SCHED_RR" in text]) == 1


def test_what_the_os_grants_is_not_asked_of_the_daemon(desktop: Any) -> None:
    """Root gets 64 from the OS, which is more than the daemon would give, without the daemon's flag and limit."""
    got = run(desktop, "root", 191, 127, 0)
    realtime, nice, idle = got["seen"]
    assert (realtime["rt"], realtime["reset"], realtime["refused"]) == (64, False, None)
    assert (nice["nice"], idle["nice"]) == (-20, 19)
    assert got["rttime"] == [resource.RLIM_INFINITY] * 2


def test_a_user_whom_polkit_refuses_goes_on_without(desktop: Any) -> None:
    """TP-10: never fatal; the job runs, told once for each pool with the daemon's reason."""
    got = run(desktop, "daemon", 137, 80)
    for seen in got["seen"]:
        assert (seen["policy"], seen["nice"]) == (os.SCHED_OTHER, NICE)
        assert f", running at nice {NICE}; RealtimeKit: " in seen["refused"]
    assert len(got["told"]) == 2


def test_no_real_time_by_environment(desktop: Any) -> None:
    """THREADPOOL9_RTKIT=nice: a nice value instead of real time, and no limit on the process; 0: nothing at all."""
    got = run(desktop, "nobody", 137, THREADPOOL9_RTKIT="nice")
    (seen,) = got["seen"]
    assert (seen["policy"], seen["nice"]) == (os.SCHED_OTHER, -15)
    assert "no real time by threadpool9-rtkit's settings" in seen["refused"]
    assert got["rttime"] == [resource.RLIM_INFINITY] * 2
    (seen,) = run(desktop, "nobody", 80, THREADPOOL9_RTKIT="0")["seen"]
    assert seen["nice"] == NICE


def test_a_lower_limit_of_the_user_is_kept(desktop: Any) -> None:
    """RLIMIT_RTTIME is lowered where the daemon demands it and never raised."""
    lower = "resource.setrlimit(resource.RLIMIT_RTTIME, (50_000, 100_000))"
    got = run(desktop, "nobody", 137, prelude=lower)
    assert got["seen"][0]["policy"] == os.SCHED_RR
    assert got["rttime"] == [50_000, 100_000]


def test_tp13_a_worker_that_was_put_right_keeps_its_class(desktop: Any) -> None:
    """TP-13: a job that changes its thread's name makes the worker ask again; the next job finds real time."""
    change = """
    def rename(job):
        with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as file:
            file.write("renamed")
        with job.interlock:
            job.done()
    keep = threadpool9.get(137)
    keep.post(threadpool9.Job(rename))
    while not any(pool.idle for pool in threadpool9.snapshot().pools if pool.pri == 137):
        threading.Event().wait(0.01)
    """
    got = run(desktop, "nobody", 137, prelude=change)
    assert (got["seen"][0]["policy"], got["seen"][0]["rt"]) == (os.SCHED_RR, 10)
    assert got["told"] == []


def test_strict_priorities_are_satisfied_by_the_daemon(desktop: Any) -> None:
    """TP-10: strict mode raises only for what the daemon does not give either."""
    strict = """
    threadpool9.tunables.strict_priorities = True
    try:
        threadpool9.get(191)
    except threadpool9.PriorityRefused as error:
        assert "RealtimeKit gave SCHED_RR 20" in str(error), error
    else:
        raise AssertionError("not refused")
    """
    (seen,) = run(desktop, "nobody", 137, prelude=strict)["seen"]
    assert (seen["policy"], seen["rt"]) == (os.SCHED_RR, 10)


def test_the_command_tells_the_limits(desktop: Any, monkeypatch: pytest.MonkeyPatch, loud: None) -> None:
    """As the daemon's own defaults are; the API says the same."""
    command = [sys.executable, "-m", "threadpool9_rtkit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, env=desktop.environment)
    assert "real-time priority up to 20, nice from -15 on" in done.stdout
    assert "200 ms" in done.stdout
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", desktop.address)
    assert limits() == Limits(rt_priority=20, nice=-15, rttime_us=200_000)


def test_no_bus_is_told_and_not_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loud: None) -> None:
    """A server without a desktop: a reason, and no second try for a while."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'absent'}")
    with pytest.raises(Refused, match="system bus can't be reached"):
        limits()
    tried: list[object] = []
    monkeypatch.setattr(_broker, "prep_socket", lambda *a, **k: tried.append(a))
    with pytest.raises(Refused, match="system bus can't be reached"):
        limits()
    assert not tried


def test_a_bus_that_never_answers_holds_a_worker_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, loud: None
) -> None:
    """One that accepts and says nothing, and one that lets us in and then says nothing."""
    monkeypatch.setattr(_broker, "_PATIENCE", 0.2)
    for talk in (lambda peer: None, _let_in):
        _broker._quiet.until = 0.0
        path = tmp_path / f"bus{talk is _let_in}"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            peers: list[socket.socket] = []

            def accept(listener: socket.socket = listener, talk: Any = talk, peers: Any = peers) -> None:
                peer, _ = listener.accept()
                peers.append(peer)
                talk(peer)

            server = threading.Thread(target=accept)
            server.start()
            monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
            began = time.monotonic()
            with pytest.raises(Refused, match="system bus can't be reached"):
                limits()
            assert time.monotonic() - began < 10, "fifty times the patience"
            server.join(LIMIT)
            for peer in peers:
                peer.close()


def _let_in(peer: socket.socket) -> None:
    peer.recv(1000)
    peer.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
    peer.recv(1000)


def test_a_bus_without_the_daemon_names_the_package(monkeypatch: pytest.MonkeyPatch, loud: None) -> None:
    """The reason is the remedy."""
    error = _broker.DBusErrorResponse.__new__(_broker.DBusErrorResponse)
    error.name, error.data = "org.freedesktop.DBus.Error.ServiceUnknown", ("x",)

    def refuse(*a: object, **k: object) -> object:
        raise error

    monkeypatch.setattr(_broker, "get_bus", lambda which: "")
    monkeypatch.setattr(_broker, "prep_socket", refuse)
    with pytest.raises(Refused, match=r"no RealtimeKit on the system bus \(Debian package rtkit\)"):
        limits()


@pytest.mark.parametrize("scheduling", [Scheduling("other", nice=-5), Scheduling("rr", rt_priority=7)], ids=str)
def test_without_a_daemon_there_is_always_an_answer(monkeypatch: pytest.MonkeyPatch, scheduling: Scheduling) -> None:
    """The hook never raises: refused by OS and daemon, it says what and why."""
    monkeypatch.setattr(_plugin, "_refused", lambda *a: "refused")
    monkeypatch.setattr(_plugin, "_nearest", lambda tid, nice: 0)

    def refuse() -> Limits:
        raise Refused("not today")

    monkeypatch.setattr(_broker, "limits", refuse)
    answer = Plugin().threadpool9_apply_priority(scheduling, threading.get_native_id())
    assert answer == "refused, running at nice 0; RealtimeKit: not today"


@pytest.mark.parametrize(("asked", "expected"), [(-20, -3), (-2, -2), (5, 0)])
def test_the_nearest_nice_value_is_what_rlimit_nice_allows(
    monkeypatch: pytest.MonkeyPatch, asked: int, expected: int
) -> None:
    """TP-10: without a daemon, as near as RLIMIT_NICE (23 is nice -3) lets a user come; never further away."""
    current = [0]

    def set_priority(which: int, tid: int, value: int) -> None:
        if value < -3:
            raise PermissionError
        current[0] = value

    monkeypatch.setattr("resource.getrlimit", lambda which: (23, 23))
    monkeypatch.setattr(os, "setpriority", set_priority)
    monkeypatch.setattr(os, "getpriority", lambda which, tid: current[0])
    assert _plugin._nearest(1, asked) == expected


def test_inherit_is_none_of_our_business() -> None:
    """PRI_NONE touches nothing."""
    assert Plugin().threadpool9_apply_priority(Scheduling("inherit"), threading.get_native_id()) is None


def test_nobody_is_an_ordinary_user() -> None:
    """What the tests above rest on."""
    assert pwd.getpwnam("nobody").pw_uid != 0


@pytest.mark.once
def test_the_example_runs() -> None:
    """`example/metronome.py` prints a line for each priority, whatever is granted here."""
    example = Path(__file__).parent.parent / "example" / "metronome.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["priority  -1", "priority 137"]
