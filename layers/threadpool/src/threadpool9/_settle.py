"""What the OS holds for a worker's thread: CPU set, class, nice value, signal mask, name (TP-7, TP-8, TP-10, TP-13).

    be_born            before the first job: nothing of whoever caused the thread stays on it
    in_order           are CPU set, class, priority and name as at birth? asked after a millisecond or four of idleness
    put_right          undo what a job, or the OS, has changed
    check_binding      a bound worker was woken: is it where it belongs?
    bind_from_outside  the starter's call, for a worker that may be busy for long

Rules. O: written by the worker's own thread, read by anybody. S: set at init.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _hooks, _osthread, _seam
from ._priority import Scheduling
from ._topology import refresh

if TYPE_CHECKING:
    from ._pool import Pool


def apply_priority(wanted: Scheduling) -> str | None:
    """Give the calling thread its class and priority, by the hook or by the OS's calls; what was refused (TP-10)."""
    answer = _hooks.ask("threadpool9_apply_priority", scheduling=wanted, tid=_seam.get_native_id())
    if isinstance(answer, str):
        return answer or None
    return _osthread.apply_scheduling(wanted)


class Settled:
    """The order of one worker's thread; see the module's text."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool  # S
        self.bound = pool.cpu is None  # written by the thread and by the starter: False while the CPU can't be had
        self.scheduling = ""  # O: what the OS says
        self._fingerprint = _osthread.fingerprint_call()  # O
        self._clean: object = None  # O: the fingerprint of the clean thread

    def be_born(self) -> None:
        """Put the calling thread in order."""
        pool = self.pool
        try:
            _osthread.clean_signal_mask()
            self._rebind()
            refused = apply_priority(pool.wanted)
            self.scheduling = _osthread.describe()
            if refused is not None:
                pool._note_refusal(refused)
            _osthread.set_name(pool.thread_name)
        finally:
            self._clean = self._fingerprint()  # also after an error, which is not to be repeated for each job

    def in_order(self) -> bool:
        """True if the calling thread is as it was born."""
        return self._fingerprint() == self._clean

    def put_right(self) -> bool:
        """Undo what a job, or the OS, has changed; False if that takes privilege."""
        born = self.scheduling
        try:
            self.be_born()
        except Exception as error:
            _hooks.report_error(error, origin=self.pool)
            return False
        return self.scheduling == born

    # --- binding

    def check_binding(self) -> None:
        """A bound worker was woken: bind it again if somebody has taken it from its CPU, or the CPU is back."""
        if not self._is_bound():
            self._rebind()

    def bind_from_outside(self, tid: int) -> None:
        """The starter's look at the bound worker of thread `tid`, which may be busy for long (TP-8)."""
        pool, cpu = self.pool, self.pool.cpu
        assert cpu is not None
        bound, lost = list(pool._bound), list(pool._unbound)
        try:
            if cpu not in refresh():
                if self.bound or bound:
                    self.bound = False
                    pool._note_unbound(bound, OSError("it was taken from this process"))
                return
            if self.bound and _osthread.get_affinity(tid) == {cpu}:
                return
            _osthread.set_affinity(frozenset((cpu,)), tid)
            # Look again: whoever takes CPUs from our threads, one by one, has passed this one or will come yet.
            if cpu not in (allowed := refresh()):
                _osthread.set_affinity(allowed, tid)
                return
        except OSError:
            return  # gone again, or the thread is
        self.bound = True
        if lost:
            pool._note_bound(lost)

    def _is_bound(self) -> bool:
        return self.bound and _osthread.get_affinity(0) == {self.pool.cpu}

    def _rebind(self) -> None:
        """Bind to the pool's CPU, or, if it is gone, to what is allowed; say so once and try again (TP-8)."""
        pool = self.pool
        if pool.cpu is None:
            allowed = refresh()
            if _osthread.LINUX and _osthread.get_affinity(0) != allowed:
                try:
                    _osthread.set_affinity(allowed)
                except OSError:
                    pass  # it is being changed at this moment; any CPU will do
            return
        while not self._bind_or_report(pool, pool.cpu):
            pass
        self._clean = self._fingerprint()

    def _bind_or_report(self, pool: Pool, cpu: int) -> bool:
        """Try once; False if the allowed CPUs have changed meanwhile, so that it has to be tried again."""
        bound, lost = list(pool._bound), list(pool._unbound)
        allowed = refresh()
        try:
            if cpu not in allowed:
                raise OSError("it was taken from this process")
            if _hooks.ask("threadpool9_bind", answers=(OSError,), cpu=cpu) is not True:
                _osthread.set_affinity(frozenset((cpu,)))
        except OSError as error:
            self.bound = False
            pool._note_unbound(bound, error)
            try:
                _osthread.set_affinity(allowed)
            except OSError:
                pass  # the kernel has moved us to what remains
        else:
            self.bound = True
            if lost and self._is_bound():
                pool._note_bound(lost)
        # Look again: what we have just reported may be past, and who saw the change before that has reported nothing.
        return (cpu in refresh()) == (cpu in allowed)
