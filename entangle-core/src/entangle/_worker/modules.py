"""The caller's own modules, asked for when a far worker imports them."""

from __future__ import annotations

import _pickle as pickle

from . import frames
from .asking import Asker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from .importer import Entry, MemoryImporter
    from .main import Worker


class Modules:
    """A worker's requests for modules. Thread-safe."""

    def __init__(self, worker: Worker, importer: MemoryImporter) -> None:
        """Speak over a worker's stream, on behalf of its importer."""
        self._asker = Asker(worker, frames.MODULE)
        self._importer = importer
        importer.ask = self._ask

    def _ask(self, name: str) -> Union[Entry, None]:
        """Return what there is of a module; None if there is none.

        Raises:
            ImportError: it is there, but can't travel.
        """
        answer = self._asker.ask(lambda number: b"%d %s" % (number, name.encode()))
        if type(answer) is str:
            raise ImportError(answer, name=name)
        found: Union[Entry, None] = answer
        return found

    def answered(self, frame: frames.Frame) -> None:
        """Take an answer, or unasked which modules may be asked for."""
        number, names = pickle.loads(frame.body)
        if number:
            self._asker.answered(frame)
        else:
            self._importer.names = names
