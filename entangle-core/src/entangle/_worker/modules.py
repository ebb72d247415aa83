"""The caller's own modules, asked for when a far worker imports them."""

from __future__ import annotations

from . import frames
from .asking import Asker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    from .importer import Entry
    from .main import Worker


class Modules:
    """A worker's requests for modules. Thread-safe."""

    def __init__(self, worker: Worker) -> None:
        """Speak over a worker's stream."""
        self._asker = Asker(worker, frames.MODULE)
        self.answered = self._asker.answered

    def ask(self, name: str) -> Union[Entry, None]:
        """Return what there is of a module; None if there is none.

        Raises:
            ImportError: it is there, but can't travel.
        """
        answer = self._asker.ask(lambda number: b"%d %s" % (number, name.encode()))
        if type(answer) is str:
            raise ImportError(answer, name=name)
        found: Union[Entry, None] = answer
        return found
