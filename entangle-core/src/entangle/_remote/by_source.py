"""Functions for a place whose Python is of another version: by source, or refused.

What travels is the definition of the function and of the helpers it reaches, as text,
with the plain values among their globals and in their closures. What can't be right that
way is refused with the reason, before anything runs.
"""

# Values of any type are the subject here: what is narrowed stays unknown.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations
import __future__

import ast
import linecache
import pickle
import re
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from entangle._graph.caching import codes
from entangle._worker import references, sources
from entangle._worker.codec import ATOMS, LARGEST_GLOBALS, plain
from entangle._worker.snapshot import is_immutable
from entangle._worker.sources import FUNCTION, MODULE, NAMED, VALUE, Source

from .project import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from entangle._pool.jobs import Payload
    from entangle._worker.sources import Described

    from .project import Project

# What only a Python with the same bytecode can take.
_BY_VALUE: Final = re.compile(
    rb"entangle\._worker\.(?:byvalue|classes|mains)|cloudpickle"
)
_CONTAINERS: Final = frozenset((list, tuple, dict, set, frozenset, bytearray))
# Modules of which immutable values pickle alike in all versions.
_SAME_EVERYWHERE: Final = frozenset(
    ("datetime", "decimal", "fractions", "logging", "operator", "re", "uuid")
)
_ANYWHERE: Final = 1 << 30
_LONGEST: Final = 60  # characters of a value in a message


class UnportableError(Exception):
    """It can't be sent to a Python of another version; says what, and why."""


def portable(data: Any) -> bool:
    """Tell whether a pickle, or what may be one, means the same in every Python."""
    return _BY_VALUE.search(data) is None


def check_arguments(payload: Payload) -> None:
    """Refuse arguments that go by value in part.

    Raises:
        UnportableError: they do.
    """
    parts = [payload.data, *payload.buffers]
    for parcel in payload.shared:
        parts += [parcel.data, *parcel.buffers]
    if not all(map(portable, plain(parts))):
        raise UnportableError(
            "an argument holds a function or a class of the program itself: put it into "
            "a module, or pass plain data"
        )


def encoded(
    function: Callable[..., Any],
    data: bytes,
    version: tuple[int, int],
    project: Project,
) -> bytes:
    """Return a function as bytes for another version of Python.

    Args:
        function: The function.
        data: It, as it is encoded for this version.
        version: That of the place.
        project: Knows which modules are the caller's own.

    Raises:
        UnportableError: it can't be sent there.
    """
    found = references.lookup(function)
    if found is not None and (version >= OLDEST or not project.owns(found[0])):
        return data
    if type(function) is not FunctionType:
        if portable(data):
            return data
        raise UnportableError(
            f"{_shown(function)} is no plain function, and goes by value: define it "
            "with def, or put it into a module"
        )
    survey = _Survey(version, project)
    survey.number(function)
    survey.run()
    made = sources.build, (survey.sources, survey.spaces())
    result = pickle.dumps(_Made(*made), 4)
    if len(result) > LARGEST_GLOBALS:
        raise UnportableError(
            f"the globals that {function.__qualname__} uses have {len(result):,} bytes: "
            "pass large values as arguments"
        )
    return result


