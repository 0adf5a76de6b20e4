"""The rules between the layers, as ``make lint`` checks them; and that the check sees what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def checker() -> ModuleType:
    """tools/check_layers.py as a module."""
    spec = importlib.util.spec_from_file_location("check_layers", ROOT / "tools" / "check_layers.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_layers_keep_the_rules(checker: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """No layer knows one above, and only the seam touches the interpreter's concurrency."""
    status = checker.main()

    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("threadpool9", "import task9"),
        ("threadpool9", "def late():\n    from workqueue9 import WorkQueue"),
        ("task9", "import workqueue9._queue as q"),
        ("task9", "import importlib\nimportlib.import_module('workqueue9')"),
        ("threadpool9", "import threading"),
        ("threadpool9", "from _thread import allocate_lock"),
        ("workqueue9", "try:\n    import queue\nexcept ImportError:\n    pass"),
        ("task9", "__import__('threading')"),
        ("task9", "import time\nnow = time.monotonic()"),
        ("task9", "import time as clock\nnow = clock.monotonic_ns"),
        ("task9", "from time import monotonic"),
    ],
)
def test_a_breach_is_seen(checker: ModuleType, package: str, source: str) -> None:
    """Each way around a rule is found, once."""
    assert len(list(checker.check(package, "_some.py", source))) == 1


@pytest.mark.parametrize(
    ("package", "filename", "source"),
    [
        ("workqueue9", "_queue.py", "import task9, threadpool9\nfrom threadpool9 import lowlevel\nfrom . import _work"),
        ("threadpool9", "_seam.py", "import threading, queue, _thread\nfrom time import monotonic"),
        ("task9", "_queue.py", "from ._queue import thing\nimport time\ntime.strftime('%c')"),
    ],
)
def test_what_is_allowed_passes(checker: ModuleType, package: str, filename: str, source: str) -> None:
    """Layers below, relative modules, the seam itself and the rest of `time` are no breach."""
    assert list(checker.check(package, filename, source)) == []


def test_a_circle_of_rooms_is_seen(checker: ModuleType) -> None:
    """Through any number of rooms and inside of functions; what only a type checker reads is none."""
    sources = {
        "_a": "from . import _b",
        "_b": "def late():\n    from ._c import thing",
        "_c": "from ._a import thing",
        "_d": "from ._a import thing\nif TYPE_CHECKING:\n    from ._e import Thing",
        "_e": "import sys\nfrom ._d import thing",
    }
    assert list(checker.circles(sources)) == [
        "_a imports itself: _a -> _b -> _c -> _a",
        "_b imports itself: _b -> _c -> _a -> _b",
        "_c imports itself: _c -> _a -> _b -> _c",
    ]


def test_a_room_that_is_too_long_is_seen(checker: ModuleType) -> None:
    """More than 400 lines."""
    assert list(checker.sizes({"_short": "\n" * 400})) == []
    assert len(list(checker.sizes({"_long": "\n" * 401}))) == 1


def test_only_the_bottom_layers_seam_is_the_seam(checker: ModuleType) -> None:
    """A _seam.py in another layer has no privilege."""
    assert len(list(checker.check("task9", "_seam.py", "import threading"))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from threadpool9 import _seam",
        "from threadpool9._pool import Pool",
        "import threadpool9._pool",
        "def late():\n    from threadpool9._registry import registry",
        "import threadpool9\nregistry = threadpool9._registry",
        "import threadpool9 as pools\npools.lowlevel._something()",
        "from threadpool9 import lowlevel as low\nlow._something()",
        "from threadpool9 import Pool\nPool._dismiss_idle",
    ],
)
def test_no_private_name_crosses_the_border_of_a_distribution(checker: ModuleType, source: str) -> None:
    """Whether by a layer above or by a plugin, at the top of a module or in a function; a module's own are its own."""
    assert len(list(checker.check("task9", "_lane.py", source))) == 1
    assert len(list(checker.check_doors("a_plugin", source))) == 1
    assert list(checker.check_doors("threadpool9", source)) == []
    assert list(checker.check("task9", "_lane.py", "from threadpool9.lowlevel import token")) == []
