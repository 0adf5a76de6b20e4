"""The README's first example runs as pasted and prints what the README says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.once
def test_the_readmes_example() -> None:
    """Exit status 0, the output of the text block, nothing on stderr."""
    match = re.search(r"```python\n(.*?)```.*?```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    run = subprocess.run([sys.executable, "-c", match[1]], capture_output=True, text=True, timeout=patience(60))
    assert (run.returncode, run.stderr, run.stdout) == (0, "", match[2])
