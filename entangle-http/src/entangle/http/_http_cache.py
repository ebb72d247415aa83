"""Responses that are kept as HTTP allows, by CacheControl.

What is kept for a request that carries something private (a token, a cookie, a secret in
a header) is found by requests with the very same alone. On disk stands a keyed digest of
it, never itself.
"""

from __future__ import annotations

import hmac
import os
import re
import stat
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cachecontrol.adapter import CacheControlAdapter
from cachecontrol.caches import FileCache
from cachecontrol.controller import CacheController
from cachecontrol.heuristics import BaseHeuristic

from entangle.errors import CacheDirectoryError

from ._transport import Punctual, Session, private, quieten, session_by

if TYPE_CHECKING:
    import requests
    from urllib3 import HTTPResponse

# Stands for an ETag where a server names a date alone.
_DATED: Final = 'W/"entangle-dated"'
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_ASK_AGAIN: Final = re.compile(r"(?i)(^|[\s,])no-cache\b")
_NEVER: Final = re.compile(r"(?i)(^|[\s,])no-store\b")
_SALT: Final = "salt"
_DAYS: Final = 30.0
_DAY: Final = 86400.0
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class _Careful(BaseHeuristic):
    """Has responses kept, and asked for again, where CacheControl by itself does not."""

    def update_headers(self, response: HTTPResponse) -> dict[str, str]:
        headers = response.headers
        changed: dict[str, str] = {}
        if "last-modified" in headers and "etag" not in headers:
            changed["etag"] = _DATED
        told = headers.get("cache-control", "")
        if _ASK_AGAIN.search(told) and not _NEVER.search(told):
            # Else an age beside it would count.
            changed["cache-control"] = "no-cache, max-age=0"
        return changed

    def warning(self, response: HTTPResponse) -> None:
        """Say nothing: what is kept so is never used unasked."""
        del response


class _Discreet(CacheController):
    """Keeps what belongs to somebody apart from what belongs to others."""

    salt: bytes = b""

    def forget(self, request: requests.PreparedRequest) -> None:
        """Remove what is kept for the URL of a request that has changed it."""
        for url in {str(request.url), str(self._keyed(request).url)}:
            self.cache.delete(self.cache_url(url))

    def _keyed(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request as the cache may know it."""
        secret = {
            name: _bytes(value)
            for name, value in request.headers.items()
            if private(name, value)
        }
        if not secret:
            return request
        keyed = request.copy()
        whole = b"\0".join(
            part
            for name in sorted(secret)
            for part in (name.lower().encode(), secret[name])
        )
        digest = hmac.digest(self.salt, whole, "sha256").hex()
        for name in secret:
            keyed.headers[name] = digest
        url = str(keyed.url)
        keyed.url = f"{url}{'&' if '?' in url else '?'}entangle-private={digest}"
        return keyed

    def cached_request(self, request: requests.PreparedRequest) -> Any:
        return super().cached_request(self._keyed(request))

    def conditional_headers(self, request: requests.PreparedRequest) -> dict[str, str]:
        headers = super().conditional_headers(self._keyed(request))
        if headers.get("If-None-Match") == _DATED:
            del headers["If-None-Match"]
        return headers

    def cache_response(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> None:
        super().cache_response(self._keyed(request), *args, **kwargs)

    def update_cached_response(
        self, request: requests.PreparedRequest, response: HTTPResponse
    ) -> HTTPResponse:
        return super().update_cached_response(self._keyed(request), response)


class _Caching(CacheControlAdapter, Punctual):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Sends what is not kept, by connections that keep to their clock."""

    controller: _Discreet

    def build_response(self, *args: Any, **kwargs: Any) -> Any:
        response: Any = super().build_response(*args, **kwargs)
        request: Any = args[0]
        if request.method not in _SAFE and response.ok:
            self.controller.forget(request)
        return response


def caching_session() -> Session:
    """Make a session that keeps responses in the folder of this user's cache.

    Raises:
        CacheDirectoryError: The folder is one that must not be used.
    """
    folder = _folder()
    controller = type("Controller", (_Discreet,), {"salt": _salt(folder)})
    quieten("cachecontrol.controller")
    _forget_old(folder)
    made = partial(
        _Caching,
        cache=FileCache(folder / "responses"),
        controller_class=controller,
        heuristic=_Careful(),
    )
    return session_by(made)


def _folder() -> Path:
    given = os.environ.get("ENTANGLE_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not home.is_absolute():
        # As its specification says, a relative one is to be ignored.
        home = Path.home() / ".cache"
    folder = (Path(given).absolute() if given else home / "entangle") / "http"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CacheDirectoryError(path=str(folder), reason=reason) from None
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise CacheDirectoryError(
            path=str(folder), reason="others could put anything there"
        )
    return folder


def _salt(folder: Path) -> bytes:
    """Return what digests of this folder are keyed with; made once."""
    path = folder / _SALT
    fresh = folder / f"{_SALT}.{os.getpid()}-{time.monotonic_ns()}"
    while True:
        with suppress(FileNotFoundError):
            return path.read_bytes()
        fresh.touch(mode=0o600)
        fresh.write_bytes(os.urandom(32))
        # Whole, or somebody else's.
        with suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()


def _forget_old(folder: Path) -> None:
    """Once a day, remove what nobody has written anew for a month."""
    mark = folder / "looked-after"
    now = time.time()
    with suppress(OSError):
        if mark.exists() and now - mark.stat().st_mtime < _DAY:
            return
        mark.touch(mode=0o600)
        for path in (folder / "responses").rglob("*"):
            with suppress(OSError):
                if path.is_file() and now - path.stat().st_mtime > _DAYS * _DAY:
                    path.unlink()


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
