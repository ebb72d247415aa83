"""The image that a place asks for: found, or pulled with progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._errors import ContainerError, ImageError
from ._log import log
from ._sizes import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._abort import Aborts
    from ._engine import Engine
    from ._settings import Pull

_EVERY: Final = 2.0
"""Seconds between two lines of progress."""


class Image(NamedTuple):
    """An image that the engine has.

    Attributes:
        name: What the user calls it.
        id: Its digest.
        platform: What it was built for, as ``os/architecture``.
        size: Bytes.
        user: Who its processes are; empty for root.
        environment: The variables that it sets.
        entrypoint: What its commands are given to, if anything.
    """

    name: str
    id: str
    platform: str
    size: int
    user: str
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...]


def as_image(name: str, found: Mapping[str, Any]) -> Image:
    """Return what is of use of an engine's description."""
    config = found.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    variant = found.get("Variant")
    parts = [str(found.get("Os")), str(found.get("Architecture"))]
    return Image(
        name=name,
        id=str(found["Id"]),
        platform="/".join([*parts, variant] if variant else parts),
        size=int(found.get("Size") or 0),
        user=str(config.get("User") or ""),
        environment={key: value for key, _, value in pairs},
        entrypoint=tuple(config.get("Entrypoint") or ()),
    )


def fits(image: Image, platform: str) -> bool:
    """Tell whether an image is for a platform: ``linux/arm64``, or ``arm64`` alone."""
    wanted = platform.lower().split("/")
    has = image.platform.lower().split("/")
    if len(wanted) == 1:
        return wanted[0] in has
    return has[: len(wanted)] == wanted


def provide(
    engine: Engine, name: str, *, platform: str, pull: Pull, aborts: Aborts
) -> Image:
    """Return an image, pulled if it has to be; blocks.

    Raises:
        ImageError: there is no such image, it can't be fetched, or it is not for the
            platform.
        EngineError: the engine can't be asked.
    """
    found = engine.describe(name)
    here = None if found is None else as_image(name, found)
    if here is not None and pull != "always" and fits(here, platform or here.platform):
        return here
    if pull == "never":
        if here is not None:
            raise _not_for(here, platform)
        raise ImageError(
            f"the engine has no image {name!r}, and pull='never' keeps it from being "
            f"fetched: `docker pull {name}`, or build it",
            image=name,
        )
    _pull(engine, name, platform, aborts)
    found = engine.describe(name)
    if found is None:
        raise ImageError(f"{name!r} was pulled, and is gone already", image=name)
    here = as_image(name, found)
    if platform and not fits(here, platform):
        raise _not_for(here, platform)
    return here


def _not_for(image: Image, platform: str) -> ImageError:
    return ImageError(
        f"the image {image.name!r} is for {image.platform}, not for {platform}: choose "
        "a tag for that platform, or leave platform= out",
        image=image.name,
    )


def _pull(engine: Engine, name: str, platform: str, aborts: Aborts) -> None:
    """Fetch an image and tell how far it is."""
    repository, tag = split(name)
    log.info("pulling the image %s", name)
    begun = time.monotonic()
    progress = Progress()
    told = begun
    try:
        with engine.asked(name):
            said = engine.api.pull(
                repository, tag, stream=True, decode=True, platform=platform or None
            )
            with aborts.closing(said):
                for step in said:
                    if "error" in step:
                        raise ImageError(str(step["error"]), image=name)
                    progress.add(step)
                    now = time.monotonic()
                    if now - told > _EVERY:
                        told = now
                        log.info("pulling the image %s: %s", name, progress)
    except (ImageError, ContainerError) as error:
        raise ImageError(_why(name, error.reason), image=name) from error
    log.info("pulled the image %s in %.1f s", name, time.monotonic() - begun)


def split(name: str) -> tuple[str, str]:
    """Split an image's name into repository and tag, or digest; the tag is ``latest``.

    A registry's port is no tag: ``host:5000/name``.
    """
    repository, at, digest = name.partition("@")
    if at:
        return repository, digest
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    return name, "latest"


def _why(name: str, said: str) -> str:
    """Say what a registry's refusal means for the user."""
    lower = said.lower()
    registry = name.split("/", maxsplit=1)[0] if "." in name.split("/")[0] else ""
    login = f"`docker login {registry}`".replace(" `", "`")
    if "no matching manifest" in lower or "does not match the specified platform" in lower:
        advice = "it is not built for this platform: choose another tag, or platform="
    elif "no such host" in lower or "connection refused" in lower or "timeout" in lower:
        advice = (
            "the engine can't reach the registry: build or load the image instead, or "
            "look at the network and the proxy of the engine"
        )
    elif "invalid reference" in lower:
        advice = "that is no name of an image"
    elif any(word in lower for word in ("denied", "unauthorized", "authentication")):
        advice = f"it does not exist, or it is private: look at the name, or {login}"
    elif "not found" in lower or "manifest unknown" in lower:
        advice = "look at the name and the tag"
    else:
        advice = f"see whether `docker pull {name}` works"
    return f"the image {name!r} is not there and can't be pulled: {said}; {advice}"


class Progress:
    """How much of an image's layers has been fetched."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._sizes: dict[str, int] = {}

    def add(self, step: Mapping[str, Any]) -> None:
        """Take in one step that the engine told."""
        layer = str(step.get("id") or "")
        detail = step.get("progressDetail") or {}
        status = step.get("status")
        if status == "Downloading" and "current" in detail:
            self._done[layer] = int(detail["current"])
            self._sizes[layer] = int(detail.get("total") or 0)
        elif status in {"Download complete", "Pull complete"} and layer in self._sizes:
            self._done[layer] = self._sizes[layer]

    def _totals(self) -> Iterator[int]:
        yield sum(self._done.values())
        yield sum(self._sizes.values())

    def __str__(self) -> str:
        """Show it for people."""
        done, size = self._totals()
        if not size:
            return "not begun"
        return f"{shown(done)} of {shown(size)} in {len(self._sizes)} layers"
