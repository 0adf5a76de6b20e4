"""Sphinx settings: HTML and man pages from the same sources, without the network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for layer in ("threadpool", "task", "workqueue"):
    sys.path.insert(0, str(ROOT / "layers" / layer / "src"))

project = "Section 9"
author = "The Section 9 authors"
copyright = author
version = release = "0.1.0"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_static_path = ["_static"]
default_role = "literal"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "inherited-members": False, "show-inheritance": True}

# Without a description, so that the NAME section is the page's own.
man_pages = [
    ("man/threadpool.9", "threadpool", "", author, "9"),
    ("man/task.9", "task", "", author, "9"),
    ("man/workqueue.9", "workqueue", "", author, "9"),
]
man_make_section_directory = True
