"""The digest of a function or class with all of the project that it reaches.

What a function reaches are the globals that its code names, attributes of modules
among them, its closure and its defaults; of a class all attributes. Functions and
classes that are reached so are looked into in their turn, those of libraries are known
by name and version. What is only reached when it runs (by `getattr`, by a registry, by
the type of an argument) can't be seen.

The definitions are numbered as they are met, and refer to each other by number: so it
takes no recursion, and functions may call each other in circles.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
import sys
from collections import deque
from types import (
    BuiltinFunctionType,
    CodeType,
    DynamicClassAttribute,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any, Final

from entangle._worker import references
from entangle._worker.codec import ATOMS, LARGEST_GLOBALS
from entangle._worker.snapshot import is_immutable
from entangle.errors import OptionError

from . import origins
from .local_imports import token_of_import
from .names import names_of
from .syntax import token_of_code
from .tokens import Tokens, UnkeyableError, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MOST: Final = 1024
_missing: Final = object()

# In a class, made of what else is in it, or without meaning for what it does.
_DERIVED: Final = frozenset(
    {
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__"),
        *("__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__slotnames__"),
        *("__dataclass_params__", "__match_args__", "__firstlineno__", "__signature__"),
        *("__static_attributes__", "__orig_bases__", "__parameters__"),
        *(
            "_member_names_",
            "_member_map_",
            "_value2member_map_",
            "_unhashable_values_",
        ),
        *("_hashable_values_", "__annotate_func__", "__annotations_cache__"),
    }
)
_REMEMBERING: Final = type(functools.lru_cache(len))
_DEFINED: Final = (FunctionType, MethodType, type, functools.partial, _REMEMBERING)
_BARE: Final = (MemberDescriptorType, GetSetDescriptorType, DynamicClassAttribute)


class Reached:
    """What a definition was found to be and to depend on, at one moment.

    Attributes:
        digest: Equal for definitions that do the same.
    """

    __slots__ = ("_cells", "_entries", "_functions", "_mutable", "_sizes", "digest")

    def __init__(self, search: _Search, value: bytes) -> None:
        """Keep what a search has found."""
        self.digest = value
        self._entries = tuple(search.entries)
        self._functions = tuple(search.functions)
        self._cells = tuple(search.cells)
        self._sizes = tuple(search.sizes)
        self._mutable = tuple(search.mutable)

    def valid(self) -> bool:
        """Tell whether everything is still as it was."""
        for get, name, value in self._entries:
            if get(name, _missing) is not value:
                return False
        for mapping, size in self._sizes:
            if len(mapping) != size:
                return False
        try:
            return self._functions_valid() and all(
                Tokens(_NONE).of(value) == token for value, token in self._mutable
            )
        except UnkeyableError:
            return False

    def _functions_valid(self) -> bool:
        for function, code, defaults, keywords in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        try:
            return all(cell.cell_contents is value for cell, value in self._cells)
        except ValueError:  # emptied
            return False


class _None:
    """Knows no definition: a value without any is looked at."""

    def token_of(self, definition: Any) -> bytes:
        raise UnkeyableError(f"{definition!r} was not there before")


_NONE: Final = _None()
# Of a definition and the names that don't count: what was found. Held, so that the
# identities stay its own.
_known: dict[tuple[int, tuple[str, ...]], tuple[Any, Reached]] = {}


def digest_of(definition: Any, ignored: tuple[str, ...] = ()) -> bytes:
    """Return the digest of a function or class; what was found before is checked.

    Args:
        definition: A function or a class.
        ignored: The names of globals that don't count, as ``name`` wherever they are
            used or as ``module.name``.

    Raises:
        UnkeyableError: something that it reaches has no token; the path says what.
        OptionError: no such global is used.
    """
    key = id(definition), ignored
    entry = _known.get(key)
    if entry is not None and entry[1].valid():
        return entry[1].digest
    search = _Search(ignored)
    value = search.run(definition)
    if search.volatile:
        _known.pop(key, None)
        return value
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = definition, Reached(search, value)
    return value


class Definitions:
    """Gives the digests of definitions that are met in values."""

    def token_of(self, definition: Any) -> bytes:
        """Return the token of a function or class.

        Raises:
            UnkeyableError: something that it reaches has none.
        """
        named = _by_name(definition)
        return named if named is not None else digest_of(definition)


def _by_name(definition: Any) -> bytes | None:
    """Return what stands for a library's definition; None for one of the project."""
    module = _module_of(definition)
    if origins.is_project(module):
        return None
    qualname = definition.__qualname__
    if isinstance(definition, FunctionType) and "<" in qualname:
        # Made by a library, around a function of the project maybe.
        found: Any = None
    else:
        found = references.resolve(sys.modules.get(module), qualname)
    if isinstance(definition, FunctionType) and not (
        found is definition or getattr(found, "fn", None) is definition
    ):
        return None
    return f"L{origins.label(module)}:{qualname}".encode()


