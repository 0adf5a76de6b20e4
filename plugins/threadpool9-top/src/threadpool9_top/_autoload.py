"""What threadpool9 loads at the first use of a pool: serves if ``THREADPOOL9_TOP`` says so, else does nothing.

It has no hook implementation: a process that nobody looks at runs exactly the code that it runs without us.
"""

from __future__ import annotations

import os
import warnings

from ._server import serve_or_warn

_setting = os.environ.get("THREADPOOL9_TOP", "")
if _setting == "1":
    serve_or_warn()
elif _setting not in ("", "0"):
    warnings.warn(f"THREADPOOL9_TOP={_setting!r}: say 1 to serve, 0 or nothing not to", RuntimeWarning, stacklevel=2)
