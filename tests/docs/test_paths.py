"""What the manual and the READMEs name is there: files, directories, tests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = "tests|tools|docs|examples|layers|plugins|benchmarks"
#: A path from the root, or the name of a file of tests; then perhaps one test of it.
NAMED = re.compile(rf"(?<![\w./$-])((?:(?:{TOP})/[\w./-]*\w)|test_\w+\.py)(?:::(test_\w+))?")
#: Made by tools, so not in the repository.
MADE = ("docs/_build",)

pytestmark = pytest.mark.once


def tracked() -> set[str]:
    """The repository's files and directories."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout.split("\n")
    return {*files, *(str(parent) for file in files for parent in Path(file).parents)}


def texts() -> Iterator[Path]:
    """What people read."""
    for pattern in ("*.md", "docs/**/*.rst", "layers/*/README.md", "plugins/*/README.md", "tests/*.md"):
        yield from (path for path in ROOT.glob(pattern) if "_build" not in path.parts)


def wrong(text: str, known: set[str]) -> list[str]:
    """The names that lead nowhere."""
    result = []
    for name, test in NAMED.findall(text):
        # Pages name each other without "docs/" and ".rst"; NAME stands for a reader's own.
        if name.startswith(MADE) or "NAME" in name or f"docs/{name}.rst" in known:
            continue
        places = [path for path in known if path == name or ("/" not in name and path.endswith(f"/{name}"))]
        if not places or (test and not any(f"def {test}(" in (ROOT / path).read_text() for path in places)):
            result.append(f"{name}::{test}" if test else name)
    return result


def test_the_checker_sees_what_is_wrong() -> None:
    """A file, a directory and a test that do not exist, among some that do."""
    known = tracked()
    right = "``tests/docs`` and ``test_paths.py::test_the_checker_sees_what_is_wrong``, tests/docs/test_paths.py."
    assert wrong(right, known) == []
    missing = ["tests/nowhere", "test_nothing.py", "tests/docs/test_paths.py::test_nothing"]
    assert wrong(" ".join([right, *missing]), known) == missing


@pytest.mark.parametrize("path", list(texts()), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_that_is_named_exists(path: Path) -> None:
    """Also each test that is named with its file."""
    assert wrong(path.read_text(), tracked()) == []
