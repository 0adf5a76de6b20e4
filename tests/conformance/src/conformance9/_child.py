"""``python -m conformance9._child MODULE:FUNCTION LAYER ADAPTER DIRECTORY [WORD ...]``: a test's other process.

The function is called with a fresh adapter and the words.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ._adapters import Implementation


def main() -> None:
    """Run the program that is asked for."""
    program, layer, spec, directory, *words = sys.argv[1:]
    adapter = Implementation(layer, spec, Path(directory)).make()
    module, _, function = program.partition(":")
    getattr(importlib.import_module(module), function)(adapter, *words)


if __name__ == "__main__":
    main()
