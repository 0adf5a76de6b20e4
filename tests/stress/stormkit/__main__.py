"""``python -m stormkit KIND CONTEXT EVENTS [SECONDS]``: one storm in a process of its own; prints its counts."""

from __future__ import annotations

import faulthandler
import json
import sys
import threading

from .contexts import CONTEXTS
from .kinds import KINDS
from .storm import Storm


def main() -> int:
    """Run the storm; exit status 1 if it failed, and every stack if it hung."""
    kind, name, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 90.0
    # The last resort: the watchdog of the storm itself needs the interpreter.
    faulthandler.dump_traceback_later(seconds * 1.5 + 10, exit=True)
    caught: list[object] = []
    threading.excepthook = lambda args: caught.append(args)
    sys.unraisablehook = lambda args: caught.append(args)
    context = CONTEXTS[name]()
    totals = Storm(KINDS[kind], context, events, seconds).run()
    assert not caught, caught
    print(json.dumps({"totals": totals, "seen": context.seen}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
