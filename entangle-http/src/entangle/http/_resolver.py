"""The addresses of a host, within the time that there is."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Any

from urllib3.util.connection import allowed_gai_family


def addresses(host: str, port: int, seconds: float) -> list[str]:
    """Return the addresses of a host, each once, in the system's order.

    The system's resolver knows no deadline. So it is asked on a thread of its own, which
    is left to itself when the time is up; it ends when the resolver answers.

    Args:
        host: Its name, or an address.
        port: The port that is to be connected to.
        seconds: How long it may take.

    Raises:
        TimeoutError: There is no answer yet.
        socket.gaierror: It has no address.
        UnicodeError: It is no name that a host can have.
    """
    name = host.strip("[]")
    try:
        # An address needs no resolver, nor a thread.
        found = _ask(name, port, socket.AI_NUMERICHOST)
    except OSError:
        found = _ask_within(name, port, seconds)
    return list(dict.fromkeys([str(place[0]) for *_, place in found]))


def _ask(name: str, port: int, flags: int = 0) -> Any:
    family = allowed_gai_family()
    return socket.getaddrinfo(name, port, family, socket.SOCK_STREAM, 0, flags)


def _ask_within(name: str, port: int, seconds: float) -> Any:
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(_ask(name, port))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answers.put(error)

    threading.Thread(target=ask, name="entangle-http-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, BaseException):
        raise answer
    return answer
