"""What a worker asks of the operating system about itself: CPU set, scheduling, signal mask, name.

The only module with system calls. Linux first; where a call does not exist the function says so by
its result and the layers go on without (TP-10, TP-11). Calls are about the calling thread where no thread is named;
only `wait_gone` waits. ctypes is imported at the first use of a pool, never at import of the layer.
"""

from __future__ import annotations

# `signal` wraps this in enums, and takes longer to import than all of us.
import _signal  # type: ignore[import-not-found]  # no stub
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from . import _seam
from ._priority import Scheduling

LINUX = sys.platform == "linux"
_NAME_BYTES = 15
_BYTES = 128  # the beginning of /proc/self/task/TID/stat with the thread's name and state; all of /proc/.../syscall
_FUTEX = {"x86_64": b"202", "aarch64": b"98", "riscv64": b"98", "ppc64le": b"221", "s390x": b"238"}
#: The number of the futex call here, as the kernel writes it; None if that is not known.
_FUTEX_HERE = _FUTEX.get(os.uname().machine) if LINUX and sys.maxsize > 1 << 32 else None
_TIMEOUT = 4  # number uaddr op val *timeout*
_MASK_BYTES = 1024  # what the C library can tell of: 8192 CPUs


def get_affinity(tid: int) -> frozenset[int]:
    """The CPU set of thread `tid` (0: the caller)."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(tid))
    return frozenset(range(os.cpu_count() or 1))


def set_affinity(cpus: frozenset[int], tid: int = 0) -> None:
    """Bind thread `tid` (0: the caller) to `cpus`; OSError if none can be used, or where the OS has no such call."""
    if not hasattr(os, "sched_setaffinity"):
        raise OSError(f"binding a thread to a CPU is not possible on {sys.platform}; plug in threadpool9_bind")
    os.sched_setaffinity(tid, cpus)


@functools.cache  # each would be a class of its own, which only the collector could take away
def _libc() -> Any:
    import ctypes

    # PyDLL keeps the GIL: these calls take tens of nanoseconds.
    return ctypes.PyDLL(None)


def prepare() -> None:
    """Import what workers will need, in thread context: a fork beside an import leaves the child half a module."""
    try:
        import ctypes  # noqa: F401
        import resource  # noqa: F401
    except ImportError:
        pass  # then the functions below go without


def find_getcpu() -> Callable[[], int] | None:
    """The C library's ``sched_getcpu``, or None."""
    if not LINUX:
        return None
    try:
        function = _libc().sched_getcpu
    except (ImportError, OSError, AttributeError):
        return None
    return function  # type: ignore[no-any-return]  # ctypes functions are untyped


def set_name(name: str) -> None:
    """Give the calling thread its OS-visible name, cut to 15 bytes (TP-11). Failure is of no consequence."""
    if LINUX:
        _name_setter()(name.encode("utf-8", "replace")[:_NAME_BYTES])


@functools.cache
def _name_setter() -> Callable[[bytes], object]:
    """What sets it: by a system call that keeps the GIL, if possible."""

    def with_python(name: bytes) -> None:
        try:
            with open(f"/proc/self/task/{_seam.get_native_id()}/comm", "wb", buffering=0) as file:
                file.write(name)
        except OSError:
            pass

    try:
        return functools.partial(_libc()["prctl"], 15)  # PR_SET_NAME
    except (ImportError, OSError, AttributeError):
        return with_python


_BASE_MASK: frozenset[int] = (
    frozenset(_signal.pthread_sigmask(_signal.SIG_BLOCK, [])) if hasattr(_signal, "pthread_sigmask") else frozenset()
)


#: Nice value of the thread that imported the layer: what "untouched" means for PRI_NONE (TP-13).
BASE_NICE = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


def apply_scheduling(wanted: Scheduling) -> str | None:
    """Give the calling thread what its priority asks for, or the nearest below; says what was refused (TP-10)."""
    if not LINUX:
        return None if wanted.policy == "inherit" else f"{wanted}: not supported on {sys.platform}"
    if wanted.policy == "rr":
        try:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(wanted.rt_priority))
        except OSError as refusal:
            got = _lower_nice(-20)
            return f"{wanted} refused ({refusal.strerror}), running at nice {got}"
        return None
    # A thread born of a real-time one inherits the class; giving it up is always allowed.
    if _scheduler() != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    nice = BASE_NICE if wanted.policy == "inherit" else wanted.nice
    got = _lower_nice(nice)
    return None if got == nice else f"nice {nice} refused, running at nice {got}"


def _scheduler() -> int:
    """The calling thread's class, without the flag that a broker may have set."""
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK


def _lower_nice(nice: int) -> int:
    """Set the nice value of the calling thread, or the nearest above it that the OS grants; returns it."""
    if os.getpriority(os.PRIO_PROCESS, 0) == nice:
        return nice
    tid = _seam.get_native_id()
    try:
        os.setpriority(os.PRIO_PROCESS, tid, nice)
    except PermissionError:
        try:
            import resource
        except ImportError:  # prepare() could not import it either
            return os.getpriority(os.PRIO_PROCESS, tid)
        limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
        floor = -20 if limit == resource.RLIM_INFINITY else 20 - limit
        if nice < floor < os.getpriority(os.PRIO_PROCESS, tid):
            os.setpriority(os.PRIO_PROCESS, tid, floor)
    return os.getpriority(os.PRIO_PROCESS, tid)


