"""`entangle run`: runs a file's graph and prints its value."""

from __future__ import annotations

import ast
from argparse import BooleanOptionalAction
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from .built import HERE, here
from .exits import INVALID, NODE_FAILED, OK, InvalidError, UsageError
from .load import find, load, split
from .main import examples
from .report import tell
from .terminal import show

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Generator

    from entangle._graph.node import Node

EPILOG = """\
NAME is a module-level node, or a task, workflow or function that makes one; KEY=VALUE
are its arguments, read as Python literals where they are some, else as strings. A flow
takes its input in this way, whatever the key. Without NAME: the file's only node, else
`result`, else `main`, else its only flow.

The value goes to stdout (None prints nothing), everything else to stderr. The file is
imported under its own name: a block under `if __name__ == "__main__"` is not run.
"""


def configure(parser: ArgumentParser) -> None:
    """Declare the arguments of `entangle run`."""
    examples(
        parser,
        "run pipeline.py",
        "run pipeline.py:report year=2024 regions=\"['north', 'west']\"",
        "run pipeline.py --here --workers 2",
        "run pipeline.py --trace trace.json    (ui.perfetto.dev opens it)",
    )
    parser.epilog = EPILOG
    parser.add_argument("target", metavar="FILE[:NAME]", help="what to run")
    parser.add_argument(
        "constants", metavar="KEY=VALUE", nargs="*", help="arguments for a task"
    )
    parser.add_argument(
        "--here", action="store_true", help=HERE.replace("as if", "run as if")
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="at most N calls at once"
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", help="end the run after S seconds"
    )
    parser.add_argument(
        "--progress",
        action=BooleanOptionalAction,
        help="show how far it is, also where stderr is no terminal; or never",
    )
    parser.add_argument(
        "--trace", metavar="FILE", help="write a trace, in the format of Chrome's"
    )
    parser.add_argument(
        "--log",
        action=BooleanOptionalAction,
        default=True,
        help="keep a log of the run under .entangle/runs (it is kept by default)",
    )


def execute(arguments: Namespace) -> int:
    """Run what the command line names and return the exit code."""
    if arguments.here:
        here()
    path, name = split(arguments.target)
    label = f"{path}:{name}" if name else str(path)
    constants = dict(map(constant, arguments.constants))
    try:
        module = load(path, [str(path), *arguments.constants])
        target = find(module, name, path)
    except (UsageError, InvalidError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the user's file raises
        tell(f"{path} can't be loaded", error)
        return INVALID
    return _run(target, label, constants, arguments)


def _run(
    target: object, label: str, constants: dict[str, object], limits: Namespace
) -> int:
    from entangle._graph.task import Task
    from entangle.errors import CompositionError, PluginError

    make = _maker(target, label, constants)
    # Calling a task only builds; calling a plain function may run nodes of its own.
    building = isinstance(target, Task)
    try:
        with _seen(limits):
            made = make()
            building = False
            value = _value(made, limits)
    except (KeyboardInterrupt, SystemExit, InvalidError):
        raise
    except (CompositionError, PluginError) as error:
        tell(f"{label} can't run", error)
        return INVALID
    except BaseException as error:  # noqa: BLE001 - whatever user code raises
        if building:
            tell(f"{label} builds no graph", error)
            return INVALID
        tell(f"{label} failed", error, limits.given, logged=limits.log)
        return NODE_FAILED
    if value is not None:
        try:
            text = str(value)
        except Exception as error:  # noqa: BLE001 - the user's class
            tell(f"the value of {label}, a {type(value).__name__}, has no text", error)
            return NODE_FAILED
        show(text)
    return OK


@contextmanager
def _seen(how: Namespace) -> Generator[None, None, None]:
    """Have what is run seen as the command line says."""
    from entangle._see.asked import seeing
    from entangle._see.folder import FOLDER
    from entangle.errors import OptionError

    progress = {None: True, True: "live", False: False}[how.progress]
    with ExitStack() as stack:
        try:
            views = seeing(progress, how.trace, FOLDER if how.log else None)
            stack.enter_context(views)
        except OptionError as error:
            raise InvalidError(str(error)) from error
        except OSError as error:
            why = error.strerror or str(error)
            raise InvalidError(
                f"no trace can be written to {how.trace}: {why}"
            ) from error
        yield


def _maker(
    target: object, label: str, constants: dict[str, object]
) -> Callable[[], object]:
    """Return what gives the node, or the value, that the command line names."""
    from entangle._graph.flow import Flow
    from entangle._graph.node import Node as AnyNode

    if isinstance(target, AnyNode):
        if constants:
            raise UsageError(f"{label} is a node and takes no arguments: name a task")
        return partial(_same, cast("object", target))
    if isinstance(target, Flow):
        if len(constants) != 1:
            raise UsageError(f"{label} is a flow and takes one input, as in input=3")
        return partial(target, *constants.values())
    if callable(target):
        names = {"target": target, "constants": constants}
        # Reports name the line that made a node: this one was made by the user.
        call = compile("target(**constants)", "<command line>", "eval")
        return partial(eval, call, names)
    kind = type(target).__name__
    raise UsageError(f"{label} is a value ({kind}), not a node or a task")


def _same(value: object) -> object:
    return value


def _value(made: object, limits: Namespace) -> object:
    """Run what is a node; anything else is a value already."""
    from entangle._graph.node import Node as AnyNode

    if isinstance(made, AnyNode):
        node = cast("Node[object]", made)
        return node.run(workers=limits.workers, timeout=limits.timeout)
    return made


def constant(text: str) -> tuple[str, object]:
    """Read KEY=VALUE, the value as a Python literal where it is one."""
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"{text!r} is not of the form KEY=VALUE")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key, value


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    number = float(text)
    if not number > 0:
        raise ValueError(text)
    return number
