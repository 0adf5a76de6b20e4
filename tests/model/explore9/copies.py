"""Private copies of the layers, made of the same source, with a point before each access to shared state.

What is shared is derived from the source, so that it cannot go out of date: every attribute that is stored
anywhere but in an ``__init__`` (or in what a fork child does), in any module of the three layers, by its name.
Each load, store and deletion of an attribute of such a name gets a point; attributes that are set once have none.
Tickets, other lists of at most one element that functions make (tokens, promises), and dicts that become attributes are
replaced by controlled ones, whose operations are points. All else that is shared comes from `_seam`, where the
controlled primitives are put.

Points are where other threads may run: between any two operations on shared state, which is what happens without a GIL,
and more than what happens with one. Where the interpreter looks for signals is another matter: at the start of a function,
after a call, and where a loop goes round. Statements without a call that stand on one line have no such place between
them, nor has ``for x in iter(take, None): ...; break``, up to the end of its line; the layers rely on that.

The line numbers stay those of the source. Modules in `PLAIN` are compiled without points: no state of the
protocols is in there.

A *patch* is a change of the source text before it is compiled, for seeded bugs.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import primitives
from .engine import Run

LAYERS = ("threadpool9", "task9", "workqueue9")
PLAIN = {
    "__init__", "_autoload", "_errors", "_flags", "_hooks", "_layer", "_osthread", "_priority", "_probes", "_snapshot",
    "_specs", "_texts", "_topology", "_tunables", "_watch", "hooks", "lanes", "lowlevel",
}  # fmt: skip
#: Functions whose stores do not make an attribute shared.
QUIET = {
    "__init__", "__del__", "_in_child", "_forget_threads", "begin_era", "forget_all", "forget_drains", "forget_exit",
    "forget_threads",
}  # fmt: skip
#: Dicts that only a fork child, or nobody but their owner, reads as a whole.
UNWATCHED = {"_refs"}

Patch = tuple[str, str, str]  # module such as "threadpool9._pool", old text, new text


def source_of(layer: str) -> Path:
    """The directory of a layer's source."""
    spec = importlib.util.find_spec(layer)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _stores(tree: ast.AST) -> Iterator[str]:
    """Names of the attributes that functions other than QUIET ones store or delete."""

    def visit(node: ast.AST, quiet: bool) -> Iterator[str]:
        if isinstance(node, ast.FunctionDef):
            quiet = node.name in QUIET
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and not quiet:
            yield node.attr
        for child in ast.iter_child_nodes(node):
            yield from visit(child, quiet)

    yield from visit(tree, True)


@functools.cache
def shared_names() -> frozenset[str]:
    """The names of all attributes that get points."""
    names: set[str] = set()
    for layer in LAYERS:
        for path in source_of(layer).glob("*.py"):
            if path.stem not in PLAIN:
                names.update(_stores(ast.parse(path.read_text())))
    return frozenset(names)


