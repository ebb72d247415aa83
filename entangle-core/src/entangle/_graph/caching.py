"""The options of the cache, checked against the function that they are about.

Not where they are written, as others are: decorators may come in any order, and what
one says alone may make sense with the next. The first call is when all is said.
"""

from __future__ import annotations

from types import CodeType
from typing import TYPE_CHECKING, Final

from entangle._graph.arity import parameters_of
from entangle._graph.callables import innermost
from entangle.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from entangle._graph.spec import Spec

PLAIN: Final = frozenset({"version", "cache_key", "cache_ignore"})


def check(spec: Spec, fn: object, name: str) -> None:
    """Refuse options of the cache that mean nothing.

    Args:
        spec: The complete spec of a task.
        fn: What its calls are like.
        name: What it is called.

    Raises:
        OptionError: There is nothing to be kept, or no such parameter.
    """
    if spec.facet("cache") is None:
        for facet in spec.facets:
            if facet.key in PLAIN and facet.value not in {None, ()}:
                raise OptionError(
                    f"{name}: {facet} means nothing where nothing is kept: add "
                    "cache=True or cache='run', or leave it out",
                    decorator=facet.decorator.removeprefix("@"),
                    option=facet.key,
                )
    ignored = spec.facet("cache_ignore")
    if ignored is not None:
        known = _names(fn)
        for each in spec.value("cache_ignore"):
            # The globals of other modules are looked for when the key is made.
            if known is not None and "." not in each and each not in known:
                raise OptionError(
                    f"{name}: {ignored} names {each!r}, which is neither a parameter "
                    f"nor a global that it uses; write module.{each} for a global of "
                    "another module",
                    decorator=ignored.decorator.removeprefix("@"),
                    option="cache_ignore",
                )


def _names(fn: object) -> set[str] | None:
    """Return the names that a function knows; None if any keyword is one."""
    parameters = parameters_of(fn)
    if parameters is None or parameters.extra:
        return None
    code = getattr(innermost(fn), "__code__", None)
    names = {*parameters.positional, *parameters.keywords}
    if isinstance(code, CodeType):
        for each in codes(code):
            names.update(each.co_names)
    return names


def codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all that are defined in it."""
    waiting = [code]
    while waiting:
        each = waiting.pop()
        yield each
        waiting += [const for const in each.co_consts if type(const) is CodeType]
