"""CPUs set aside for the tasks that share one ``@scheduler``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from entangle._graph.scheduling import LowestFree

if TYPE_CHECKING:
    from collections.abc import Callable

    from entangle._graph.scheduling import CpuScheduler

    from .serial import Serial


class Group:
    """Gives each call one of a few processors, chosen by the group's scheduler.

    Used inside the monitor only; a chooser supplied by the user runs on a thread of
    the group's own, one decision at a time, in the order of the requests.
    """

    def __init__(
        self,
        cpus: tuple[int, ...],
        chooser: CpuScheduler,
        post: Callable[..., None],
        serial: Serial,
    ) -> None:
        self.cpus = cpus
        self._free = set(cpus)
        self._chooser = chooser
        self._post = post
        self._serial = serial
        self._waiting: deque[Callable[[int | None, BaseException | None], None]] = (
            deque()
        )
        self._deciding = False

    def request(
        self, answer: Callable[[int | None, BaseException | None], None]
    ) -> None:
        """Have ``answer(cpu, error)`` called once a processor is there for a call."""
        self._waiting.append(answer)
        self._decide()

    def release(self, cpu: int) -> None:
        """Take back the processor of a call that is over."""
        self._free.add(cpu)
        self._decide()

    def _decide(self) -> None:
        if type(self._chooser) is LowestFree:
            # Ours: it may run in here.
            while self._waiting and self._free:
                cpu = self._chooser.choose(frozenset(self._free))
                self._free.discard(cpu)
                self._waiting.popleft()(cpu, None)
        elif self._waiting and self._free and not self._deciding:
            self._deciding = True
            self._serial.call(self._ask, frozenset(self._free))

    def _ask(self, free: frozenset[int]) -> None:
        try:
            cpu = self._chooser.choose(free)
            known = cpu is None or cpu in free
        except BaseException as error:
            self._post(self._decided, None, error)
            return
        wrong = None
        if not known:
            wrong = ValueError(
                f"{type(self._chooser).__qualname__}.choose returned {cpu!r}, "
                f"which is none of the free processors {sorted(free)}: return one "
                "of them, or None to wait"
            )
        self._post(self._decided, cpu, wrong)

    def _decided(self, cpu: int | None, error: BaseException | None) -> None:
        self._deciding = False
        if error is not None:
            self._waiting.popleft()(None, error)
        elif cpu is None and len(self._free) == len(self.cpus):
            # Nothing of the group runs, so nothing would ever ask again.
            self._waiting.popleft()(
                None,
                RuntimeError(
                    f"{type(self._chooser).__qualname__}.choose returned None although "
                    "all processors of its scheduler are free: the call would never "
                    "start"
                ),
            )
        elif cpu is not None:
            self._free.discard(cpu)
            self._waiting.popleft()(cpu, None)
        else:
            return  # asked again when a processor is released
        self._decide()
