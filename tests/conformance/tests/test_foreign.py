"""The suite where our layers are not: an environment with the wheel alone, and Qt's thread pool."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import venv
from pathlib import Path
from typing import Any

import pytest
from pace import patience

HERE = Path(__file__).resolve().parent
DISTRIBUTION = HERE.parent
MANUAL = HERE.parents[2] / "docs" / "conformance.rst"

pytestmark = [pytest.mark.once, pytest.mark.xdist_group("conformance-foreign")]


def call(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    run = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=patience(400), check=False, **options
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the suite."""
    directory = tmp_path_factory.mktemp("wheel")
    words = ["-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w"]
    call(sys.executable, *words, directory, DISTRIBUTION)
    return next(directory.glob("*.whl"))


def environment(path: Path, *requirements: str | Path) -> Path:
    """A fresh environment with what is asked for, from the index; its Python."""
    venv.create(path, with_pip=True)
    python = path / "bin" / "python"
    call(python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *requirements)
    return python


def table(report: Path) -> dict[str, str]:
    """The status of each clause."""
    return {row["clause"]: row["status"] for row in json.loads(report.read_text())["runs"][0]["clauses"]}


def test_the_wheel_alone_and_the_manual_s_adapter(wheel: Path, tmp_path: Path) -> None:
    """As the manual says: install, paste the adapter of about thirty lines, run, on the command line given."""
    python = environment(tmp_path / "env", wheel)
    installed = call(python, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze").stdout.lower()
    assert not re.search(r"threadpool9|task9|workqueue9|rich", installed), installed
    code = re.search(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", MANUAL.read_text(), re.M)
    assert code is not None
    adapter = textwrap.dedent(code.group(1)).strip() + "\n"
    assert len([line for line in adapter.splitlines() if line.strip()]) <= 30
    (tmp_path / "my_adapter.py").write_text(adapter)
    command = re.search(r"^   pytest (--pyargs .*)$", MANUAL.read_text(), re.M)
    assert command is not None
    words = command.group(1).replace("mypkg.adapter:Adapter", "my_adapter:Adapter").split()
    report = tmp_path / "report.json"
    pytest_script = python.with_name("pytest")
    run = call(pytest_script, *words, f"--conformance-report-json={report}", cwd=tmp_path)
    statuses = table(report)
    assert [name for name, status in statuses.items() if status == "fail"] == []
    assert {name for name, status in statuses.items() if status == "pass"} >= {"TP-3", "TP-6", "TP-9"}
    assert re.search(r"conformance9 threadpool: \d+ pass, 0 fail", run.stdout)


def test_qt_s_thread_pool(wheel: Path, tmp_path: Path) -> None:
    """Qt's QThreadPool keeps what its adapter claims; PySide6 is installed for this test only."""
    try:
        python = environment(tmp_path / "env", wheel, "PySide6-Essentials>=6.7")
    except AssertionError as error:
        if "No matching distribution" in str(error):
            pytest.skip(f"PySide6-Essentials can't be had for Python {sys.version_info.major}.{sys.version_info.minor}")
        raise
    report = tmp_path / "report.json"
    call(
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "conformance9"),
        f"--conformance-adapter={DISTRIBUTION / 'adapters' / 'qt_adapter.py'}:Qt",
        *("--conformance-layer=threadpool", f"--conformance-report-json={report}"),
        cwd=tmp_path,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    statuses = table(report)
    assert [name for name, status in statuses.items() if status == "fail"] == []
    assert {name for name, status in statuses.items() if status == "pass"} >= {"TP-3", "TP-6", "TP-9"}
    assert statuses["TP-26"] == statuses["TP-29"] == "not claimed"
