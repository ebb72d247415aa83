"""What a function's code refers to: globals, attributes of modules, local imports."""

from __future__ import annotations

import dis
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from entangle._graph.caching import codes

if TYPE_CHECKING:
    from types import CodeType

_GLOBAL: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_CONSTANT: Final = frozenset({"LOAD_CONST", "LOAD_SMALL_INT"})
_MOST: Final = 4096


class Names(NamedTuple):
    """The names in a code object and in all that are defined in it.

    Attributes:
        chains: Globals, each with the attributes that are taken of it, one of the
            other: ``('os', 'path', 'join')``.
        attributes: All names of attributes, whatever they are taken of.
        imports: Modules that are imported inside, each as its level, its name and
            what is taken from it.
    """

    chains: tuple[tuple[str, ...], ...]
    attributes: frozenset[str]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@lru_cache(_MOST)
def names_of(code: CodeType) -> Names:
    """Read the names in a code object, in the order in which they are written."""
    chains: dict[tuple[str, ...], None] = {}
    attributes: set[str] = set()
    imports: dict[tuple[int, str, tuple[str, ...]], None] = {}
    for each in codes(code):
        _read(each, chains, attributes, imports)
    return Names(tuple(chains), frozenset(attributes), tuple(imports))


def _read(
    code: CodeType,
    chains: dict[tuple[str, ...], None],
    attributes: set[str],
    imports: dict[tuple[int, str, tuple[str, ...]], None],
) -> None:
    chain: tuple[str, ...] = ()
    constants: list[Any] = [0, ()]
    for instruction in dis.get_instructions(code):
        name: str = instruction.opname
        value: Any = instruction.argval
        if name in _ATTRIBUTE:
            attributes.add(value)
            if chain:
                chain += (value,)
        elif name != "EXTENDED_ARG":
            if chain:
                chains[chain] = None
            chain = (value,) if name in _GLOBAL else ()
            if name in _CONSTANT:
                constants.append(value)
            elif name == "IMPORT_NAME":
                level, taken = constants[-2:]
                imports[level, value, tuple(taken or ())] = None
    if chain:
        chains[chain] = None
