"""The mutants: each still applies to our sources and can be imported; some are rejected, as a sample."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pace import patience

MUTANTS = Path(__file__).resolve().parents[1] / "mutants"
RUN = MUTANTS / "run.py"

pytestmark = pytest.mark.once

IMPORT_ALL = """
import importlib, os, sys
sys.path.insert(0, sys.argv[1])
import catalogue, mutation
finders = list(sys.meta_path)
for mutant in catalogue.load().values():
    sys.meta_path[:] = finders
    for name in [name for name in sys.modules if name.partition(".")[0] in mutation.LAYERS.values()]:
        del sys.modules[name]
    mutation.install(mutant)
    for module in (mutation.LAYERS[mutant.layer], *(edit.module for edit in mutant.edits)):
        importlib.import_module(module)
print(len(catalogue.load()), flush=True)
os._exit(0)  # not through the exit functions of all those layers
"""


def test_every_mutant_applies_and_imports() -> None:
    """Each text is found exactly once, and what comes of it is a layer."""
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, str(MUTANTS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(110), check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) >= 60


@pytest.mark.parametrize("mutant", ["bool accepted as a priority", "two queues accepted", "thaw reverses"])
def test_a_mutant_is_rejected(mutant: str) -> None:
    """One of each layer; `make mutants` runs them all."""
    command = [sys.executable, str(RUN), "--no-control", "--clause-only", "-k", mutant]
    run = subprocess.run(command, capture_output=True, text=True, timeout=patience(110), check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 of 1 mutants rejected" in run.stdout
