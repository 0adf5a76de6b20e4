"""Works and their queues that several threads use at once."""

from __future__ import annotations

import random
import threading

import pytest
from crowd import LIMIT, Team, Watched, kinds, works

import workqueue9
from threadpool9 import UsageError
from workqueue9 import Work, WorkPending


def test_wq3_wq5_of_all_who_enqueue_and_cancel_one_is_told_true(team: Team) -> None:
    """WQ-3, WQ-5: on a frozen queue, each work by all in the same order: one True and else refused; then cancelled."""
    with team:
        watched = team.share(Watched)
        wq, shared = team.share(lambda: works("serial", watched)), team.share(lambda: [Work() for _ in range(300)])
        wq.freeze()

        def enqueue(work: Work) -> bool:
            try:
                return not work.pending and wq.enqueue(work)  # to be refused takes long: who is behind has to catch up
            except WorkPending:
                return False

        for operation in (enqueue, lambda work: wq.cancel(work, LIMIT), enqueue):
            team.meet()
            told = team.gather([operation(work) for work in shared])
            assert [sum(each) for each in zip(*told, strict=True)] == [1] * len(shared)
        team.meet()
        wq.thaw()
        wq.flush(LIMIT)
        stats = wq.stats()
        assert (stats.enqueued, stats.cancelled, stats.completed, watched.runs) == (600, 300, 300, 300)
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq3_a_work_of_all_is_called_once_for_each_true(team: Team, kind: str) -> None:
    """WQ-3, WQ-12: who comes while it is pending is refused; each True is one call, and all is counted."""
    with team:
        watched = team.share(Watched)
        wq, work, told = team.share(lambda: works(kind, watched)), team.share(Work), 0
        for _ in range(200):
            try:
                told += wq.enqueue(work)
            except WorkPending:
                pass
        wq.flush(LIMIT)
        trues = sum(team.gather(told))
        wq.flush(LIMIT)
        team.meet()
        stats = wq.stats()
        assert watched.runs == trues
        assert (stats.enqueued, stats.completed, stats.cancelled, stats.pending) == (trues, trues, 0, 0)
        if kind == "serial":
            assert watched.beside == 0
        team.meet()
        if team.meet() == 0:
            assert wq.destroy(LIMIT) == ()


@kinds
def test_wq4_wq6_wait_and_flush_return_when_the_own_have_run(team: Team, kind: str) -> None:
    """WQ-4, WQ-6: on a queue that all keep busy: after wait its work was called, after flush all before were."""
    with team:
        wq = team.share(lambda: works(kind, lambda work, arg: work.payload(work)))
        mine = Watched()
        for number in range(1, 21):
            own = [Work(mine) for _ in range(3)]
            for work in own:
                assert wq.enqueue(work) is True
            if number % 2:
                for work in own:
                    wq.wait(work, LIMIT)
            else:
                wq.flush(LIMIT)
            assert mine.runs == 3 * number
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq5_each_enqueue_is_a_call_or_a_cancel(team: Team, kind: str) -> None:
    """WQ-5, WQ-12: works that all enqueue, wait for and cancel: the counters account for each enqueue."""
    with team:
        watched, draw = team.share(Watched), random.Random(threading.get_ident())
        wq, told = team.share(lambda: works(kind, watched)), 0
        shared = team.share(lambda: [Work() for _ in range(3)])
        for _ in range(100):
            work = draw.choice(shared)
            try:
                told += wq.enqueue(work)
            except WorkPending:
                pass
            (wq.cancel if draw.random() < 0.5 else wq.wait)(draw.choice(shared), LIMIT)
        team.meet()
        for work in shared:
            wq.cancel(work, LIMIT)
        trues, stats = sum(team.gather(told)), wq.stats()
        assert not any(work.pending for work in shared)
        assert (stats.enqueued, stats.pending, stats.running) == (trues, 0, 0)
        assert stats.completed == watched.runs == trues - stats.cancelled
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq6_a_drain_refuses_or_waits(team: Team, kind: str) -> None:
    """WQ-6: beside drains of all each enqueue is refused or called; after one's drain what it took is done."""
    with team:
        watched = team.share(Watched)
        wq, mine, told = team.share(lambda: works(kind, lambda work, arg: work.payload(work))), Watched(), 0
        for number in range(60):
            try:
                told += wq.enqueue(Work(mine))
                wq.enqueue(Work(watched))
            except UsageError as error:
                assert "draining" in str(error)  # noqa: PT017 refused beside a drain, for no other reason
            if number % 4 == 0:
                wq.drain(LIMIT)
                assert mine.runs == told
        wq.drain(LIMIT)
        assert mine.runs == told
        team.meet()
        stats = wq.stats()
        assert (stats.pending, stats.running, stats.errors) == (0, 0, 0)
        team.meet()
        assert wq.enqueue(Work(mine)) is True, "the drains are over, and the queue does not open"
        wq.flush(LIMIT)
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


