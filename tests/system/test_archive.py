"""The example archive as its users run it: processes, judged by what they print, how they exit and what they leave.

Nothing here depends on who runs it: what root may read all the same is refused by a hook in the program.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from warm import Warm

PROGRAM = Path(__file__).resolve().parents[2] / "examples" / "archive" / "archive.py"
PATIENCE = 100
WIDTH = 80
BLOCK = 256 << 10

#: What the program imports, and what else it loads at once.
MODULES = [*sorted(file.stem for file in PROGRAM.parent.glob("*.py")), "importlib.metadata"]

#: What most runs are forks of, while there are tests of this file to come.
_warm: Warm

#: Before `victim` is opened, `act` is done, once.
AT_OPEN = """
done = []
def watch(event, arguments):
    if event in ("open", "os.scandir") and arguments[0] == {victim!r} and not done:
        done.append(1)
        {act}
sys.addaudithook(watch)
"""

FAST = {"THREADPOOL9_PLUGINS": "perfetto"}
"""Others that are installed here take longer to load than most of these runs take."""

NOT_YOUNG = "import tree; tree._YOUNG = 0"
"""Files that were made just now are taken for old ones, whose stamp says whether they have changed."""

ONE_ROUND = "import race; race.ROUNDS = 1"
"""The demo compares each way of packing once, which is enough where the figures are not looked at."""


def command(*arguments: str | Path) -> list[str]:
    """The program's command line."""
    return [sys.executable, "-X", "dev", str(PROGRAM), *map(str, arguments)]


def environment() -> dict[str, str]:
    """Ours, with a terminal's width that does not depend on where the tests run."""
    return {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **FAST}


@pytest.fixture(scope="session", autouse=True)
def warm() -> Iterator[None]:
    """Have the imports done once."""
    global _warm
    with Warm(PROGRAM, MODULES, environment()) as _warm:
        yield


def run(
    *arguments: str | Path, status: int = 0, code: str | None = None, cold: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, which must have that status; if `cold`, in an interpreter that starts for it."""
    if cold:
        done = subprocess.run(
            command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            env=environment(),
            check=False,
        )
    else:
        done = _warm.run(list(map(str, arguments)), PATIENCE, environment(), code)
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done


def number_in(pattern: str, text: str) -> int:
    """The number that the pattern's group finds."""
    found = re.search(pattern, text)
    assert found is not None, text
    return int(found[1].replace(",", ""))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small tree: empty, small and large files, odd names, links, modes, times."""
    return make_tree(tmp_path / "source")


def make_tree(root: Path) -> Path:
    """Write that tree."""
    for number in range(150):
        file = root / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d, some text. " % number * number)
    for number in range(4):
        (root / f"large{number}").write_bytes(os.urandom(BLOCK) + b"text " * BLOCK + b"x" * number)
    (root / "exactly one block").write_bytes(bytes(BLOCK))
    (root / "empty directory").mkdir()
    (root / "line\nbreak \\ [bold]").write_text("odd")
    with open(os.fsencode(root) + b"/not utf-8 \xff", "wb") as odd:
        odd.write(b"odder")
    (root / "link").symlink_to("large0")
    (root / "link up").symlink_to("..")
    (root / "program").write_text("run me")
    (root / "program").chmod(0o751)
    (root / "d1" / "f1").chmod(0o400)
    os.utime(root / "d2" / "f2", ns=(1, 1_234_567_890_123_456_789))
    (root / "d3").chmod(0o750)
    os.utime(root / "d3", ns=(1, 987_654_321_012_345_678))
    return root


def picture(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below `root`: kind, permissions, time, and content."""
    seen: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(root):
        for path in (os.path.join(directory, name) for name in (*directories, *files, ".")):
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            name = os.path.relpath(path, root)
            seen[name] = stat.S_IFMT(status.st_mode), status.st_mode & 0o777, status.st_mtime_ns, content
    return seen


def snapshots(archive: Path) -> list[Path]:
    """The index files."""
    return sorted((archive / "index").glob("*.json.gz"))


def lines_of(index: Path) -> list[dict[str, Any]]:
    """What an index file says."""
    return [json.loads(line) for line in gzip.decompress(index.read_bytes()).splitlines()]


def entries_of(index: Path) -> dict[str, dict[str, Any]]:
    """Its entries by path."""
    return {line["path"]: line for line in lines_of(index) if "path" in line}


def rewrite(index: Path, lines: list[dict[str, Any]]) -> None:
    """Replace what an index file says, with a right checksum."""
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines[:-1])
    end = {**lines[-1], "sha256": hashlib.sha256(body).hexdigest()}
    index.write_bytes(gzip.compress(body + json.dumps(end).encode() + b"\n"))


