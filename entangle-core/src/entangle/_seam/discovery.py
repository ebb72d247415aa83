"""Finding the distributions that have a plugin, and finding out fast that none has."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from entangle._environ import variable

from . import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

DISABLE = "ENTANGLE_DISABLE_PLUGINS"


class _Looked:
    """Where somebody has looked last, and whether there was anything."""

    path: ClassVar[list[str]] = []
    found: ClassVar[bool] = False


class Found(NamedTuple):
    """An entry point of the group, with where it is from.

    Attributes:
        name: Its name.
        value: What it names: a module, or an object of one behind a colon.
        distribution: The name of the distribution that has it.
        version: The version of that.
        where: The folder or archive on the path that this was found in.
    """

    name: str
    value: str
    distribution: str
    version: str
    where: str

    def load(self) -> Any:
        """Import what it names.

        Raises:
            Exception: whatever importing it raises.
        """
        module, _, attributes = map(str.strip, self.value.partition(":"))
        found: Any = import_module(module)
        for attribute in filter(None, attributes.split(".")):
            found = getattr(found, attribute)
        return found


_NONE: Final = frozenset[str]()


def disabled() -> frozenset[str] | None:
    """Return the names of the plugins that are switched off; None for all of them."""
    text = variable(DISABLE).strip()
    if not text:
        return _NONE
    if text.lower() in {"1", "true", "yes", "all", "*"}:
        return None
    names = (name.strip() for name in text.split(","))
    return frozenset(name for name in names if name and name != "0")


def wanted() -> bool:
    """Tell, fast, whether there may be a plugin that is not switched off.

    Metadata is looked at again when the path has changed.
    """
    if sys.path != _Looked.path:
        path = sys.path.copy()
        _Looked.found = may_exist()
        _Looked.path = path
    return _Looked.found and disabled() is not None


def may_exist() -> bool:
    """Tell whether any installed distribution may have a plugin.

    Every first run pays for it: about a millisecond. It errs on the side of yes.
    """
    return any(map(metadata.may_declare, sys.path))


def found() -> Iterator[Found]:
    """Yield the entry points of all installed distributions, each once, in order.

    A distribution that is installed twice counts where Python finds it first.
    """
    seen: set[str] = set()
    for each in metadata.everywhere():
        if each.key not in seen:
            seen.add(each.key)
            for name, value in sorted(each.entries):
                yield Found(name, value, each.name, each.version, each.where)