@kinds
def test_wq9_no_place_is_lost_or_made(team: Team, kind: str) -> None:
    """WQ-9: after enqueues that wait for room, are refused and cancelled, exactly max_pending fit in."""
    with team:
        watched, told = team.share(Watched), 0
        wq = team.share(lambda: works(kind, watched, max_pending=3))
        for number in range(60):
            work = Work()
            try:
                told += wq.enqueue(work, block=number % 3 > 0, timeout=LIMIT)
            except workqueue9.Full:
                assert number % 3 == 0, "there was no room for so long"
            if number % 5 == 0:
                wq.cancel(work, LIMIT)
        wq.flush(LIMIT)
        trues = sum(team.gather(told))
        stats = wq.stats()
        assert watched.runs == stats.completed == trues - stats.cancelled
        team.meet()
        if team.meet() == 0:
            wq.freeze()
            for _ in range(3):
                assert wq.enqueue(Work(), block=False) is True
            with pytest.raises(workqueue9.Full):
                wq.enqueue(Work(), block=False)
            wq.thaw()
            wq.drain(LIMIT)
            wq.destroy(LIMIT)


def test_wq10_freezes_and_disables_of_all_are_counted(team: Team) -> None:
    """WQ-10: a work is enabled when all have enabled it, one of them is told; what is frozen is called after a thaw."""
    with team:
        watched = team.share(Watched)
        wq, work = team.share(lambda: works("serial", watched)), team.share(Work)
        for number in range(1, 21):
            team.meet()
            wq.disable(work, LIMIT)
            assert wq.enqueue(work) is False
            team.meet()
            told = team.gather(wq.enable(work))
            assert sum(told) == 1
            wq.freeze()
            assert wq.enqueue(Work()) is True
            wq.thaw()
            team.meet()
            wq.thaw()  # one may have frozen it after the thaw of another
            wq.flush(LIMIT)
            team.meet()
            assert watched.runs == team.size * number
        team.meet()
        if team.meet() == 0:
            wq.destroy(LIMIT)


def test_wq7_of_all_who_delay_modify_and_cancel(team: Team) -> None:
    """WQ-7: a delayed work is called or cancelled once; flush does not wait for it; destroy says what it cancelled."""
    with team:
        watched = team.share(Watched)
        wq, told = team.share(lambda: works("serial", watched)), 0
        shared = team.share(lambda: [Work() for _ in range(3)])
        draw = random.Random(threading.get_ident())
        for _ in range(60):
            work = draw.choice(shared)
            try:
                told += wq.enqueue_delayed(work, draw.random() * 1e-4)
            except WorkPending:
                pass
            if draw.random() < 0.3:
                wq.cancel(draw.choice(shared), LIMIT)
        team.meet()
        for work in shared:
            wq.wait(work, LIMIT)
        trues, stats = sum(team.gather(told)), wq.stats()
        assert (stats.enqueued, stats.pending) == (trues, 0)
        assert stats.completed == watched.runs == trues - stats.cancelled
        team.meet()
        late = Work()
        assert wq.enqueue_delayed(late, 3600) is True
        wq.flush(LIMIT)
        lates = team.gather(late)
        if team.meet() == 0:
            assert set(wq.destroy(LIMIT)) == set(lates)
