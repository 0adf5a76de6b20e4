"""``python sigint_storm.py KIND ROUNDS SEED LIMIT``: real signals that raise KeyboardInterrupt, at any bytecode.

Each round arms one timer signal with a random delay and repeats schedule, cancel, drain and so on until it strikes.
Then: what is pending runs by itself, once; the unit is usable; and at the end queues close and pools are put.
Run by `test_sigint.py`, in a process of its own, because the signal may strike this file as well.
"""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "stress"))

from stormkit.kinds import KINDS

DELAYS = (2e-6, 3e-4)
PATIENCE = float(os.environ.get("KEYBOARD_INTERRUPT_LIMIT", "10"))


def poll(condition: Any, what: str) -> None:
    """Until `condition()`, without waking anybody."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(what)
        time.sleep(0.0002)


def main() -> int:
    """All rounds; prints how many were struck."""
    faulthandler.dump_traceback_later(float(sys.argv[4]), exit=True)
    kind = KINDS[sys.argv[1]](lambda: None)
    rounds, chance = int(sys.argv[2]), random.Random(int(sys.argv[3]))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    struck = 0
    units = [kind.fresh() for _ in range(4)]
    for unit in units:  # warm, so that imports are not what is struck
        kind.launch(unit)
        kind.cancel(unit)
    kind.drain()
    for number in range(rounds):
        for unit in units:
            unit.runs.clear()
        asked = 0
        delay = chance.uniform(*DELAYS)
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            while True:
                for unit in units:
                    asked += 1
                    kind.launch(unit)
                    if kind.has_cancel_async:
                        kind.cancel_async(unit)
                    asked += 1
                    kind.launch(unit)
                    kind.cancel(unit)
                    asked += 1
                    kind.launch(unit)
                kind.drain()
        except KeyboardInterrupt:
            struck += 1
        for unit in units:
            what = f"round {number}: {unit!r} on {unit.place!r}"
            poll(lambda unit=unit: kind.idle(unit), f"{what} is neither idle nor does it run")
            ticket = unit.item_ticket if hasattr(unit, "item_ticket") else unit._ticket
            assert ticket == [None, None], f"{what} is idle, with the ticket {ticket}"
            before = len(unit.runs)
            assert before <= asked, f"{what}: {before} runs for {asked} launches"
            answer = kind.launch(unit)
            assert answer is True, f"{what} is idle, but a launch says {answer}"
            poll(lambda unit=unit, n=before: len(unit.runs) > n and kind.idle(unit), f"{what} does not run")
            assert len(unit.runs) == before + 1, f"{what}: a launch was doubled"
    kind.drain()
    kind.close()
    print(struck)
    return 0


if __name__ == "__main__":
    sys.exit(main())