@pytest.mark.parametrize("compress", ["none", "zlib", "lzma", "zstd"])
def test_what_is_restored_is_what_was_packed(source: Path, tmp_path: Path, compress: str) -> None:
    """Content, permissions and times of everything, whatever the names."""
    if compress == "zstd" and sys.version_info < (3, 14):
        pytest.skip("compression.zstd came with Python 3.14")
    before = picture(source)
    cold = compress == "zlib"

    run("pack", source, tmp_path / "a", "--compress", compress, cold=cold)
    run("verify", tmp_path / "a", cold=cold)
    run("restore", tmp_path / "a", tmp_path / "out", cold=cold)

    assert picture(tmp_path / "out") == before
    assert picture(source) == before
    listed = run("list", tmp_path / "a", cold=cold).stdout
    assert re.search(r"^-rwxr-x--x +6 .* program$", listed, re.MULTILINE)
    assert r"line\nbreak \ [bold]" in listed
    assert "link -> large0" in listed


def test_equal_blocks_are_stored_once(source: Path, tmp_path: Path) -> None:
    """Within a pack, and from one to the next; and what compresses takes less than it has."""
    shutil.copytree(source, source / "copy", symlinks=True)
    first = run("pack", source, tmp_path / "a")
    size = (tmp_path / "a" / "blocks").stat().st_size
    # The four large files differ in their first block only, which does not compress, and in how they end.
    assert 4 * BLOCK < size < 5 * BLOCK + 200_000
    (source / "copy").rename(source / "another name")

    second = run("pack", source, tmp_path / "a")

    assert (tmp_path / "a" / "blocks").stat().st_size == size
    assert "compressed to 0 bytes" in second.stdout
    assert "compressed to 0 bytes" not in first.stdout
    run("verify", tmp_path / "a")


def test_what_is_as_before_is_not_read_again(source: Path, tmp_path: Path) -> None:
    """And what is not, is: told by size, times and inode."""
    files = sum(path.is_file() and not path.is_symlink() for path in source.rglob("*"))
    run("pack", source, tmp_path / "a", code=NOT_YOUNG)
    kept = os.stat(source / "large1")
    with open(source / "large1", "r+b") as file:
        file.write(b"changed")
    os.utime(source / "large1", ns=(kept.st_atime_ns, kept.st_mtime_ns))  # only ctime tells

    second = run("pack", source, tmp_path / "a", code=NOT_YOUNG)

    empty = 1  # nothing to read
    assert number_in(r"  ([\d,]+) files as before", second.stdout) in (files - 1, files - 1 - empty)
    run("restore", tmp_path / "a", tmp_path / "out")
    assert picture(tmp_path / "out") == picture(source)
    run("restore", tmp_path / "a", tmp_path / "old", "--snapshot", "1")
    assert (tmp_path / "old" / "large1").read_bytes()[:7] != b"changed"


def test_young_files_are_read_again(source: Path, tmp_path: Path) -> None:
    """A change within the same tick of the file system's clock could not be told, so no stamp is kept."""
    run("pack", source, tmp_path / "a", code="import tree; tree._YOUNG = 10**18")

    assert [entry for entry in entries_of(snapshots(tmp_path / "a")[0]).values() if entry.get("stamp")] == []
    assert " 0 files as before" in run("pack", source, tmp_path / "a").stdout


