"""The plugins of this process: loaded once, each by itself, with what is wrong."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from entangle._log import Log
from entangle.errors import PluginError, one_line

from . import discovery

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

log = Log("entangle.plugins")

T = TypeVar("T")

PATIENCE = 10.0  # seconds to wait for another thread that loads plugins
SPI = "ENTANGLE_SPI"
PREFIX = "entangle_"
CORE = "core"
BUILT_IN = "entangle._builtin"


class Plugin:
    """One plugin, loaded or not.

    Attributes:
        name: The name of its entry point.
        distribution: The distribution that it belongs to.
        version: That distribution's version.
        module: Where it is: ``module`` or ``module:attribute``.
        seconds: How long it took to load.
        problems: What is wrong with it, in the order of discovery.
        loaded: Whether its hooks are in use.
    """

    def __init__(self, name: str, module: str, distribution: str, version: str) -> None:
        self.name = name
        self.distribution = distribution
        self.version = version
        self.module = module
        self.seconds = 0.0
        self.problems: list[str] = []
        self._told: set[tuple[str, object]] = set()
        self.loaded = False
        self.hooks: tuple[str, ...] = ()

    def trouble(self, what: str, error: BaseException | None = None) -> None:
        """Note a problem, and log it once."""
        # Once for each kind: the text of an error may be another each time.
        kind = (what, type(error))
        if kind not in self._told:
            self._told.add(kind)
            text = what if error is None else f"{what}: {one_line(error)}"
            self.problems.append(text)
            log.warning("plugin %r (%s): %s", self.name, self.distribution, text)

    def label(self) -> str:
        """Name the plugin for a message."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}".rstrip()


