"""One call that came as a document: its body run, its answer as a document."""

from __future__ import annotations

import os
import pickle
import sys
from importlib import import_module

from . import codec, documents, failures, functions, importer, transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VALUE, GRAPH, FAILED, DIED = "value", "graph", "failed", "died"
OTHER = "other"  # the call is for another version of Python


def collected(document: bytes) -> tuple[dict[str, Any], list[Any]]:
    """Return the facts of a call and its parts, those fetched that lie elsewhere.

    Raises:
        TransportError: A part can't be had.
        DamagedError: It is no document of a call.
    """
    facts, here = documents.read(document)
    inline = iter(here)
    parts: list[Any] = []
    for place in facts["parts"]:
        if place is None:
            parts.append(next(inline))
        else:
            parts.append(transport.get(place["url"], place["sha256"]))
    return facts, parts


def run(
    facts: dict[str, Any], parts: list[Any], entered: Callable[[], object]
) -> tuple[dict[str, Any], list[Any]]:
    """Run a call here and return the facts and parts of its answer; never raises.

    On the main thread of a process, or a sandbox, that does nothing else meanwhile:
    what arrives by value replaces ``__main__``.

    Args:
        facts: What `collected` returned.
        parts: Likewise.
        entered: Called when function and arguments are there.
    """
    try:
        wanted = facts["python"]
        if wanted is not None and wanted != [*sys.version_info[:2]]:
            return {"kind": OTHER, "python": sys.version_info[:2]}, []
        own, function, *arguments = parts
        # First: what is imported beforehand may be the caller's own.
        _import_from(bytes(own))
        _settle(facts)
        functions.enter_main()
        body = functions.decode_function(bytes(function))
        args, kwargs = _decoded(facts, arguments)
        entered()
        value = body(*args, **kwargs)
        if facts["async"]:
            value = _awaited(value)
        kind = VALUE
        # Where the graph is not loaded nothing can have built a node.
        if "entangle._graph.node" in sys.modules:
            from entangle._graph import pack

            if pack.contains_node(value):
                kind, value = GRAPH, pack.pack(value)
        blob = codec.encode(value, "result")
        data, *buffers = codec.plain((blob.data, *blob.buffers))
    except BaseException as error:
        cause = error.__cause__
        if type(error) is codec.DecodeError and cause is not None:
            error = cause
        return {"kind": FAILED}, [failures.encode_failure(error)]
    readonly = [memoryview(buffer).readonly for buffer in buffers]
    return {"kind": kind, "readonly": readonly}, [data, *buffers]


def _decoded(facts: dict[str, Any], parts: list[Any]) -> tuple[Any, Any]:
    """Return the arguments, those that came by themselves put in their places.

    Raises:
        DecodeError: One of them can't be rebuilt here.
    """
    end = 1 + len(facts["readonly"])
    blob, parts = blob_of(parts[:end], facts["readonly"]), parts[end:]
    large: list[Any] = []
    for readonly in facts["large"]:
        end = 1 + len(readonly)
        large.append(codec.decode(blob_of(parts[:end], readonly), owned=True))
        parts = parts[end:]
    args, kwargs = codec.decode(blob, owned=True, known=large)
    return args, kwargs


def _import_from(own: bytes) -> None:
    """Import the caller's own modules from what came with the call."""
    entries: dict[str, Any] = pickle.loads(own) if own else {}
    finders: list[Any] = [*sys.meta_path]
    for finder in finders:
        if type(finder) is importer.MemoryImporter:
            # Of an earlier call in this sandbox: its modules may have changed since.
            sys.meta_path.remove(finder)
            for name in finder.held():
                sys.modules.pop(name, None)
    if entries:
        sys.meta_path.insert(0, importer.MemoryImporter(entries))


def _settle(facts: dict[str, Any]) -> None:
    """Make the process as the task wants it."""
    os.environ.update(facts.get("env") or {})
    if facts.get("nice"):
        os.nice(facts["nice"])
    if facts.get("cwd"):
        os.chdir(facts["cwd"])
    for name in facts.get("preload") or ():
        import_module(name)


def blob_of(parts: list[Any], readonly: list[bool]) -> codec.Blob:
    """Return an encoded value; its buffers are as writable as their owner's were."""
    buffers = [
        bytes(part) if fixed else bytearray(part)
        for part, fixed in zip(parts[1:], readonly)
    ]
    return codec.Blob(parts[0], buffers)


def _awaited(awaitable: Any) -> Any:
    import asyncio

    async def result() -> Any:
        return await awaitable

    return asyncio.run(result())
