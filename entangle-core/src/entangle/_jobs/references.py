"""The modules that a pickle refers to: read from it, with nothing imported or called."""

# What pickles hold may be of any type.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import itertools
import pickle
import pickletools
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from entangle._worker.sources import MODULE, NAMED

from . import imports

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOUDPICKLE: Final = "cloudpickle.cloudpickle"
_WORKER: Final = "entangle._worker"
_OURS: Final = ("entangle.", "cloudpickle.")


def modules(data: Any) -> set[str]:
    """Return the names of the modules that unpickling, or calling what comes, needs.

    Those are the modules of all that goes by name, and what functions that go by value,
    or by source, import in their bodies. Text that only looks like a name doesn't count.

    Args:
        data: The pickle; its buffers are not needed.
    """
    found: set[str] = set()
    waiting = [bytes(data)]
    while waiting:
        one = waiting.pop()
        reader = _Reader(one, found, waiting)
        try:
            reader.load()
            if reader.by_text:
                # What it imports may be a text of the program's, too.
                found.update(_names(one))
        except Exception:
            # Of whatever there is that can't be read so: too many, not too few.
            found.update(
                text for _, text, _ in pickletools.genops(one) if type(text) is str
            )
    return found


def _names(data: bytes) -> Iterator[str]:
    """Yield the texts in a pickle that may be names of modules."""
    for _, text, _ in pickletools.genops(data):
        name = text.partition(":")[0] if type(text) is str else ""
        if name.replace(".", "").isidentifier():
            yield name


class _Anything(type):
    """Takes whatever a pickle does: to a class, an object or a function."""

    # Where the names of modules are noted that functions of ours are called with.
    names: set[str] | None = None

    def __call__(cls, *args: Any, **_: Any) -> Any:
        if cls.names is not None and args and type(args[0]) is str:
            cls.names.add(args[0])
        return _StandIn

    def __setstate__(cls, state: Any) -> None:
        pass

    def __setitem__(cls, key: Any, value: Any) -> None:
        pass

    def append(cls, value: Any) -> None:
        pass

    def extend(cls, values: Any) -> None:
        pass

    def add(cls, value: Any) -> None:
        pass


class _StandIn(metaclass=_Anything):
    """Stands for what must not be made here."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return cls


class _Reader(pickle.Unpickler):
    """Builds stand-ins, and notes what they stand for."""

    def __init__(self, data: bytes, found: set[str], waiting: list[bytes]) -> None:
        super().__init__(io.BytesIO(data), buffers=itertools.repeat(b""))
        self._found = found
        self._waiting = waiting
        self.by_text = False  # whether what is in it may import what a text says

    def persistent_load(self, pid: Any) -> Any:
        """Take what is not in this pickle."""
        del pid
        return _StandIn

    def find_class(self, module: str, name: str) -> Any:
        """Note the module, and return what does nothing."""
        self._found.add(module)
        self.by_text = self.by_text or name in imports.BY_TEXT
        special = _SPECIAL.get((module, name))
        if special is not None:
            return partial(special, self)
        if module.startswith(_OURS):
            # They import what they are told.
            return _Anything(name, (_StandIn,), {"names": self._found})
        return _StandIn

    def type_of_python(self, name: str) -> Any:
        return self.code if name == "CodeType" else _StandIn

    def code(self, *args: Any) -> Any:
        """Return code as it is: that runs nothing."""
        return CodeType(*args)

    def function(self, code: CodeType, space: dict[str, Any], *_: Any) -> Any:
        package = space.get("__package__")
        if package is None:
            package = str(space.get("__name__") or "").rpartition(".")[0]
        self._found.update(imports.of_code(code, package))
        self.by_text = self.by_text or not imports.BY_TEXT.isdisjoint(code.co_names)
        return _StandIn

    def definition(self, _: Any, data: bytes, *__: Any) -> Any:
        """Note a pickle in a pickle."""
        self._waiting.append(data)
        return _StandIn

    def source(self, *fields: Any) -> Any:
        cells, defaults, keywords, _, _, names, *_, text = fields
        self._described([*cells.values(), *(defaults or ()), *keywords.values()])
        package = str(names[2]).rpartition(".")[0]
        self._found.update(imports.of_text(text, package))
        return _StandIn

    def built(self, _: Any, spaces: Any) -> Any:
        """Note what functions that go by source use."""
        for _name, used in spaces:
            self._described(used.values())
        return _StandIn

    def _described(self, described: Any) -> None:
        for kind, value in described:
            if kind == MODULE:
                self._found.add(value)
            elif kind == NAMED:
                self._found.add(value[0])


_SPECIAL: Final[dict[tuple[str, str], Any]] = {
    (_CLOUDPICKLE, "_builtin_type"): _Reader.type_of_python,
    (f"{_WORKER}.byvalue", "make_function"): _Reader.function,
    (f"{_WORKER}.classes", "Definition"): _Reader.definition,
    (f"{_WORKER}.sources", "Source"): _Reader.source,
    (f"{_WORKER}.sources", "build"): _Reader.built,
}
