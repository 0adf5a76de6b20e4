"""A deterministic explorer for the layers' own code; see docs/model-checking.rst."""

from .copies import Copies, Patched
from .engine import Deadlock, Livelock, Run
from .search import Failure, Result, Search, World, timeline

__all__ = ["Copies", "Deadlock", "Failure", "Livelock", "Patched", "Result", "Run", "Search", "World", "timeline"]