def _module_of(definition: Any) -> str:
    if isinstance(definition, FunctionType):
        # What it says of itself may be copied from another.
        name: Any = definition.__globals__.get("__name__")
    else:
        name = definition.__module__
    return name if isinstance(name, str) else ""


class _Search:
    """Looks into one definition and all that it reaches."""

    def __init__(self, ignored: tuple[str, ...]) -> None:
        self.entries: list[tuple[Callable[[Any, Any], Any], str, Any]] = []
        self.functions: list[tuple[FunctionType, CodeType, Any, Any]] = []
        self.cells: list[tuple[Any, Any]] = []
        self.sizes: list[tuple[Any, int]] = []
        self.mutable: list[tuple[Any, bytes]] = []
        # Whether something was met whose change can't be seen cheaply.
        self.volatile = False
        self._ignored = ignored
        self._used: set[str] = set()
        self._numbers: dict[int, int] = {}
        self._held: list[Any] = []
        self._queue: deque[Any] = deque()
        self._met = False

    def run(self, root: Any) -> bytes:
        parts = [self.token_of(root)]
        while self._queue:
            definition = self._queue.popleft()
            if isinstance(definition, FunctionType):
                parts.append(self._function(definition))
            else:
                parts.append(self._class(definition))
        for name in self._ignored:
            if "." in name and name not in self._used:
                raise OptionError(
                    f"cache_ignore names {name!r}, but no global of that module is "
                    "used by the task or anything that it reaches",
                    decorator="",
                    option="cache_ignore",
                )
        return digest(*parts)

    def token_of(self, definition: Any) -> bytes:
        """Number a definition, to be looked into later."""
        self._met = True
        number = self._numbers.get(id(definition))
        if number is None:
            named = _by_name(definition)
            if named is not None:
                return named
            number = self._numbers[id(definition)] = len(self._numbers)
            self._held.append(definition)
            self._queue.append(definition)
        return b"#%d" % number

    def _value(self, label: str, value: Any, most: int | None = None) -> bytes:
        """Return the token of something that a definition refers to."""
        met, self._met = self._met, False
        try:
            token = Tokens(self, most).part(label, value)
        finally:
            found, self._met = self._met, met or self._met
        if not _steady(value):
            if found:
                self.volatile = True
            else:
                self.mutable.append((value, token))
        return token

    # -- functions ---------------------------------------------------------------

    def _function(self, function: FunctionType) -> bytes:
        code = function.__code__
        self.functions.append(
            (function, code, function.__defaults__, function.__kwdefaults__)
        )
        module = _module_of(function)
        if origins.is_project(module):
            parts = [b"F", token_of_code(code)]
            for name, value in _defaults(function):
                label = f"default of parameter {name!r} of {function.__qualname__!r}"
                parts += (name.encode(), self._value(label, value))
            for name, value in self._cells(function):
                label = f"closure variable {name!r} of {function.__qualname__!r}"
                parts += (name.encode(), self._value(label, value))
            return digest(*parts, *self._globals(function))
        # Made by a library's decorator, say, around a function of the project.
        parts = [b"G", origins.label(module).encode(), function.__qualname__.encode()]
        for name, value in self._cells(function):
            parts += (name.encode(), self._foreign(value))
        return digest(*parts)

    def _cells(self, function: FunctionType) -> Iterator[tuple[str, Any]]:
        """Yield the variables of a closure that count."""
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                self.volatile = True
                continue
            self.cells.append((cell, value))
            if name not in self._ignored:
                yield name, value

    def _foreign(self, value: Any) -> bytes:
        """Return the token of what a library's function holds: definitions, numbers.

        All else is the library's own, as the values that a decorator remembers.
        """
        if type(value) in ATOMS:
            return Tokens(self).of(value)
        if type(value) is dict:
            registered = {
                key: each for key, each in value.items() if isinstance(each, _DEFINED)
            }
            self.volatile = True
            return self._foreign(tuple(registered.items()))
        if type(value) is tuple or type(value) is list:
            self.volatile = self.volatile or type(value) is list
            return digest(*map(self._foreign, value))
        if isinstance(value, _DEFINED) or references.is_task(type(value)):
            try:
                return self._value("", value)
            except UnkeyableError:
                self.volatile = True
        return b""

    def _globals(self, function: FunctionType) -> list[bytes]:
        names = names_of(function.__code__)
        space = function.__globals__
        parts: list[bytes] = []
        for chain in names.chains:
            parts += (
                ".".join(chain).encode(),
                self._chain(function, chain, names.attributes),
            )
        for level, name, taken in names.imports:
            package = space.get("__package__") or ""
            parts.append(token_of_import(package, level, name, taken))
        own = vars(function)
        for name in sorted(names.attributes & own.keys()):
            label = f"attribute {name!r} of {function.__qualname__!r}"
            value = self._entry(own, name)
            parts += (name.encode(), self._value(label, value, LARGEST_GLOBALS))
        return parts

    def _chain(
        self, function: FunctionType, chain: tuple[str, ...], attributes: frozenset[str]
    ) -> bytes:
        """Follow a global through modules to a value."""
        space: Mapping[str, Any] = function.__globals__
        module = _module_of(function)
        for place, name in enumerate(chain):
            full = f"{module}.{name}"
            if (not place and name in self._ignored) or full in self._ignored:
                self._used.add(full)
                return b"ignored"
            value = self._entry(space, name)
            if value is _missing:
                return b"missing"  # a builtin, or still to be assigned
            if type(value) is not ModuleType:
                where = f"of {function.__qualname__!r}" if not place else f"of {module}"
                return self._value(f"global {name!r} {where}", value, LARGEST_GLOBALS)
            module, space = value.__name__, vars(value)
            if not origins.is_project(module):
                return f"L{origins.label(module)}".encode()
        # The module itself: what may be taken of it counts.
        parts = [module.encode()]
        for name in sorted(attributes & space.keys()):
            value = self._entry(space, name)
            if type(value) is ModuleType or f"{module}.{name}" in self._ignored:
                self._used.add(f"{module}.{name}")
                continue
            label = f"global {name!r} of {module}"
            parts += (name.encode(), self._value(label, value, LARGEST_GLOBALS))
        return digest(*parts)

    def _entry(self, names: Mapping[str, Any], name: str) -> Any:
        value = names.get(name, _missing)
        self.entries.append((names.get, name, value))
        return value

    # -- classes -----------------------------------------------------------------

    def _class(self, cls: type) -> bytes:
        names = vars(cls)
        self.sizes.append((names, len(names)))
        parts = [b"C", cls.__qualname__.encode()]
        parts += [self.token_of(base) for base in cls.__bases__]
        if type(cls) is not type:
            parts.append(self.token_of(type(cls)))
        members: Any = names.get("_member_map_")
        enumeration = isinstance(members, dict)
        if enumeration:
            named: dict[str, Any] = members
            for name, member in named.items():
                label = f"value of {name!r} in {cls.__qualname__!r}"
                value = getattr(member, "_value_", None)
                parts += (name.encode(), self._value(label, value))
        for name in sorted(names):
            if name in _DERIVED or (enumeration and name in members):
                continue
            value = self._entry(names, name)
            if name == "__annotations__" and not value:
                continue  # made by whoever asked for them
            parts.append(name.encode())
            if not isinstance(value, _BARE):
                parts.append(self._attribute(cls, name, value))
        return digest(*parts)

    def _attribute(self, cls: type, name: str, value: Any) -> bytes:
        if name == "__annotations__":
            annotations: dict[str, Any] = value
            shown = [f"{key}:{_shown(each)}" for key, each in annotations.items()]
            return digest("\n".join(shown).encode())
        label = f"attribute {name!r} of class {cls.__qualname__!r}"
        try:
            return digest(*(self._value(label, inner) for inner in _inside(value)))
        except UnkeyableError:
            if name.startswith("_") and name.endswith("_"):
                # Set by whatever has made the class, of what else is in it.
                self.volatile = True
                return b""
            raise


def _defaults(function: FunctionType) -> Iterator[tuple[str, Any]]:
    code, defaults = function.__code__, function.__defaults__ or ()
    first = code.co_argcount - len(defaults)
    yield from zip(code.co_varnames[first:], defaults, strict=False)
    keywords: dict[str, Any] = function.__kwdefaults__ or {}
    yield from sorted(keywords.items())


def _inside(value: Any) -> tuple[Any, ...]:
    """Return the functions in what a class has in their place."""
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, (staticmethod, classmethod)):
        wrapper: Any = value
        return (wrapper.__func__,)
    if isinstance(value, (functools.cached_property, functools.singledispatchmethod)):
        return (value.func,)
    return (value,)


def _shown(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type):
        return f"{annotation.__module__}.{annotation.__qualname__}"
    return "" if " at 0x" in repr(annotation) else repr(annotation)


def _steady(value: Any) -> bool:
    """Tell whether a value can't be changed in place, or is looked into by itself."""
    kind: type[Any] = type(value)
    if kind in ATOMS or kind in {FunctionType, BuiltinFunctionType, ModuleType}:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(_steady, value))
    if references.is_task(kind):
        return not hasattr(value, "first")
    return isinstance(value, type) or kind is _REMEMBERING or is_immutable(kind)