class Plugins:
    """All plugins of this process. Thread-safe; loads them when first asked."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._manager: Any = None
        self._loading = False
        self._plugins: dict[str, Plugin] = {}
        self._listed: list[Plugin] = []
        self._has: dict[str, bool] = {}  # by hook, whether any of them has it
        self._executors: dict[str, list[tuple[Plugin, Any]]] | None = None
        self.off: tuple[str, ...] = ()

    def may_exist(self) -> bool:
        """Tell, fast, whether there may be a plugin that is not switched off."""
        if self._manager is not None:
            return len(self._plugins) > 1
        return discovery.wanted()

    def all(self) -> list[Plugin]:
        """Return every plugin found, also those that can't be used."""
        self._load()
        return list(self._listed)

    def ask(
        self, hook: str, *, only: Collection[str] = (), **arguments: Any
    ) -> Iterator[tuple[Plugin, Any]]:
        """Call a hook of every plugin that has it, each by itself.

        Args:
            hook: The hook's name.
            only: Names of the plugins to ask; empty for all.
            **arguments: What the hook takes.

        Yields:
            The plugin and what it returned, by order of name.
        """
        self._load()
        if self._manager is None:
            return  # asked by a plugin that is being loaded
        caller = getattr(self._manager.hook, hook)
        for implementation in sorted(
            caller.get_hookimpls(),
            key=lambda each: (each.plugin_name != CORE, each.plugin_name),
        ):
            plugin = self._plugins[implementation.plugin_name]
            if only and plugin.name not in only:
                continue
            given = [arguments[name] for name in implementation.argnames]
            try:
                value = implementation.function(*given)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                plugin.trouble(f"{hook}() failed", error)
            else:
                yield plugin, value

    def implements(self, hook: str) -> bool:
        """Tell whether any plugin has a hook; fast, once all are loaded."""
        known = self._has.get(hook)
        if known is None:
            self._load()
            if self._manager is None:
                return False  # asked by a plugin that is being loaded
            known = bool(getattr(self._manager.hook, hook).get_hookimpls())
            self._has[hook] = known
        return known

    def each(
        self, hook: str, kind: type[T], *, only: Collection[str] = (), **arguments: Any
    ) -> Iterator[tuple[Plugin, T]]:
        """Call a hook that gives several things; leave out what is no such thing."""
        for plugin, given in self.ask(hook, only=only, **arguments):
            if isinstance(given, (str, bytes)):
                plugin.trouble(f"{hook}() gave one text, {given!r}, not several things")
                continue
            try:
                things = list(given)
            except (Exception, SystemExit) as error:
                plugin.trouble(f"{hook}() failed", error)
                continue
            for thing in things:
                if isinstance(thing, kind):
                    yield plugin, thing
                else:
                    plugin.trouble(f"{hook}() gave {_shown(thing)}, no {kind.__name__}")

    def executor(self, name: str) -> tuple[Plugin, Any]:
        """Look up an executor by its name.

        Raises:
            PluginError: there is none, or more than one.
        """
        offers = self.executors().get(name, [])
        if len(offers) == 1:
            return offers[0]
        if offers:
            both = " and ".join(plugin.label() for plugin, _ in offers)
            raise PluginError(
                f"the executor name {name!r} is given by {both}: switch one off with "
                f"{discovery.DISABLE}={offers[-1][0].name}",
                plugin=offers[0][0].name,
            )
        raise PluginError(self._no_such(name), plugin="")

    def _no_such(self, name: str) -> str:
        from difflib import get_close_matches

        known = sorted(self._executors or ())
        text = f"no executor named {name!r} is registered"
        off = discovery.disabled()
        if off is None or name in off:
            return f"{text}: plugins are switched off by {discovery.DISABLE}"
        close = get_close_matches(name, known, n=1)
        if close:
            return f"{text}; did you mean {close[0]!r}?"
        broken = [plugin.name for plugin in self._listed if plugin.problems]
        if broken:
            return (
                f"{text}, and something is wrong with {', '.join(broken)}: see "
                "`entangle plugins`"
            )
        there = f"there are {', '.join(known)}" if known else "no plugin registers any"
        return f"{text}: {there}; install the distribution that brings it"

    def executors(self) -> dict[str, list[tuple[Plugin, Any]]]:
        """Return all executors that plugins offer, by name."""
        if self._executors is not None:
            return self._executors
        executors: dict[str, list[tuple[Plugin, Any]]] = {}
        for plugin, offered in self.ask("entangle_executors"):
            self._offered(plugin, offered, executors)
        if self._manager is not None:
            self._executors = executors
        return executors

    def _offered(
        self,
        plugin: Plugin,
        offered: Any,
        executors: dict[str, list[tuple[Plugin, Any]]],
    ) -> None:
        try:
            items = list(dict(offered).items())
        except (TypeError, ValueError) as error:
            plugin.trouble("entangle_executors() gave no mapping", error)
            return
        for name, factory in items:
            if not isinstance(name, str) or not name.isidentifier():
                plugin.trouble(f"entangle_executors() gave {name!r}, which is no name")
            elif any(other.name == CORE for other, _ in executors.get(name, ())):
                plugin.trouble(f"the executor name {name!r} is taken by core")
            elif not callable(factory):
                plugin.trouble(f"the executor {name!r} is nothing that can be called")
            else:
                for other, _ in executors.setdefault(name, []):
                    clash = f"the executor name {name!r} is given by two plugins"
                    plugin.trouble(f"{clash}, also by {other.label()}")
                    other.trouble(f"{clash}, also by {plugin.label()}")
                executors[name].append((plugin, factory))

    # -- loading -----------------------------------------------------------------

    def _load(self) -> None:
        if self._loaded_by_now() or not self._lock.acquire(timeout=PATIENCE):
            # A plugin that, while it is imported, waits for a thread that brings us
            # here would wait for ever.
            return
        try:
            # One that runs a graph when it is imported brings us here again.
            if not self._loaded_by_now() and not self._loading:
                self._loading = True
                try:
                    self._manager = self._loaded()
                except BaseException:
                    # An interrupt, say: the next who asks begins anew.
                    self._plugins.clear()
                    self._listed.clear()
                    raise
                finally:
                    self._loading = False
        finally:
            self._lock.release()

    def forked(self) -> None:
        """Begin anew in a forked child, if another thread was loading at the fork."""
        self._lock = threading.RLock()
        if self._manager is None:
            self._loading = False
            self._plugins.clear()
            self._listed.clear()

    def _loaded_by_now(self) -> bool:
        return self._manager is not None

    def _loaded(self) -> Any:
        """Load everything and return pluggy's manager."""
        import pluggy

        from entangle import hooks

        manager = pluggy.PluginManager("entangle")
        manager.add_hookspecs(hooks)
        core = Plugin(CORE, BUILT_IN, "entangle-core", "")
        self._add(manager, core, partial(import_module, BUILT_IN))
        off = discovery.disabled()
        if off is not None:
            self.off = tuple(sorted(off))
            for found in discovery.found():
                if found.name not in off:
                    plugin = Plugin(*found[:4])
                    self._add(manager, plugin, found.load)
        return manager

    def _add(self, manager: Any, plugin: Plugin, load: Callable[[], Any]) -> None:
        self._listed.append(plugin)
        known = self._plugins.get(plugin.name)
        if known is not None:
            plugin.trouble(f"its name is taken by the {known.label()}")
            return
        begun = time.perf_counter()
        try:
            module = load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            plugin.trouble(f"{plugin.module} can't be imported", error)
            return
        finally:
            plugin.seconds = time.perf_counter() - begun
        try:
            if not _speaks(plugin, module):
                return
            _register(manager, plugin, module)
        except (Exception, SystemExit) as error:
            if manager.has_plugin(plugin.name):
                manager.unregister(name=plugin.name)
            plugin.hooks = ()
            plugin.trouble(_words(error))
        else:
            plugin.loaded = True
            self._plugins[plugin.name] = plugin


