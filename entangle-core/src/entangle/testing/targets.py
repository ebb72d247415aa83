"""The backend that ``pytest --entangle-target`` names."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from entangle_pytest import OPTION

if TYPE_CHECKING:
    from entangle._graph.configured import Located
    from entangle.backend import Executor

SUITE = Path(__file__).with_name("target_suite.py")


def configure(config: pytest.Config) -> None:
    """Have the suite run, alone if no other tests were asked for.

    Raises:
        pytest.UsageError: there is no such executor.
    """
    from entangle._seam.plugins import plugins
    from entangle.errors import PluginError

    # A mistake is told before anything runs.
    name, _ = parse(config.getoption(OPTION) or "")
    try:
        plugins.executor(name)
    except PluginError as error:
        raise pytest.UsageError(str(error)) from error
    # Or else pytest puts the folder of this namespace on the path.
    config.option.importmode = "importlib"
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args.clear()
    config.args.append(str(SUITE))


def _target(decorator: Located, **options: Any) -> Any:
    return decorator.settings(options).beside({}).made()


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``name`` or ``name(option=literal, ...)``.

    Raises:
        pytest.UsageError: it is something else.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, {}
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
            options = {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in tree.keywords
                if keyword.arg is not None
            }
            if not tree.args and len(options) == len(tree.keywords):
                return tree.func.id, options
    except (SyntaxError, ValueError):
        pass
    raise pytest.UsageError(
        f"{OPTION}={text!r} is not of the form name or name(option=value, ...) with "
        "plain values"
    )


def make(text: str) -> Executor:
    """Make the executor that the option names; its user shuts it down.

    Raises:
        Exception: there is no such executor, or it can't be made.
    """
    from entangle._graph.configured import Located
    from entangle._seam.plugins import plugins
    from entangle.backend import Executor, ForeignExecutor

    name, options = parse(text)
    _, factory = plugins.executor(name)
    make_it: Any = factory
    if isinstance(factory, Located):
        make_it = partial(_target, factory)
    made = make_it(**options)
    return made if isinstance(made, Executor) else ForeignExecutor(made, owned=True)
