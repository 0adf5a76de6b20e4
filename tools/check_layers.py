"""Check five rules of this repository that no general linter knows. Prints each breach; exit status 1 if any.

Layering: a layer imports itself, the layers below and nothing above.

Rooms: within a layer no module imports one that imports it, in however many steps, imports inside of functions
included. What only a type checker reads may point upwards: a job names the type of its pool.

Size: a module of a layer has at most 400 lines.

Doors: no name that begins with an underscore is imported from another distribution, or taken from a module of it;
layers, plugins and examples use what is public (`threadpool9.lowlevel`, `threadpool9.hooks`, `task9.lanes`).

One seam: only ``threadpool9/_seam.py`` imports `threading`, `_thread` or `queue`, or takes the clock from
`time`. A test that replaces the primitives there must be sure that there are no others.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: From the bottom up: package and where its sources are.
LAYERS = {
    "threadpool9": "layers/threadpool/src/threadpool9",
    "task9": "layers/task/src/task9",
    "workqueue9": "layers/workqueue/src/workqueue9",
}
#: What is built on the layers.
OUTSIDE = ("plugins/*/src/**/*.py", "examples/**/*.py", "benchmarks/*.py", "tests/conformance/src/**/*.py")
LINES = 400
SEAM = ("threadpool9", "_seam.py")
SEAM_MODULES = frozenset({"_thread", "threading", "queue"})
SEAM_CLOCKS = frozenset({"monotonic", "monotonic_ns"})


def imported(tree: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """Yield line, module and (for ``from module import name``) name of each import, wherever it stands."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name, None) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((node.lineno, module, alias.name) for alias in names)
            case ast.Call(
                func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module, None


def taken(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield line, module and name for each ``module.name`` where that is a module of a layer, by whatever name."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                modules |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name) | ast.Attribute(value=ast.Name(id=name)), attr=attribute):
                if modules.get(name, "").partition(".")[0] in LAYERS:
                    yield node.lineno, modules[name], attribute


def private(package: str, module: str, name: str | None) -> bool:
    """True if an import by `package` reaches behind the doors of a layer."""
    top, *rest = module.split(".")
    names = [*rest, name or ""]
    return top in LAYERS and top != package and any(part.startswith("_") and not part.endswith("__") for part in names)


def check_doors(package: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield line and sentence for each use of a private name of a layer by `package`, which is not one."""
    tree = ast.parse(source)
    for line, module, name in [*imported(tree), *taken(tree)]:
        if private(package, module, name):
            yield line, f"{package} must not use {name or module} of {module}, which is private"


def clock_readings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each ``time.monotonic`` and its like, under whatever name `time` was imported."""
    aliases = {"time"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname for alias in node.names if alias.name == "time" and alias.asname}
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in aliases and name in SEAM_CLOCKS:
                yield node.lineno, name


def check(package: str, filename: str, source: str) -> Iterator[tuple[int, str]]:
    """Yield line and sentence for each breach in one module of the layer `package`."""
    tree = ast.parse(source)
    order = list(LAYERS)
    above = set(order[order.index(package) + 1 :])
    is_seam = (package, filename) == SEAM
    for line, module, attribute in taken(tree):
        if private(package, module, attribute):
            yield line, f"{package} must not use {attribute} of {module}, which is private"
    for line, module, name in imported(tree):
        top = module.partition(".")[0]
        if top in above:
            yield line, f"{package} must not know {top}, which is above it"
        elif private(package, module, name):
            yield line, f"{package} must not import {name or module} of {module}, which is private"
        if is_seam:
            continue
        if top in SEAM_MODULES:
            yield line, f"only threadpool9/_seam.py may import {top}: take it from threadpool9._seam"
        if top == "time" and name in SEAM_CLOCKS:
            yield line, f"only threadpool9/_seam.py may import time.{name}: say _seam.monotonic()"
    if not is_seam:
        for line, name in clock_readings(tree):
            yield line, f"only threadpool9/_seam.py may use time.{name}: say _seam.monotonic()"


def sizes(sources: dict[str, str]) -> Iterator[str]:
    """A sentence for each module that is too long."""
    for name, source in sorted(sources.items()):
        if (lines := source.count("\n")) > LINES:
            yield f"{name} has {lines} lines, and at most {LINES} are allowed: split it"


def neighbours(tree: ast.AST) -> Iterator[str]:
    """The modules of the same package that a module imports, wherever it does, but for a type checker only."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module=str(module), level=1):
                yield module.partition(".")[0]
            case ast.ImportFrom(module=None, names=names, level=1):
                yield from (alias.name for alias in names)
        yield from neighbours(node)


def circles(sources: dict[str, str]) -> Iterator[str]:
    """A sentence for each module of a package, name to source, that imports itself in some steps."""
    imports = {name: set(neighbours(ast.parse(source))) & sources.keys() for name, source in sources.items()}
    for name in sorted(sources):
        ways = [[name, other] for other in sorted(imports[name])]
        seen: set[str] = set()
        for way in ways:  # which grows meanwhile: the shortest way is found first
            last = way[-1]
            if last == name:
                yield f"{name} imports itself: {' -> '.join(way)}"
                break
            if last not in seen:
                seen.add(last)
                ways += [[*way, other] for other in sorted(imports[last])]


def main() -> int:
    """Check the sources of all layers."""
    breaches = files = 0
    for package, directory in LAYERS.items():
        sources = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / directory).glob("*.py")}
        for sentence in [*circles(sources), *sizes(sources)]:
            breaches += 1
            print(f"{directory}: {sentence}")
        for path in sorted((ROOT / directory).rglob("*.py")):
            files += 1
            for line, sentence in sorted(check(package, path.name, path.read_text(encoding="utf-8"))):
                breaches += 1
                print(f"{path.relative_to(ROOT)}:{line}: {sentence}")
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            files += 1
            for line, sentence in sorted(check_doors(path.parent.name, path.read_text(encoding="utf-8"))):
                breaches += 1
                print(f"{path.relative_to(ROOT)}:{line}: {sentence}")
    print(f"layers: {files} modules, {breaches} breaches of layering, rooms, size, the doors or the seam")
    return 1 if breaches or not files else 0


if __name__ == "__main__":
    sys.exit(main())
