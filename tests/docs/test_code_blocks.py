"""Every Python block of the README files and the manual runs as pasted, the blocks of one file in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pace import patience

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    [
        ROOT / "README.md",
        *ROOT.glob("layers/*/README.md"),
        *ROOT.glob("plugins/*/README.md"),
        *ROOT.glob("docs/*.rst"),
        *ROOT.glob("docs/man/*.rst"),
        *ROOT.glob("docs/plugins/*.rst"),
    ]
)
#: Whose blocks need what not every environment has.
NEEDS = {"plugins/workqueue9-dask/README.md": "workqueue9_dask", "docs/plugins/dask.rst": "workqueue9_dask"}
PLUGINS = sorted(path.name.removeprefix("threadpool9-") for path in ROOT.glob("plugins/threadpool9-*"))
FENCE = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
DIRECTIVE = re.compile(r"^\.\. code(?:-block)?:: python\n((?:[ \t]+:.*\n)*)\n((?:(?:[ \t]+.*)?\n)+)", re.M)


def program(path: Path) -> str:
    """The blocks of one file as one program whose line numbers are those of the file."""
    text = path.read_text() + "\n"
    pattern, group = (FENCE, 1) if path.suffix == ".md" else (DIRECTIVE, 2)
    lines: list[str] = []
    for match in pattern.finditer(text):
        lines += [""] * (text[: match.start(group)].count("\n") - len(lines))
        lines += textwrap.dedent(match.group(group)).rstrip().split("\n")
    return "\n".join(lines)


def plugins_of(path: Path) -> str:
    """What THREADPOOL9_PLUGINS is for a file: its own plugin, as loading all takes longer than most blocks."""
    relative = str(path.relative_to(ROOT))
    return next((name for name in PLUGINS if name in relative), "none")


WITH_BLOCKS = [path for path in FILES if program(path).strip()]


def test_there_are_blocks() -> None:
    """The patterns above still find something."""
    assert len(WITH_BLOCKS) >= 5


@pytest.mark.parametrize("path", WITH_BLOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run_as_pasted(path: Path, tmp_path: Path) -> None:
    """Exit status 0, and nothing on stderr."""
    if (needed := NEEDS.get(str(path.relative_to(ROOT)))) is not None:
        pytest.importorskip(needed, reason=f"{needed} is not installed here")
    source = tmp_path / path.name
    source.write_text(program(path))
    run = subprocess.run(
        [sys.executable, str(source)],
        capture_output=True,
        text=True,
        timeout=patience(60),
        cwd=tmp_path,
        env={**os.environ, "THREADPOOL9_PLUGINS": plugins_of(path)},
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
