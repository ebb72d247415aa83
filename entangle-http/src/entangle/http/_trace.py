"""What a request has to do with the trace of its run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._failure import Exchange


def trace_headers() -> dict[str, str]:
    """Return the W3C trace headers of the running call; none when nothing is traced."""
    # Imported here: the run layer is there wherever a call runs.
    from entangle.run import traceparent

    found = traceparent()
    return {} if found is None else {"traceparent": found}


def tell(exchange: Exchange) -> None:
    """Make an exchange that is over a slice of the trace, if there is one."""
    from entangle.run import span

    ended = time.time()
    about: dict[str, str | int] = {
        "http.request.method": exchange.method,
        "url.full": exchange.url,
        "http.request.resend_count": exchange.attempt - 1,
    }
    if exchange.status is not None:
        about["http.response.status_code"] = exchange.status
    span(exchange.method, ended - exchange.clock.elapsed, ended, **about)
