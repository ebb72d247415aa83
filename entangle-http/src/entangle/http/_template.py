"""URLs with names in braces that calls fill in."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from entangle.secrets import Secret

from ._forms import is_mapping, is_several
from ._shown import is_secret, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")
_SCHEMES: Final = ("http", "https")


_kind_of: Final[Callable[[object], type[object]]] = type


class Template:
    """A URL, perhaps with placeholders after the host. Immutable.

    Attributes:
        text: As it was written.
        names: The names of the placeholders, in the order written, each once.
    """

    __slots__ = ("_parts", "names", "text")

    def __init__(self, text: str) -> None:
        """Read a URL.

        Raises:
            ValueError: It is none that can be requested; the message says why.
        """
        if _CONTROL.search(text):
            raise ValueError(f"url {shown(text)!r} holds a space or control character")
        try:
            # Each part: literal text, and the name that follows it, if any.
            self._parts = [
                (literal, _name(field, spec, conversion))
                for literal, field, spec, conversion in Formatter().parse(text)
            ]
        except ValueError as error:
            raise ValueError(
                f"url {shown(text)!r} is no template: {error}; write {{{{ and }}}} for braces"
            ) from None
        self.text = text
        self.names = tuple(
            dict.fromkeys([name for _, name in self._parts if name is not None])
        )
        _check(text, self._parts[0][0] if self._parts else "", self.names)

    def filled(self, values: Mapping[str, Any]) -> str:
        """Return the URL with the values of its placeholders, quoted.

        Raises:
            TypeError: A value has no place in a URL.
        """
        pieces: list[str] = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                pieces.append(_quoted(name, values[name]))
        return "".join(pieces)


def _name(field: str | None, spec: str | None, conversion: str | None) -> str | None:
    if field is None:
        return None
    if not field.isidentifier() or spec or conversion:
        shown = field + (f"!{conversion}" if conversion else "")
        raise ValueError(f"{{{shown}{':' if spec else ''}}} is no plain name")
    return field


def _check(text: str, begin: str, names: tuple[str, ...]) -> None:
    """Refuse a URL that can't be requested.

    Raises:
        ValueError: With the reason.
    """
    try:
        parts = urlsplit(begin)
        parts.port  # noqa: B018 - it is checked when it is asked for
    except ValueError:
        raise ValueError("url is no URL: its host or port makes no sense") from None
    if parts.scheme.lower() not in _SCHEMES:
        what = f"{parts.scheme}://" if parts.scheme else "no scheme"
        raise ValueError(f"url has {what}: only http:// and https:// can be requested")
    if "@" in parts.netloc:
        raise ValueError(
            "url holds a name or password before the host: give it by name, as "
            'auth=("me", env("PASSWORD"))'
        )
    if not parts.hostname:
        raise ValueError(f"url {shown(text)!r} names no host")
    for name, value in parse_qsl(urlsplit(text).query):
        if is_secret(name) and not value.startswith("{"):
            raise ValueError(
                f"url has a secret written out, {name}=: give it by name, as "
                f'params={{{name!r}: env("NAME")}}'
            )
    if names and not (parts.path or parts.query):
        raise ValueError(
            f"url {shown(text)!r} has a placeholder in the host: they may only come after it"
        )


def _quoted(name: str, value: Any) -> str:
    """Return a value as one piece of a URL.

    Raises:
        TypeError: It has no place there.
    """
    if isinstance(value, Secret):
        # Imported here: most URLs hold none.
        from ._read import read

        return quote(read(value), safe="")
    given: Any = value
    plain = isinstance(value, (bytes, set, type(None)))
    if plain or is_mapping(given) or is_several(given):
        kind = _kind_of(given).__qualname__
        raise TypeError(f"{{{name}}} of the URL can't be filled with {kind}")
    text = str(value)
    if text in {"", ".", ".."}:
        # It would lead to another place than was meant.
        raise TypeError(f"{{{name}}} of the URL can't be filled with {text!r}")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise TypeError(
            f"{{{name}}} of the URL can't be filled with {text!r}"
        ) from None
