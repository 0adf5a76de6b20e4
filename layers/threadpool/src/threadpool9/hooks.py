"""Hooks: what a plugin implements, and what a layer specifies (HK-1 to HK-7, TP-37).

A plugin marks its functions with `hookimpl` and is registered by `register`, or found through the entry point group
``threadpool9``. A layer marks the probes of its ``Tracing`` class with `hookspec` and hands the class to
`threadpool9.lowlevel.Layer`.
"""

from __future__ import annotations

from ._hooks import ask, plugin_manager, register, unregister
from ._layer import after_exit, after_fork
from ._priority import Scheduling
from ._specs import CPU, ErrorReport, Questions, Tracing, hookimpl, hookspec

__all__ = [
    "CPU",
    "ErrorReport",
    "Questions",
    "Scheduling",
    "Tracing",
    "after_exit",
    "after_fork",
    "ask",
    "hookimpl",
    "hookspec",
    "plugin_manager",
    "register",
    "unregister",
]
