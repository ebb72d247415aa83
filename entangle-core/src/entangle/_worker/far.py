"""Being a worker in a place: what differs from being one on the caller's machine."""

from __future__ import annotations

import os
import sys

from . import codec, failures, frames, mains, plain
from . import main as worker
from .importer import installed
from .modules import Modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from mmap import mmap
    from typing import Any


def become(
    descriptors: Sequence[int], memory: mmap, settings: Mapping[str, Any]
) -> None:
    """Turn this freshly forked process into a worker; returns when it is done."""
    os.environ.update(settings["env"] or ())
    problem = None
    if settings["cwd"] is not None:
        try:
            os.chdir(settings["cwd"])
        except OSError as error:
            problem = error  # of the calls that ask for it
    made = worker.establish(descriptors, memory, settings, problem)
    made.space.shares = False  # that memory is another machine's
    mains.enter_main()
    importer = installed()
    if importer is not None:
        made.modules = Modules(made, importer)
        importer.names = settings["names"]
    if settings["python"] != tuple(sys.version_info[:2]):
        codec.differs.append(
            "it is defined in the task's own Python, and can't go by value to another "
            "version: return plain data, or instances of classes in modules"
        )
    if not settings["trust"]:
        made.answer, made.failure = _plain_answer, _plain_failure
        made.space.heard = False
    worker.serve(made)


def _plain_answer(
    number: int,
    took: int,
    value: Any,
    shown: int,  # noqa: ARG001 - nobody who is not trusted is asked for words
) -> tuple[int, bytes, tuple[()]]:
    """Write a value for a caller that unpickles nothing of ours."""
    body = worker.ANSWER.pack(number, took) + plain.encode(value)
    return frames.PLAIN, body, ()


def _plain_failure(error: BaseException) -> bytes:
    """Write an error for such a caller, as texts."""
    try:
        if type(error) is plain.NotPlainError:
            return plain.encode((type(error).__name__, str(error), ""))
        return plain.encode(failures.texts(error))
    except BaseException as trouble:  # noqa: BLE001 - a user-written __str__
        return plain.encode((type(error).__name__, f"<{type(trouble).__name__}>", ""))
