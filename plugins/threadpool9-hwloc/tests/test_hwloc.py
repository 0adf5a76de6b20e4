"""hwloc's answer against /sys and lstopo on the same machine, machines that are not there, and life without hwloc."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest
from pace import patience

import threadpool9
import threadpool9_hwloc
from threadpool9 import CPU
from threadpool9_hwloc import HwlocError, _autoload, _binding

LIMIT = patience(60.0)
BIG = "pack:2 node:4 l3:1 core:16 pu:2"
LSTOPO = shutil.which("lstopo-no-graphics")

why = _binding.missing()
needs_hwloc = pytest.mark.skipif(why is not None, reason=f"no hwloc: {why}")
needs_lstopo = pytest.mark.skipif(LSTOPO is None, reason="lstopo is missing (Debian package hwloc)")


def sysfs() -> tuple[CPU, ...]:
    """What the default says, which reads /sys, without any plugin."""
    code = "import threadpool9; [print(c.cpu, c.core, c.package, c.cache, c.node) for c in threadpool9.topology()]"
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True, capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "THREADPOOL9_PLUGINS": "none"},
    )  # fmt: skip
    rows = [tuple(map(int, line.split())) for line in run.stdout.splitlines()]
    return tuple(
        CPU(cpu, core=core, package=package, cache=cache, node=node) for cpu, core, package, cache, node in rows
    )


def lstopo(*arguments: str) -> tuple[CPU, ...]:
    """What the program lstopo says, from its XML."""
    assert LSTOPO is not None
    command = [LSTOPO, *arguments, "--of", "xml", "--disallowed"]
    output = subprocess.run(command, check=True, capture_output=True, timeout=LIMIT).stdout
    cpus: list[CPU] = []
    logical: Counter[str] = Counter()

    def walk(element: ET.Element, above: dict[str, int]) -> None:
        kind, here = element.get("type", ""), dict(above)
        number = logical[kind]
        logical[kind] += 1
        number = int(element.get("os_index", number))
        if kind in ("L1Cache", "L2Cache", "L3Cache", "L4Cache") and "cache" not in here:
            here["cache"] = number  # from the outside in: the first one stays
        elif kind in ("Package", "Core"):
            here[kind] = number
        for child in element.iterfind("object"):
            if child.get("type") == "NUMANode":
                here["NUMANode"] = int(child.get("os_index", -1))
        if kind == "PU":
            where = {name: here.get(key, -1) for name, key in
                     (("core", "Core"), ("package", "Package"), ("cache", "cache"), ("node", "NUMANode"))}  # fmt: skip
            cpus.append(CPU(number, **where))
        for child in element.iterfind("object"):
            walk(child, here)

    root = ET.fromstring(output).find("object")
    assert root is not None
    walk(root, {})
    return tuple(sorted(cpus, key=lambda cpu: cpu.cpu))


@needs_hwloc
def test_hk1_this_machine_is_what_sys_says() -> None:
    """HK-1: CPU, core, package and NUMA node, each field that /sys knows, of each CPU that is online."""
    online = set()
    for piece in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = piece.partition("-")
        online |= set(range(int(first), int(last or first) + 1))
    expected = {cpu.cpu: cpu for cpu in sysfs() if cpu.cpu in online}
    found = {cpu.cpu: cpu for cpu in threadpool9_hwloc.this_machine().cpus}

    assert found.keys() == expected.keys()
    for number, cpu in expected.items():
        for field in ("core", "package", "node"):
            if getattr(cpu, field) != -1:
                assert getattr(found[number], field) == getattr(cpu, field), (number, field)
    # Numbers of caches are not promised to agree, which CPUs share one is.
    if all(cpu.cache != -1 for cpu in expected.values()):
        assert partition(found.values()) == partition(expected.values())


def partition(cpus: object) -> set[frozenset[int]]:
    """Which CPUs share a last-level cache."""
    groups: dict[int, set[int]] = {}
    for cpu in cpus:  # type: ignore[attr-defined]  # an iterable of CPU
        groups.setdefault(cpu.cache, set()).add(cpu.cpu)
    return set(map(frozenset, groups.values()))


@needs_hwloc
@needs_lstopo
@pytest.mark.parametrize("description", [None, BIG, "node:2 core:3 pu:1", "pack:3 l3:2 l2:2 core:1 pu:2", "pu:5"])
def test_lstopo_says_the_same(description: str | None) -> None:
    """Of this machine and of synthetic ones: every CPU with its core, package, last-level cache and node."""
    if description is None:
        assert threadpool9_hwloc.this_machine().cpus == lstopo()
    else:
        assert threadpool9_hwloc.synthetic(description).cpus == lstopo("-i", description)


@needs_hwloc
def test_synthetic_machine_of_256_cpus_on_8_nodes() -> None:
    """The same shape as `fake` gives, by whatever numbers."""

    def shape(cpus: tuple[CPU, ...]) -> list[int]:
        cores = Counter((cpu.package, cpu.node, cpu.core) for cpu in cpus)
        return [len(cpus), len({cpu.package for cpu in cpus}), len({cpu.node for cpu in cpus}), *sorted(cores.values())]

    real = threadpool9_hwloc.synthetic(BIG)
    assert shape(real.cpus) == shape(threadpool9_hwloc.fake(packages=2, nodes=4, cores=16, threads=2).cpus)
    with real:
        assert threadpool9.topology() == real.cpus


@needs_hwloc
def test_what_hwloc_does_not_understand_is_told() -> None:
    """The description stands in the error."""
    with pytest.raises(HwlocError, match="no topology 'nonsense:2'"):
        threadpool9_hwloc.synthetic("nonsense:2")


def test_fake_numbers_are_those_of_linux() -> None:
    """Siblings are half the CPUs apart, cores start anew in each package, nodes do not."""
    cpus = threadpool9_hwloc.fake(packages=2, nodes=2, cores=2, threads=2).cpus
    assert [cpu.cpu for cpu in cpus] == list(range(16))
    assert cpus[3] == CPU(3, core=3, package=0, cache=1, node=1)
    assert cpus[4] == CPU(4, core=0, package=1, cache=2, node=2)
    for first, second in zip(cpus[:8], cpus[8:], strict=True):
        assert (first.core, first.package, first.node) == (second.core, second.package, second.node)


def test_hk1_a_fake_machine_is_in_force_inside_its_block() -> None:
    """HK-1, HK-7: it answers while registered, the inner one of two, and leaves no trace; no real pool suffers."""
    before = threadpool9.topology()
    with threadpool9_hwloc.fake(packages=2, nodes=4, cores=16, threads=2):
        assert len(threadpool9.topology()) == 256
        with threadpool9_hwloc.fake(cores=3):
            assert len(threadpool9.topology()) == 3
            percpu = threadpool9.percpu_get()
            assert percpu.cpus == threadpool9.allowed_cpus()
            percpu.put()
        assert len(threadpool9.topology()) == 256
    assert threadpool9.topology() == before


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "2", None])
@pytest.mark.parametrize("field", ["packages", "nodes", "cores", "threads"])
def test_a_fake_machine_is_made_of_positive_ints(field: str, bad: object) -> None:
    """Anything else is an error that names the field."""
    with pytest.raises(ValueError, match=f"{field} must be an int from 1 on"):
        threadpool9_hwloc.fake(**{field: bad})  # type: ignore[arg-type]  # on purpose


def test_without_hwloc_the_default_answers_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No binding: the hook has no answer, the functions raise with the reason, and `fake` works."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pyhwloc" else find(name, *a))

    assert _autoload.threadpool9_topology() is None
    for make in (threadpool9_hwloc.this_machine, lambda: threadpool9_hwloc.synthetic(BIG)):
        with pytest.raises(HwlocError, match=r"hwloc can't be asked: pyhwloc (needs|comes|is not installed)"):
            make()
    assert len(threadpool9_hwloc.fake(cores=2).cpus) == 2


@pytest.mark.parametrize(
    ("version", "machine", "libc", "says"),
    [
        ((3, 11), "x86_64", ("glibc", "2.36"), "needs Python 3.12"),
        ((3, 13), "riscv64", ("glibc", "2.36"), "for linux on riscv64"),
        ((3, 13), "x86_64", ("glibc", "2.31"), "needs glibc 2.34 or newer, this system has glibc 2.31"),
        ((3, 13), "x86_64", ("", ""), "this system has another C library"),
        ((3, 13), "x86_64", ("glibc", "2.34"), "pip install 'threadpool9-hwloc\\[binding\\]'"),
    ],
)
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], machine: str, libc: tuple[str, str], says: str
) -> None:
    """Python, machine, C library, or just the package."""
    monkeypatch.setattr(_binding.sys, "version_info", version)
    monkeypatch.setattr(_binding.sys, "platform", "linux")
    monkeypatch.setattr(_binding.platform, "machine", lambda: machine)
    monkeypatch.setattr(_binding.platform, "libc_ver", lambda: libc)
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(_binding._why_not_installed())


def test_the_installed_plugin_answers_or_is_silent() -> None:
    """HK-7: found at the first use of a pool; where the binding is missing nothing changes and nothing is printed."""
    code = """
