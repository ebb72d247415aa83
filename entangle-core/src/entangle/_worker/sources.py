"""Functions by their source: for a Python whose bytecode is another one.

Decorators, annotations and defaults are taken off the syntax tree as this Python parses
it; lines keep their numbers, so that tracebacks show them.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations
import __future__

import ast
import builtins
import linecache
import sys

from . import references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FunctionType
    from typing import Any, Union

    # How a value is described, and by what.
    Described = tuple[int, Any]

# Values: themselves, functions by their number, modules and objects in them by name.
VALUE, FUNCTION, MODULE, NAMED = range(4)
_FACTORY = "__entangle_factory__"


class Source:
    """One function: where its definition stands, and what it takes from there.

    Attributes:
        text: The lines of its definition; indented as they stand.
        path: The file that they are from.
        line: The number of the first of them.
        place: Line and column of the definition in that file.
        space: The number of its globals.
        lazy: Whether annotations inside of it are never evaluated.
        names: ``__name__``, ``__qualname__``, ``__module__``.
        cells: The variables of its closure.
        defaults: Of its positional parameters; None if there are none.
        keywords: Of its keyword-only parameters.
    """

    __slots__ = (
        "cells",
        "defaults",
        "keywords",
        "lazy",
        "line",
        "names",
        "path",
        "place",
        "space",
        "text",
    )

    def __init__(self, *fields: Any) -> None:
        """Take the fields in the order of their names."""
        for name, value in zip(self.__slots__, fields):
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as it is."""
        return Source, tuple(getattr(self, name) for name in self.__slots__)

    cells: dict[str, Described]
    defaults: Union[tuple[Described, ...], None]
    keywords: dict[str, Described]
    lazy: bool
    line: int
    names: tuple[str, str, str]
    path: str
    place: tuple[int, int]
    space: int
    text: str


def build(
    sources: Sequence[Source], spaces: Sequence[tuple[str, dict[str, Described]]]
) -> Any:
    """Make functions; return the first of them (stands in pickles).

    Args:
        sources: The functions.
        spaces: The globals that they use, each with the name of their module.

    Raises:
        SyntaxError: this Python doesn't know the syntax of one.
    """
    globals_: list[dict[str, Any]] = [
        {"__name__": module, "__builtins__": builtins} for module, _ in spaces
    ]
    made = [_made(source, globals_[source.space]) for source in sources]
    for function, source in zip(made, sources):
        _complete(function, source, made)
    for space, (_, used) in zip(globals_, spaces):
        for name, described in used.items():
            space[name] = _real(described, made)
    return made[0]


def _complete(
    function: FunctionType, source: Source, made: Sequence[FunctionType]
) -> None:
    """Give a function its closure, its defaults and its names."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        cell.cell_contents = _real(source.cells[name], made)
    if source.defaults is not None:
        function.__defaults__ = tuple([_real(each, made) for each in source.defaults])
    function.__kwdefaults__ = {
        name: _real(value, made) for name, value in source.keywords.items()
    } or None
    function.__name__, function.__qualname__, function.__module__ = source.names


def _real(described: Described, made: Sequence[FunctionType]) -> Any:
    """Return a value as it is here."""
    kind, value = described
    if kind == FUNCTION:
        return made[value]
    if kind == MODULE:
        __import__(value)
        return sys.modules[value]
    if kind == NAMED:
        return references.task_function(*value)
    return value


def _made(source: Source, space: dict[str, Any]) -> FunctionType:
    """Make a function whose closure is still to be filled."""
    # Under a condition, an indented definition stands as it stands in its file.
    text = source.text
    indented = text[:1] in {" ", "\t"}
    tree = ast.parse("if 1:\n" + text if indented else text, source.path)
    ast.increment_lineno(tree, source.line - 1 - indented)
    node = _at(tree, source.place)
    stripped(node)
    body: list[ast.stmt]
    if isinstance(node, ast.Lambda):
        body = [ast.Return(node)]
    else:
        body = [node, ast.Return(ast.Name(node.name, ast.Load()))]
    factory = ast.parse(f"def {_FACTORY}({', '.join(source.cells)}): pass").body[0]
    if not isinstance(factory, ast.FunctionDef):
        raise TypeError(factory)
    factory.body = body
    module = ast.Module([factory], [])
    for each in body:
        ast.copy_location(each, node)
    ast.fix_missing_locations(module)
    names: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag if source.lazy else 0
    code = compile(module, source.path, "exec", flags, dont_inherit=True)
    exec(code, space, names)  # noqa: S102 - sent by the caller
    function: FunctionType = names[_FACTORY](*[None] * len(source.cells))
    _show(source)
    return function


def _at(tree: ast.AST, place: tuple[int, int]) -> Any:
    for node in ast.walk(tree):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        if isinstance(node, kinds) and (node.lineno, node.col_offset) == place:
            return node
    raise LookupError(f"no function at line {place[0]}, column {place[1]}")


def stripped(node: Any) -> None:
    """Take off a definition what is not its own: decorators, annotations, defaults."""
    arguments = node.args
    if not isinstance(node, ast.Lambda):
        node.decorator_list = []
        node.returns = None
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in (*every, arguments.vararg, arguments.kwarg):
            if argument is not None:
                argument.annotation = None
    nothing = ast.copy_location(ast.Constant(None), node)
    arguments.defaults = [nothing for _ in arguments.defaults]
    arguments.kw_defaults = [each and nothing for each in arguments.kw_defaults]


def _show(source: Source) -> None:
    """Have tracebacks show the lines of a definition, whose file is not here."""
    known = linecache.cache.get(source.path)
    lines = list(known[2]) if known is not None and len(known) > 2 else []  # noqa: PLR2004 - a lazy entry is shorter
    own = source.text.splitlines(keepends=True)
    first = source.line - 1
    lines.extend("\n" for _ in range(first + len(own) - len(lines)))
    lines[first : first + len(own)] = own
    # Without a time, it is not compared with the file.
    linecache.cache[source.path] = (sum(map(len, lines)), None, lines, source.path)
