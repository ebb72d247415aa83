"""What a by-value definition depends on, to know whether it has changed.

A definition is *stable* if all it reaches is immutable or replaced as a whole: then
comparing what names, closures and attributes refer to shows every change. One list
among its globals, and nothing short of encoding it again does.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    ModuleType,
    WrapperDescriptorType,
)

from . import references
from .codec import ATOMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import CellType, CodeType
    from typing import Any

_missing = object()

# Types of values that nobody changes in place, by name: most are not imported.
_IMMUTABLE = frozenset(
    (
        "_collections._tuplegetter",
        "collections._tuplegetter",
        "dataclasses._HAS_DEFAULT_FACTORY_CLASS",
        "dataclasses._MISSING_TYPE",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "datetime.timezone",
        "decimal.Decimal",
        "fractions.Fraction",
        "ipaddress.IPv4Address",
        "ipaddress.IPv6Address",
        "logging.Logger",  # goes by its name
        "logging.RootLogger",
        "operator.attrgetter",
        "operator.itemgetter",
        "pathlib.PosixPath",
        "pathlib.PurePosixPath",
        "pathlib._local.PosixPath",
        "pathlib._local.PurePosixPath",
        "re.Pattern",
        "typing.NewType",
        "typing.ParamSpec",
        "typing.TypeVar",
        "uuid.UUID",
        "zoneinfo.ZoneInfo",
    )
)
_PLAIN = frozenset(
    (
        BuiltinFunctionType,
        ClassMethodDescriptorType,
        GetSetDescriptorType,
        MemberDescriptorType,
        MethodDescriptorType,
        WrapperDescriptorType,
    )
)
# Its functions guard themselves against recursion with a set in their closure.
_REPR_GUARDS = frozenset(("dataclasses", "reprlib"))

# In a class, set by its creation and not meant to be changed.
_MADE_ONCE = frozenset(
    (
        "__abstractmethods__",
        "__annotations__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__orig_bases__",
        "__parameters__",
        "__non_callable_proto_members__",
        "__protocol_attrs__",
        "__slotnames__",
        "__slots__",
        "_field_defaults",
        "_abc_impl",
        "_member_map_",
        "_member_names_",
        "_value2member_map_",
    )
)


class Snapshot:
    """What a definition refers to at one moment. Immutable, thread-safe."""

    __slots__ = ("_cells", "_entries", "_functions", "_registered", "_sizes")

    def __init__(self, found: _Search) -> None:
        """Keep what a search has found."""
        self._functions = tuple(found.functions)
        self._cells = tuple(found.cells)
        self._entries = tuple(found.entries)
        self._sizes = tuple(found.sizes)
        self._registered = _abc_token() if found.registered else None

    @classmethod
    def of(cls, root: Any) -> Snapshot | None:
        """Take a snapshot of a function, class or partial; None if not stable."""
        search = _Search()
        search.waiting.append(root)
        try:
            while search.waiting:
                if not search.visit(search.waiting.pop()):
                    return None
        except Exception:  # noqa: BLE001 - descriptors and metaclasses of the user's
            return None
        return cls(search)

    def valid(self) -> bool:
        """Say whether everything still refers to what it did."""
        for get, name, value in self._entries:
            if get(name, _missing) is not value:
                return False
        for function, code, defaults, keywords in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return False
        try:
            for cell, value in self._cells:
                if cell.cell_contents is not value:
                    return False
        except ValueError:  # emptied
            return False
        for mapping, size in self._sizes:
            if len(mapping) != size:
                return False
        return self._registered is None or self._registered == _abc_token()


def _abc_token() -> object:
    from abc import get_cache_token

    return get_cache_token()


class _Search:
    """Collects what a definition refers to."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []
        self.functions: list[tuple[FunctionType, CodeType, Any, Any]] = []
        self.cells: list[tuple[CellType, Any]] = []
        self.entries: list[tuple[Callable[[str, Any], Any], str, Any]] = []
        self.sizes: list[tuple[Any, int]] = []
        self.registered = False
        self._seen: dict[int, object] = {}

    def visit(self, value: Any) -> bool:
        """Look at one value; False if changes inside it would go unnoticed."""
        kind: type[Any] = type(value)
        if kind in ATOMS or id(value) in self._seen:
            return True
        self._seen[id(value)] = value
        if kind is FunctionType:
            return self._by_name(value) or self._function(value)
        if isinstance(value, type):
            return self._by_name(value) or self._class(value)
        if kind is tuple or kind is frozenset:
            self.waiting.extend(value)
            return True
        if kind is ModuleType:
            return self._module(value)
        return kind in _PLAIN or self._other(value, kind)

    def _by_name(self, value: Any) -> bool:
        """Note the way by which `value` is found, if it goes by name."""
        found = references.lookup(value)
        if found is None:
            return False
        holder: Any = sys.modules[found[0]]
        for name in found[1].split("."):
            names = vars(holder)
            if name in names:  # else made up by a module's __getattr__
                self._entry(names, name)
            holder = getattr(holder, name)
        return True

    def _entry(self, names: Mapping[str, Any], name: str) -> Any:
        value = names.get(name, _missing)
        self.entries.append((names.get, name, value))
        return value

    def _function(self, function: FunctionType) -> bool:
        from .byvalue import global_names  # cloudpickle: only if it is needed

        code, keywords = function.__code__, function.__kwdefaults__
        self.functions.append((function, code, function.__defaults__, keywords))
        self.waiting.extend(function.__defaults__ or ())
        self._mapping(keywords or {})
        self._mapping(vars(function))
        # Not what annotations are made of: calls don't depend on it.
        for name in function.__annotations__:
            self._entry(function.__annotations__, name)
        self.sizes.append((function.__annotations__, len(function.__annotations__)))
        for name in global_names(code):
            value = self._entry(function.__globals__, name)
            if value is not _missing:
                self.waiting.append(value)
        try:
            for cell in function.__closure__ or ():
                content = cell.cell_contents
                self.cells.append((cell, content))
                guard = function.__globals__.get("__name__") in _REPR_GUARDS
                if not (guard and type(content) is set):
                    self.waiting.append(content)
        except ValueError:  # a variable that is still to be assigned
            return False
        return True

    def _mapping(self, names: Mapping[str, Any]) -> None:
        self.sizes.append((names, len(names)))
        for name in names:
            self.waiting.append(self._entry(names, name))

    def _class(self, cls: type) -> bool:
        names = vars(cls)
        self.sizes.append((names, len(names)))
        self.waiting.extend(cls.__bases__)
        if type(cls) is not type:
            self.waiting.append(type(cls))
        enum = sys.modules.get("enum")
        enumeration = enum is not None and isinstance(cls, enum.EnumMeta)
        for name in names:
            value = self._entry(names, name)
            if name == "_abc_impl":
                self.registered = True
            if name in _MADE_ONCE or (enumeration and not hasattr(value, "__get__")):
                continue
            self.waiting.append(value)
        return True

    def _module(self, module: ModuleType) -> bool:
        name = module.__name__
        # Which of its submodules travel along depends on those that are imported.
        if hasattr(module, "__path__"):
            self.sizes.append((sys.modules, len(sys.modules)))
        return name in references.PROGRAMS or references.importable(name)

    def _other(self, value: Any, kind: type[Any]) -> bool:
        if kind is property:
            self.waiting.extend((value.fget, value.fset, value.fdel))
        elif kind in {staticmethod, classmethod}:
            self.waiting.append(value.__func__)
        elif references.is_task(kind):
            if not self._by_name(value):
                self.waiting.append(value.fn)
        elif kind.__module__ == "functools" and kind.__name__ == "partial":
            self._mapping(value.keywords)
            self._mapping(vars(value))
            self.waiting.extend((value.func, value.args))
        elif kind.__module__ == "functools" and kind.__name__ == "cached_property":
            self.waiting.append(value.func)
        elif kind.__module__ == "functools" and kind.__name__ == "_lru_cache_wrapper":
            self.waiting.append(value.__wrapped__)
        elif isinstance(kind, _enum_meta()):
            self.waiting.append(kind)
        else:
            return is_immutable(kind)
        return True


def is_immutable(kind: type) -> bool:
    """Say whether nobody changes objects of a type of the standard library in place."""
    return f"{kind.__module__}.{kind.__qualname__}" in _IMMUTABLE


def _enum_meta() -> Any:
    enum = sys.modules.get("enum")
    return () if enum is None else enum.EnumMeta