def test_what_cannot_be_packed_is_named_and_the_rest_goes_on(source: Path, tmp_path: Path) -> None:
    """A dangling link is kept; a FIFO, an unreadable file and an unreadable directory are left out."""
    (source / "dangling").symlink_to("nowhere")
    os.mkfifo(source / "d1" / "fifo")
    file, directory = source / "d5" / "f5", source / "d6"
    refuse = "raise PermissionError(13, 'Permission denied', arguments[0])"
    code = AT_OPEN.format(victim=str(file), act=refuse) + AT_OPEN.format(
        victim=str(directory), act=f"done.clear(); {refuse}"
    )

    done = run("pack", source, tmp_path / "a", status=3, code=code)

    assert f"archive: {source}/dangling: dangling link; packed as it is\n" in done.stderr
    assert f"archive: {source}/d1/fifo: a FIFO, socket or device; left out\n" in done.stderr
    assert f"archive: {file}: Permission denied; left out\n" in done.stderr
    assert f"archive: {directory}: Permission denied; left out\n" in done.stderr
    assert "archive: left out: 2 (Permission denied)\n" in done.stderr
    run("verify", tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    expected = {
        path: what
        for path, what in picture(source).items()
        if path not in ("d1/fifo", "d5/f5", "d6") and not path.startswith("d6/")
    }
    assert picture(tmp_path / "out") == expected
    left_out = [line["left_out"][0] for line in lines_of(snapshots(tmp_path / "a")[0]) if "left_out" in line]
    assert sorted(left_out) == sorted(map(str, (source / "d1" / "fifo", file, directory)))


def test_a_file_that_vanishes_is_named(source: Path, tmp_path: Path) -> None:
    """It is there when the directory is listed and gone when it is opened."""
    victim = source / "d3" / "f3"
    code = AT_OPEN.format(victim=str(victim), act="os.unlink(arguments[0])")

    done = run("pack", source, tmp_path / "a", status=3, code=code)

    assert not victim.exists()
    assert f"archive: {victim}: vanished; left out\n" in done.stderr
    run("verify", tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    assert "d3/f4" not in picture(tmp_path / "out")
    assert (tmp_path / "out" / "d3" / "f10").read_bytes() == (source / "d3" / "f10").read_bytes()


@pytest.mark.parametrize("moment", ["while", "after"])
def test_a_file_that_changes_is_read_again(source: Path, tmp_path: Path, moment: str) -> None:
    """While it is read, or after it was packed, as the watching job finds out: what counts is what it is at the end."""
    changing = source / "d0" / "f0 changes"
    changing.write_bytes(b"before " * 1000)
    (source / "zz").mkdir()
    (source / "zz" / "last").write_bytes(b"last " * BLOCK)
    at = changing if moment == "while" else source / "zz" / "last"
    act = f"put({str(changing)!r}, 'wb', b'after ' * 2000)"

    run("pack", source, tmp_path / "a", code=AT_OPEN.format(victim=str(at), act=act))

    assert changing.read_bytes() == b"after " * 2000
    run("verify", tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out" / "d0" / "f0 changes").read_bytes() == b"after " * 2000


def test_a_file_that_never_stops_changing_is_packed_as_it_was_read(source: Path, tmp_path: Path) -> None:
    """And named; the archive is whole."""
    log = source / "log"
    log.write_bytes(b"line\n" * 100_000)
    code = AT_OPEN.format(victim=str(log), act=f"put({str(log)!r}, 'ab', b'x'); done.clear()")

    done = run("pack", source, tmp_path / "a", status=3, code=code)

    assert f"archive: {log}: changed while it was read; packed as it was read\n" in done.stderr
    run("verify", tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out" / "log").read_bytes().startswith(b"line\n" * 100_000)


def test_the_archive_may_lie_in_the_tree(source: Path, tmp_path: Path) -> None:
    """It is not packed into itself."""
    before = set(picture(source))

    run("pack", source, source / "archive")
    run("pack", source, source / "archive")

    run("restore", source / "archive", tmp_path / "out")
    assert set(picture(tmp_path / "out")) == before


# --- on a cluster


@contextmanager
def port_taken(number: int) -> Iterator[None]:
    """That port has a server; mostly ours."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(socket.create_server(("127.0.0.1", number)))
        yield


@pytest.mark.long
def test_it_compresses_on_a_cluster(source: Path, tmp_path: Path) -> None:
    """The same tree, byte for byte, and blocks that another pack has already; on real processes of Dask's."""
    pytest.importorskip("workqueue9_dask", reason="workqueue9-dask is not installed here")
    run("pack", source, tmp_path / "here", "--compress", "lzma")
    with port_taken(8787):  # that of Dask's dashboard: somebody else's cluster has it
        done = run("pack", source, tmp_path / "far", "--compress", "lzma", "--cluster", "local", cold=True)
    assert "compressed to" in done.stdout
    run("verify", tmp_path / "far")
    run("restore", tmp_path / "far", tmp_path / "out")
    assert picture(tmp_path / "out") == picture(source)
    assert (tmp_path / "far" / "blocks").stat().st_size == (tmp_path / "here" / "blocks").stat().st_size
    again = run("pack", source, tmp_path / "far", "--cluster", "local", cold=True)
    assert "0 B read" in again.stdout or "not read" in again.stdout


@pytest.mark.once
def test_a_cluster_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    """In one line, and nothing is packed."""
    pytest.importorskip("workqueue9_dask", reason="workqueue9-dask is not installed here")
    code = "import dask; dask.config.set({'distributed.comm.timeouts.connect': '1s'})"
    done = run("pack", source, tmp_path / "far", "--cluster", "tcp://127.0.0.1:1", status=1, code=code, cold=False)
    assert "127.0.0.1:1" in done.stderr


# --- crashes and signals


@pytest.fixture
def endless(source: Path) -> Path:
    """The tree with a file that takes hours to read, after all others."""
    (source / "zz").mkdir()
    with open(source / "zz" / "endless", "wb") as file:
        file.truncate(400 << 30)
    return source


@contextmanager
def packing(source: Path, archive: Path, terminal: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A pack that is under way, with frequent checkpoints, and the descriptor of what it says."""
    reader, writer = pty.openpty() if terminal else os.pipe()
    process = subprocess.Popen(
        command("pack", source, archive, "--checkpoint", "0.05"),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env=environment(),
    )
    os.close(writer)
    try:
        yield process, reader
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def read_until(descriptor: int, pattern: str) -> str:
    """Read what is printed until it has that in it."""
    text = b""
    while not re.search(pattern, text.decode(errors="replace")):
        chunk = os.read(descriptor, 4096)
        assert chunk, text
        text += chunk
    return text.decode()


def wait_for_checkpoint(archive: Path, descriptor: int) -> None:
    """Return when the small files are in a checkpoint: looks each time that progress is printed."""
    while not (snapshots(archive) and "large3" in entries_of(snapshots(archive)[-1])):
        assert os.read(descriptor, 4096)


def check_goes_on(endless: Path, archive: Path, out: Path) -> None:
    """After an interruption: the archive is valid, has what was packed, and the next pack completes it."""
    (index,) = snapshots(archive)
    assert lines_of(index)[-1]["complete"] is False
    first = run("verify", archive)
    assert "did not reach its end" in first.stderr
    assert "archive: interrupted" not in first.stderr
    shutil.rmtree(endless / "zz")

    again = run("pack", endless, archive)

    assert "compressed to 0 bytes" in again.stdout  # every block was there
    (index,) = snapshots(archive)  # the unfinished snapshot is not needed any more
    assert lines_of(index)[-1]["complete"] is True
    verified = run("verify", archive)
    assert verified.stderr.count("archive: ") == verified.stderr.count("archive: verify: ")
    run("restore", archive, out)
    assert picture(out) == picture(endless)


def test_after_sigkill_the_archive_is_valid_and_the_next_pack_goes_on(endless: Path, tmp_path: Path) -> None:
    """In the middle of everything, after the first checkpoint."""
    with packing(endless, tmp_path / "a") as (process, output):
        wait_for_checkpoint(tmp_path / "a", output)
        process.kill()
        process.wait()

    check_goes_on(endless, tmp_path / "a", tmp_path / "out")


def slowness() -> float:
    """How many times as long as on an idle machine something takes at the moment, at least 1."""
    begun, cpu = time.monotonic(), time.process_time()
    while time.process_time() - cpu < 0.1:
        pass
    return max(1.0, (time.monotonic() - begun) / 0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("terminal", [False, True])
def test_a_signal_ends_a_pack_within_a_second(
    endless: Path, tmp_path: Path, number: signal.Signals, terminal: bool
) -> None:
    """With its own exit status and a valid archive."""
    with packing(endless, tmp_path / "a", terminal) as (process, output):
        wait_for_checkpoint(tmp_path / "a", output)
        slow = slowness()
        begun = time.monotonic()
        process.send_signal(number)
        said = read_until(output, "goes on from there")
        assert process.wait(PATIENCE) == 128 + number
        took = time.monotonic() - begun
    assert took < 1.0 * max(slow, slowness())
    assert "interrupted; snapshot 1 has the " in said

    check_goes_on(endless, tmp_path / "a", tmp_path / "out")


def test_sigusr1_prints_the_state(endless: Path, tmp_path: Path) -> None:
    """What is packed, what waits, what the pool's threads do."""
    with packing(endless, tmp_path / "a") as (process, output):
        wait_for_checkpoint(tmp_path / "a", output)
        for _ in range(100):
            process.send_signal(signal.SIGUSR1)
            said = read_until(output, r"in pools, running .*\n")
            if "squeeze" in said:  # none runs at the moment at which each has ended and no next one has begun
                break
        assert process.poll() is None
    assert re.search(r"archive: \d+ files packed, ", said)
    assert re.search(r"archive: \d+ parcels? waiting, \d+ in work; last checkpoint \d+\.\d s ago", said)
    assert re.search(rf"process {process.pid}: \d threads in pools, running .*squeeze", said)


@pytest.mark.once
def test_two_packs_at_once_are_refused(endless: Path, tmp_path: Path) -> None:
    """The second says so; the first goes on."""
    with packing(endless, tmp_path / "a") as (process, output):
        wait_for_checkpoint(tmp_path / "a", output)
        second = run("pack", endless, tmp_path / "a", status=1)
        assert process.poll() is None
        run("verify", tmp_path / "a")  # reading is allowed meanwhile
    assert "is being packed into by another process" in second.stderr


@pytest.mark.once
def test_a_full_disk_ends_a_pack(source: Path, tmp_path: Path) -> None:
    """With a word about it; what was there before is still there."""
    run("pack", source, tmp_path / "a")
    (source / "new").write_bytes(os.urandom(3 * BLOCK))
    code = """
real, calls = os.pwrite, []
def pwrite(descriptor, data, offset):
    calls.append(1)
    if len(calls) > 2:
        raise OSError(28, "No space left on device")
    return real(descriptor, data[:1000], offset)
os.pwrite = pwrite
"""

    done = run("pack", source, tmp_path / "a", status=1, code=code)

    assert "archive: [Errno 28] No space left on device\n" in done.stderr
    assert len(snapshots(tmp_path / "a")) == 1
    run("verify", tmp_path / "a")
    run("pack", source, tmp_path / "a")
    run("verify", tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    assert picture(tmp_path / "out") == picture(source)


@pytest.mark.parametrize("length", [0, 1, 51, 52, 53, 400])
@pytest.mark.once
def test_a_torn_end_of_the_block_file_is_dropped(source: Path, tmp_path: Path, length: int) -> None:
    """Behind the last checkpoint there may be anything after a power failure: half a record, or zeros."""
    archive = tmp_path / "a"
    run("pack", source, archive)
    blocks = archive / "blocks"
    size = blocks.stat().st_size
    begin = place_of(archive, "large2")
    record = blocks.read_bytes()[begin : begin + 52 + 1000]
    with open(blocks, "ab") as file:
        file.write(record[:length])
        file.write(bytes(1000))

    verified = run("verify", archive)
    (source / "new").write_bytes(b"new")
    run("pack", source, archive)

    assert "behind the last checkpoint" in verified.stderr
    assert 0 < blocks.stat().st_size - size < 200
    run("verify", archive)


# --- damage


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree, to be read only, and beside it an archive with a second snapshot of it that has one block more."""
    directory = tmp_path_factory.mktemp("packed")
    source = make_tree(directory / "source")
    run("pack", source, directory / "a")
    (source / "new").write_bytes(b"the last block")
    run("pack", source, directory / "a")
    return directory


@pytest.fixture
def archive(packed: Path, tmp_path: Path) -> Path:
    """A copy of that archive."""
    return Path(shutil.copytree(packed / "a", tmp_path / "a"))


@pytest.fixture
def archived(packed: Path) -> Path:
    """The tree that `archive` was made of."""
    return packed / "source"


def flip(file: Path, offset: int) -> None:
    """Damage one byte."""
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x10
    file.write_bytes(data)


def place_of(archive: Path, path: str) -> int:
    """Where the record of a file's first block begins."""
    digest = bytes.fromhex(entries_of(snapshots(archive)[-1])[path]["blocks"][0])
    data = (archive / "blocks").read_bytes()
    return data.index(digest) - 16


@pytest.mark.parametrize("part", ["payload", "length", "digest"])
@pytest.mark.once
def test_a_damaged_block_is_found_and_costs_its_own_files_only(
    archive: Path, archived: Path, tmp_path: Path, part: str
) -> None:
    """Whether it is the content that is damaged, or the header."""
    begin = place_of(archive, "large2")
    flip(archive / "blocks", begin + {"payload": 52 + 1000, "length": 9, "digest": 20}[part])

    done = run("verify", archive, status=1)
    restored = run("restore", archive, tmp_path / "out", status=1)

    assert "snapshot 2: large2 is damaged" in done.stderr
    assert "DAMAGED: 2 files of 2 snapshots" in done.stdout
    assert restored.stderr.count("not restored") == 1
    assert "archive: large2: " in restored.stderr
    expected = picture(archived)
    del expected["large2"]
    assert picture(tmp_path / "out") == expected


@pytest.mark.once
def test_a_block_file_that_is_too_short_is_found(archive: Path) -> None:
    """The last block is missing: the second snapshot has lost a file."""
    with open(archive / "blocks", "r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 1)

    done = run("verify", archive, status=1)

    assert "the block file lacks its last 1 bytes" in done.stderr
    assert "snapshot 2: new is damaged" in done.stderr
    assert "DAMAGED: 1 file of" in done.stdout


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
@pytest.mark.once
def test_a_damaged_index_is_found_and_the_older_one_serves(
    archive: Path, archived: Path, tmp_path: Path, how: str
) -> None:
    """verify says so; restore takes the newest that is intact; the next pack goes on."""
    index = snapshots(archive)[-1]
    data = index.read_bytes()
    if how == "flip":
        flip(index, len(data) // 2)
    else:
        index.write_bytes(data[: -100 if how == "cut" else 0])

    assert "archive: index/000002.json.gz: " in run("verify", archive, status=1).stderr
    run("restore", archive, tmp_path / "out")
    assert "new" not in picture(tmp_path / "out")
    assert "index/000002.json.gz" in run("pack", archived, archive).stderr
    run("restore", archive, tmp_path / "out2")
    assert picture(tmp_path / "out2") == picture(archived)


# --- what a hostile archive may not do


FILE = {"kind": "file", "mode": 0o644, "mtime": 0, "size": 0, "blocks": [], "stamp": None}
HOSTILE: dict[str, list[dict[str, Any]]] = {
    "up": [{**FILE, "path": "../evil"}],
    "up inside": [{"path": "d", "kind": "dir", "mode": 0o755, "mtime": 0}, {**FILE, "path": "d/../../evil"}],
    "absolute": [{**FILE, "path": "{outside}/evil"}],
    "empty part": [{**FILE, "path": "/evil"}],
    "nul": [{**FILE, "path": "evil\0"}],
    "through a link": [
        {"path": "way", "kind": "link", "mode": 0o777, "mtime": 0, "target": "{outside}"},
        {**FILE, "path": "way/evil"},
    ],
    "twice": [
        {"path": "way", "kind": "link", "mode": 0o777, "mtime": 0, "target": "{outside}/evil"},
        {**FILE, "path": "way"},
    ],
    "no directory": [{**FILE, "path": "missing/evil"}],
    "of no kind": [{**FILE, "path": "evil", "kind": "device"}],
    "mode": [{**FILE, "path": "evil", "mode": "0644"}],
    "size": [{**FILE, "path": "evil", "size": 1 << 60}],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.once
def test_no_path_leads_out_of_the_destination(archive: Path, tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    """An index with such an entry is refused as a whole; nothing is written, inside or outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "in").mkdir()
    out = tmp_path / "in" / "out"
    shutil.rmtree(archive / "index" / "000002.json.gz", ignore_errors=True)
    index = snapshots(archive)[-1]
    lines = lines_of(index)
    made = json.loads(json.dumps(entries).replace("{outside}", str(outside)))
    rewrite(index, [lines[0], *(line for line in lines[1:-1] if line["path"] == "."), *made, lines[-1]])

    done = run("restore", archive, out, "--snapshot", "2", status=1)

    assert "index/000002.json.gz: " in done.stderr
    assert not out.exists()
    assert os.listdir(outside) == []
    assert os.listdir(tmp_path / "in") == []
    assert "index/000002.json.gz" in run("verify", archive, status=1).stderr


@pytest.mark.once
def test_restore_follows_no_link_that_somebody_puts_in_its_way(archived: Path, archive: Path, tmp_path: Path) -> None:
    """A directory that was made is replaced by a link to elsewhere before a file is written into it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    out = tmp_path / "out"
    code = f"""
import restore
real = restore.handfuls
def handfuls(snapshot):
    os.rmdir({str(out / "d4")!r})
    os.symlink({str(outside)!r}, {str(out / "d4")!r})
    return real(snapshot)
restore.handfuls = handfuls
"""

    done = run("restore", archive, out, status=1, code=code)

    assert os.listdir(outside) == []
    assert "archive: d4/f102: Not a directory; not restored\n" in done.stderr
    assert (out / "d5" / "f5").read_bytes() == (archived / "d5" / "f5").read_bytes()


@pytest.mark.once
def test_restore_overwrites_nothing(archive: Path, tmp_path: Path) -> None:
    """The destination must be new, or empty."""
    full = tmp_path / "full"
    full.mkdir()
    (full / "d1").write_text("mine")
    done = run("restore", archive, full, status=1)
    assert f"archive: {full} is there, and is no empty directory\n" in done.stderr
    assert [(path.name, path.read_text()) for path in full.iterdir()] == [("d1", "mine")]

    (tmp_path / "empty").mkdir()
    run("restore", archive, tmp_path / "empty")


@pytest.mark.once
def test_set_uid_is_not_restored(tmp_path: Path) -> None:
    """The file would be of another owner than the bit was meant for."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "su").write_text("x")
    (source / "su").chmod(0o6755)
    run("pack", source, tmp_path / "a")
    run("restore", tmp_path / "a", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "su").stat().st_mode) == 0o755


# --- the rest of the command line


def test_a_trace_is_written(source: Path, tmp_path: Path) -> None:
    """With the parcels of both queues in it, and the tasks."""
    pytest.importorskip("threadpool9_perfetto", reason="the plugin is not installed")
    run("pack", source, tmp_path / "a", "--trace", tmp_path / "trace.json")
    names = {event["name"] for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert {"Parcel", "Books._enter", "Pack._census"} <= names


@pytest.mark.once
def test_snapshots_are_listed(archive: Path) -> None:
    """The oldest first."""
    lines = run("list", archive, "--snapshots").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["pack", "nowhere", "a"], ["pack", "."], ["pack", ".", "a", "--compress", "magic"], ["list", "--no-such"]],
)
@pytest.mark.once
def test_usage(arguments: list[str]) -> None:
    """A command line that makes no sense has exit status 2 and a word about why."""
    done = run(*arguments, status=2)
    assert "error: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("what", ["missing", "empty", "other"])
@pytest.mark.parametrize("words", [["verify"], ["list"], ["restore", "out"]], ids=lambda words: words[0])
@pytest.mark.once
def test_what_is_no_archive_is_refused(tmp_path: Path, words: list[str], what: str) -> None:
    """In a line."""
    place = tmp_path / "place"
    if what != "missing":
        place.mkdir()
    if what == "other":
        (place / "letter.txt").write_text("dear")
    done = run(words[0], place, *(tmp_path / word for word in words[1:]), status=1)
    assert done.stderr.startswith(f"archive: {place}")
    assert done.stderr.count("\n") == 1
    if what == "other":
        assert "packed" not in run("pack", tmp_path, place, status=1).stdout


# --- the demo


@pytest.mark.once
def test_the_demo_draws_no_conclusion_from_a_tiny_file(tmp_path: Path) -> None:
    """And a dangling link is no failure."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "tiny").write_text("abc")
    (source / "dangling").symlink_to("nowhere")

    done = run("demo", source, code=ONE_ROUND)

    assert "Too small to tell which is faster" in done.stdout
    assert "times as fast" not in done.stdout
    assert "1 dangling link" in done.stderr
    assert "all as in the source" in done.stdout


@pytest.mark.once
def test_the_demo_of_an_empty_directory(tmp_path: Path) -> None:
    """Has nothing to compare, and says so."""
    (tmp_path / "source").mkdir()
    assert "nothing to compare" in run("demo", tmp_path / "source").stdout


def test_the_demo_ends_with_a_table_and_commands(source: Path) -> None:
    """Three ways, measured; no thread of the queues is left; every line fits but the commands."""
    done = run("demo", source, cold=True)

    rows = re.findall(r"^ ?(a loop|ThreadPoolExecutor\(\d+\)|work queues) .* (\d+) +\S+ *$", done.stdout, re.MULTILINE)
    assert [row[0].partition("(")[0] for row in rows] == ["a loop", "ThreadPoolExecutor", "work queues"]
    threads = {name.partition("(")[0]: int(count) for name, count in rows}
    assert threads["work queues"] == 1
    assert threads["ThreadPoolExecutor"] > 1
    for word in ("threadpool9_top", "--trace", "man "):
        assert word in done.stdout.partition("Try next:")[2]
    report = done.stdout.partition("Try next:")[0].replace(str(source), "")
    assert [line for line in report.splitlines() if len(line.rstrip()) > WIDTH] == []


@pytest.mark.once
def test_the_demo_fails_if_something_is_not_restored_as_it_was(source: Path) -> None:
    """The comparison does compare."""
    code = f"""
{ONE_ROUND}
import restore
real = restore.Restore.run
def run(self):
    real(self)
    with open(self.destination / "large0", "r+b") as file:
        file.write(b"other")
    os.utime(self.destination / "large0", ns=(self.snapshot.entries["large0"].mtime_ns,) * 2)
restore.Restore.run = run
"""
    assert "archive: large0: has other bytes\n" in run("demo", source, status=1, code=code).stderr
