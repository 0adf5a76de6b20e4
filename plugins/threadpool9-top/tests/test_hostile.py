"""A process that answers what it likes: nothing of it reaches the terminal as a command, nothing is a traceback."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from threadpool9_top import _pages, _wire
from threadpool9_top.__main__ import main
from threadpool9_top._client import Connection, Unreachable

#: Listens where a process of its number would, and answers every line with its standard input.
LIAR = """
import os, socket, sys
answer = sys.stdin.buffer.read()
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{sys.argv[1]}/{os.getpid()}.sock")
listener.listen()
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as lines:
        try:
            for line in lines:
                connection.sendall(answer)
        except OSError:
            pass
"""
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\x08"


@pytest.fixture
def lie(runtime: Path) -> Iterator[Callable[[bytes], int]]:
    """Start a process that gives that answer; its number."""
    directory = runtime / "threadpool9"
    directory.mkdir(mode=0o700)
    processes = []

    def go(answer: bytes) -> int:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", LIAR, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(answer)
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield go
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def page(tab: str = "pools", **changes: Any) -> dict[str, Any]:
    """An honest page of this very process, and what a liar makes of it."""
    answer = copy.deepcopy(_pages.Pager().page(_wire.Query(tab)))
    answer.update(changes)
    return answer


def line(answer: object) -> bytes:
    """As it goes over the socket."""
    return json.dumps(answer).encode() + b"\n"


def harmless(text: str) -> bool:
    """Nothing in it that a terminal acts on."""
    return all(character.isprintable() or character == "\n" for character in text)


NONSENSE: dict[str, bytes] = {
    "no JSON": b"no JSON\n",
    "no text": b"\xff\xfe\n",
    "a list": b"[]\n",
    "null": b"null\n",
    "an empty object": b"{}\n",
    "deep lists": b"[" * 100_000 + b"\n",
    "deep objects": b'{"a":' * 100_000 + b"\n",
    "NaN": b'{"protocol": NaN}\n',
    "another protocol": b'{"protocol": 1}\n',
    "escapes for a protocol": line({"protocol": ESCAPES}),
    "a huge number": b'{"protocol": ' + b"9" * 5000 + b"}\n",
    "an error that is no text": b'{"error": 1}\n',
    "an error that is null": b'{"error": null}\n',
    "an error with escapes": line({"error": f"no{ESCAPES}"}),
    "a long error": line({"error": "long" * 100_000}),
    "nothing else": line({"protocol": _wire.PROTOCOL}),
    "half a line": b"half a line",
    "nothing": b"",
}
#: What a page says instead of the truth.
LIES: dict[str, dict[str, Any]] = {
    "another tab": {"tab": "elsewhere"},
    "rows that are numbers": {"rows": [1]},
    "rows without fields": {"rows": [{}]},
    "no rows": {"rows": None},
    "a head that is a list": {"head": []},
    "a head without fields": {"head": {}},
    "a fraction of a row": {"cursor": 1.5},
    "too many rows": {"total": 10**30},
    "too large a time": {"cost": 1e300},
    "truth for a number": {"cost": True},
}


@pytest.mark.parametrize("what", [*NONSENSE, *LIES])
def test_nonsense_is_an_error_in_one_line(
    lie: Callable[[bytes], int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Status 1, one line, harmless; for `dump`, `topology` and, where it is no object, `dump --json`."""
    monkeypatch.setattr("threadpool9_top._client._PATIENCE", 0.5)
    pid = lie(NONSENSE[what] if what in NONSENSE else line(page(**LIES[what])))
    for arguments in (["dump", str(pid)], ["topology", str(pid)]):
        assert main(arguments) == 1
        out, errors = capsys.readouterr()
        assert out == ""
        assert errors.startswith(f"threadpool9_top: process {pid} ")
        assert errors.endswith("\n")
        assert errors.count("\n") == 1
        assert len(errors) < 3000
        assert harmless(errors)


@pytest.mark.parametrize("tab", _wire.TABS)
def test_every_text_of_a_page_is_made_harmless(
    lie: Callable[[bytes], int], capsys: pytest.CaptureFixture[str], tab: str
) -> None:
    """Wherever a page may hold a text there are escapes; none is left in what the viewer gets."""
    honest: dict[str, Any] = page(tab)

    def poison(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {field: poison(inner) for field, inner in shape.items()}
        if isinstance(shape, list):
            return [poison(shape[0])]
        kinds = shape if isinstance(shape, tuple) else (shape,)
        if str in kinds:
            return ESCAPES + "owned"
        return True if bool in kinds else 1

    honest["head"] = {**honest["head"], **{key: poison(_wire.HEAD[key]) for key in ("program", "python", "trouble")}}
    honest["rows"] = [poison(_wire.ROWS[tab])]
    pid = lie(line(honest))
    with Connection(pid) as connection:
        answer = connection.page(_wire.Query(tab))
    texts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, (list, dict)):
            for item in value.values() if isinstance(value, dict) else value:
                collect(item)

    collect(answer)
    assert sum("owned" in text for text in texts) >= 4
    assert all(map(harmless, texts))


def test_the_state_for_programs_is_escaped(lie: Callable[[bytes], int], capsys: pytest.CaptureFixture[str]) -> None:
    """`dump --json` keeps every text as it is, in JSON's own escapes."""
    pid = lie(line({"protocol": _wire.PROTOCOL, "x": ESCAPES}))
    assert main(["dump", str(pid), "--json"]) == 0
    shown = capsys.readouterr().out
    assert harmless(shown)
    assert json.loads(shown)["x"] == ESCAPES


def test_an_answer_without_an_end_is_given_up(lie: Callable[[bytes], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty-four megabytes are enough; here fewer."""
    monkeypatch.setattr("threadpool9_top._client._LONGEST_ANSWER", 1 << 20)
    pid = lie(b"x" * (2 << 20))
    with Connection(pid) as connection, pytest.raises(Unreachable, match="longer than 1 MiB"):
        connection.cpus()


@pytest.mark.parametrize(
    "request_line",
    [b"page\n", b"page []\n", b"page {}\n", b'page {"tab": 1}\n', b"page " + b"[" * 3000 + b"\n", b"\xff\n", b"\n"],
    ids=["no query", "a list", "no fields", "a number", "deep", "no text", "nothing"],
)
def test_the_server_believes_no_more(request_line: bytes) -> None:
    """A request that makes no sense is answered by an error, and the conversation goes on."""
    from threadpool9_top import _server

    answer = _server._answer(request_line, _pages.Pager())
    assert list(answer) == ["error"]
    assert len(answer["error"]) < 200
