"""``python -m threadpool9_prometheus`` prints the Grafana dashboard."""

from __future__ import annotations

import sys

from . import dashboard

if len(sys.argv) > 1:
    sys.exit("usage: python -m threadpool9_prometheus > dashboard.json   (takes no arguments)")
sys.stdout.write(dashboard())
