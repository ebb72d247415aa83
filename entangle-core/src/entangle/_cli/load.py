"""Finds the graph that a file defines, without running the file as a script."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .exits import InvalidError, UsageError
from .main import suggest

if TYPE_CHECKING:
    from types import ModuleType


def split(target: str) -> tuple[Path, str | None]:
    """Split `FILE[:name]`; a colon inside an existing file's path is part of it."""
    if not Path(target).exists():
        path, colon, name = target.rpartition(":")
        if colon and name.isidentifier():
            return Path(path), name
    return Path(target), None


def load(path: Path, argv: list[str]) -> ModuleType:
    """Import a file as a module named after it, so that workers can import it too.

    Its folder becomes `sys.path[0]` and `sys.argv` is what a script would see.

    Raises:
        UsageError: there is no such file, or its name can't be a module's.
        InvalidError: a module of that name is already in use in this process.
    """
    if not path.is_file():
        raise UsageError(f"no file {str(path)!r}{_meant(path)}")
    name = path.stem
    if not name.isidentifier():
        raise UsageError(
            f"{path.name!r} can't be imported by workers: rename it so that it is "
            "a Python name followed by .py"
        )
    loaded = sys.modules.get(name)
    if loaded is not None:
        where = getattr(loaded, "__file__", None) or "built into Python"
        raise InvalidError(
            f"{path.name!r} would hide the module {name!r} ({where}): rename the file"
        )
    path = path.resolve()
    # With -P, sys.path[0] is no script's folder, and may not be thrown away.
    sys.path[: 0 if sys.flags.safe_path else 1] = [str(path.parent)]
    sys.argv[:] = argv
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_loader(name, loader)
    if spec is None:
        raise InvalidError(f"{path.name!r} can't be loaded as a module")
    module = module_from_spec(spec)
    sys.modules[name] = module
    # Its tasks travel by value: a worker that imported it would run it once more.
    cloudpickle: Any = import_module("cloudpickle")
    cloudpickle.register_pickle_by_value(module)
    loader.exec_module(module)
    return module


def _meant(path: Path) -> str:
    """Suggest a file of the same folder."""
    try:
        there = [str(each) for each in path.parent.glob("*.py")]
    except OSError:
        there = []
    return suggest(str(path), there, others=False)


def find(module: ModuleType, name: str | None, path: Path) -> object:
    """Return the node, task or function that a command line means.

    Without a name: the module's only node, else `result`, else `main`, else its only
    flow.

    Raises:
        UsageError: nothing of that name, or no way to choose.
    """
    names = vars(module)
    if name is not None:
        if name in names:
            return names[name]
        public = [known for known in names if not known.startswith("_")]
        raise UsageError(f"{path.name} defines no {name!r}{suggest(name, public)}")
    nodes = nodes_of(module)
    if len(set(map(id, nodes.values()))) == 1:
        return next(iter(nodes.values()))
    for default in ("result", "main"):
        if default in nodes or callable(names.get(default)):
            return names[default]
    flows = flows_of(module)
    if not nodes and len(set(map(id, flows.values()))) == 1:
        return next(iter(flows.values()))
    nodes = nodes or flows
    if nodes:
        raise UsageError(
            f"{path.name} has {len(nodes)} graphs ({', '.join(nodes)}): "
            f"say which, as in {path.name}:{next(iter(nodes))}"
        )
    raise UsageError(
        f"{path.name} has no node, no `result` and no `main`: assign the graph to a "
        "module-level name (result = f(g())), or say which task to call, as in "
        f"{path.name}:name"
    )


def flows_of(module: ModuleType) -> dict[str, Any]:
    """Return the module's public names that hold flows, in order of appearance."""
    from entangle._graph.flow import Flow

    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Flow) and not name.startswith("_")
    }


def nodes_of(module: ModuleType) -> dict[str, Any]:
    """Return the module's public names that hold nodes, in order of appearance."""
    from entangle._graph.node import Node

    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Node) and not name.startswith("_")
    }