def clean_signal_mask() -> None:
    """Give the calling thread the signal mask that the process had when the layer was imported (TP-13)."""
    if hasattr(_signal, "pthread_sigmask"):
        _signal.pthread_sigmask(_signal.SIG_SETMASK, _BASE_MASK)


def describe() -> str:
    """The calling thread's scheduling as the OS tells it, for the snapshot."""
    if not LINUX:
        return "unknown"
    if _scheduler() == os.SCHED_RR:
        return f"SCHED_RR {os.sched_getparam(0).sched_priority}"
    return f"nice {os.getpriority(os.PRIO_PROCESS, 0)}"


def fingerprint_call() -> Callable[[], object]:
    """A function that tells what the OS holds for the calling thread: CPU set, class, nice value and name.

    Its answer is opaque and equal as long as nothing changed (TP-13). A worker calls it each time it goes idle,
    so it is made of the cheapest calls there are; none of them gives the GIL away.
    """
    if not LINUX:
        return lambda: None
    affinity, scheduler, priority = os.sched_getaffinity, os.sched_getscheduler, os.getpriority
    try:
        import ctypes

        libc = _libc()
        buffer = ctypes.create_string_buffer(16 + _MASK_BYTES)
        address = ctypes.addressof(buffer)
        get_name, name = ctypes.c_int(16), ctypes.c_void_p(address)  # PR_GET_NAME
        me, size, mask = ctypes.c_int(0), ctypes.c_size_t(_MASK_BYTES), ctypes.c_void_p(address + 16)
        # By index each worker has functions of its own: without a GIL all would count references to shared ones.
        prctl, get_mask = libc["prctl"], libc["sched_getaffinity"]
    except (ImportError, OSError, AttributeError):
        return lambda: (affinity(0), scheduler(0), priority(0, 0))

    def take() -> object:
        prctl(get_name, name)
        get_mask(me, size, mask)  # as it is: Python would make a set of all its numbers
        policy = scheduler(0)
        urgency = priority(0, 0) if policy == os.SCHED_OTHER else os.sched_getparam(0).sched_priority
        return policy, urgency, buffer.raw

    return take


def is_blocked(tid: int) -> bool | None:
    """Whether thread `tid` waits in the kernel for something; False if it could use a CPU. Keeps the GIL.

    None if that can't be told: it waits for something or for the GIL, which look the same, a futex with a limit of
    time; or the kernel says nothing.
    """
    read = _reader()
    # "running"; or number and arguments. Nothing where the process has given up privileges since it was started.
    if _FUTEX_HERE and (words := read(f"/proc/self/task/{tid}/syscall").split()):
        if len(words) <= _TIMEOUT:
            return False
        return None if words[0] == _FUTEX_HERE and words[_TIMEOUT] != b"0x0" and not _seam.FREE_THREADED else True
    text = read(f"/proc/self/task/{tid}/stat")
    if not text:
        return None  # it has gone, or no file can be opened
    # The name, in brackets, may have brackets of its own; the state is the letter after it.
    blocked = text[text.rfind(b") ") + 2 :][:1] in (b"S", b"D")
    return None if blocked and not _seam.FREE_THREADED else blocked


@functools.cache
def _reader() -> Callable[[str], bytes]:
    """What reads the beginning of a file of the kernel's, if possible without giving the GIL away: to get it back takes
    long where it is wanted by many.
    """

    def with_python(path: str) -> bytes:
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read(_BYTES) or b""
        except OSError:
            return b""

    try:
        import ctypes

        libc = _libc()
        open_file, pread, close = libc["open"], libc["pread"], libc["close"]
    except (ImportError, OSError, AttributeError):
        return with_python
    buffer = ctypes.create_string_buffer(_BYTES)
    size, start, flags = ctypes.c_size_t(_BYTES), ctypes.c_long(0), os.O_RDONLY | os.O_CLOEXEC

    def with_c(path: str) -> bytes:
        descriptor = open_file(path.encode(), flags)
        if descriptor < 0:
            return b""
        try:
            length = pread(descriptor, buffer, size, start)
            return buffer.raw[: max(0, length)]
        finally:
            close(descriptor)

    return with_c


def wait_gone(tids: list[int], deadline: float | None, still: Callable[[], bool] = lambda: True) -> None:
    """Wait until the kernel has let go of the threads `tids`, which have finished, until `deadline` or not `still()`.

    A thread that has returned is in the kernel for some microseconds more; ``fork`` and tools count it.
    """
    if not LINUX:
        return
    for tid in tids:
        while os.path.exists(f"/proc/self/task/{tid}") and still():
            if deadline is not None and _seam.monotonic() >= deadline:
                return
            _seam.doze(0.0001)  # nobody announces this to us: the kernel can only be polled
