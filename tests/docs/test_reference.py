"""The reference is complete: every public name has exactly one entry, and nothing private has any.

Read from the sources of the manual, so that it needs no Sphinx. That the entries render is what `make docs` sees to.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: From the bottom up; one that does not exist is passed over. A name that an upper one re-exports is the lower's.
MODULES = [
    "threadpool9",
    "threadpool9.lowlevel",
    "threadpool9.hooks",
    "task9",
    "task9.lanes",
    "task9.futures",
    "workqueue9",
]
ENTRY = re.compile(r"^\.\. (?:auto|py:)(?:class|exception|function|decorator|data)::[ ]+([\w.]+)", re.M)
ATTRIBUTE = re.compile(r"^\.\. py:attribute::[ ]+([\w.]+)\n   :value: (.*)$", re.M)
CONSTANTS = re.compile(r"^\.\. constants:: ([\w.]+)\n((?:\n|   .*\n)+)", re.M)
PRIVATE = re.compile(r"^\.\. [\w:]+::.*\._", re.M)

pytestmark = pytest.mark.once


def existing() -> list[ModuleType]:
    """The public modules that there are."""
    return [importlib.import_module(name) for name in MODULES if importlib.util.find_spec(name)]


def public() -> Iterator[str]:
    """Every public name, under the lowest module that has it."""
    lower: list[ModuleType] = []
    for module in existing():
        for name in module.__all__:
            if not any(name in below.__all__ and getattr(below, name) is getattr(module, name) for below in lower):
                yield f"{module.__name__}.{name}"
        lower.append(module)


def entries(text: str) -> Iterator[str]:
    """The names that one page describes."""
    yield from ENTRY.findall(text)
    for module, body in CONSTANTS.findall(text):
        yield from (f"{module}.{name}" for line in re.findall(r"^   (\w.*)$", body, re.M) for name in line.split())


def pages() -> dict[str, str]:
    """The manual's sources by name."""
    return {str(path.relative_to(DOCS)): path.read_text() for path in DOCS.rglob("*.rst") if "_build" not in path.parts}


def test_every_public_name_has_exactly_one_entry() -> None:
    """Neither missing, nor twice, nor something that is not public."""
    found = Counter(name for text in pages().values() for name in entries(text))
    expected = set(public())
    assert expected - found.keys() == set(), "without an entry"
    assert found.keys() - expected == set(), "not public"
    assert {name: count for name, count in found.items() if count != 1} == {}


def test_what_is_re_exported_says_where_it_is_described() -> None:
    """The page of an upper layer names, with a link, what it hands on from a lower one."""
    documented = set(public())
    for module in existing():
        text = (DOCS / "reference" / f"{module.__name__.partition('.')[0]}.rst").read_text()
        for name in module.__all__:
            if f"{module.__name__}.{name}" not in documented:
                assert re.search(rf"`~?[\w.]*\.{name}`", text), f"{module.__name__}.{name}"


def test_no_private_module_is_described() -> None:
    """No directive is given a name with an underscore at the begin of a part."""
    assert [name for name, text in pages().items() if PRIVATE.search(text)] == []


@pytest.mark.parametrize("layer", ["threadpool9", "task9"])
def test_every_tunable_is_described_with_its_default(layer: str) -> None:
    """Asked of an interpreter of its own, since the tests change them."""
    program = f"import {layer}; t = {layer}.tunables; print({{n: getattr(t, n) for n in vars(t) if n[0] != '_'}})"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(f"{layer.upper()}_")}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=clean, check=True
    )
    actual = ast.literal_eval(run.stdout)
    listed = dict(ATTRIBUTE.findall((DOCS / "reference" / f"{layer}.rst").read_text()))
    assert listed == {f"{layer}.tunables.{name}": repr(value) for name, value in actual.items()}


def test_no_page_has_a_table_of_contents_of_its_own() -> None:
    """The theme shows one beside each page, and an error in red where a page brings another."""
    assert [name for name, text in pages().items() if re.search(r"^\.\. contents::", text, re.M)] == []
