"""Hooks: the one pluggy manager of the process, and how the layers ask and tell (HK-1 to HK-7).

Where plugins register, where the layers ask their questions, and where probes are compiled. The upper
layers add their own specifications to the same manager with `add_layer`. Defaults are not plugins: where no
plugin answers, the layer's own default applies, so a plugin may come and go at any time and there is always an
answer. A hook that raises never takes the work down: it is reported and counted.

Rules. `_lock` is held by who registers, unregisters or adds a layer, in thread context, never while a hook is
called. `current_cpu` and the probes' slots are written whole under it and read anywhere.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pluggy

from . import _atomic, _seam
from ._errors import PluginError
from ._probes import Probes, probes
from ._specs import CPU, ErrorReport, Questions, Tracing
from ._texts import safe_repr

_manager = pluggy.PluginManager("threadpool9")
_lock = _seam.RLock()
_layers: dict[str, Probes] = {}  # written under _lock; insertion order is from the bottom up


#: Who answers in any context: written whole at registration, read anywhere.
current_cpu: Callable[[], int | None] | None = None
failures = _atomic.Tally()  # exceptions that left a hook


def add_layer(layer: str, probes: Probes, *specifications: type) -> None:
    """Add the hooks of one layer, whose names begin with ``layer_``. At import of the layer, once."""
    with _lock:
        for specification in specifications:
            _take_out_misfits(specification)
            _manager.add_hookspecs(specification)
        _layers[layer] = probes
        _recompile()


def _take_out_misfits(specification: type) -> None:
    """Unregister plugins that came before their layer and whose hooks do not fit it: no plugin takes a layer down."""
    for name, function in vars(specification).items():
        if name.startswith("_") or not hasattr(_manager.hook, name):
            continue
        code = function.__code__
        known = code.co_varnames[: code.co_argcount]
        for impl in list(getattr(_manager.hook, name).get_hookimpls()):
            unknown = [argument for argument in impl.argnames if argument not in known]
            if unknown or impl.hookwrapper or impl.wrapper:
                _manager.unregister(impl.plugin)
                wrong = f"takes {', '.join(unknown)}, which it does not have" if unknown else "is a wrapper"
                tell(f"plugin {impl.plugin_name!r} was unregistered: its hook {name} {wrong}")


# --- registering


def plugin_manager() -> pluggy.PluginManager:
    """The process's plugin manager; use `register` and `unregister` rather than its own: those go unnoticed."""
    return _manager


def register(plugin: object, name: str | None = None) -> str | None:
    """Register `plugin`, an object or module with functions marked `hookimpl`. Thread context (HK-7).

    Takes effect for the next event. Returns the plugin's name (None if that name is blocked in the plugin
    manager). Raises PluginError, and registers nothing, for a plugin or name that is registered already, a hook that
    does not exist, an argument that the hook does not have, a wrapper, or a class.
    """
    with _lock:
        called, known = name or getattr(plugin, "__name__", None) or safe_repr(plugin), _manager.is_registered(plugin)
        try:
            registered = _manager.register(plugin, name)
            if registered is not None:
                _check(plugin, called)
        except BaseException as error:
            if not known and _manager.is_registered(plugin):  # pluggy before 1.7 keeps what it has refused, too
                _manager.unregister(plugin)
            if isinstance(error, PluginError) or not isinstance(error, (pluggy.PluginValidationError, ValueError)):
                raise
            raise PluginError(f"plugin {called!r} was not registered: {_in_a_line(error)}") from error
        _recompile()
    return registered


def unregister(plugin: object) -> None:
    """Unregister `plugin`; takes effect for the next event (HK-7). Thread context. PluginError if it is unknown."""
    with _lock:
        if not _manager.is_registered(plugin):
            raise PluginError(f"{plugin!r} is not registered")
        try:
            _manager.unregister(plugin)
        finally:
            _recompile()


def _in_a_line(error: BaseException) -> str:
    first, *rest = str(error).strip().split("\n")
    return f"{first}: {rest[-1].strip()}" if rest else first  # pluggy says first where, and at the end what