class _Instrument(ast.NodeTransformer):
    """Puts the points in; see the module's text."""

    def __init__(self, names: frozenset[str], signals: bool) -> None:
        self.signals = signals
        self.names = names
        self.depth = 0

    # --- imports of the layers become imports of the copies beside this one

    def visit_Import(self, node: ast.Import) -> ast.AST:
        if node.names[0].name in LAYERS:
            assert len(node.names) == 1
            return ast.copy_location(ast.ImportFrom(None, node.names, 2), node)
        assert not any(alias.name.partition(".")[0] in LAYERS for alias in node.names)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if not node.level and node.module and node.module.partition(".")[0] in LAYERS:
            node.level = 2
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if not self.depth and isinstance(node.value, ast.Call) and _at_exit(ast.unparse(node)):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        if not self.depth and "register_at_fork" in ast.unparse(node.test):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    # --- classes, functions and annotations

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for place, base in enumerate(node.bases):
            if self.names and isinstance(base, ast.Subscript) and ast.unparse(base.value) == "dict":
                node.bases[place] = ast.copy_location(ast.Name("_m9_dict", ast.Load()), base)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.depth += 1
        node.body = [new for old in node.body for new in _many(self.visit(old))]
        if self.signals:
            node.body[1 if ast.get_docstring(node, False) is not None else 0 : 0] = [self._look(node.body[0])]
        self.depth -= 1
        return node

    # --- where the interpreter looks for signals: function entry, loops, after calls

    def _look(self, at: ast.stmt) -> ast.stmt:
        return ast.copy_location(ast.Expr(self._call("_m9_signal", ast.Constant(None))), at)

    def visit_While(self, node: ast.While) -> ast.AST:
        self.generic_visit(node)
        if self.signals and self.depth:
            node.body.append(self._look(node.body[-1]))
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        if self.signals and self.depth:
            node.body.append(self._look(node.body[-1]))
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        plain = isinstance(node.func, ast.Name) and node.func.id in ("super", "isinstance", "type", "len")
        if self.signals and self.depth and not plain:
            return ast.copy_location(self._call("_m9_signal", node), node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.target = self.visit(node.target)
        if node.value is not None:
            node.value = self._contained(node.target, self.visit(node.value))
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self._contained(node.targets[-1], self.visit(node.value))
        node.targets = [self.visit(target) for target in node.targets]
        return node

    # --- points

    def _call(self, name: str, *args: ast.expr) -> ast.Call:
        return ast.Call(ast.Name(name, ast.Load()), list(args), [])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        if self.depth and node.attr in self.names:
            point = "_m9_load" if isinstance(node.ctx, ast.Load) else "_m9_store"
            node.value = ast.copy_location(self._call(point, node.value, ast.Constant(node.attr)), node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        target = node.target
        node.value = self.visit(node.value)
        if not (self.depth and isinstance(target, ast.Attribute) and target.attr in self.names):
            node.target = self.visit(target)
            return node
        name = ast.Constant(target.attr)
        hold = ast.Assign([ast.Name("_m9_held", ast.Store())], self.visit(target.value))
        load = ast.Attribute(self._call("_m9_load", ast.Name("_m9_held", ast.Load()), name), target.attr, ast.Load())
        store = ast.Attribute(self._call("_m9_store", ast.Name("_m9_held", ast.Load()), name), target.attr, ast.Store())
        change = ast.Assign([store], ast.BinOp(load, node.op, node.value))
        return [ast.copy_location(hold, node), ast.copy_location(change, node)]

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        small = len(node.elts) <= 1 and not any(isinstance(element, ast.Starred) for element in node.elts)
        small = small or ast.unparse(node) == "[None, None]"
        if self.depth and small and isinstance(node.ctx, ast.Load):
            return ast.copy_location(self._call("_m9_list", node), node)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        if not isinstance(node.slice, ast.List):  # a type such as Callable[[Any], object]
            node.slice = self.visit(node.slice)
        return node

    def _contained(self, target: ast.expr, value: ast.expr) -> ast.expr:
        if self.depth and isinstance(target, ast.Attribute) and _is_list(value):
            return ast.copy_location(self._call("_m9_list", value), value)
        kinds = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
        if not all(isinstance(kind, (ast.Dict, ast.DictComp)) for kind in kinds):
            return value
        if self.depth and isinstance(target, ast.Attribute) and target.attr not in UNWATCHED:
            return ast.copy_location(self._call("_m9_dict", value), value)
        return value


def _is_list(value: ast.expr) -> bool:
    """``list(...)``, before or after the look for signals was put around it."""
    match value:
        case ast.Call(ast.Name("_m9_signal"), [inner]):
            return _is_list(inner)
        case ast.Call(ast.Name("list")):
            return True
    return False


def _at_exit(text: str) -> bool:
    return "atexit." in text or "at_threads_end(" in text


def _many(result: Any) -> list[Any]:
    return result if isinstance(result, list) else [result]


def _load(obj: Any, name: str) -> Any:
    run = Run.current_run
    if run is not None and not run.passive:
        run.attr(obj, name, False)
    return obj


def _store(obj: Any, name: str) -> Any:
    run = Run.current_run
    if run is not None and not run.passive:
        run.attr(obj, name, True)
    return obj


def _signal(value: Any) -> Any:
    run = Run.current_run
    if run is not None and run.signals:
        run.signal()
    return value


@functools.cache
def _compiled(path: Path, text: str, plain: bool, signals: bool) -> types.CodeType:
    """The code of a copy; the same for all copies of the same text."""
    instrument = _Instrument(frozenset() if plain else shared_names(), signals and not plain)
    if plain:
        instrument.visit_List = lambda node: node  # type: ignore[method-assign]
        instrument._contained = lambda target, value: value  # type: ignore[method-assign]
    tree = ast.fix_missing_locations(instrument.visit(ast.parse(text)))
    return compile(tree, str(path), "exec")


class Patched(Exception):
    """A patch does not fit the source any more."""


class _Loader(importlib.abc.Loader):
    def __init__(self, copies: Copies, path: Path, stem: str) -> None:
        self.copies, self.path, self.stem = copies, path, stem

    def exec_module(self, module: types.ModuleType) -> None:
        name = module.__name__.removeprefix(self.copies.prefix + ".")
        text = self.path.read_text()
        for where, old, new in self.copies.patches:
            if where == name:
                if text.count(old) != 1:
                    raise Patched(f"{where} has {text.count(old)} times, not once: {old!r}")
                text = text.replace(old, new)
        module.__dict__.update(
            _m9_load=_load,
            _m9_store=_store,
            _m9_signal=_signal,
            _m9_list=primitives.List,
            _m9_dict=primitives.Dict,
        )
        exec(_compiled(self.path, text, self.stem in PLAIN, self.copies.signals), module.__dict__)
        if self.stem == "_seam":
            for primitive in (
                "Lock", "RLock", "SimpleQueue", "deque", "Thread", "start_new_thread", "monotonic", "monotonic_ns",
                "get_ident", "get_native_id", "current_thread",
            ):  # fmt: skip
                setattr(module, primitive, getattr(primitives, primitive))
            module.Mailbox = primitives.SimpleQueue  # type: ignore[attr-defined]
            module.Compared = primitives.Compared  # type: ignore[attr-defined]
            module.LockType = primitives.Lock  # type: ignore[attr-defined]
            # The same executions with a GIL and without: points are everywhere.
            module.SPINS = range(0)  # type: ignore[attr-defined]
            module.FREE_THREADED = True  # type: ignore[attr-defined]
            module.Parking = module._LockParking  # type: ignore[attr-defined]
            module.excepthook = self.copies.excepthook  # type: ignore[attr-defined]


class Copies(importlib.abc.MetaPathFinder):
    """One set of copies, importable as ``<prefix>.threadpool9`` and so on."""

    count = 0

    def __init__(self, patches: tuple[Patch, ...] = (), signals: bool = False) -> None:
        Copies.count += 1
        self.signals = signals
        self.prefix = f"explored{Copies.count}"
        self.patches = patches
        self.errors: list[tuple[BaseException, object]] = []
        self.constants: dict[str, Any] = {}
        self.heard: dict[tuple[str, str], None] = {}
        self.in_hands = primitives.ByKey()
        package = types.ModuleType(self.prefix)
        package.__path__ = []
        sys.modules[self.prefix] = package
        sys.meta_path.insert(0, self)
        known = {module for module, _, _ in patches}
        try:
            for layer in LAYERS:
                setattr(self, layer, importlib.import_module(f"{self.prefix}.{layer}"))
        finally:
            sys.meta_path.remove(self)
        missing = known - {name.removeprefix(self.prefix + ".") for name in sys.modules}
        if missing:
            raise Patched(f"there is no module {missing}")
        # Imports inside of functions must find everything there.
        sys.meta_path.insert(0, self)
        for layer in LAYERS:
            for path in source_of(layer).glob("_*.py"):
                if path.stem != "__init__":
                    importlib.import_module(f"{self.prefix}.{layer}.{path.stem}")
        sys.meta_path.remove(self)
        self._stub()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Modules under our prefix."""
        head, _, rest = name.partition(".")
        if head != self.prefix or not rest:
            return None
        layer, _, stem = rest.partition(".")
        file = source_of(layer) / f"{stem or '__init__'}.py"
        if not file.exists():
            return None
        loader = _Loader(self, file, stem or "__init__")
        return importlib.util.spec_from_loader(name, loader, origin=str(file), is_package=not stem)

    def module(self, name: str) -> Any:
        """The copy of module `name`, such as ``threadpool9._pool``."""
        return sys.modules[f"{self.prefix}.{name}"]

    def excepthook(self, error: BaseException, thread: object) -> None:
        """In place of `threading.excepthook`."""
        run = Run.current_run
        if run is None or not run.aborting:
            self.errors.append((error, thread))

    def _stub(self) -> None:
        """What the copies ask of the OS has no effect and always the same answer."""
        os_calls = self.module("threadpool9._osthread")
        everywhere = frozenset((0, 1))
        bound: dict[int, frozenset[int]] = {}
        self.bound = bound
        os_calls.get_affinity = lambda tid: bound.get(tid or primitives.get_native_id(), everywhere)
        os_calls.set_affinity = lambda cpus, tid=0: bound.__setitem__(
            tid or primitives.get_native_id(), frozenset(cpus)
        )
        os_calls.foreign_affinities = lambda: []
        os_calls.set_name = lambda name: None
        os_calls.clean_signal_mask = lambda: None
        os_calls.apply_scheduling = lambda wanted: None
        os_calls.describe = lambda: "nice 0"
        os_calls.fingerprint_call = lambda: lambda: self.fingerprint()
        os_calls.find_getcpu = lambda: None
        os_calls.wait_gone = lambda *args: None
        os_calls.is_blocked = lambda tid: False
        topology = self.module("threadpool9._topology")
        self.cpu = lambda: 0
        self.fingerprint = lambda: 0
        topology._getcpu = lambda: self.cpu()
        self.threadpool9.autoload_plugins(False)
        # Else the collector would run our steps when it likes.
        for module, cls in (("task9._queue", "TaskQueue"), ("task9._shared", "SharedQueue")):
            del getattr(self.module(module), cls).__del__
        del self.module("threadpool9._references").Reference.__del__
        # Only a fork child looks at it as a whole; others at their own item.
        for module in ("_item", "_group", "_lane", "_task", "_timed", "_lifecycle", "lanes"):
            self.module(f"task9.{module}").in_hands = self.in_hands
        self.module("workqueue9._group").in_hands = self.in_hands

    def reset(self) -> None:
        """Everything as after import."""
        self.errors.clear()
        self.bound.clear()
        self.in_hands.clear()
        self.cpu = lambda: 0
        self.fingerprint = lambda: 0
        allowed = self.module("threadpool9._topology").allowed
        allowed.cpus = allowed.ever = frozenset((0, 1))
        allowed.witness = 0
        self.module("threadpool9._demand").Demand.lateness = 0.0
        self.module("threadpool9._job").meetings.__init__()
        self.module("threadpool9._registry").registry.__init__()
        self.module("task9._shared").registry.__init__()
        self.module("task9._timer").timer.__init__()
        self.module("task9._group").groups.clear()
        lane = self.module("task9._lane")
        lane.sweeper[:], lane.sweeping[:] = [None], []
        self.module("workqueue9._group").giant.__init__()
        self.module("workqueue9._waits").disable_lock = primitives.RLock()
        self.module("workqueue9._stats").queues.clear()
        for name, value in self.constants.items():
            module, _, constant = name.rpartition(".")
            setattr(self.module(module), constant, value)
        self.constants.clear()
        for layer, probe in self.heard:
            setattr(self._probes(layer), probe, None)
        self.heard.clear()
        self.set("threadpool9._worker._SOON", 1e6)
        self.threadpool9.tunables.idle_ms = 1e12

    def _probes(self, layer: str) -> Any:
        return self.module(f"{layer}._{'probes' if layer == 'threadpool9' else 'watch'}").probes

    def listen(self, layer: str, probe: str, function: Any) -> None:
        """Have `function` called by a probe, until the next reset."""
        setattr(self._probes(layer), probe, function)
        self.heard[layer, probe] = None

    def set(self, name: str, value: Any) -> None:
        """Give a constant, such as ``task9._lane._SHORT``, another value, until the next reset."""
        module, _, constant = name.rpartition(".")
        self.constants.setdefault(name, getattr(self.module(module), constant))
        setattr(self.module(module), constant, value)
