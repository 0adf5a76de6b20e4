"""Makes the explorer and the worlds importable, and gives the deep search an option."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
