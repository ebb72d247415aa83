"""What source and code import, read from them: nothing is run for it."""

from __future__ import annotations

import ast
import dis
import functools
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Who calls these imports what text says: so the texts that it holds may be names.
BY_TEXT: Final = frozenset(
    (
        *("import_module", "__import__", "run_module", "find_spec", "resolve_name"),
        *("import_string", "locate", "dictConfig"),
    )
)
_NO_STEPS: Final = frozenset(("EXTENDED_ARG", "CACHE", "NOP"))
_MOST: Final = 512


@functools.lru_cache(_MOST)
def of_source(name: str, is_package: bool, source: bytes) -> tuple[str, ...]:  # noqa: FBT001 - cached by it
    """Return what a module may import, by full names, when it is imported and used.

    What ``from`` takes may be a module, or not: it is among them, too. Left out is what
    a module does as a program, or for type checkers alone.

    Args:
        name: What it is called.
        is_package: Whether it is a package.
        source: Its source.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()  # it fails where it is imported
    package = name if is_package else name.rpartition(".")[0]
    found: list[str] = []
    texts: list[str] = []
    called: set[str] = set()
    by_text: set[str] = {*BY_TEXT}
    for node in _run_when_imported(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            taken = [alias.name for alias in node.names]
            found += _taken(package, node.level, node.module or "", taken)
            by_text.update(
                alias.asname
                for alias in node.names
                if alias.asname and alias.name in BY_TEXT
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            called.add(_name(node))
        if is_package and isinstance(node, ast.Assign) and _is_all(node):
            # ``from package import *`` imports those that are modules.
            found += [f"{name}.{text}" for text in _texts(node.value)]
    if not called.isdisjoint(by_text):
        found += _named(package, texts)
    return tuple(dict.fromkeys(found))


def of_code(code: CodeType, package: str) -> Iterator[str]:
    """Yield what code, with all code in it, may import, by full names.

    Args:
        code: The code.
        package: What its relative imports begin at.
    """
    waiting = [code]
    while waiting:
        one = waiting.pop()
        waiting += [each for each in one.co_consts if type(each) is CodeType]
        if not BY_TEXT.isdisjoint(one.co_names):
            yield from _named(package, _texts(one.co_consts))
        before: list[Any] = [None, None]
        for step in dis.get_instructions(one):
            if step.opname in _NO_STEPS:
                continue
            if step.opname == "IMPORT_NAME":
                level, taken = before
                yield from _taken(package, level or 0, step.argval, taken or ())
            before = [before[1], step.argval]


def of_text(text: str, package: str) -> tuple[str, ...]:
    """Return what a definition that stands indented may import, by full names."""
    text = "if 1:\n" + text if text[:1] in {" ", "\t"} else text
    return of_source(f"{package}." if package else "", False, text.encode())


def _taken(package: str, level: int, name: str, taken: Iterable[str]) -> Iterator[str]:
    """Yield what ``from`` imports, or may."""
    if level:
        above = package.split(".")
        base = ".".join(above[: len(above) - level + 1])
        name = f"{base}.{name}" if name and base else name or base
    if name:
        yield name
        yield from (f"{name}.{each}" for each in taken)


def _named(package: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield the full names that texts may be."""
    for whole in texts:
        text = whole.partition(":")[0]
        if text.replace(".", "").isidentifier():
            yield f"{package}{text}" if text[0] == "." else text


def _run_when_imported(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk a module, but for what only a program or a type checker comes to."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and _is_elsewhere(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _is_elsewhere(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare) and _name(test.left) == "__name__":
        return type(test.ops[0]) is ast.Eq and [*_texts(test)] == ["__main__"]
    return _name(test) == "TYPE_CHECKING"


def _is_all(node: ast.Assign) -> bool:
    return any(_name(target) == "__all__" for target in node.targets)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _texts(values: Any) -> Iterator[str]:
    """Yield the texts in a part of a tree, or among constants."""
    if isinstance(values, ast.AST):
        values = [
            node.value for node in ast.walk(values) if isinstance(node, ast.Constant)
        ]
    for value in values:
        if type(value) is str:
            yield value
        elif type(value) is tuple or type(value) is frozenset:
            yield from _texts(value)
