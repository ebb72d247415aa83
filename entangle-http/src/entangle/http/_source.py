"""The source behind ``@request``: what it may be told, and what calls give it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal
from weakref import WeakKeyDictionary

from entangle.backend import Rate, Source
from entangle.secrets import Secret

from ._forms import is_mapping, is_several
from ._shown import is_secret
from ._template import Template
from ._wanted import BOUND, wanted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from entangle.backend import Asked

    from ._exchange import Order

# Their calls' keywords are the query; those of others the body.
_QUERIES: Final = frozenset({"GET", "HEAD"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAK: Final = re.compile(r"[\r\n\0]")
_RATE: Final = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]+(?:\.[0-9]+)?)?\s*"
    r"(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?)"
)
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_IN_MEMORY: Final = 256 << 20
_PAIR: Final = 2
_WRITTEN_OUT: Final = (
    'is a secret that is written out: give it by name, as env("NAME") or file(path) of '
    "entangle.secrets"
)


if TYPE_CHECKING:
    Fields = Mapping[str, Any]
    Headers = Mapping[str, str | Secret]
    Auth = Secret | tuple[str | Secret, Secret]
else:
    # Checked below instead: what is wrong with one is told without showing it.
    Fields = Headers = Auth = Any


_kind_of: Final[Callable[[object], type[object]]] = type


class RequestSource(Source):
    """Makes an HTTP request of a call; the response is the function's argument.

    A call's keywords are the request's parameters: they fill the placeholders of the
    URL, and the rest is the query of a GET or HEAD, else the fields of a form or, with
    ``json``, the keys of a JSON object. A positional argument is a mapping of
    parameters, or the value of the URL's only placeholder.

    What the function wants is said by ``as_``, or by its parameter's annotation:
    ``str`` (also without any), ``bytes``, ``dict`` and ``list`` and other types of JSON,
    ``requests.Response``, ``pathlib.Path`` for a temporary file that is removed when the
    function returns, ``Iterator[bytes]`` for chunks as they come.

    Args:
        url: Where to: http or https, with ``{name}`` for what calls fill in.
        method: How.
        params: A query that all calls have, besides their own.
        headers: Headers; values may be secrets, and some must be.
        json: What the JSON object of all calls holds, besides their keywords; any
            other value is the body of all calls.
        data: The form fields of all calls, besides their keywords; or the body itself,
            as bytes or text.
        files: Files to send, by field: paths, bytes, or a tuple of a file name and one
            of these. Keywords of calls with such a name replace them.
        auth: A secret that is sent as a bearer token; or a user with a secret
            password.
        timeout: How many seconds each attempt may take from its begin to the last byte.
        retries: How many more attempts are made when the failure may pass and the
            method may be repeated: not POST and PATCH, unless there was no connection.
        retry_after: How many seconds a server may ask to wait before the next one, at
            most.
        raise_for_status: Whether a status of 400 or more is an error.
        as_: What the function is called with.
        max_bytes: How large the body may be, decompressed; by default 256 MiB, and any
            size where it is not held in memory.
        rate: How often calls may begin, evenly, as ``"10/s"`` or ``"100/m"``: all calls
            of the function, in whichever worker.
        session: Makes the `requests.Session` of each thread, in the place of ours.
        http_cache: Whether responses are kept and used as HTTP allows.
        proxies: Proxies by scheme, besides those that the environment names.
        verify: Whether servers must prove who they are, or a file of the authorities
            that are believed.
        cert: A file with our own certificate and key, or two.
    """

    def __init__(  # noqa: PLR0913 - each is an option of the decorator
        self,
        *,
        url: str,
        method: str = "GET",
        params: Fields | None = None,
        headers: Headers | None = None,
        json: Any = None,
        data: Fields | bytes | str | None = None,
        files: Fields | None = None,
        auth: Auth | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        retry_after: float = 60.0,
        raise_for_status: bool = True,
        as_: Literal["text", "bytes", "json", "response", "file", "chunks"]
        | None = None,
        max_bytes: int | None = None,
        rate: str | None = None,
        session: Callable[[], Any] | None = None,
        http_cache: bool = False,
        proxies: Headers | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
    ) -> None:
        """Keep the options; nothing is connected."""
        self._template = Template(url)
        self._method = method.upper()
        self._params = params or {}
        self._headers = headers or {}
        self._json = json
        self._data: Any = data
        self._files = files or {}
        self._auth = auth
        self._timeout = float(timeout)
        self._retries = retries
        self._retry_after = float(retry_after)
        self._raises = raise_for_status
        self._as = as_
        self._max_bytes = max_bytes
        self._rate = _rate(rate)
        self._session = session
        self._http_cache = http_cache
        self._proxies = proxies or {}
        self._verify = verify
        self._cert = cert
        self._kinds: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
        # What a call's keywords can be besides those of the URL.
        self._fields = isinstance(data, Mapping) or data is None
        self._object = isinstance(json, Mapping)

    @classmethod
    def check_options(cls, **options: Any) -> None:
        """Refuse what can't be sent, and secrets that are written out.

        Raises:
            ValueError: With the reason.
        """
        if "url" in options:
            Template(options["url"])
        for name in ("params", "headers", "files", "proxies"):
            _check_mapping(name, options.get(name))
        if not isinstance(options.get("data"), (str, bytes)):
            _check_mapping("data", options.get("data"))
        _check_headers(options.get("headers") or {})
        _check_auth(options.get("auth"))
        for option in ("params", "json", "data"):
            _check_written_out(option, options.get(option))
        _check_body(**options)
        _check_numbers(**options)
        _rate(options.get("rate"))
        if options.get("http_cache"):
            _check_http_cache(options.get("session"))

    @property
    def rate(self) -> Rate | None:
        """How often calls may begin."""
        return self._rate

    def check_function(self, function: Callable[..., Any], *, travels: bool) -> None:
        """Refuse a function whose wish can't be fulfilled."""
        kind = wanted(function, self._as)
        if travels and kind in BOUND:
            what = "a temporary file" if kind == "file" else "an iterator of chunks"
            raise TypeError(
                f"wants {what}, which ends with the request: it can't be given back, "
                "nor go to a function that runs elsewhere; take bytes, or do the work "
                "where the request is made"
            )

    def check_call(self, values: int, names: tuple[str, ...]) -> None:
        """Refuse a call that can't be a request, whatever its values are."""
        template = self._template
        if values > 1:
            raise TypeError(f"it takes one value, or keywords, and got {values} values")
        if not values:
            missing = [name for name in template.names if name not in names]
            if missing:
                raise TypeError(
                    f"{missing[0]}= is missing, for the URL {template.text}"
                )
        self._check_fields([name for name in names if name not in template.names])

    def _check_fields(self, names: list[str]) -> None:
        if self._method in _QUERIES or not names:
            return
        if self._json is not None and not self._object:
            raise TypeError(f"{names[0]}= has no place: json= is no mapping")
        if not self._fields:
            raise TypeError(f"{names[0]}= has no place: data= is the whole body")

    def supply(self, asked: Asked) -> AbstractContextManager[Any]:
        """Make the request of a call."""
        # Imported here: requests takes its time, and only workers need it.
        from ._exchange import exchanged

        return exchanged(self._order(asked), asked.attempt)

    def close(self) -> None:
        """Close the connections of this process."""
        import sys

        transport = sys.modules.get("entangle.http._transport")
        if transport is not None:
            transport.sessions.close()

    def _order(self, asked: Asked) -> Order:
        from ._exchange import Order

        parameters = self._parameters(asked)
        template = self._template
        filling = {name: parameters.pop(name) for name in template.names}
        files = dict(self._files)
        for name in [name for name in parameters if name in files]:
            files[name] = parameters.pop(name)
        params = dict(self._params)
        json, data = self._json, self._data
        if self._method in _QUERIES:
            params.update(parameters)
        elif parameters or self._object or self._fields:
            self._check_fields([*parameters])
            if self._object:
                json = {**json, **parameters}
            elif json is None and self._fields:
                data = _form({**(data or {}), **parameters})
        kind = self._wanted(asked.function)
        in_memory = kind not in BOUND
        limit = self._max_bytes or (_IN_MEMORY if in_memory else math.inf)
        return Order(
            method=self._method,
            url=partial(template.filled, filling),
            params=params,
            headers=self._headers,
            json=json,
            data=data,
            files=files,
            auth=self._auth,
            proxies=self._proxies,
            verify=self._verify,
            cert=self._cert,
            timeout=self._timeout,
            raise_for_status=self._raises,
            wanted=kind,
            limit=limit,
            retries=self._retries,
            longest=self._retry_after,
            session=self._maker(),
        )

    def _wanted(self, function: Callable[..., Any]) -> str:
        """Return what a function wants, found out once."""
        try:
            kind = self._kinds.get(function)
            if kind is None:
                kind = self._kinds[function] = wanted(function, self._as)
        except TypeError:
            return wanted(function, self._as)  # no weak references, or no hash
        return kind

    def _maker(self) -> Callable[[], Any]:
        if self._session is not None:
            return self._session
        if self._http_cache:
            from ._http_cache import caching_session

            return caching_session
        from ._transport import plain_session

        return plain_session

    def _parameters(self, asked: Asked) -> dict[str, Any]:
        """Return all parameters of a call by name.

        Raises:
            TypeError: A value has no place.
        """
        if not asked.values:
            return dict(asked.parameters)
        (value,) = asked.values
        names = self._template.names
        if is_mapping(value):
            given: dict[str, Any] = {str(name): value[name] for name in value}
        else:
            free = [name for name in names if name not in asked.parameters]
            if len(free) != 1:
                raise TypeError(
                    f"{type(value).__qualname__} has no place in the request: the URL "
                    f"{self._template.text} has {len(free)} placeholders to fill, "
                    "not one; give a mapping of parameters"
                )
            given = {free[0]: value}
        twice = given.keys() & asked.parameters.keys()
        if twice:
            raise TypeError(f"{min(twice)!r} is given twice")
        given.update(asked.parameters)
        for name in names:
            if name not in given:
                raise TypeError(
                    f"{name!r} is missing, for the URL {self._template.text}"
                )
        return given


