"""What is known of an engine and an image before anything runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from entangle.hooks import Finding

from . import _images, _packages, _settings
from ._engine import Engine, address
from ._errors import DockerError, EngineError
from ._leftovers import leftovers
from ._settings import Settings
from ._sizes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SUBJECT: Final = "docker"
_FIELDS: Final = frozenset(Settings._fields)


def findings() -> Iterator[Finding]:
    """Yield what was found about the engine; changes nothing."""
    try:
        engine = Engine()
    except EngineError as error:
        where, _, advice = error.reason.partition(": ")
        yield Finding("warn", _SUBJECT, where, advice)
        return
    except ImportError as error:
        yield Finding("fail", _SUBJECT, str(error), "pip install docker")
        return
    try:
        with engine.asked():
            about: Mapping[str, Any] = engine.api.version()
        text = (
            f"engine {about.get('Version')} for {about.get('Os')}/{about.get('Arch')} "
            f"at {engine.address}"
        )
        yield Finding("ok", _SUBJECT, text)
        left = [*leftovers(0.0)]
        if left:
            what = "container" if len(left) == 1 else "containers"
            text = f"{len(left)} {what} of programs that are gone"
            yield Finding("warn", _SUBJECT, text, "entangle sweep docker")
    except DockerError as error:
        yield Finding("warn", _SUBJECT, error.reason, "see whether `docker info` works")
    finally:
        engine.close()


def estimate(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is known of a place: engine, image, size, what has to be done first."""
    given = {name: value for name, value in options.items() if name in _FIELDS}
    settings = Settings(**{k: v for k, v in given.items() if v is not None})
    try:
        engine = Engine()
    except EngineError as error:
        yield f"docker: {error.reason}"
        return
    try:
        yield from _of(engine, settings)
    except DockerError as error:
        yield f"docker: {error.reason}"
    finally:
        engine.close()


def _of(engine: Engine, settings: Settings) -> Iterator[str]:
    found = engine.describe(settings.image)
    if found is None:
        how = (
            "and is not pulled: pull='never'"
            if settings.pull == "never"
            else "and has to be pulled first"
        )
        yield f"docker: the image {settings.image} is not at {address()}, {how}"
        return
    image = _images.as_image(settings.image, found)
    user = _settings.user_of(settings, image)
    yield (
        f"docker: the image {image.name} is there ({shown(image.size)}, "
        f"{image.platform}), at {engine.address}, as user {user}"
    )
    if settings.platform and not _images.fits(image, settings.platform):
        yield f"docker: it is not for {settings.platform} and has to be pulled for that"
    if settings.packages:
        tag = _packages.tag_of(image, settings.packages, settings.python)
        derived = engine.describe(tag)
        wanted = " ".join(settings.packages)
        if derived is None:
            yield f"docker: {wanted} have to be added to it first"
        else:
            size = shown(_images.as_image(image.name, derived).size)
            yield f"docker: {wanted} were added to it already ({size})"
