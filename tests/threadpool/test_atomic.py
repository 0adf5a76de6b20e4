"""What is made of the primitives: counters."""

from __future__ import annotations

from threadpool9._atomic import Tally


def test_a_tally_is_folded_by_one_at_a_time() -> None:
    """Somebody else folds between the look at the length and the lock: nothing is left to fold, and nothing is lost."""
    tally = Tally()
    for _ in range(Tally._FOLD):
        tally.bump()
    folding = tally._folding

    class Late:
        """The lock, as who comes second finds it."""

        def acquire(self, blocking: bool) -> bool:
            tally._folding = folding
            tally.bump()  # folds
            return folding.acquire(blocking)

    tally._folding = Late()
    tally.bump()

    assert tally.value() == Tally._FOLD + 2
