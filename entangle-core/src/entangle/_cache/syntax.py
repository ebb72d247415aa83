"""What a function says, whatever it looks like: its syntax tree, without positions.

Comments, line breaks, decorators and the docstring don't count. (What decorators do is
seen in what the name leads to.) The file may have been changed since the function was
made of it, so it is compiled once more and the results are compared. A function without
a source that fits, as one of ``python -c`` has none, is known by its bytecode instead,
of which a line break may count.
"""

# Constants of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import marshal
from copy import copy
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.caching import codes

from .tokens import digest

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator

_MARSHAL: Final = 2  # the version that knows no references
_MOST_FILES: Final = 256
_DOCUMENTED: Final = 0x4000000  # flag of a code object: the first constant is its text


def token_of_code(code: CodeType) -> bytes:
    """Return what stands for the code of a function."""
    compiled = _compiled(code.co_filename, _lines(code.co_filename))
    if compiled is not None:
        found = compiled.get((code.co_name, code.co_firstlineno))
        if found is not None and found[0] == code:
            return b"S" + found[1]
    return b"X" + _bytecode(code)


def token_of_source(text: str, name: str) -> bytes:
    """Return what stands for a whole file; by its bytes if it is no Python."""
    import ast

    try:
        tree = ast.parse(text, name)
    except (SyntaxError, ValueError, RecursionError):
        return b"Y" + digest(text.encode(errors="surrogatepass"))
    return b"Z" + _dumped(tree)


def _lines(file: str) -> tuple[str, ...]:
    import linecache

    return tuple(linecache.getlines(file))


@lru_cache(_MOST_FILES)
def _compiled(
    file: str, lines: tuple[str, ...]
) -> dict[tuple[str, int], tuple[CodeType, bytes]] | None:
    """Compile a file; its functions by name and first line, each with its tree's digest.

    None if there is no source, or none that can be compiled.
    """
    import ast

    if not lines:
        return None
    try:
        tree = ast.parse("".join(lines), file)
        whole = compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    trees = _functions(tree)
    made: dict[tuple[str, int], tuple[CodeType, bytes]] = {}
    for code in codes(whole):
        place = (code.co_name, code.co_firstlineno)
        node = trees.get(place)
        if node is not None:
            made[place] = code, _dumped(node)
    return made


def _functions(tree: ast.Module) -> dict[tuple[str, int], ast.AST | None]:
    """Find all functions by name and first line; None where there are several."""
    import ast

    found: dict[tuple[str, int], ast.AST | None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            place = ("<lambda>", node.lineno)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = [node.lineno, *(each.lineno for each in node.decorator_list)]
            place = (node.name, min(lines))
        else:
            continue
        found[place] = None if place in found else node
    return found


def _dumped(node: ast.AST) -> bytes:
    """Return the digest of a tree, without docstrings and the outermost decorators."""
    import ast

    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        # A copy: the tree is that of the whole file.
        whole, node = node, copy(node)
        node.decorator_list = []
        if ast.get_docstring(whole, clean=False) is not None:
            node.body = whole.body[1:]
    return digest(ast.dump(node).encode(errors="surrogatepass"))


def _bytecode(code: CodeType) -> bytes:
    """Return the digest of what a code object does, without where it stands."""
    return digest(*_bytecode_parts(code))


def _bytecode_parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield getattr(code, "co_exceptiontable", b"")
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    names = (code.co_name, code.co_names, code.co_varnames)
    yield repr((*numbers, code.co_flags & ~_DOCUMENTED)).encode()
    yield repr((*names, code.co_freevars, code.co_cellvars)).encode()
    for const in code.co_consts:
        yield _constant(const)


def _constant(const: Any) -> bytes:
    if type(const) is CodeType:
        return b"X" + _bytecode(const)
    if type(const) is frozenset:
        return b"f" + digest(*sorted(map(_constant, const)))
    if type(const) is tuple:
        return b"t" + digest(*map(_constant, const))
    if type(const) is slice:
        return b"s" + digest(*map(_constant, (const.start, const.stop, const.step)))
    return b"a" + marshal.dumps(const, _MARSHAL)
