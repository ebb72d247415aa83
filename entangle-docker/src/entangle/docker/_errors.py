"""What can go wrong between a task and its container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from entangle.errors import PlaceError

if TYPE_CHECKING:
    from collections.abc import Iterable


class DockerError(PlaceError):
    """The root of this distribution's errors; nothing was begun.

    Attributes:
        place: ``'docker'``.
        reason: What is wrong, and what to do about it.
        said: The last that was said there, if anything.
    """

    def __init__(self, reason: str, *, said: str = "") -> None:
        """Build the error from the reason and the words of what failed."""
        super().__init__(place="docker", reason=reason, said=said)


class EngineError(DockerError):
    """No Docker Engine can be reached, it refuses this user, or it went away.

    Attributes:
        engine: Its address.
    """

    def __init__(self, reason: str, *, engine: str) -> None:
        """Build the error from its message and the engine's address."""
        super().__init__(reason)
        self.engine = engine


class ImageError(DockerError):
    """An image that is missing, can't be fetched or run, or holds no Python.

    Attributes:
        image: Its name.
    """

    def __init__(self, reason: str, *, image: str, said: str = "") -> None:
        """Build the error from its message and the image's name."""
        super().__init__(reason, said=said)
        self.image = image


class PackagesError(ImageError):
    """Packages that can't be installed into an image.

    Attributes:
        packages: What was asked for.
    """

    def __init__(
        self, reason: str, *, image: str, packages: Iterable[str], said: str = ""
    ) -> None:
        """Build the error from its message and what was to be installed where."""
        super().__init__(reason, image=image, said=said)
        self.packages = tuple(packages)


class ContainerError(DockerError):
    """A container that can't be made or started, or in which no worker came up.

    Attributes:
        image: What it was to be made of.
        exit_code: What its first process exited with, or None.
    """

    def __init__(
        self,
        reason: str,
        *,
        image: str,
        exit_code: int | None = None,
        said: str = "",
    ) -> None:
        """Build the error from its message and what is known of the container."""
        super().__init__(reason, said=said)
        self.image = image
        self.exit_code = exit_code
