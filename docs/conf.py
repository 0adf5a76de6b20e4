"""Sphinx settings: HTML and man pages from the same sources, without the network."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
for layer in ("threadpool", "task", "workqueue"):
    sys.path.insert(0, str(ROOT / "layers" / layer / "src"))
sys.path.insert(0, str(ROOT / "tests" / "conformance" / "src"))  # the list of clauses
sys.path.insert(0, str(HERE / "_ext"))

import inventories  # noqa: E402  # beside this file

project = "Section 9"
author = "The Section 9 authors"
copyright = author
version = release = "0.1.0"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.intersphinx", "section9"]
if importlib.util.find_spec("sphinx_copybutton"):
    extensions.append("sphinx_copybutton")
    copybutton_prompt_text = r">>> |\.\.\. |\$ "
    copybutton_prompt_is_regexp = True
exclude_patterns = ["_build"]
default_role = "name"
html_theme = "furo" if importlib.util.find_spec("furo") else "alabaster"
html_title = "Section 9"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_js_files = ["filter.js"]
html_theme_options = (
    {
        "light_css_variables": {"color-brand-primary": "#0b5d8a", "color-brand-content": "#0b5d8a"},
        "dark_css_variables": {"color-brand-primary": "#6cc0ee", "color-brand-content": "#6cc0ee"},
    }
    if html_theme == "furo"
    else {}
)

intersphinx_mapping = inventories.write(HERE / "_build" / "inventories")

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "members": True,
    # Public by their names, but for the other layers only.
    "exclude-members": "forget_drains, release, counts, busy, forget_threads, disarm, discard",
}

# Numbers in prose that come from the tables beside it.


def _rows(name: str) -> list[dict[str, str]]:
    with open(HERE / "_data" / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


_worlds, _bugs = _rows("model-worlds.csv"), _rows("model-bugs.csv")
_tried = [row for row in _worlds if row["Preemptions"].isdecimal()]
rst_prolog = "\n".join(
    f".. |{name}| replace:: {value}"
    for name, value in {
        "worlds": len(_worlds),
        "worlds at three": sum(int(row["Preemptions"]) >= 3 for row in _tried),
        "executions": f"{sum(int(row['Executions']) for row in _tried) / 1e6:.1f} million",
        "states": f"{sum(int(row['States']) for row in _tried) / 1e6:.1f} million",
        "seeded bugs": len(_bugs),
        "seeded bugs at one": sum(row["Found at"] in ("0", "1") for row in _bugs),
    }.items()
)

# Without a description, so that the NAME section is the page's own.
man_pages = [
    ("man/threadpool.9", "threadpool", "", [], "9"),
    ("man/task.9", "task", "", [], "9"),
    ("man/workqueue.9", "workqueue", "", [], "9"),
]
man_make_section_directory = True