import threadpool9
threadpool9.get().put()
plugin = threadpool9.plugin_manager().get_plugin("hwloc")
print(plugin is not None, len(threadpool9.topology()))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, timeout=LIMIT, env={**os.environ, "THREADPOOL9_PLUGINS": "hwloc"},
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout.split()[0] == "True"
    if why is None:
        assert int(run.stdout.split()[1]) == len(threadpool9_hwloc.this_machine().cpus)
    else:
        assert int(run.stdout.split()[1]) == len(sysfs())


def test_the_command_prints_a_table_or_what_is_missing() -> None:
    """One line a CPU."""
    run = subprocess.run(
        [sys.executable, "-m", "threadpool9_hwloc", *BIG.split()], capture_output=True, text=True, timeout=LIMIT
    )
    if why is None:
        assert run.returncode == 0, run.stderr
        assert len(run.stdout.splitlines()) == 257
    else:
        assert run.returncode == 1
        assert why in run.stderr


def test_the_example_runs() -> None:
    """On a machine of two packages the first two CPUs are on different ones."""
    example = Path(__file__).parent.parent / "example" / "spread.py"
    run = subprocess.run([sys.executable, str(example), "3"], capture_output=True, text=True, timeout=LIMIT)
    assert run.returncode == 0, run.stderr
    assert "2 x 4 x 16 x 2:     [0, 64, 16]" in run.stdout