class _Made:
    """Pickles as a call."""

    def __init__(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._reduced = make, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


class _Survey:
    """Collects a function and what it reaches."""

    def __init__(self, version: tuple[int, int], project: Project) -> None:
        self.sources: list[Source] = []
        self._version = version
        self._project = project
        self._functions: list[FunctionType] = []
        self._numbers: dict[int, int] = {}
        self._spaces: dict[int, tuple[int, str, dict[str, Described]]] = {}

    def number(self, function: FunctionType) -> int:
        """Return the number of a function, which will be described."""
        number = self._numbers.get(id(function))
        if number is None:
            number = self._numbers[id(function)] = len(self._functions)
            self._functions.append(function)
        return number

    def run(self) -> None:
        """Describe all functions, and those that they reach."""
        # Grows while it is walked.
        for function in self._functions:
            self.sources.append(self._source(function))

    def spaces(self) -> list[tuple[str, dict[str, Described]]]:
        """Return the globals that are used, in the order of their numbers."""
        return [(name, used) for _, name, used in self._spaces.values()]

    def _source(self, function: FunctionType) -> Source:
        code = function.__code__
        name = function.__qualname__
        if "__class__" in code.co_freevars:
            raise UnportableError(
                f"{name} uses super() or __class__: only plain functions go by source"
            )
        text, line, place = _definition(function, self._version)
        known = self._spaces.setdefault(
            id(function.__globals__),
            (len(self._spaces), str(function.__globals__.get("__name__", "")), {}),
        )
        for used in _global_names(code):
            if used in function.__globals__ and used not in known[2]:
                # First: it may lead here again.
                known[2][used] = (VALUE, None)
                what = f"the global {used!r} of {name}"
                value = function.__globals__[used]
                known[2][used] = self._described(value, what)
        cells: dict[str, Described] = {}
        for variable, cell in zip(
            code.co_freevars, function.__closure__ or (), strict=True
        ):
            try:
                content = cell.cell_contents
            except ValueError:
                raise UnportableError(
                    f"the variable {variable!r} that {name} uses has no value yet"
                ) from None
            what = f"the variable {variable!r} that {name} uses"
            cells[variable] = self._described(content, what)
        defaults = function.__defaults__
        what = f"a default of {name}"
        keywords = (function.__kwdefaults__ or {}).items()
        return Source(
            cells,
            None
            if defaults is None
            else tuple(self._described(value, what) for value in defaults),
            {key: self._described(value, what) for key, value in keywords},
            bool(code.co_flags & __future__.annotations.compiler_flag),
            line,
            (function.__name__, name, function.__module__),
            code.co_filename,
            place,
            known[0],
            text,
        )

    def _described(self, value: Any, what: str) -> Described:
        kind: type[Any] = type(value)
        if kind is ModuleType:
            return MODULE, self._module(value, what)
        if references.is_task(kind):
            raise UnportableError(
                f"{what} is the task {_shown(value)}: helpers have to be plain "
                "functions where they go by source"
            )
        if _is_plain(value):
            return VALUE, value
        found = references.lookup(value)
        if found is not None and self._importable_there(found[0]):
            return NAMED, found[:2]
        if kind is FunctionType:
            return FUNCTION, self.number(value)
        if isinstance(value, type):
            if found is not None and not self._project.needs_framework(found[0]):
                return NAMED, found[:2]
            raise UnportableError(
                f"{what} is the class {value.__qualname__}, which goes by value: put it "
                "into a module that does not import entangle"
            )
        if kind is MethodType or kind is BuiltinFunctionType:
            raise UnportableError(f"{what} is the method {_shown(value)}")
        if kind.__module__ in _SAME_EVERYWHERE and is_immutable(kind):
            return VALUE, value
        raise UnportableError(
            f"{what} is {_shown(value)}, of type {kind.__qualname__}: only plain values "
            "go by source; pass it as an argument"
        )

    def _module(self, module: ModuleType, what: str) -> str:
        name = module.__name__
        if not references.importable(name):
            raise UnportableError(f"{what} is a module that can't be imported: {name}")
        return name

    def _importable_there(self, module: str) -> bool:
        return self._version >= OLDEST or not self._project.owns(module)


def _is_plain(value: Any) -> bool:
    """Tell whether a value consists of plain data alone."""
    waiting = [value]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        kind = type(part)
        if kind in ATOMS or part is Ellipsis or part is NotImplemented:
            continue
        if kind not in _CONTAINERS:
            return False
        if id(part) in seen or kind is bytearray:
            continue
        seen.add(id(part))
        if kind is dict:
            waiting.extend(part)
            waiting.extend(part.values())
        else:
            waiting.extend(part)
    return True


def _global_names(code: CodeType) -> Iterator[str]:
    from entangle._worker.codec import by_value

    names: list[str] = by_value().global_names(code)
    yield from names


def _definition(
    function: FunctionType, version: tuple[int, int]
) -> tuple[str, int, tuple[int, int]]:
    """Return a function's lines, the number of the first, and where it stands.

    Raises:
        UnportableError: its source is not known, or is not what it was made of.
    """
    code = function.__code__
    name = function.__qualname__
    lines = tuple(linecache.getlines(code.co_filename, function.__globals__))
    if not lines:
        raise UnportableError(f"the source of {name} is not known ({code.co_filename})")
    found = _compiled(code.co_filename, lines)
    if found is None:
        raise UnportableError(f"{code.co_filename} has errors now: run it anew")
    nodes = found.get((code.co_name, code.co_firstlineno), [])
    same = [node for node, made in nodes if made == code]
    if not same:
        raise UnportableError(
            f"the source of {name} is not that in {code.co_filename}: it was changed "
            "since, or the function was made in another way"
        )
    if len(same) > 1 and len({ast.dump(node) for node in same}) > 1:
        raise UnportableError(f"there are several functions like {name} in its line")
    node: Any = same[0]
    # No more than that: what stands around it, its decorators too, may be a secret.
    if isinstance(node, ast.Lambda):
        first, text = _lambda(lines, node)
    else:
        first, text = node.lineno, "".join(lines[node.lineno - 1 : node.end_lineno])
    try:
        _check_syntax(text, version)
    except SyntaxError as error:
        shown = ".".join(map(str, version))
        raise UnportableError(
            f"{name} is written in a syntax that Python {shown} doesn't know: {error}"
        ) from error
    return text, first, (node.lineno, node.col_offset)


def _check_syntax(text: str, version: tuple[int, int]) -> None:
    _parsed(text, version)


def _parsed(text: str, version: tuple[int, int] | None = None) -> ast.AST:
    text = "if 1:\n" + text if text[:1] in {" ", "\t"} else text
    return ast.parse(text, feature_version=version)


@lru_cache(64)
def _compiled(
    file: str, lines: tuple[str, ...]
) -> dict[tuple[str, int], list[tuple[Any, CodeType]]] | None:
    """Compile a file; its functions by name and first line, with their trees."""
    try:
        tree = ast.parse("".join(lines), file)
        whole = compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes: dict[tuple[str, int], list[Any]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            place = "<lambda>", node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = [each.lineno for each in node.decorator_list]
            place = node.name, min([node.lineno, *decorators])
        else:
            continue
        nodes.setdefault(place, []).append(node)
    found: dict[tuple[str, int], list[tuple[Any, CodeType]]] = {}
    for code in codes(whole):
        place = code.co_name, code.co_firstlineno
        for node in nodes.get(place, ()):
            if len(nodes[place]) == 1 or _begins_at(code, node):
                found.setdefault(place, []).append((node, code))
    return found


def _begins_at(code: CodeType, node: Any) -> bool:
    """Tell whether code is of one of several functions that begin in the same line."""
    columns = [
        position[2] or 0
        for position in code.co_positions()
        if position[0] == node.lineno and position[2] is not None
    ]
    begin = (node.body if isinstance(node, ast.Lambda) else node).col_offset
    end: int = _ANYWHERE
    if node.end_lineno == node.lineno:
        end = node.end_col_offset or 0
    return bool(columns) and begin <= max(columns) < end


def _lambda(lines: tuple[str, ...], node: ast.Lambda) -> tuple[int, str]:
    """Return the number of the first line of a lambda, and what has it in its place."""
    first, last = node.lineno, node.end_lineno or node.lineno
    own = [line.encode() for line in lines[first - 1 : last]]
    own[-1] = own[-1][: node.end_col_offset]
    column = node.col_offset
    # In brackets, where its lines may begin anywhere.
    own[0] = b" " * (column - 1) + b"(" + own[0][column:]
    text = b"".join(own).decode() + ")\n"
    try:
        _parsed(text)
    except SyntaxError:
        column = 0
    if column:
        return first, text
    # There is no room before it.
    first, last = _statement(lines, node)
    return first, "".join(lines[first - 1 : last])


def _statement(lines: tuple[str, ...], target: ast.Lambda) -> tuple[int, int]:
    """Return the first and the last line of the statement that a lambda is in."""
    tree = ast.parse("".join(lines))
    best = (1, len(lines))
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.end_lineno is not None:
            decorators = getattr(node, "decorator_list", ())
            first = min([node.lineno, *(each.lineno for each in decorators)])
            around = first <= target.lineno <= node.end_lineno
            if around and node.end_lineno - first < best[1] - best[0]:
                best = first, node.end_lineno
    return best


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
