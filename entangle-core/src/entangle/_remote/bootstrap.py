"""What makes any Python a host: a short command, then modules over its input."""

from __future__ import annotations

import _imp
import functools
import importlib.util
import marshal
import secrets
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST: Final = (3, 9)

# In one line, without quotes but these: it may pass through shells. It is understood by
# any Python from 2.6 on, which then says its version, and whether its own library is
# there compiled: images often leave that out, to be small. The marker stands in two halves,
# so that a shell that echoes the command is not taken for the answer.
_COMMAND: Final = (
    "import os,sys;v=sys.version_info;"
    't=getattr(getattr(sys,"implementation",0),"cache_tag","");'
    'p=os.path;c=p.join(p.dirname(os.__file__),"__pycache__","inspect.%s.pyc"%t);'
    'os.write(1,("\\n%s%s %d.%d.%d %s %d\\n"%("{head}","{tail}",v[0],v[1],v[2],t,'
    "p.exists(c))).encode());"
    "v<(3,9)and sys.exit(3);d=b'';"
    'exec("while len(d)<{size}:d+=os.read(0,{size}-len(d))or sys.exit(4)");exec(d)'
).replace("b''", 'b""')

# What is read first; it reads the rest.
_LOADER: Final = b"""\
import marshal, types, zlib

def read(size):
    data = bytearray()
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            sys.exit(4)
        data += part
    return bytes(data)

entries = marshal.loads(zlib.decompress(read(int(read(9)))))
path, _, source, code = entries["entangle._worker.importer"]
module = types.ModuleType("entangle._worker.importer")
exec(marshal.loads(code) if code else compile(source, path, "exec"), module.__dict__)
module.begin(entries, module)
"""
# What a host and its workers import of the library, without what is frozen anyway.
_LIBRARY: Final = (
    "__future__",
    "_compat_pickle",
    "_weakrefset",
    "ast",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "copyreg",
    "dataclasses",
    "dis",
    "enum",
    "functools",
    "importlib",
    "importlib.machinery",
    "inspect",
    "keyword",
    "linecache",
    "logging",
    "opcode",
    "operator",
    "pickle",
    "platform",
    "re",
    "re._casefix",
    "re._compiler",
    "re._constants",
    "re._parser",
    "reprlib",
    "selectors",
    "socket",
    "string",
    "struct",
    "textwrap",
    "threading",
    "token",
    "tokenize",
    "traceback",
    "types",
    "typing",
    "uuid",
    "warnings",
    "weakref",
)
# Of the worker program: all but what local workers, or jobs, alone have.
_LOCAL: Final = frozenset(
    (
        *("zygote", "calls", "documents", "family"),
        *("job", "sandbox", "sealing", "transport"),
    )
)


def command(python: str = "python3") -> tuple[list[str], bytes]:
    """Return the command that starts a host, and the marker that it answers with."""
    head, tail = secrets.token_hex(6), secrets.token_hex(6)
    text = _COMMAND.format(head=head, tail=tail, size=len(_LOADER))
    return [python, "-c", text], f"\n{head}{tail} ".encode()


def payload(tag: str, *, library: bool = True) -> bytes:
    """Return what a host reads from its input.

    Args:
        tag: The tag of its Python's compiled files: where it is that of this one they
            are sent along.
        library: Whether its own library is there compiled; else that is sent, too.
    """
    same = tag == sys.implementation.cache_tag and sys.version_info[3] == "final"
    return _payload(compiled=same, library=same and not library)


@functools.cache
def _payload(*, compiled: bool, library: bool) -> bytes:
    entries: dict[str, Any] = dict(_entries(compiled=compiled))
    if library:
        entries[""] = dict(_compiled_library())
    data = zlib.compress(marshal.dumps(entries, 2), 1)
    return _LOADER + b"%09d" % len(data) + data


def _entries(*, compiled: bool) -> Iterator[tuple[str, Any]]:
    yield "entangle", ("<entangle>", True, b"", None)
    for package, left_out in (("entangle._worker", _LOCAL), ("cloudpickle", ())):
        for name in _modules(package):
            if name.rpartition(".")[2] in left_out:
                continue
            spec = importlib.util.find_spec(name)
            if spec is None or not hasattr(spec.loader, "get_code"):
                continue
            loader: Any = spec.loader
            is_package = spec.submodule_search_locations is not None
            code = marshal.dumps(loader.get_code(name)) if compiled else None
            # Nobody looks at our frames: with their code, no source is needed.
            source = b"" if compiled else (loader.get_source(name) or "").encode()
            yield name, (spec.origin or name, is_package, source, code)


def _compiled_library() -> Iterator[tuple[str, tuple[bytes, bytes]]]:
    """Yield the library's modules: what their source is known by, and their code."""
    for name in _LIBRARY:
        try:
            spec = importlib.util.find_spec(name)
            loader: Any = spec.loader if spec is not None else None
            source, code = loader.get_data(loader.path), loader.get_code(name)
        except (ImportError, OSError, AttributeError):
            continue  # of another version, or frozen
        yield name, (_imp.source_hash(0, source), marshal.dumps(code))


def _modules(package: str) -> Iterator[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return
    yield package
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.py")):
            if path.stem != "__init__":
                yield f"{package}.{path.stem}"
