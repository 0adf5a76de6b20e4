"""What threadpool9 loads at the first use of a pool: nothing, unless the environment switches it on.

``THREADPOOL9_PROMETHEUS=1`` registers with the default registry, which the program serves by its own means;
``THREADPOOL9_PROMETHEUS=127.0.0.1:9109`` serves it too. The module itself implements no hook.
"""

from __future__ import annotations

import os

from prometheus_client import start_http_server

from . import register

VARIABLE = "THREADPOOL9_PROMETHEUS"
_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")


def switch(value: str) -> None:
    """Do what the variable's text asks for."""
    if value.lower() in _OFF:
        return
    host, _, port = value.rpartition(":")
    if value.lower() not in _ON and not (host and port.isdecimal()):
        raise ValueError(f"{VARIABLE}={value!r} in the environment: it takes 1 (on), 0 (off) or HOST:PORT")
    register()
    if host:
        start_http_server(int(port), host.strip("[]"))


switch(os.environ.get(VARIABLE, "").strip())
