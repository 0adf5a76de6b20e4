"""The adapters of our three layers, with the fault that $CONFORMANCE9_MUTANT names; without one, with none."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import catalogue  # noqa: E402
import mutation  # noqa: E402

if name := os.environ.get("CONFORMANCE9_MUTANT"):
    mutation.install(catalogue.load()[name])


def _adapter(layer: str) -> Any:
    path = HERE.parent / "adapters" / f"{layer}_adapter.py"
    spec = importlib.util.spec_from_file_location(f"mutant_{layer}_adapter", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, layer.capitalize())


def __getattr__(name: str) -> Any:
    """``threadpool``, ``task``, ``workqueue``: the adapter of that layer."""
    if name in mutation.LAYERS:
        return _adapter(mutation.LAYERS[name])
    raise AttributeError(name)
