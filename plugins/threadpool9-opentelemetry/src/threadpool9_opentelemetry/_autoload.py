"""What threadpool9 loads at the first use of a pool: nothing, unless the environment switches it on.

``THREADPOOL9_OPENTELEMETRY=1`` instruments with the global providers. The module itself implements no hook.
"""

from __future__ import annotations

import os

from ._instrumentor import Instrumentor

VARIABLE = "THREADPOOL9_OPENTELEMETRY"
_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")

_value = os.environ.get(VARIABLE, "").strip().lower()
if _value in _ON:
    if not Instrumentor().is_instrumented_by_opentelemetry:
        Instrumentor().instrument()
elif _value not in _OFF:
    raise ValueError(f"{VARIABLE}={_value!r} in the environment: it takes 1 (on) or 0 (off)")
