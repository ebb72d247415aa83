"""The user's pip configuration, as far as installing elsewhere needs it."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OPTIONS: Final = frozenset({
    "extra-index-url",
    "find-links",
    "index-url",
    "no-binary",
    "no-index",
    "only-binary",
    "pre",
    "prefer-binary",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
})
"""What is passed on as it is; pip takes it from variables of the environment, too."""
_FILES: Final = frozenset({"cert", "client-cert", "constraint"})
"""What names files of this machine, whose text is passed on."""
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_LOOPBACK: Final = ("127.", "localhost", "[::1]", "::1")


class PipSettings(NamedTuple):
    """What pip is to know in a container. It may hold credentials: never shown.

    Attributes:
        variables: Of its environment.
        files: Texts by the variable that is to name the file.
        folders: Folders of this machine that it reads from, under the same path.
        loopback: Whether it asks a server of this machine.
    """

    variables: Mapping[str, str]
    files: Mapping[str, str]
    folders: tuple[str, ...]
    loopback: bool


def settings() -> PipSettings:
    """Read pip's files and variables as pip does, for ``pip install``."""
    options = dict(_configured())
    variables = {
        f"PIP_{name.upper().replace('-', '_')}": value
        for name, value in options.items()
        if name in _OPTIONS
    }
    files: dict[str, str] = {}
    for name in _FILES:
        texts = [_text(path) for path in options.get(name, "").split()]
        if any(texts):
            variable = f"PIP_{name.upper().replace('-', '_')}"
            files[variable] = "\n".join(text for text in texts if text)
    if "PIP_CERT" not in files:
        for name in _BUNDLES:
            text = _text(os.environ.get(name, ""))
            if text is not None:
                files["PIP_CERT"] = text
                break
    for name in _PROXIES:
        value = os.environ.get(name) or os.environ.get(name.upper())
        if value:
            variables[name] = variables[name.upper()] = value
    places = [
        place
        for name in ("index-url", "extra-index-url", "find-links")
        for place in options.get(name, "").split()
    ]
    asked = [*places, options.get("proxy", ""), *map(os.environ.get, ("https_proxy",))]
    return PipSettings(
        variables,
        files,
        tuple(sorted({folder for place in places for folder in _folder(place)})),
        any(_host(place or "").startswith(_LOOPBACK) for place in asked),
    )


def _configured() -> Iterator[tuple[str, str]]:
    """Yield options with their values, those that count more later."""
    parser = configparser.RawConfigParser()
    for path in _paths():
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip itself would say so
    for section in ("global", "install"):
        if parser.has_section(section):
            for name, value in parser.items(section):
                yield name.replace("_", "-"), " ".join(value.split())
    for variable, value in os.environ.items():
        if variable.startswith("PIP_") and value:
            yield variable[4:].lower().replace("_", "-"), value


def _paths() -> Iterator[Path]:
    """Yield pip's files of configuration, those that count more later."""
    chosen = os.environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return
    for base in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":"):
        yield Path(base, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    home = Path(os.path.expanduser("~"))
    yield home / ".pip" / "pip.conf"
    yield Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if chosen:
        yield Path(chosen)


def _text(path: str) -> str | None:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8") if path else None
    except (OSError, UnicodeDecodeError):
        return None


def _folder(place: str) -> Iterator[str]:
    """Yield the folder of this machine that a place for packages lies in, if it does."""
    parts = urlsplit(place)
    if parts.scheme not in {"", "file"}:
        return
    local = unquote(parts.path) if parts.scheme else place
    path = os.path.abspath(os.path.expanduser(local))
    if os.path.isdir(path):
        yield path
    elif os.path.isfile(path):
        yield os.path.dirname(path)


def _host(place: str) -> str:
    return urlsplit(place).hostname or ""