def _form(fields: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a form.

    Raises:
        TypeError: A form has no such values.
    """
    for name, value in fields.items():
        for each in value if is_several(value) else (value,):
            if not isinstance(each, (str, bytes, int, float, Secret, type(None))):
                raise TypeError(
                    f"a form can't say {name}={type(each).__qualname__}: with json={{}} "
                    "the keywords are sent as JSON"
                )
    return fields


def _rate(text: str | None) -> Rate | None:
    if text is None:
        return None
    found = _RATE.fullmatch(text.strip())
    calls = float(found[1]) if found else 0.0
    units = float(found[2] or 1) if found else 0.0
    if not found or not calls or not units:
        raise ValueError(
            f"rate={text!r} is none: write it as '10/s', '100/m' or '5/2s'"
        )
    return Rate(calls, units * _SECONDS[found[3][0]])


def _check_body(*, method: str = "GET", **options: Any) -> None:
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method {method!r} is none")
    bodies = [each for each in ("data", "files") if options.get(each)]
    if options.get("json") is not None:
        bodies.insert(0, "json")
    if method.upper() in _QUERIES and bodies:
        raise ValueError(
            f"{method.upper()} sends no body, so {bodies[0]}= means nothing: the query "
            "is params="
        )
    if options.get("json") is not None and len(bodies) > bodies.count("json"):
        raise ValueError("a body is either json=, or data= and files=, not both")
    if options.get("files") and not isinstance(options.get("data") or {}, Mapping):
        raise ValueError("with files=, data= has to be a mapping of fields")


def _check_numbers(**options: Any) -> None:
    for name in ("timeout", "retry_after", "max_bytes"):
        value = options.get(name)
        above = value is None or value > 0 or (name == "retry_after" and value == 0)
        if not above or value == math.inf:
            raise ValueError(f"{name}={value!r} must be a number above 0")
    if options.get("retries", 0) < 0:
        raise ValueError(f"retries={options['retries']} must not be below 0")


def _check_http_cache(session: Any) -> None:
    if find_spec("cachecontrol") is None:
        raise ValueError(
            "http_cache=True needs CacheControl: pip install 'entangle-http[cache]'"
        )
    if session is not None:
        raise ValueError(
            "http_cache=True needs our own session: let yours keep what it should"
        )


def _check_written_out(option: str, fields: Any) -> None:
    for name, value in fields.items() if is_mapping(fields) else ():
        if isinstance(value, str) and is_secret(name):
            raise ValueError(f"{option}[{name!r}] {_WRITTEN_OUT}")


def _check_mapping(name: str, value: Any) -> None:
    if value is not None and not (
        is_mapping(value) and all(isinstance(each, str) for each in value)
    ):
        kind = _kind_of(value).__qualname__
        raise TypeError(f"{name} must be a mapping with names as keys, not {kind}")


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of a header")
        if isinstance(value, Secret):
            continue
        if not isinstance(value, str):
            kind = type(value).__qualname__
            raise TypeError(f"the header {name} must be str, not {kind}")
        if _BREAK.search(value) or value != value.strip():
            raise ValueError(
                f"the header {name} holds a line break, or spaces around its value"
            )
        if is_secret(name):
            raise ValueError(f"the header {name} {_WRITTEN_OUT}")


def _check_auth(auth: Any) -> None:
    pair: Any = auth
    if auth is None or isinstance(auth, Secret):
        return
    if (
        isinstance(auth, tuple)
        and len(pair) == _PAIR
        and isinstance(pair[0], (str, Secret))
        and isinstance(pair[1], Secret)
    ):
        return
    raise ValueError(
        'auth is a secret by name, as env("TOKEN"), or a user with one, as '
        '("me", env("PASSWORD"))'
    )