def _shown(thing: object) -> str:
    try:
        return repr(thing)
    except Exception:
        return f"a {type(thing).__name__}"


def _words(error: BaseException) -> str:
    try:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception:
        return type(error).__name__


def _speaks(plugin: Plugin, module: Any) -> bool:
    from entangle import hooks

    spoken = hooks.SPI_VERSION
    version = getattr(module, SPI, None)
    if type(version) is int and version == spoken:
        return True
    if version is None:
        plugin.trouble(
            f"it does not say which version of the plugin interface it was written "
            f"for: {SPI} = {spoken} is missing from {plugin.module}"
        )
    elif isinstance(version, int) and version > spoken:
        plugin.trouble(
            f"it was written for version {version} of the plugin interface, this "
            f"Entangle has {spoken}: upgrade entangle-core"
        )
    else:
        plugin.trouble(
            f"it was written for version {version!r} of the plugin interface, this "
            f"Entangle has {spoken}: upgrade {plugin.distribution}"
        )
    return False


def _register(manager: Any, plugin: Plugin, module: Any) -> None:
    """Register hooks, all or none.

    Raises:
        Exception: one is unknown, asks for what it isn't given, or is a wrapper.
    """
    specified = {name for name in dir(manager.hook) if name.startswith(PREFIX)}
    from entangle import hooks

    for name in dir(module):
        if not name.startswith(PREFIX):
            continue
        found = getattr(module, name)
        # The specification itself may have been imported with all the rest.
        if callable(found) and found is not getattr(hooks, name, None):
            _check_name(manager, module, name, specified)
    manager.register(module, name=plugin.name)
    manager.check_pending()
    callers = manager.get_hookcallers(manager.get_plugin(plugin.name)) or ()
    for caller in callers:
        for implementation in caller.get_hookimpls():
            wraps = implementation.hookwrapper or getattr(implementation, "wrapper", 0)
            if implementation.plugin_name == plugin.name and wraps:
                raise TypeError(f"{caller.name}() is a wrapper: hooks only add")
    plugin.hooks = tuple(sorted(caller.name for caller in callers))


def _check_name(manager: Any, module: Any, name: str, specified: set[str]) -> None:
    if name not in specified:
        from difflib import get_close_matches

        close = get_close_matches(name, specified, n=1)
        hint = f"; did you mean {close[0]}()?" if close else ""
        raise TypeError(f"there is no hook {name}(){hint}")
    if manager.parse_hookimpl_opts(module, name) is None:
        raise TypeError(f"{name}() does not carry @hookimpl, so it would not be called")


plugins = Plugins()
os.register_at_fork(after_in_child=plugins.forked)
