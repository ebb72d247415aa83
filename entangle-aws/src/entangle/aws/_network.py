"""The network as boto3 knows it: proxies, and what it raises where that fails."""

from __future__ import annotations

import ssl
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from entangle.errors import PlaceBusyError


def passing(error: BaseException) -> bool:
    """Tell whether what was raised may be otherwise soon: the network, say."""
    return isinstance(error, PlaceBusyError) or lost(error)


def lost(error: BaseException) -> bool:
    """Tell whether what was raised is of the network."""
    known: Any = import_module("botocore.exceptions")
    return isinstance(error, (known.HTTPClientError, known.ConnectionError))


def unreached(url: str, error: BaseException) -> Exception:
    """Return what boto3 raises where a request was not sent."""
    known: Any = import_module("botocore.exceptions")
    kind = known.EndpointConnectionError
    made: Exception
    if "Proxy" in type(error).__name__:
        made = known.ProxyConnectionError(proxy_url=_public(proxy(url)))
        made.add_note(str(error))
        return made
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            kind, error = known.SSLError, cause
        cause = cause.__cause__ or cause.__context__
    made = kind(endpoint_url=url, error=error)
    return made


def broken(url: str, error: BaseException) -> Exception:
    """Return what boto3 raises where a request was sent, and not answered."""
    known: Any = import_module("botocore.exceptions")
    late = "Timeout" in type(error).__name__
    kind = known.ReadTimeoutError if late else known.ConnectionClosedError
    made: Exception = kind(endpoint_url=url, error=error)
    return made


def proxy(url: str) -> str:
    """Return the proxy by which boto3 reaches an address; empty for none."""
    found = import_module("botocore.utils").get_environ_proxies(url)
    return str(found.get(urlsplit(url).scheme, ""))


def unsent(error: BaseException) -> bool:
    """Tell whether what was raised means that nothing was sent."""
    known: Any = import_module("botocore.exceptions")
    kinds = known.EndpointConnectionError, known.ConnectTimeoutError
    return isinstance(error, (*kinds, known.SSLError, known.ProxyConnectionError))


def _public(url: str) -> str:
    """Return an address without name and password."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
