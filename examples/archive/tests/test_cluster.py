"""``--cluster`` with what is no address; the rest is in ``tests/system/test_archive.py``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

ARCHIVE = Path(__file__).resolve().parents[1] / "archive.py"


@pytest.mark.once
def test_what_is_no_address_is_named(tmp_path: Path) -> None:
    """In one line, and it ends."""
    pytest.importorskip("workqueue9_dask", reason="workqueue9-dask is not installed here")
    (tmp_path / "source").mkdir()
    command = [sys.executable, ARCHIVE, "pack", tmp_path / "source", tmp_path / "far", "--cluster", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(30.0), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("archive: --cluster: 'nonsense' is no address of a Dask scheduler: ")
    assert done.stderr.count("\n") == 1
