"""The index: what a pack found, one file for each, written atomically.

    ARCHIVE/index/000001.json.gz

Lines of JSON: a head, an entry for each file, directory and symbolic link, what was left out and why, and an end with
the SHA-256 of the lines before it. A checkpoint writes the file anew under another name and renames it, so it
is always whole. `blocks` in the head is how much of the block file the disk had confirmed before: everything that
the entries need lies within.

Nothing that is read is trusted: a path leads downwards only, its parents are directories of the same index, and
none comes twice. Whoever restores can rely on that, see `check_path` and `_check_tree`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from codec import Damaged
from records import BLOCK, HEAD, sync_directory

FORMAT = "section9 archive, index, format 1"
ROOT = "."
"""The path of the packed directory itself."""

Stamp: TypeAlias = tuple[int, int, int, int]
"""Size, mtime, ctime, inode: a file that has the same as before is taken for the same file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or symbolic link."""

    path: str
    """Below the packed directory, with ``/``; bytes that are no UTF-8 as surrogates."""
    kind: str
    """``"file"``, ``"dir"`` or ``"link"``."""
    mode: int
    mtime_ns: int
    size: int = 0
    digests: tuple[bytes, ...] = ()
    target: str = ""
    stamp: Stamp | None = None
    """None if the file was so young that a change might not show: then it is read again next time."""

    def line(self) -> bytes:
        """As it is in the file."""
        fields: dict[str, object] = {"path": self.path, "kind": self.kind, "mode": self.mode, "mtime": self.mtime_ns}
        if self.kind == "file":
            fields |= {"size": self.size, "blocks": [digest.hex() for digest in self.digests], "stamp": self.stamp}
        elif self.kind == "link":
            fields["target"] = self.target
        return _line(fields)


@dataclass(slots=True)
class Snapshot:
    """What one pack made."""

    number: int
    source: str
    begun: str
    blocks: int = len(HEAD)
    """Length of the block file that the disk has confirmed."""
    complete: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Paths that are not in it, and why."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries.values())

    def files(self) -> Iterator[Entry]:
        """The entries of files."""
        return (entry for entry in self.entries.values() if entry.kind == "file")


def now() -> str:
    """The time, as a head has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


def check_path(path: object) -> str:
    """`path` if it leads downwards; ValueError otherwise."""
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"{path!r} is no path")
    if path != ROOT and any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"the path {path!r} leads out of the directory")
    return path


def _integer(value: object, low: int = 0) -> int:
    if type(value) is not int or value < low:
        raise ValueError(f"{value!r} is no number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r} is no text")
    return value


def _entry(fields: Mapping[str, Any]) -> Entry:
    path, kind = check_path(fields["path"]), fields["kind"]
    mode, mtime = _integer(fields["mode"]), _integer(fields["mtime"], low=-(1 << 63))
    if kind == "dir":
        return Entry(path, kind, mode, mtime)
    if kind == "link":
        return Entry(path, kind, mode, mtime, target=_text(fields["target"]))
    if kind != "file":
        raise ValueError(f"{kind!r} is no kind of entry")
    digests = tuple(bytes.fromhex(text) for text in fields["blocks"])
    if any(len(digest) != 32 for digest in digests):
        raise ValueError(f"{path!r} has a digest that is none")
    stamp = fields["stamp"]
    if stamp is not None:
        size, mtime_ns, ctime_ns, inode = map(int, stamp)
        stamp = (size, mtime_ns, ctime_ns, inode)
    size = _integer(fields["size"])
    # A file that changed while it was read may have short blocks in its middle, but never empty ones.
    if not len(digests) <= size <= BLOCK * len(digests):
        raise ValueError(f"{path!r} can't have {size} bytes in {len(digests)} blocks")
    return Entry(path, kind, mode, mtime, size, digests, "", stamp)


def _check_tree(entries: Mapping[str, Entry]) -> None:
    for path in entries:
        parent = path.rpartition("/")[0] or ROOT
        if parent not in entries or entries[parent].kind != "dir":
            raise ValueError(f"{path!r} lies in {parent!r}, which is no directory of this index")


def save(directory: Path, snapshot: Snapshot, lines: Iterable[bytes]) -> None:
    """Write the index file, whole or not at all; return once the disk has confirmed it.

    `lines` are those of the entries. The caller has synced the block file up to `snapshot.blocks` before.
    """
    head = {
        "format": FORMAT, "source": snapshot.source, "begun": snapshot.begun, "blocks": snapshot.blocks
    }  # fmt: skip
    entries = [_line(head), *lines, *(_line({"left_out": item}) for item in snapshot.left_out)]
    body = b"".join(entries)
    end = {"end": len(entries), "complete": snapshot.complete, "sha256": hashlib.sha256(body).hexdigest()}
    name = directory / f"{snapshot.number:06}.json.gz"
    unfinished = name.with_suffix(".tmp")
    with open(unfinished, "wb") as file:
        file.write(gzip.compress(body + _line(end), 1, mtime=0))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, name)
    sync_directory(directory)


def numbers(directory: Path) -> list[int]:
    """The numbers of the index files there are, in order."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for name in names if (found := re.fullmatch(r"(\d{6,})\.json\.gz", name)))


def load(directory: Path, number: int) -> Snapshot:
    """Read an index file. Raises FileNotFoundError, and Damaged, whatever is wrong with it."""
    name = f"{number:06}.json.gz"
    try:
        data = gzip.decompress((directory / name).read_bytes())
        body, _, last = data.rstrip(b"\n").rpartition(b"\n")
        body += b"\n"
        end = json.loads(last)
        if end["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("its SHA-256 is not what the last line says")
        head, *rest = map(json.loads, body.splitlines())
        if head["format"] != FORMAT:
            raise ValueError(f"the format is {head['format']!r}, which this program does not know")
        blocks = _integer(head["blocks"], low=len(HEAD))
        snapshot = Snapshot(number, _text(head["source"]), _text(head["begun"]), blocks, end["complete"] is True)
        for fields in rest:
            if "left_out" in fields:
                path, reason = fields["left_out"]
                snapshot.left_out.append((_text(path), _text(reason)))
                continue
            entry = _entry(fields)
            if entry.path in snapshot.entries:
                raise ValueError(f"{entry.path!r} comes twice")
            snapshot.entries[entry.path] = entry
        _check_tree(snapshot.entries)
    except FileNotFoundError:
        raise
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"index/{name}: {error}") from None
    return snapshot
