"""What all tests share: where the long ones run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).parent

#: Marked by where they are: the model checker's copies are the same on every interpreter, and the long ones run in
#: .venv and on a free-threaded build.
BY_PLACE = {
    "once": [HERE / "model"],
    "long": [HERE / "stress", HERE / "leaks", HERE / "lifecycle" / "test_fork.py"],
}


def pytest_configure() -> None:
    """A shell that starts us in the background has SIGINT ignored, and what the tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by place; leave out what is marked `thorough`, unless ``-m`` speaks of it."""
    for item in items:
        for marker, places in BY_PLACE.items():
            if any(item.path.is_relative_to(place) for place in places):
                item.add_marker(marker)
    if "thorough" in config.getoption("markexpr"):
        return
    long = [item for item in items if item.get_closest_marker("thorough")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