def _check(plugin: object, name: str) -> None:
    """What pluggy leaves to the host: unknown hooks, and wrappers, since nothing is called through pluggy.

    And a class in place of an instance, whose functions would get no ``self``.
    """
    for caller in _manager.get_hookcallers(plugin) or ():
        mine = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]  # several with specname=
        layer, _, _ = caller.name.partition("_")
        if isinstance(plugin, type) and any(_needs_self(plugin, impl.function) for impl in mine):
            raise PluginError(f"plugin {name!r} was not registered: it is a class; register an instance of it")
        if not caller.has_spec():
            from importlib.util import find_spec

            # A layer that is there but not imported brings its specifications later, and looks then.
            later = layer not in _layers and find_spec(layer) is not None
            if not (later or all(impl.optionalhook for impl in mine)):
                from difflib import get_close_matches

                known = [name for name, hook in vars(_manager.hook).items() if hook.has_spec()]
                near = get_close_matches(caller.name, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise PluginError(
                    f"plugin {name!r} was not registered: there is no hook {caller.name!r}{hint} "
                    "(for a layer that may be absent say hookimpl(optionalhook=True))"
                )
        elif any(impl.hookwrapper or impl.wrapper for impl in mine):
            raise PluginError(
                f"plugin {name!r} was not registered: hooks of the layers take no wrapper ({caller.name})"
            )


def _needs_self(plugin: type, function: Callable[..., object]) -> bool:
    return isinstance(vars(plugin).get(function.__name__), type(_check))  # and no staticmethod


# --- compiling


#: One implementation of one hook: what to call with the hook's arguments in their order, and whose it is.
_Listener = tuple[Callable[..., Any], str]


def _listeners(hook: str, arguments: tuple[str, ...]) -> tuple[_Listener, ...]:
    """The implementations in the order pluggy calls them: the last registered first."""
    found = []
    for impl in reversed(getattr(_manager.hook, hook).get_hookimpls()):
        call = impl.function
        if tuple(impl.argnames) != arguments:
            taken = (*impl.argnames, *impl.kwargnames)  # the latter have a default, and may be the plugin's own
            call = _with_some(call, tuple((name, arguments.index(name)) for name in taken if name in arguments))
        found.append((call, f"{hook} of plugin {impl.plugin_name!r}"))
    return tuple(found)


def _with_some(function: Callable[..., Any], wanted: tuple[tuple[str, int], ...]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return function(**{name: arguments[place] for name, place in wanted})

    return call


def _compile_probe(listeners: tuple[_Listener, ...]) -> Callable[..., None] | None:
    if not listeners:
        return None

    def fire(*arguments: Any) -> None:
        for call, source in listeners:
            try:
                call(*arguments)
            except KeyboardInterrupt:  # that is for whoever is interrupted; a SystemExit, say, is not
                raise
            except BaseException as error:
                _failed(error, source)

    return fire


def _compile_current_cpu(listeners: tuple[_Listener, ...]) -> Callable[[], int | None] | None:
    if not listeners:
        return None

    def current_cpu() -> int | None:
        for call, source in listeners:
            try:
                cpu = call()
                if type(cpu) is int:
                    return cpu
                if cpu is not None:
                    raise TypeError(f"{source} must answer with an int or None, not {cpu!r}")
            except Exception as error:
                _failed(error, source)
        return None

    return current_cpu


def _recompile() -> None:
    """After each change, under `_lock`: one store for each slot, effective for the next event."""
    global current_cpu
    for layer, layer_probes in _layers.items():
        for slot, arguments in layer_probes.arguments.items():
            compiled = _compile_probe(_listeners(f"{layer}_{slot.removesuffix('_')}", arguments))
            if compiled is not None or getattr(layer_probes, slot) is not None:
                setattr(layer_probes, slot, compiled)
    current_cpu = _compile_current_cpu(_listeners("threadpool9_current_cpu", ()))


# --- asking


def ask(
    name: str,
    /,
    check: Callable[[Any, str], Any] | None = None,
    answers: tuple[type[BaseException], ...] = (),
    **arguments: Any,
) -> Any:
    """The first answer to a cold question that is not None, passed through ``check(answer, source)``; or None.

    An exception of a hook is reported and counts as None; one of `check`, which names the source of a bad answer,
    or of a type in `answers` propagates to the caller.
    """
    for call, source in _listeners(name, tuple(arguments)):
        try:
            answer = call(*arguments.values())
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, *answers)):
                raise
            _failed(error, source)
            continue
        if answer is not None:
            return answer if check is None else check(answer, source)
    return None


# --- telling


def _failed(error: BaseException, source: str) -> None:
    failures.bump()
    report_error(error, origin=source)


def report_error(exc: BaseException, origin: object, thread: Any = None) -> None:
    """Call the error hook, then `threading.excepthook` unless a listener took it (TP-30). Never raises.

    `thread` is the one that it happened on, by default the calling one.
    """
    try:
        taken = False
        thread = thread or _seam.current_thread()
        # Not through pluggy: a listener that raises would keep the others from being told, and exceptions that pluggy
        # has seen live until the next collection, with all frames that they came through.
        if listeners := _listeners("threadpool9_error", ("error",)):
            report = ErrorReport(type(exc), exc, exc.__traceback__, origin, thread)
            for call, _ in listeners:
                try:
                    taken = bool(call(report)) or taken
                except Exception as second:
                    # The reporter itself failed: that goes to the reporter which cannot be replaced by plugins.
                    failures.bump()
                    _seam.excepthook(second, thread)
        if not taken:
            _seam.excepthook(exc, thread)
    except BaseException:
        # Last resort: a broken excepthook must not kill the worker.
        try:
            if sys.stderr is not None:
                import traceback

                traceback.print_exc()
        except Exception:
            pass  # nobody reads it any more, or the disk is full


def tell(text: str) -> None:
    """Warn from a thread of ours: a warning that is turned into an error is reported, never fatal."""
    try:
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    except Exception as error:  # the warning, or what a showwarning raises
        report_error(error, origin="threadpool9")


def check_topology(answer: Sequence[CPU], source: str) -> tuple[CPU, ...]:
    """`answer` if it can be the machine's CPUs: at least one, none twice; PluginError naming `source` otherwise."""
    try:
        cpus = tuple(answer)
        numbers = [cpu.cpu for cpu in cpus]
    except (TypeError, AttributeError):
        raise PluginError(f"{source} must answer with a sequence of threadpool9.CPU, not {answer!r}") from None
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise PluginError(f"{source} must answer with CPUs that are numbered from 0, not {answer!r}")
    if not cpus:
        raise PluginError(f"{source} answered with no CPU at all")
    if len(set(numbers)) != len(numbers):
        raise PluginError(f"{source} names a CPU twice: {numbers}")
    return cpus


add_layer("threadpool9", probes, Questions, Tracing)
