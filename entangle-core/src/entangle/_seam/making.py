"""Making decorators of executor classes: what an author of a backend calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from entangle._graph.configured import Context, Infrastructure, Proxy
from entangle._graph.frames import getframe

from .executor import Executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from entangle._graph.configured import Configured

Q = ParamSpec("Q")
S = ParamSpec("S")
T = TypeVar("T")

# The modules that decorators were made in: whoever imports a task imports them.
modules: set[str] = set()


@overload
def infrastructure(
    executor: Callable[Q, Executor],
    /,
    *,
    name: str = "",
    partners: Iterable[Configured] = (),
    excludes: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> Infrastructure[Q]: ...
@overload
def infrastructure(
    executor: Callable[Q, Executor],
    /,
    *,
    name: str = "",
    partners: Iterable[Configured] = (),
    excludes: Iterable[str] = (),
    secrets: Iterable[str] = (),
    calls_like: Callable[S, T],
) -> Proxy[Q, S, T]: ...
def infrastructure(
    executor: Any,
    /,
    *,
    name: str = "",
    partners: Iterable[Configured] = (),
    excludes: Iterable[str] = (),
    secrets: Iterable[str] = (),
    calls_like: Callable[..., Any] | None = None,
) -> Any:
    """Make the decorator that says that a task runs in an executor of some class.

    The keyword-only parameters of the class's constructor are the decorator's
    options: their annotations are checked when it is used, and the class's docstring,
    which has to describe each, is the decorator's. Lists arrive as tuples, and sets as
    frozensets, since places are compared. What only the author can check,
    a classmethod ``check_options(**options)`` may refuse with a `ValueError`; it gets
    the options that were given. An executor is made at the first run that needs it,
    one for each different set of options in a process, kept while it is used, and
    then shut down.

    Args:
        executor: A subclass of `Executor`.
        name: The name of the decorator; by default the class's, in lower case and
            without "Executor".
        partners: Decorators made by `context` whose settings the executor gets, as
            keywords of their names; those that a task does not carry give their
            defaults.
        excludes: Names of decorators that it does not go with. Another place is always
            excluded.
        secrets: Names of options that no message may show.
        calls_like: A callable whose parameters replace those of the task's function,
            where the place has the work itself and the function is but its name.

    Returns:
        The decorator, to be bound to `name` in the calling module, which is how other
        processes find it.

    Raises:
        TypeError: The class can't be used so; the message says why.
    """
    if not (isinstance(executor, type) and issubclass(executor, Executor)):
        raise TypeError(f"{executor!r} is no subclass of entangle.backend.Executor")
    name = name or executor.__name__.lower().removesuffix("executor")
    kind: Any = Infrastructure if calls_like is None else Proxy
    module = str(getframe(1).f_globals.get("__name__", ""))
    modules.add(module)
    made = kind(
        name,
        executor,
        module=module,
        partners=partners,
        excludes=excludes,
        secrets=secrets,
    )
    made.calls_like = calls_like
    return made


def context(
    settings: Callable[Q, Any],
    /,
    *,
    name: str = "",
    excludes: Iterable[str] = (),
    secrets: Iterable[str] = (),
) -> Context[Q]:
    """Make a decorator that says something to infrastructure decorators beside it.

    Args:
        settings: A function whose keyword-only parameters are the options, described
            in its docstring. What it returns is what executors get.
        name: The name of the decorator; by default the function's.
        excludes: Names of decorators that it does not go with.
        secrets: Names of options that no message may show.

    Returns:
        The decorator, to be bound to `name` in the calling module.

    Raises:
        TypeError: The function can't be used so; the message says why.
    """
    if not callable(settings):
        raise TypeError(f"{settings!r} is no function")
    module = str(getframe(1).f_globals.get("__name__", ""))
    modules.add(module)
    return Context(
        name or settings.__name__,
        settings,
        module=module,
        excludes=excludes,
        secrets=secrets,
    )
